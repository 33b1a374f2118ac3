use super::*;

#[tokio::test]
async fn each_method_asks_in_its_own_way() {
    let folder = TempDir::new().expect("a folder");
    let jwt = folder.path().join("jwt");
    fs::write(&jwt, "canary.jwt.x\n").expect("a file");
    let cases = [
        (
            json!({ "method": "approle", "mount": "/team/app role/", "role_id": "canary-r" }),
            "team/app%20role/login",
            json!({ "role_id": "canary-r" }),
        ),
        (
            json!({ "method": "kubernetes", "mount": "k8s", "role": "boat", "jwt_path": jwt }),
            "k8s/login",
            json!({ "role": "boat", "jwt": "canary.jwt.x" }),
        ),
        (
            json!({ "method": "jwt", "role": "boat", "jwt_path": jwt }),
            "jwt/login",
            json!({ "role": "boat", "jwt": "canary.jwt.x" }),
        ),
        (
            json!({ "method": "jwt", "jwt_path": jwt }),
            "jwt/login",
            json!({ "jwt": "canary.jwt.x" }),
        ),
        (
            json!({ "method": "userpass", "username": "a/b c?d", "password": "canary-p" }),
            "userpass/login/a%2Fb%20c%3Fd",
            json!({ "password": "canary-p" }),
        ),
        (
            json!({ "method": "ldap", "mount": "ad", "username": "ÿ", "password": " canary " }),
            "ad/login/%C3%BF",
            json!({ "password": " canary " }),
        ),
    ];
    for (auth, path, body) in cases {
        let server = Double::answering([granted("canary-1", 60)]);
        let keyring = keyring(auth, &Env::default());
        keyring.token(&server.api()).await.expect("a token");
        let seen = server.seen();
        assert_eq!(seen[0].line, format!("POST /v1/auth/{path}"));
        assert_eq!(seen[0].body, body);
        assert_eq!(seen[0].header("x-vault-namespace"), None);
    }
}

#[tokio::test]
async fn the_certificate_logs_in_without_a_secret() {
    for (auth, body) in [
        (json!({ "method": "cert" }), json!({})),
        (
            json!({ "method": "cert", "name": "boat" }),
            json!({ "name": "boat" }),
        ),
    ] {
        let mut config = config(auth);
        config.client_cert = Some("cert.pem".into());
        config.client_key = Some("key.pem".into());
        let keyring = Keyring::new(&config, &Env::default()).expect("it is complete");
        let server = Double::answering([granted("canary-1", 60)]);
        keyring.token(&server.api()).await.expect("a token");
        let seen = server.seen();
        assert_eq!(seen[0].line, "POST /v1/auth/cert/login");
        assert_eq!(seen[0].body, body);
    }
}

#[tokio::test]
async fn only_the_login_names_the_namespace() {
    let settings: [(Option<&str>, Env, Option<&str>); 5] = [
        (Some("/team/a/"), Env::default(), Some("team/a")),
        (Some("a"), Env::from([("VAULT_NAMESPACE", "b")]), Some("a")),
        (None, Env::from([("VAULT_NAMESPACE", "b")]), Some("b")),
        (
            None,
            Env::from([("VAULT_NAMESPACE", "b"), ("BAO_NAMESPACE", "c/")]),
            Some("c"),
        ),
        (
            None,
            Env::from([("VAULT_NAMESPACE", "b"), ("BAO_NAMESPACE", "")]),
            None,
        ),
    ];
    for (namespace, env, sent) in settings {
        let mut config = config(app_role());
        config.namespace = namespace.map(Into::into);
        let keyring = Keyring::new(&config, &env).expect("it is complete");
        let server = Double::answering([
            granted("canary-1", 3600),
            granted("canary-1", 3600),
            (200, json!({ "data": {} })),
        ]);
        let api = server.api();
        let token = keyring.token(&api).await.expect("a token");
        age(&keyring, 3000).await;
        keyring.token(&api).await.expect("a token");
        let _ = keyring.diagnose(&api, &token).await;
        let seen = server.seen();
        let sent_in: Vec<_> = seen
            .iter()
            .map(|request| request.header("x-vault-namespace"))
            .collect();
        assert_eq!(sent_in, [sent, None, None]);
    }
}
