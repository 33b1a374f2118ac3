use std::path::Path;

use super::*;

fn described(auth: Value, env: &Env) -> String {
    keyring(auth, env).describe()
}

#[tokio::test]
async fn without_settings_the_environment_decides() {
    let token = ("VAULT_TOKEN", "canary-vault");
    let bao = ("BAO_TOKEN", "canary-bao");
    let role = ("VAULT_ROLE_ID", "canary-role");
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[token], "token in `VAULT_TOKEN`"),
        (&[token, bao], "token in `BAO_TOKEN`"),
        (&[token, role], "token in `VAULT_TOKEN`"),
        (&[role], "approle at `approle`"),
        // Set and empty, the one of OpenBao hides the other.
        (&[token, ("BAO_TOKEN", ""), role], "approle at `approle`"),
    ];
    for (variables, expected) in cases {
        let env: Env = variables.iter().copied().collect();
        assert_eq!(described(Value::Null, &env), expected);
    }
    for env in [
        Env::default(),
        Env::from([("VAULT_TOKEN", "canary"), ("BAO_TOKEN", "")]),
        Env::from([("VAULT_ROLE_ID", "")]),
        Env::from([("VAULT_SECRET_ID", "canary")]),
    ] {
        // Whoever only reads backups needs no login.
        let keyring = keyring(Value::Null, &env);
        let error = keyring.token(&Double::silent().api()).await;
        let hint = error.expect_err("there is none").hint;
        assert!(hint.is_some_and(|hint| hint.contains("VAULT_TOKEN, or VAULT_ROLE_ID")));
    }
}

#[tokio::test]
async fn what_is_set_counts_more_than_the_environment() {
    let env = Env::from([
        ("VAULT_TOKEN", "canary-env"),
        ("VAULT_ROLE_ID", "canary-env"),
        ("VAULT_SECRET_ID", "canary-env"),
    ]);
    let api = Double::silent().api();
    let auth = json!({ "method": "token", "token": "canary-set" });
    let token = keyring(auth, &env).token(&api).await;
    is(&token.expect("a token"), "canary-set");
    let token = keyring(json!({ "method": "token" }), &env)
        .token(&api)
        .await;
    is(&token.expect("a token"), "canary-env");

    for (auth, ids) in [
        (app_role(), ["canary-role", "canary-secret"]),
        (
            json!({ "method": "approle", "role_id": "canary-role" }),
            ["canary-role", "canary-env"],
        ),
        (json!({ "method": "approle" }), ["canary-env", "canary-env"]),
        (Value::Null, ["canary-env", "canary-env"]),
    ] {
        let variables = env.iter().filter(|(name, _)| *name != "VAULT_TOKEN");
        let env: Env = variables.collect();
        let server = Double::answering([granted("canary-1", 60)]);
        let token = keyring(auth, &env).token(&server.api()).await;
        is(&token.expect("a token"), "canary-1");
        let body = &server.seen()[0].body;
        assert_eq!([&body["role_id"], &body["secret_id"]], ids);
    }
}

#[tokio::test]
async fn the_token_path_of_openbao_is_honoured() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("token");
    fs::write(&file, "canary-file\n").expect("a file");
    let path = file.to_str().expect("a plain path");
    let api = Double::silent().api();
    let env = Env::from([("BAO_TOKEN_PATH", path)]);
    let token = keyring(Value::Null, &env).token(&api).await;
    is(&token.expect("a token"), "canary-file");
    let env = Env::from([("BAO_TOKEN_PATH", path), ("VAULT_TOKEN", "canary-env")]);
    let token = keyring(Value::Null, &env).token(&api).await;
    is(&token.expect("a token"), "canary-env");
}

