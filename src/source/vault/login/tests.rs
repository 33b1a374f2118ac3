use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use self::double::Double;
use super::*;

mod double;
mod requests;
mod settings;
mod words;

/// A secret of these tests; none may be shown.
const CANARY: &str = "canary-";

fn config(auth: Value) -> VaultConfig {
    let auth = match auth {
        Value::Null => None,
        auth => Some(serde_json::from_value(auth).expect("sound settings")),
    };
    VaultConfig {
        auth,
        ..VaultConfig::default()
    }
}

fn keyring(auth: Value, env: &Env) -> Keyring {
    Keyring::new(&config(auth), env).expect("it is complete")
}

fn no_keyring(auth: Value, env: &Env) -> Unusable {
    Keyring::new(&config(auth), env).expect_err("it is not complete")
}

fn app_role() -> Value {
    json!({ "method": "approle", "role_id": "canary-role", "secret_id": "canary-secret" })
}

/// An answer to a login or a renewal.
fn granted(token: &str, lease: u64) -> (u16, Value) {
    let auth = json!({ "client_token": token, "lease_duration": lease, "renewable": true });
    (200, json!({ "auth": auth }))
}

/// Makes the held token older than it is.
async fn age(keyring: &Keyring, seconds: u64) {
    let mut held = keyring.held.lock().await;
    held.as_mut().expect("a token is held").age(seconds);
}

fn is(token: &Secret, expected: &str) {
    assert_eq!(token.expose(), expected);
}

#[tokio::test]
async fn a_login_is_asked_for_once_while_its_token_is_good() {
    let server = Double::answering([granted("canary-1", 3600)]);
    let (api, keyring) = (server.api(), keyring(app_role(), &Env::default()));
    for _ in 0..3 {
        is(&keyring.token(&api).await.expect("a token"), "canary-1");
    }
    age(&keyring, 2000).await;
    is(&keyring.token(&api).await.expect("a token"), "canary-1");
    let [login] = &server.seen()[..] else {
        panic!("one request was expected");
    };
    assert_eq!(login.line, "POST /v1/auth/approle/login");
    assert_eq!(login.header("x-vault-token"), None);
    let ids = json!({ "role_id": "canary-role", "secret_id": "canary-secret" });
    assert_eq!(login.body, ids);
}

