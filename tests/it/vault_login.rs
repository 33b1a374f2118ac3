//! Every way to log in to a real Vault, through the real program: what works, what is said where it
//! does not, and that no secret is ever shown.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::daemon_support::Daemon;
use crate::sandbox::{Ended, Sandbox, names};
use crate::support::{
    LdapServer, TestCa, TokenReviewServer, VaultCluster, require, run, service_account_token,
    shared_vault,
};

/// A sidecar beside a node, and the secrets it knows.
struct Sidecar {
    sandbox: Sandbox,
    source: Value,
    secrets: Vec<String>,
}

impl Sidecar {
    fn beside(vault: &VaultCluster) -> Self {
        let mut sandbox = Sandbox::new();
        sandbox.folder("store");
        // Everything that is ever logged.
        sandbox.set("RUST_LOG", "trace");
        let source = json!({ "type": "vault", "address": vault.nodes[0].address });
        Self {
            sandbox,
            source,
            secrets: Vec::new(),
        }
    }

    fn with(vault: &VaultCluster, auth: Value) -> Self {
        let mut sidecar = Self::beside(vault);
        sidecar.source["auth"] = auth;
        sidecar
    }

    /// Must not be shown by any run.
    fn hides(mut self, secrets: &[&str]) -> Self {
        self.secrets.extend(secrets.iter().map(|it| (*it).into()));
        self
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.sandbox.set(name, value);
        self
    }

    fn change(mut self, key: &str, value: &str) -> Self {
        self.source["auth"][key] = json!(value);
        self
    }

    fn configure(&self, schedule: &Value) {
        let store = format!("file://{}", self.sandbox.path("store").display());
        let config = json!({
            "destinations": { "store": store },
            "jobs": { "vault": { "source": self.source, "schedule": schedule } },
        });
        self.sandbox.write("config.yaml", config.to_string());
    }

    fn run(&self) -> Ended {
        self.configure(&json!({}));
        let ended = self.sandbox.run(["backup"]);
        for text in [&ended.stdout, &ended.stderr, &self.manifests()] {
            self.search(text);
        }
        self.search(&self.sandbox.run(["config", "show"]).stdout);
        ended
    }

    fn search(&self, text: &str) {
        let tokens = ["hvs.", "hvb."].map(str::to_owned);
        for secret in self.secrets.iter().chain(&tokens) {
            assert!(!text.contains(secret.as_str()), "a secret in: {text}");
        }
    }

    fn manifests(&self) -> String {
        let folder = self.sandbox.path("store/vault/manifests");
        let read = |name: String| fs::read_to_string(folder.join(name)).expect("a manifest");
        names(&folder).into_iter().map(read).collect()
    }

    fn stored(&self) -> usize {
        names(&self.sandbox.path("store/vault/manifests")).len()
    }

    #[track_caller]
    fn saves(&self) {
        let before = self.stored();
        self.run().ok();
        assert_eq!(self.stored(), before + 1);
    }

    /// One line says why, one what to do, and nothing is stored.
    #[track_caller]
    fn fails(&self, why: &str, hint: &str) {
        let before = self.stored();
        let ended = self.run();
        ended.code(1);
        let line = |start: &str, part: &str| {
            let mut lines = ended.stderr.lines();
            let found = lines.any(|line| line.starts_with(start) && line.contains(part));
            assert!(found, "no `{start}` with `{part}`: {}", ended.stderr);
        };
        line("error: ", why);
        if !hint.is_empty() {
            line("hint: ", hint);
        }
        assert_eq!(self.stored(), before);
    }
}

