use serde_json::json;

use super::*;

fn resolve<const LEN: usize>(
    settings: serde_json::Value,
    env: [(&str, &str); LEN],
) -> Result<Settings, Unusable> {
    let config: VaultConfig = serde_json::from_value(settings).unwrap();
    Settings::resolve(&config, &Env::from(env))
}

fn of<const LEN: usize>(env: [(&str, &str); LEN]) -> Settings {
    resolve(json!({}), env).unwrap()
}

fn address<const LEN: usize>(env: [(&str, &str); LEN]) -> String {
    of(env).endpoint.url.to_string()
}

fn file(path: &str) -> Pem {
    Pem::File(path.into())
}

#[test]
fn without_settings_the_node_beside_us_is_asked() {
    let settings = of([]);
    assert_eq!(settings.endpoint.url.as_str(), "https://127.0.0.1:8200/");
    assert_eq!(settings.trust, Trust::System);
    assert!(!settings.skip_verify && settings.identity.is_none());
    assert_eq!(settings.proxies, Proxies::default());
}

#[test]
fn an_agent_comes_before_the_server_and_openbao_before_vault() {
    let vault = ("VAULT_ADDR", "https://vault");
    let bao = ("BAO_ADDR", "https://bao");
    let agent = ("VAULT_AGENT_ADDR", "http://agent");
    assert_eq!(address([vault]), "https://vault/");
    assert_eq!(address([vault, bao]), "https://bao/");
    assert_eq!(address([vault, bao, agent]), "http://agent/");
}

#[test]
fn a_variable_of_openbao_counts_although_it_is_empty() {
    assert_eq!(
        address([("VAULT_ADDR", "https://vault"), ("BAO_ADDR", "")]),
        "https://127.0.0.1:8200/"
    );
    let hidden = of([("VAULT_CACERT", "/v.pem"), ("BAO_CACERT", "")]);
    assert_eq!(hidden.trust, Trust::System);
}

#[test]
fn the_configuration_comes_first() {
    let env = [
        ("VAULT_ADDR", "https://other"),
        ("VAULT_CACERT", "/other.pem"),
        ("VAULT_SKIP_VERIFY", "true"),
        ("VAULT_TLS_SERVER_NAME", "other"),
        ("VAULT_CLIENT_CERT", "/other.crt"),
        ("VAULT_CLIENT_KEY", "/other.key"),
    ];
    let configured = json!({
        "address": "https://mine", "ca_cert": "/mine.pem", "skip_verify": false,
        "tls_server_name": "mine", "client_cert": "/mine.crt", "client_key": "/mine.key",
    });
    let settings = resolve(configured, env).unwrap();
    assert_eq!(settings.endpoint.url.as_str(), "https://mine/");
    assert_eq!(settings.trust, Trust::Only(file("/mine.pem")));
    assert!(!settings.skip_verify);
    assert_eq!(settings.tls_server_name.as_deref(), Some("mine"));
    let (cert, key) = (file("/mine.crt"), file("/mine.key"));
    assert_eq!(settings.identity, Some((cert, key)));
    let taken = resolve(json!({}), env).unwrap();
    assert!(taken.skip_verify);
    assert_eq!(taken.tls_server_name.as_deref(), Some("other"));
}

#[test]
fn a_file_of_authorities_beats_text_and_text_a_folder() {
    let path = ("VAULT_CACERT", "/ca.pem");
    let text = ("VAULT_CACERT_BYTES", "PEM");
    let folder = ("VAULT_CAPATH", "/ca");
    assert_eq!(of([folder]).trust, Trust::Folder("/ca".into()));
    let pem = Trust::Only(Pem::Text(Secret::new("PEM")));
    assert_eq!(of([folder, text]).trust, pem);
    assert_eq!(of([folder, text, path]).trust, Trust::Only(file("/ca.pem")));
}

#[test]
fn a_certificate_and_its_key_go_together() {
    let cert = ("VAULT_CLIENT_CERT", "/c.pem");
    let wrong = resolve(json!({}), [cert]).unwrap_err();
    assert_eq!(wrong.0, "client_cert");
    let both = of([
        ("BAO_CLIENT_CERT_BYTES", "C"),
        ("BAO_CLIENT_KEY_BYTES", "K"),
    ]);
    let text = |text: &str| Pem::Text(Secret::new(text));
    assert_eq!(both.identity, Some((text("C"), text("K"))));
}

#[test]
fn a_wrong_value_names_its_variable() {
    let cases = [
        ("VAULT_ADDR", "vault:8200"),
        ("VAULT_SKIP_VERIFY", "maybe"),
        ("BAO_CLIENT_TIMEOUT", "soon"),
        ("VAULT_HEADERS", "X-Tenant: hunter2"),
        ("VAULT_HEADERS", r#"{"X-Vault-Token": "hunter2"}"#),
        ("VAULT_HEADERS", r#"{"a b": "hunter2"}"#),
    ];
    for (variable, value) in cases {
        let (_, why) = resolve(json!({}), [(variable, value)]).unwrap_err();
        assert!(why.contains(variable), "{why}");
        assert!(!why.contains("hunter2"), "{why}");
    }
}

#[test]
fn booleans_and_durations_are_read_as_go_reads_them() {
    for (text, value) in [("1", true), ("T", true), ("FALSE", false), ("0", false)] {
        assert_eq!(of([("VAULT_SKIP_VERIFY", text)]).skip_verify, value);
    }
    for (text, seconds) in [("90", 90), ("90s", 90), ("2m", 120)] {
        let limit = of([("VAULT_CLIENT_TIMEOUT", text)]).answer;
        assert_eq!(limit, Some(Duration::from_secs(seconds)));
    }
    assert_eq!(of([("VAULT_CLIENT_TIMEOUT", "0")]).answer, None);
}

#[test]
fn the_variables_of_vault_are_not_those_of_consul_and_nomad() {
    let env = [("VAULT_ADDR", "https://vault"), ("VAULT_CACERT", "/v.pem")];
    let consul = resolve(json!({ "product": "consul" }), env).unwrap();
    assert_eq!(consul.endpoint.url.as_str(), "http://127.0.0.1:8500/");
    assert_eq!(consul.trust, Trust::System);
    let nomad = resolve(json!({ "product": "nomad" }), env).unwrap();
    assert_eq!(nomad.endpoint.url.as_str(), "http://127.0.0.1:4646/");
}

#[test]
fn the_proxy_of_vault_comes_before_those_of_everyone() {
    let settings = of([
        ("VAULT_PROXY_ADDR", "http://proxy:1"),
        ("https_proxy", "http://proxy:2"),
        ("NO_PROXY", "10.0.0.0/8"),
    ]);
    let proxies = settings.proxies;
    assert_eq!(proxies.all, Some(Secret::new("http://proxy:1")));
    assert_eq!(proxies.https, Some(Secret::new("http://proxy:2")));
    assert_eq!(proxies.none_for.as_deref(), Some("10.0.0.0/8"));
    let clash = [
        ("VAULT_PROXY_ADDR", "http://p"),
        ("VAULT_TLS_SERVER_NAME", "v"),
    ];
    assert_eq!(resolve(json!({}), clash).unwrap_err().0, "tls_server_name");
}