#[test]
fn what_is_missing_is_said_before_anything_is_sent() {
    let nowhere = Path::new("/nowhere/at/all");
    let cases = [
        (json!({ "method": "token" }), "auth", "has neither `token`"),
        (
            json!({ "method": "token", "token": "canary-x", "token_file": nowhere }),
            "auth.token_file",
            "cannot be set beside `token`",
        ),
        (
            json!({ "method": "token", "token_file": nowhere }),
            "auth.token_file",
            "no such file",
        ),
        (
            json!({ "method": "token", "token": { "env": "UNSET" } }),
            "auth.token",
            "`UNSET` is not set",
        ),
        (
            json!({ "method": "approle" }),
            "auth.role_id",
            "nor is `VAULT_ROLE_ID`",
        ),
        (
            json!({ "method": "approle", "role_id": "canary-r", "secret_id": { "env": "UNSET" } }),
            "auth.secret_id",
            "`UNSET` is not set",
        ),
        (
            json!({ "method": "approle", "mount": "/", "role_id": "canary-r" }),
            "auth.mount",
            "is not a path",
        ),
        (
            json!({ "method": "approle", "mount": "../sys", "role_id": "canary-r" }),
            "auth.mount",
            "is not a path",
        ),
        (
            json!({ "method": "kubernetes", "role": "r", "jwt_path": nowhere }),
            "auth.jwt_path",
            "no such file",
        ),
        (
            json!({ "method": "jwt", "jwt_path": "/" }),
            "auth.jwt_path",
            "it is a directory",
        ),
        (
            json!({ "method": "userpass", "username": "..", "password": "canary-p" }),
            "auth.username",
            "is not the name of a user",
        ),
        (
            json!({ "method": "ldap", "username": "u", "password": { "file": nowhere } }),
            "auth.password",
            "no such file",
        ),
        (
            json!({ "method": "cert" }),
            "client_cert",
            "the login method `cert` needs it",
        ),
    ];
    for (auth, key, why) in cases {
        let said = no_keyring(auth, &Env::default());
        assert_eq!(said.0, key);
        assert!(said.1.contains(why), "{}", said.1);
        assert!(!said.1.contains(CANARY), "{}", said.1);
    }
}

#[test]
fn a_certificate_of_the_environment_is_one() {
    for name in [
        "VAULT_CLIENT_CERT",
        "BAO_CLIENT_CERT",
        "BAO_CLIENT_CERT_BYTES",
    ] {
        keyring(json!({ "method": "cert" }), &Env::from([(name, "x")]));
    }
}

#[test]
fn a_token_that_no_header_can_carry_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("token");
    let from_file = json!({ "method": "token", "token_file": file });
    for token in [
        "canary one",
        "canary-a\ncanary-b",
        "canary-\t",
        "canary-\n\n",
        "canary-\u{0}",
        "canary-ÿ",
        " canary-",
        "\u{feff}canary-",
    ] {
        fs::write(&file, token).expect("a file");
        let said = [
            no_keyring(
                json!({ "method": "token", "token": token }),
                &Env::default(),
            ),
            no_keyring(from_file.clone(), &Env::default()),
            no_keyring(Value::Null, &Env::from([("VAULT_TOKEN", token)])),
        ];
        for (_, why) in said {
            assert!(why.contains("that no token has"), "{token:?}: {why}");
            assert!(!why.contains(CANARY), "{why}");
        }
    }
    fs::write(&file, "canary-a\ncanary-b\n").expect("a file");
    let jwt = json!({ "method": "jwt", "jwt_path": file });
    let (key, why) = no_keyring(jwt, &Env::default());
    assert_eq!(key, "auth.jwt_path");
    assert!(!why.contains(CANARY), "{why}");
}

#[test]
fn an_origin_is_named_without_its_secret() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("token");
    fs::write(&file, "canary-x").expect("a file");
    let env = Env::from([("MINE", "canary-x")]);
    let token = |setting: Value| described(json!({ "method": "token", "token": setting }), &env);
    assert_eq!(token(json!("canary-x")), "token");
    assert_eq!(token(json!({ "env": "MINE" })), "token in `MINE`");
    let here = format!("token in `{}`", file.display());
    assert_eq!(token(json!({ "file": file })), here);
    let ldap = json!({ "method": "ldap", "mount": "corp/ad/", "username": "u", "password": "p" });
    assert_eq!(described(ldap, &env), "ldap at `corp/ad`");
}

#[tokio::test]
async fn consul_and_nomad_know_tokens_or_nobody() {
    let api = Double::silent().api();
    let env = Env::from([
        ("VAULT_TOKEN", "canary-vault"),
        ("CONSUL_HTTP_TOKEN", "canary-consul"),
        ("NOMAD_TOKEN", "canary-nomad"),
        ("VAULT_ROLE_ID", "canary-role"),
    ]);
    for (product, token) in [
        (Product::Consul, "canary-consul"),
        (Product::Nomad, "canary-nomad"),
    ] {
        let with = |auth: Value, env: &Env| {
            let mut config = config(auth);
            config.product = product;
            Keyring::new(&config, env)
        };
        let keyring = with(Value::Null, &env).expect("it is complete");
        is(&keyring.token(&api).await.expect("a token"), token);
        let nobody = with(Value::Null, &Env::default()).expect("none is needed");
        assert_eq!(nobody.describe(), "no token");
        let error = nobody.token(&api).await.expect_err("there is none");
        assert_eq!(error.kind, SourceErrorKind::Login);
        let (key, _) = with(app_role(), &env).expect_err("there is no such login");
        assert_eq!(key, "auth.method");
    }
}