#[test]
#[ignore = "needs vault"]
fn by_role_id_and_secret_id() {
    let vault = shared_vault();
    let (role_id, secret_id) = vault.enable_approle("team/boats", &json!({}));
    let sidecar = || {
        let auth = json!({
            "method": "approle", "mount": "/team/boats/", "role_id": role_id,
            "secret_id": { "file": "secret-id" },
        });
        let sidecar = Sidecar::with(vault, auth).hides(&[&role_id, &secret_id, "canary"]);
        sidecar.sandbox.write("secret-id", format!("{secret_id}\n"));
        sidecar
    };
    sidecar().saves();

    let wrong = sidecar();
    wrong.sandbox.write("secret-id", "canary-secret");
    wrong.fails(
        "login by approle at `team/boats` was refused: invalid role or secret ID",
        "check `role_id` and `secret_id`",
    );
    wrong.sandbox.write("secret-id", &secret_id);
    wrong.saves();

    let refused = "was refused: invalid role or secret ID";
    sidecar()
        .change("role_id", "canary-role")
        .fails(refused, "check `role_id`");
    sidecar().change("mount", "boats").fails(
        "login by approle at `boats` was refused: permission denied",
        "is anything mounted at `auth/boats`",
    );
}

#[test]
#[ignore = "needs vault"]
fn by_role_id_of_the_environment() {
    let vault = shared_vault();
    let (role_id, secret_id) = vault.enable_approle("approle", &json!({}));
    let sidecar = Sidecar::beside(vault)
        .set("VAULT_ROLE_ID", &role_id)
        .set("VAULT_SECRET_ID", &secret_id)
        .hides(&[&role_id, &secret_id]);
    sidecar.saves();
    sidecar
        .set("VAULT_SECRET_ID", "canary-secret")
        .hides(&["canary"])
        .fails(
            "login by approle at `approle` was refused: invalid role or secret ID",
            "check `role_id` and `secret_id`",
        );
}

#[test]
#[ignore = "needs vault"]
fn with_tokens_for_one_run_or_of_one_use() {
    let vault = shared_vault();
    for (mount, settings) in [
        (
            "batch",
            json!({ "token_type": "batch", "token_ttl": "10m" }),
        ),
        ("once", json!({ "token_num_uses": 1 })),
        ("short", json!({ "token_ttl": "5s" })),
    ] {
        let (role_id, secret_id) = vault.enable_approle(mount, &settings);
        let auth = json!({
            "method": "approle", "mount": mount, "role_id": role_id, "secret_id": secret_id,
        });
        Sidecar::with(vault, auth)
            .hides(&[&role_id, &secret_id])
            .saves();
    }
}

#[test]
#[ignore = "needs vault"]
fn by_user_name_and_password() {
    const PASSWORD: &str = "canary \"pass\" w\u{f6}rd";
    let vault = shared_vault();
    vault.enable_userpass("people", "life.boat", PASSWORD);
    let sidecar = || {
        let auth = json!({
            "method": "userpass", "mount": "people", "username": "life.boat",
            "password": PASSWORD,
        });
        Sidecar::with(vault, auth).hides(&["canary"])
    };
    sidecar().saves();
    for (key, value) in [("password", "canary-wrong"), ("username", "nobody")] {
        sidecar().change(key, value).fails(
            "login by userpass at `people` was refused: invalid username or password",
            "check `username` and `password`",
        );
    }
}

#[test]
#[ignore = "needs vault and slapd"]
fn by_a_user_of_a_directory() {
    let vault = shared_vault();
    let mut directory = LdapServer::start();
    vault.enable_ldap("corp/ldap", &directory);
    let sidecar = || {
        let auth = json!({
            "method": "ldap", "mount": "corp/ldap", "username": LdapServer::USER,
            "password": LdapServer::PASSWORD,
        });
        Sidecar::with(vault, auth).hides(&[LdapServer::PASSWORD, "canary"])
    };
    sidecar().saves();
    sidecar().change("password", "canary-wrong").fails(
        "login by ldap at `corp/ldap` was refused",
        "check `username` and `password`",
    );
    directory.process.kill9();
    sidecar().fails("connection refused", "cannot reach its directory");
}