#[tokio::test]
async fn runs_at_the_same_time_share_one_login() {
    let server = Double::answering([granted("canary-1", 3600)]);
    let (api, keyring) = (server.api(), keyring(app_role(), &Env::default()));
    let (first, second) = tokio::join!(keyring.token(&api), keyring.token(&api));
    is(&first.expect("a token"), "canary-1");
    is(&second.expect("a token"), "canary-1");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn an_old_token_is_renewed() {
    let server = Double::answering([granted("canary-1", 3600), granted("canary-1", 3600)]);
    let (api, keyring) = (server.api(), keyring(app_role(), &Env::default()));
    keyring.token(&api).await.expect("a token");
    age(&keyring, 3000).await;
    is(&keyring.token(&api).await.expect("a token"), "canary-1");
    // Good for another two thirds of an hour.
    is(&keyring.token(&api).await.expect("a token"), "canary-1");
    let seen = server.seen();
    assert_eq!(seen[1].line, "POST /v1/auth/token/renew-self");
    assert_eq!(seen[1].header("x-vault-token"), Some("canary-1"));
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn where_renewal_does_not_help_there_is_another_login() {
    let no_renewals = [
        granted("canary-1", 600),
        (403, json!({ "errors": ["permission denied"] })),
        (400, json!({ "errors": ["lease is not renewable"] })),
        (500, json!(null)),
    ];
    for renewal in no_renewals {
        let server =
            Double::answering([granted("canary-1", 3600), renewal, granted("canary-2", 60)]);
        let (api, keyring) = (server.api(), keyring(app_role(), &Env::default()));
        keyring.token(&api).await.expect("a token");
        age(&keyring, 3000).await;
        is(&keyring.token(&api).await.expect("a token"), "canary-2");
    }
}

#[tokio::test]
async fn a_lease_that_ended_leads_to_another_login_at_once() {
    let server = Double::answering([granted("canary-1", 3600), granted("canary-2", 3600)]);
    let (api, keyring) = (server.api(), keyring(app_role(), &Env::default()));
    keyring.token(&api).await.expect("a token");
    age(&keyring, 3600).await;
    is(&keyring.token(&api).await.expect("a token"), "canary-2");
    assert_eq!(server.lines(), ["POST /v1/auth/approle/login"; 2]);
}

#[tokio::test]
async fn a_refused_login_token_is_replaced() {
    let server = Double::answering([granted("canary-1", 3600), granted("canary-2", 3600)]);
    let (api, keyring) = (server.api(), keyring(app_role(), &Env::default()));
    let first = keyring.token(&api).await.expect("a token");
    let second = keyring.after_refusal(&api, &first).await;
    is(&second.expect("a login").expect("a token"), "canary-2");
    // Another run that was refused the first token finds the second one here.
    let again = keyring.after_refusal(&api, &first).await;
    is(&again.expect("no error").expect("a token"), "canary-2");
    is(&keyring.token(&api).await.expect("a token"), "canary-2");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_login_that_fails_is_not_tried_twice_and_leaves_nothing_behind() {
    let server = Double::answering([
        granted("canary-1", 3600),
        (400, json!({ "errors": ["invalid role or secret ID"] })),
        granted("canary-3", 3600),
    ]);
    let (api, keyring) = (server.api(), keyring(app_role(), &Env::default()));
    let first = keyring.token(&api).await.expect("a token");
    let failed = keyring.after_refusal(&api, &first).await;
    failed.expect_err("the login was refused");
    is(&keyring.token(&api).await.expect("a token"), "canary-3");
}

#[tokio::test]
async fn a_token_with_a_number_of_uses_serves_one_run() {
    let auth = json!({ "client_token": "canary-1", "lease_duration": 3600, "num_uses": 1 });
    let server = Double::answering([(200, json!({ "auth": auth })), granted("canary-2", 3600)]);
    let (api, keyring) = (server.api(), keyring(app_role(), &Env::default()));
    is(&keyring.token(&api).await.expect("a token"), "canary-1");
    is(&keyring.token(&api).await.expect("a token"), "canary-2");
}

#[tokio::test]
async fn a_token_file_is_read_each_time() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("token");
    fs::write(&file, "canary-1\r\n").expect("a file");
    let settings = [
        json!({ "method": "token", "token_file": file }),
        json!({ "method": "token", "token": { "file": file } }),
    ];
    for auth in settings {
        fs::write(&file, "canary-1\r\n").expect("a file");
        let (api, keyring) = (Double::silent().api(), keyring(auth, &Env::default()));
        let first = keyring.token(&api).await.expect("a token");
        is(&first, "canary-1");
        let refused = keyring.after_refusal(&api, &first).await;
        assert_eq!(refused.expect("it can be read"), None);

        fs::write(&file, "canary-2\n").expect("a file");
        let newer = keyring.after_refusal(&api, &first).await;
        is(&newer.expect("it can be read").expect("newer"), "canary-2");
        is(&keyring.token(&api).await.expect("a token"), "canary-2");

        fs::remove_file(&file).expect("a file");
        let error = keyring.token(&api).await.expect_err("it is gone");
        assert_eq!(error.kind, SourceErrorKind::Login);
        assert!(error.why.contains("no such file"), "{error}");
    }
}

#[tokio::test]
async fn secrets_in_files_are_read_at_each_login() {
    let folder = TempDir::new().expect("a folder");
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path
    };
    let file = put("secret", "canary-old\n");
    let cases = [
        (
            json!({ "method": "approle", "role_id": "r", "secret_id": { "file": file } }),
            "secret_id",
        ),
        (
            json!({ "method": "userpass", "username": "u", "password": { "file": file } }),
            "password",
        ),
        (
            json!({ "method": "kubernetes", "role": "r", "jwt_path": file }),
            "jwt",
        ),
        (json!({ "method": "jwt", "jwt_path": file }), "jwt"),
    ];
    for (auth, field) in cases {
        put("secret", "canary-old\n");
        let server = Double::answering([granted("canary-1", 60), granted("canary-2", 60)]);
        let (api, keyring) = (server.api(), keyring(auth, &Env::default()));
        keyring.token(&api).await.expect("a token");
        put("secret", "canary-new\n");
        age(&keyring, 60).await;
        keyring.token(&api).await.expect("a token");
        let seen = server.seen();
        assert_eq!(seen[0].body[field], "canary-old");
        assert_eq!(seen[1].body[field], "canary-new");
    }
}

#[tokio::test]
async fn no_secret_is_shown() {
    let server = Double::answering([granted("canary-token", 3600)]);
    let keyring = keyring(app_role(), &Env::from([("VAULT_TOKEN", "canary-env")]));
    keyring.token(&server.api()).await.expect("a token");
    let shown = format!("{keyring:?} {:#?} {}", keyring, keyring.describe());
    assert!(!shown.contains(CANARY), "{shown}");
    assert!(shown.contains("approle"), "{shown}");
}
