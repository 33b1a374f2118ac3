//! The words for what real servers answered; the answers are those of Vault 1.21.0 unless noted.

use std::path::PathBuf;

use super::*;

fn error(text: &str) -> Value {
    json!({ "errors": [text] })
}

/// What a login with `auth` says when the server answers so.
async fn refused(auth: Value, status: u16, body: Value) -> SourceError {
    let server = Double::answering([(status, body)]);
    let mut config = config(auth);
    config.client_cert = Some("cert.pem".into());
    let keyring = Keyring::new(&config, &Env::default()).expect("it is complete");
    let error = keyring.token(&server.api()).await;
    let error = error.expect_err("the login was refused");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(CANARY), "{shown}");
    error
}

fn jwt_file() -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("jwt");
    fs::write(&file, "canary-jwt").expect("a file");
    (folder, file)
}

fn password(method: &str) -> Value {
    json!({ "method": method, "username": "boat", "password": "canary-p" })
}

/// Status and words of the server, and a part of the hint.
type Case = (u16, &'static str, &'static str);

async fn each(auth: Value, cases: &[Case]) {
    let method = auth["method"].as_str().expect("a method").to_owned();
    for (status, said, hint) in cases {
        let error = refused(auth.clone(), *status, error(said)).await;
        assert_eq!(error.kind, SourceErrorKind::Login);
        let why = format!("login by {method} at `{method}` was refused: {said}");
        assert_eq!(error.why, why);
        let given = error.hint.unwrap_or_default();
        assert!(given.contains(hint), "{said}: {given}");
    }
}

#[tokio::test]
async fn a_refused_role_id_or_secret_id() {
    let cases: &[Case] = &[
        (
            400,
            "invalid role or secret ID",
            "check `role_id` and `secret_id`",
        ),
        (400, "missing secret_id", "set `secret_id`"),
        (
            403,
            "permission denied",
            "is anything mounted at `auth/approle`",
        ),
        (
            400,
            "source address \"127.0.0.1\" unauthorized by CIDR restrictions on the role",
            "only certain addresses",
        ),
        // Older servers.
        (400, "invalid secret id", "check `role_id` and `secret_id`"),
        (
            404,
            "no handler for route",
            "is anything mounted at `auth/approle`",
        ),
    ];
    each(app_role(), cases).await;
}

#[tokio::test]
async fn a_refused_token_of_a_pod() {
    let (_folder, file) = jwt_file();
    let auth = json!({ "method": "kubernetes", "role": "r", "jwt_path": file });
    let cases: &[Case] = &[
        (
            403,
            "service account name not authorized",
            "`bound_service_account_names`",
        ),
        (
            403,
            "namespace not authorized",
            "`bound_service_account_namespaces`",
        ),
        (
            403,
            "invalid audience (aud) claim: audience claim does not match any expected audience",
            "`audience`",
        ),
        (
            403,
            "invalid expiration time (exp) claim: token is expired",
            "has expired",
        ),
        (400, "invalid role name \"nope\"", "check `role`"),
        (403, "permission denied", "can it have tokens reviewed"),
    ];
    each(auth, cases).await;
}

#[tokio::test]
async fn a_refused_signed_token() {
    let (_folder, file) = jwt_file();
    let auth = json!({ "method": "jwt", "role": "r", "jwt_path": file });
    let cases: &[Case] = &[
        (
            400,
            "error validating token: invalid expiration time (exp) claim: token is expired",
            "must be replaced before it expires",
        ),
        (
            400,
            "error validating token: invalid audience (aud) claim: audience claim does not match",
            "`bound_audiences`",
        ),
        (
            400,
            "error validating token: invalid subject (sub) claim",
            "what the role binds",
        ),
        (
            400,
            "error validating token: error verifying token signature: no known key",
            "signed by a key the mount knows",
        ),
        (400, "role \"nope\" could not be found", "check `role`"),
        (400, "missing role", "set `role`"),
    ];
    each(auth, cases).await;
}

#[tokio::test]
async fn a_refused_password() {
    let userpass: &[Case] = &[
        (400, "invalid username or password", "check `username`"),
        (403, "permission denied", "locked out"),
        (
            500,
            "failed to determine alias name from login request",
            "check `username`",
        ),
    ];
    each(password("userpass"), userpass).await;
    let ldap: &[Case] = &[
        (400, "invalid credentials", "check `username`"),
        (
            500,
            "ldap.(Client).Authenticate: failed to connect: connection refused",
            "cannot reach its directory",
        ),
    ];
    each(password("ldap"), ldap).await;
}

#[tokio::test]
async fn a_refused_certificate() {
    let cases: &[Case] = &[
        (
            400,
            "client certificate must be supplied",
            "no certificate arrived",
        ),
        (400, "tls connection required", "`https://`"),
        (
            400,
            "failed to match all constraints for this login certificate",
            "no role takes this certificate",
        ),
        (
            403,
            "permission denied",
            "is anything mounted at `auth/cert`",
        ),
    ];
    each(json!({ "method": "cert" }), cases).await;
}