#[test]
#[ignore = "needs vault"]
fn by_the_service_account_of_a_pod() {
    let vault = shared_vault();
    let cluster = TokenReviewServer::start("prod", "lifeboat");
    vault.enable_kubernetes("k8s", &cluster, "prod", "lifeboat");
    let sidecar = |namespace: &str, account: &str| {
        let auth = json!({
            "method": "kubernetes", "mount": "k8s", "role": "lifeboat", "jwt_path": "jwt",
        });
        let jwt = service_account_token(namespace, account);
        let sidecar = Sidecar::with(vault, auth).hides(&[&jwt]);
        sidecar.sandbox.write("jwt", jwt + "\n");
        sidecar
    };
    let good = sidecar("prod", "lifeboat");
    good.saves();
    sidecar("prod", "stranger").fails(
        "login by kubernetes at `k8s` was refused: service account name not authorized",
        "`bound_service_account_names`",
    );
    sidecar("test", "lifeboat").fails(
        "login by kubernetes at `k8s` was refused: namespace not authorized",
        "`bound_service_account_namespaces`",
    );
    sidecar("prod", "lifeboat")
        .change("role", "nothing")
        .fails("invalid role name", "check `role`");
    cluster.reject();
    good.fails(
        "login by kubernetes at `k8s` was refused: permission denied",
        "can it have tokens reviewed",
    );
}