#[tokio::test]
async fn a_server_that_cannot_log_anyone_in_is_not_reached() {
    for (status, body, said) in [
        (503, error("Vault is sealed"), "Vault is sealed"),
        (502, json!(null), "status 502 without a reason"),
        (
            429,
            error("request path: rate limit quota exceeded"),
            "quota",
        ),
    ] {
        let error = refused(password("ldap"), status, body).await;
        assert_eq!(error.kind, SourceErrorKind::Unreachable);
        assert!(
            error
                .why
                .starts_with("login by ldap at `ldap` is not possible: ")
        );
        assert!(error.why.contains(said), "{error}");
    }
}

#[tokio::test]
async fn a_success_that_gives_no_token_is_an_error() {
    let second = json!({ "client_token": "", "mfa_requirement": { "mfa_request_id": "1" } });
    for (body, why) in [
        (json!({ "auth": second }), "asks for a second factor"),
        (
            json!({ "auth": null, "wrap_info": { "token": "canary-w" } }),
            "answered with a wrapped token",
        ),
        (json!({ "auth": null }), "answered without a token"),
        (json!({ "canary-p": 1 }), "answered without a token"),
        (
            json!({ "auth": { "client_token": "canary a" } }),
            "without a token",
        ),
    ] {
        let error = refused(app_role(), 200, body).await;
        assert_eq!(error.kind, SourceErrorKind::Login);
        assert!(error.why.contains(why), "{error}");
        assert!(error.hint.is_some(), "{error}");
    }
    let error = refused(app_role(), 204, json!("")).await;
    assert!(error.why.contains("status 204"), "{error}");
}

#[tokio::test]
async fn the_servers_words_are_short_plain_and_without_what_we_sent() {
    let echo = format!(
        "got canary-secret\u{1b}[31m and 'canary-role' {}",
        "x".repeat(500)
    );
    let error = refused(app_role(), 400, error(&echo)).await;
    assert!(
        error.why.contains("got <redacted>[31m and '<redacted>'"),
        "{error}"
    );
    assert!(error.why.chars().count() < 300, "{error}");
    let list = json!({ "errors": ["2 errors occurred:\n\t* one thing\n\t* another\n\n"] });
    let error = refused(app_role(), 400, list).await;
    assert!(
        error.why.ends_with("refused: one thing, another"),
        "{error}"
    );
}

#[tokio::test]
async fn a_denied_token_is_told_from_one_that_is_no_more() {
    const DENIED: &str = "1 error occurred:\n\t* permission denied\n\n";
    const INVALID: &str = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n";
    let token = json!({ "method": "token", "token": "canary-t" });
    let policies = json!({ "data": { "policies": ["default", "web"] } });
    let cases = [
        (
            200,
            policies,
            SourceErrorKind::Denied,
            "is valid, but may not read snapshots (policies: default, web)",
            r#"path "sys/storage/raft/snapshot" { capabilities = ["read"] }"#,
        ),
        (
            403,
            error(INVALID),
            SourceErrorKind::Login,
            "has expired or was revoked",
            "",
        ),
        (
            403,
            error(DENIED),
            SourceErrorKind::Denied,
            "it may not read snapshots, or is no longer valid",
            r#"path "sys/storage/raft/snapshot" { capabilities = ["read"] }"#,
        ),
        (
            503,
            error("Vault is sealed"),
            SourceErrorKind::Unreachable,
            "cannot be looked up: Vault is sealed",
            "",
        ),
    ];
    for (status, body, kind, why, hint) in cases {
        for (auth, who) in [
            (token.clone(), "the token "),
            (
                app_role(),
                "the token of the login by approle at `approle` ",
            ),
        ] {
            let server = Double::answering([(status, body.clone())]);
            let keyring = keyring(auth, &Env::default());
            let refused = Secret::new("canary-t");
            let error = keyring.diagnose(&server.api(), &refused).await;
            let seen = server.seen();
            assert_eq!(seen[0].line, "GET /v1/auth/token/lookup-self");
            assert_eq!(seen[0].header("x-vault-token"), Some("canary-t"));
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.why.starts_with(who), "{error}");
            assert!(error.why.contains(why), "{error}");
            let given = error.hint.unwrap_or_default();
            assert!(given.contains(hint), "{given}");
            assert!(!format!("{} {given}", error.why).contains(CANARY));
        }
    }
}

#[tokio::test]
async fn a_token_that_is_no_more_comes_with_its_cure() {
    let invalid = error("2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n");
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("token");
    fs::write(&file, "canary-t").expect("a file");
    for (auth, hint) in [
        (
            json!({ "method": "token", "token_file": file }),
            "write a new token to the file",
        ),
        (Value::Null, "set a new token and start again"),
    ] {
        let env = Env::from([("VAULT_TOKEN", "canary-t")]);
        let server = Double::answering([(403, invalid.clone())]);
        let refused = Secret::new("canary-t");
        let error = keyring(auth, &env).diagnose(&server.api(), &refused).await;
        let given = error.hint.unwrap_or_default();
        assert!(given.contains(hint), "{given}");
    }
}