#[test]
#[ignore = "needs vault"]
fn by_a_signed_token() {
    let vault = shared_vault();
    let keys = Sandbox::new();
    let (key, public) = (keys.path("key.pem"), keys.path("public.pem"));
    let openssl = require("openssl");
    let path = |path: &Path| path.display().to_string();
    run(&openssl, ["genrsa", "-out", &path(&key), "2048"]);
    run(
        &openssl,
        ["rsa", "-in", &path(&key), "-pubout", "-out", &path(&public)],
    );
    let public = fs::read_to_string(public).expect("a key");
    let policy = vault.snapshot_policy();
    vault.api("POST", "sys/auth/ci", &json!({ "type": "jwt" }));
    vault.api(
        "POST",
        "auth/ci/config",
        &json!({ "jwt_validation_pubkeys": [public] }),
    );
    let role = json!({
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"],
        "bound_subject": "lifeboat", "token_policies": [policy],
    });
    vault.api("POST", "auth/ci/role/lifeboat", &role);

    let sidecar = |claims: &Value| {
        let auth = json!({
            "method": "jwt", "mount": "ci", "role": "lifeboat", "jwt_path": "jwt",
        });
        let jwt = signed(&key, claims);
        let sidecar = Sidecar::with(vault, auth).hides(&[&jwt]);
        sidecar.sandbox.write("jwt", jwt + "\n");
        sidecar
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let claims = |subject: &str, audience: &str, expiry: u64| json!({ "iss": "ci", "sub": subject, "aud": audience, "iat": now - 9000, "exp": expiry });
    let hour = 3600;
    sidecar(&claims("lifeboat", "vault", now + hour)).saves();
    for (claims, why, hint) in [
        (
            claims("lifeboat", "vault", now - hour),
            "token is expired",
            "must be replaced before it expires",
        ),
        (
            claims("lifeboat", "other", now + hour),
            "audience",
            "`bound_audiences`",
        ),
        (
            claims("other", "vault", now + hour),
            "subject",
            "what the role binds",
        ),
    ] {
        let sidecar = sidecar(&claims);
        sidecar.fails(
            "login by jwt at `ci` was refused: error validating token",
            hint,
        );
        sidecar.fails(why, hint);
    }
    sidecar(&claims("lifeboat", "vault", now + hour))
        .change("role", "nothing")
        .fails("could not be found", "check `role`");
}

#[test]
#[ignore = "needs vault"]
fn by_client_certificate() {
    let ca = TestCa::new();
    let vault = VaultCluster::options().tls(&ca).start();
    vault.enable_cert("cert", &ca.ca_pem);
    let sidecar = |auth: Value, ca_of_ours: &TestCa| {
        let mut sidecar = Sidecar::with(&vault, auth);
        let (cert, key) = ca_of_ours.issue("sidecar", &[]);
        sidecar.source["ca_cert"] = json!(ca.ca_pem);
        sidecar.source["client_cert"] = json!(cert);
        sidecar.source["client_key"] = json!(key);
        let pem = fs::read_to_string(key).expect("a key");
        let line = pem.lines().nth(1).expect("a line of the key").to_owned();
        sidecar.hides(&[&line])
    };
    sidecar(json!({ "method": "cert" }), &ca).saves();
    sidecar(json!({ "method": "cert", "name": "lifeboat" }), &ca).saves();
    let refused = "login by cert at `cert` was refused";
    let no_role = "no role takes this certificate";
    sidecar(json!({ "method": "cert", "name": "nothing" }), &ca).fails(refused, no_role);
    sidecar(json!({ "method": "cert" }), &TestCa::new()).fails(refused, no_role);

    let mut without = sidecar(json!({ "method": "cert" }), &ca);
    for key in ["client_cert", "client_key"] {
        without
            .source
            .as_object_mut()
            .expect("settings")
            .remove(key);
    }
    let ended = without.run();
    ended.code(2);
    assert!(
        ended.stderr.contains("the login method `cert` needs it"),
        "{ended:?}"
    );
}

#[test]
#[ignore = "needs vault"]
fn with_a_token_from_anywhere() {
    let vault = shared_vault();
    let token = vault.snapshot_token();
    let with = |auth: Value| Sidecar::with(vault, auth).hides(&[&token]);
    with(json!({ "method": "token", "token": token })).saves();
    let file = with(json!({ "method": "token", "token_file": "token" }));
    file.sandbox.write("token", format!("{token}\r\n"));
    file.saves();
    let beside = || Sidecar::beside(vault).hides(&[&token, "canary"]);
    beside().set("VAULT_TOKEN", &token).saves();
    beside()
        .set("BAO_TOKEN", &token)
        .set("VAULT_TOKEN", "canary-other")
        .saves();
    let path = beside();
    path.sandbox.write("token", format!("{token}\n"));
    path.set("BAO_TOKEN_PATH", "token").saves();

    for (file, why) in [
        ("canary\ncanary\n", "holds blanks, line breaks"),
        ("", "is empty"),
    ] {
        let sidecar = with(json!({ "method": "token", "token_file": "token" })).hides(&["canary"]);
        sidecar.sandbox.write("token", file);
        let ended = sidecar.run();
        ended.code(2);
        assert!(ended.stderr.contains(why), "{ended:?}");
    }
    let ended = beside().run();
    ended.code(2);
    assert!(
        ended.stderr.contains("`VAULT_TOKEN` or `VAULT_ROLE_ID`"),
        "{ended:?}"
    );
}

#[test]
#[ignore = "needs vault"]
fn with_a_token_that_is_no_good() {
    let vault = shared_vault();
    let token = vault.snapshot_token();
    let sidecar = Sidecar::beside(vault)
        .hides(&[&token])
        .set("VAULT_TOKEN", &token);
    sidecar.saves();
    vault.api("POST", "auth/token/revoke", &json!({ "token": token }));
    sidecar.fails("has expired or was revoked", "set a new token");

    let file = Sidecar::with(vault, json!({ "method": "token", "token_file": "token" }));
    file.sandbox.write("token", &token);
    file.fails(
        "has expired or was revoked",
        "write a new token to the file",
    );
    file.sandbox.write("token", vault.snapshot_token());
    file.saves();

    let policy = r#"path "sys/storage/raft/snapshot" { capabilities = ["read"] }"#;
    let powerless = vault.create_token(&json!({ "policies": ["default"] }));
    Sidecar::beside(vault)
        .set("VAULT_TOKEN", &powerless)
        .fails("may not read snapshots", policy);
    // Not even allowed to look itself up.
    let settings = json!({ "policies": ["nothing"], "no_default_policy": true });
    let powerless = vault.create_token(&settings);
    Sidecar::beside(vault)
        .set("VAULT_TOKEN", &powerless)
        .fails("may not read snapshots", policy);
}

#[test]
#[ignore = "needs vault"]
fn a_login_without_the_right_is_told_from_a_wrong_login() {
    let vault = shared_vault();
    let powerless = json!({ "token_policies": ["default"] });
    let (role_id, secret_id) = vault.enable_approle("powerless", &powerless);
    let auth = json!({
        "method": "approle", "mount": "powerless", "role_id": role_id, "secret_id": secret_id,
    });
    Sidecar::with(vault, auth)
        .hides(&[&role_id, &secret_id])
        .fails(
            "may not read snapshots",
            r#"path "sys/storage/raft/snapshot" { capabilities = ["read"] }"#,
        );
}

#[test]
#[ignore = "needs vault"]
fn a_daemon_outlives_its_tokens() {
    let vault = shared_vault();
    for (mount, settings) in [
        ("brief", json!({ "token_ttl": "2s" })),
        (
            "capped",
            json!({ "token_ttl": "90s", "token_max_ttl": "90s" }),
        ),
    ] {
        let (role_id, secret_id) = vault.enable_approle(mount, &settings);
        let auth = json!({
            "method": "approle", "mount": mount, "role_id": role_id, "secret_id": secret_id,
        });
        let sidecar = Sidecar::with(vault, auth).hides(&[&role_id, &secret_id]);
        sidecar.configure(&json!({ "every": "1s" }));
        let mut daemon = Daemon::start(&sidecar.sandbox);
        completes(&mut daemon, 4);
        let count = |daemon: &Daemon, what: &str| {
            let said = daemon.said.iter();
            said.filter(|line| line.contains(what)).count()
        };
        let before = count(&daemon, "logging in by");
        let renewed = count(&daemon, "renewing the token") > 0;
        assert_eq!(renewed, mount == "brief", "{:#?}", daemon.said);
        assert!(renewed || before == 1, "{:#?}", daemon.said);
        let leases = format!("sys/leases/revoke-prefix/auth/{mount}/login");
        vault.api("POST", &leases, &json!({}));
        completes(&mut daemon, 2);
        let after = count(&daemon, "logging in by");
        assert!(after > before, "{:#?}", daemon.said);
        sidecar.search(&daemon.said.join("\n"));
        sidecar.search(&sidecar.manifests());
    }
}

#[track_caller]
fn completes(daemon: &mut Daemon, runs: usize) {
    for _ in 0..runs {
        let event = daemon.run_event();
        assert_eq!(event["outcome"], "completed", "{event}");
    }
}

/// A JSON web token.
fn signed(key: &Path, claims: &Value) -> String {
    let head = json!({ "alg": "RS256", "typ": "JWT" });
    let text = format!(
        "{}.{}",
        encoded(head.to_string()),
        encoded(claims.to_string())
    );
    let arguments = ["dgst", "-sha256", "-sign"].map(String::from);
    let key = key.display().to_string();
    let signature = openssl(arguments.into_iter().chain([key]), text.as_bytes());
    format!("{text}.{}", encoded(signature))
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    let text = openssl(["base64", "-A"].map(String::from), bytes.as_ref());
    let text = String::from_utf8(text).expect("base64");
    text.trim_end_matches('=')
        .replace('+', "-")
        .replace('/', "_")
}

fn openssl(arguments: impl IntoIterator<Item = String>, input: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut openssl = Command::new(require("openssl"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl can be run");
    let mut stdin = openssl.stdin.take().expect("a pipe");
    stdin.write_all(input).expect("it reads");
    drop(stdin);
    let output = openssl.wait_with_output().expect("it ends");
    assert!(output.status.success());
    output.stdout
}
