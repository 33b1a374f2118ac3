//! Redirects, uploads and TLS.

use reqwest::Method;

use super::*;
use crate::source::LiveRestore;
use crate::value::Secret;

/// A standby that sends everything but its state to `target`.
fn standby(
    leader: Option<String>,
    target: impl Fn(&str) -> String + Send + Sync + 'static,
) -> Responder {
    Responder::new(move |request| match request.path.as_str() {
        SEAL => responder::json(200, &unsealed()),
        LEADER => responder::json(
            200,
            &json!({ "ha_enabled": true, "is_self": false, "leader_address": leader }),
        ),
        path => redirect(&target(path)),
    })
}

#[tokio::test]
async fn a_redirect_to_the_leader_is_followed_with_the_token() {
    let active = leader(|_| errors(400, &["seen"]));
    let to = active.address.clone();
    let server = standby(Some(to.clone()), move |path| format!("{to}{path}"));
    let source = source(&server.address);
    let before = source.probe().await.unwrap();
    capture_error(&source, &before).await;
    let [asked] = &active.requests()[..] else {
        panic!("{:?}", active.paths())
    };
    assert_eq!(asked.path, SNAPSHOT);
    assert_eq!(asked.headers["x-vault-token"], TOKEN);
    assert_eq!(asked.headers["x-vault-request"], "true");
}

#[tokio::test]
async fn a_leader_elected_since_is_asked_for_once() {
    let active = leader(|_| errors(400, &["seen"]));
    let to = active.address.clone();
    let server = standby(Some(to.clone()), move |path| format!("{to}{path}"));
    // Nothing is known of the leader yet.
    capture_error(&source(&server.address), &Probe::of(Role::Unknown, "")).await;
    assert_eq!(server.paths(), [SNAPSHOT, LEADER]);
    assert_eq!(active.paths(), [SNAPSHOT]);
}

#[tokio::test]
async fn a_stranger_gets_no_token() {
    let stranger = Responder::new(|_| errors(200, &[]));
    let to = stranger.address.clone();
    let server = standby(Some("http://127.0.0.1:1".into()), move |path| {
        format!("{to}{path}")
    });
    let source = source(&server.address);
    let before = source.probe().await.unwrap();
    let error = capture_error(&source, &before).await;
    assert!(
        error.why.contains("no token is sent there"),
        "{}",
        error.why
    );
    assert!(error.why.contains("the cluster's leader is 127.0.0.1:1"));
    assert!(stranger.requests().is_empty());
}

#[tokio::test]
async fn a_leader_in_the_clear_gets_nothing_where_the_address_has_tls() {
    let active = Responder::new(|_| errors(200, &[]));
    let there = active.address.parse().unwrap();
    let settings = json!({ "address": "https://127.0.0.1:1", "skip_verify": true });
    let env = Env::from([("VAULT_TOKEN", TOKEN)]);
    let api = source_with(settings, &env).api().unwrap();
    let token = Secret::new(TOKEN);
    let path = Product::Openbao.snapshot_path();
    let asked = api.download(path, Some(&token), Some(&there)).await;
    let error = asked.unwrap_err();
    assert!(error.why.contains("readable on their way"), "{}", error.why);
    assert!(active.requests().is_empty());
}

#[tokio::test]
async fn a_loop_is_left() {
    let server = standby(None, str::to_owned);
    let error = capture_error(&source(&server.address), &Probe::of(Role::Unknown, "")).await;
    assert!(error.why.ends_with("a loop"), "{}", error.why);
    assert_eq!(server.paths(), [SNAPSHOT]);
}

async fn uploaded(api: &Api, bytes: &[u8]) -> Result<u16, SourceError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plain");
    std::fs::write(&file, bytes).unwrap();
    let (method, path) = Product::Vault.restore_call(true);
    let token = Secret::new(TOKEN);
    let answer = api
        .upload(method, path, Some(&token), &file, bytes.len() as u64)
        .await?;
    Ok(answer.status)
}

#[tokio::test]
async fn an_upload_goes_to_the_leader_whole_and_with_its_length() {
    let active = Responder::new(|_| Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()));
    let server = standby(Some(active.address.clone()), |_| unreachable!());
    let api = source(&server.address).api().unwrap();
    let bytes = vec![7; 1_000_000];
    assert_eq!(uploaded(&api, &bytes).await.unwrap(), 204);
    let [asked] = &active.requests()[..] else {
        panic!("{:?}", active.paths())
    };
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("POST", "/v1/sys/storage/raft/snapshot-force")
    );
    assert_eq!(asked.headers["content-length"], "1000000");
    assert!(asked.body == bytes);
}

#[tokio::test]
async fn an_upload_that_is_sent_on_begins_anew() {
    let active = Responder::new(|_| Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()));
    let to = active.address.clone();
    let server = Responder::new(move |request| match request.path.as_str() {
        LEADER => responder::json(
            200,
            &json!({ "ha_enabled": true, "is_self": true, "leader_address": to }),
        ),
        path => redirect(&format!("{to}{path}")),
    });
    let api = source(&server.address).api().unwrap();
    assert_eq!(uploaded(&api, b"a snapshot").await.unwrap(), 204);
    let sent: Vec<_> = active.requests();
    let sent: Vec<_> = sent.iter().filter(|asked| asked.method == "POST").collect();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].body, b"a snapshot");
}

#[tokio::test]
async fn an_upload_at_a_load_balancer_goes_to_the_leader_itself() {
    let active = Responder::new(|request| match request.path.as_str() {
        LEADER => responder::json(200, &json!({ "ha_enabled": true, "is_self": true })),
        _ => Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
    });
    let to = active.address.clone();
    let balancer = Responder::new(move |request| match request.path.as_str() {
        LEADER => responder::json(
            200,
            &json!({ "ha_enabled": true, "is_self": true, "leader_address": to }),
        ),
        // A standby's turn, which would take the backup and seal itself.
        _ => unreachable!(),
    });
    let api = source(&balancer.address).api().unwrap();
    assert_eq!(uploaded(&api, b"a snapshot").await.unwrap(), 204);
    assert_eq!(balancer.paths(), [LEADER]);
}

#[tokio::test]
async fn an_upload_without_an_answer_is_given_up() {
    let server = Responder::new(|request| match request.path.as_str() {
        LEADER => responder::json(200, &leads()),
        _ => Reply::Hang(Vec::new()),
    });
    let api = source(&server.address).api().unwrap();
    let error = uploaded(&api, b"a snapshot").await.unwrap_err();
    assert!(
        error.why.contains("did not answer within 1 s"),
        "{}",
        error.why
    );
}

#[tokio::test]
async fn an_upload_that_may_have_arrived_says_so() {
    let server = Responder::new(|request| match request.path.as_str() {
        LEADER => responder::json(200, &leads()),
        _ => Reply::Bytes(Vec::new()),
    });
    let api = source(&server.address).api().unwrap();
    let error = uploaded(&api, b"a snapshot").await.unwrap_err();
    assert!(error.why.contains("had been sent"), "{}", error.why);
    let hint = error.hint.unwrap();
    assert!(hint.contains("before you try again"), "{hint}");

    let nobody = source("http://127.0.0.1:1").api().unwrap();
    let error = uploaded(&nobody, b"a snapshot").await.unwrap_err();
    assert!(!error.why.contains("had been sent"), "{}", error.why);
}

#[tokio::test]
async fn a_cluster_that_only_went_on_has_not_taken_a_backup_in() {
    let looks = AtomicUsize::new(0);
    let server = Responder::new(move |request| match request.path.as_str() {
        SEAL => responder::json(200, &unsealed()),
        HEALTH => responder::json(200, &healthy()),
        // It writes for itself all the time.
        LEADER => {
            let mut leader = leads();
            let written = 40 + looks.fetch_add(1, Ordering::Relaxed);
            leader["raft_applied_index"] = written.into();
            responder::json(200, &leader)
        }
        _ => Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
    });
    let settings = json!({ "address": server.address, "timeout": "4s" });
    let env = Env::from([("VAULT_TOKEN", TOKEN)]);
    let cluster = Cluster(source_with(settings, &env));
    let facts = json!({ "product": "vault", "cluster_id": "c-1", "index": 1000, "servers": [] });
    let backup = BackupFacts {
        version: None,
        facts: facts.as_object().unwrap(),
    };
    let plan = cluster.plan(&backup).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plain");
    std::fs::write(&file, "a snapshot").unwrap();
    let stop = Stop::default();
    let error = cluster.apply(&plan, &file, &stop).await.unwrap_err();
    assert!(error.why.contains("still at raft index 4"), "{}", error.why);
}

#[tokio::test]
async fn a_login_carries_its_namespace_and_what_the_environment_adds() {
    let server = Responder::new(|_| responder::json(200, &json!({})));
    let env = Env::from([
        ("VAULT_TOKEN", TOKEN),
        ("VAULT_HEADERS", r#"{"X-Tenant": "blue"}"#),
    ]);
    let api = source_with(json!({ "address": server.address }), &env)
        .api()
        .unwrap();
    let call = client::Call {
        method: Method::POST,
        namespace: Some("team/a"),
        body: Some(json!({ "role": "x" })),
        ..client::Call::get("v1/auth/approle/login")
    };
    api.call(call).await.unwrap();
    let asked = &server.requests()[0];
    assert_eq!(asked.headers["x-vault-namespace"], "team/a");
    assert_eq!(asked.headers["x-tenant"], "blue");
    assert_eq!(asked.body, br#"{"role":"x"}"#);
}

#[tokio::test]
async fn a_stranger_gets_nothing_that_the_environment_adds() {
    let server = Responder::new(|_| responder::json(200, &unsealed()));
    let env = Env::from([
        ("VAULT_TOKEN", TOKEN),
        ("VAULT_HEADERS", r#"{"X-Tenant": "blue"}"#),
    ]);
    let api = source_with(json!({ "address": "http://127.0.0.1:1" }), &env).api();
    let there = server.address.parse().unwrap();
    let answer = api
        .unwrap()
        .ask_stranger(&there, "v1/sys/seal-status")
        .await;
    assert!(answer.unwrap().is_ok());
    let headers = &server.requests()[0].headers;
    for ours in ["x-tenant", "x-vault-token"] {
        assert!(!headers.contains_key(ours), "{headers:?}");
    }
}

#[tokio::test]
async fn a_proxy_in_the_environment_stands_between_us_and_others_but_not_this_machine() {
    let proxy = Responder::new(|_| errors(500, &["the proxy was here"]));
    let through = |name: &str, address: &str| {
        let env = Env::from([("VAULT_TOKEN", TOKEN), (name, proxy.address.as_str())]);
        source_with(json!({ "address": address }), &env)
    };
    let far = "http://vault.invalid:8200";
    for variable in ["VAULT_PROXY_ADDR", "HTTP_PROXY"] {
        let error = through(variable, far).probe().await.unwrap_err();
        assert!(error.why.ends_with("the proxy was here"), "{}", error.why);
    }
    let near = through("HTTP_PROXY", "http://127.0.0.1:1").probe().await;
    assert!(near.unwrap_err().why.contains("connection refused"));
}

#[tokio::test]
async fn an_address_where_nothing_is_says_so() {
    let refused = source("http://127.0.0.1:1").probe().await.unwrap_err();
    assert_eq!(refused.kind, SourceErrorKind::Unreachable);
    assert!(
        refused.why.contains("connection refused"),
        "{}",
        refused.why
    );
    let nameless = source("http://vault.invalid:8200")
        .probe()
        .await
        .unwrap_err();
    assert!(
        nameless.why.contains("cannot be resolved"),
        "{}",
        nameless.why
    );
    let gone = source("unix:///nowhere/vault.sock")
        .probe()
        .await
        .unwrap_err();
    assert!(gone.why.contains("there is no socket"), "{}", gone.why);
}

#[tokio::test]
async fn plain_http_behind_an_https_address_says_so() {
    let server = Responder::new(|_| errors(400, &[]));
    let address = server.address.replace("http://", "https://");
    let error = source_with(
        json!({ "address": address, "skip_verify": true }),
        &Env::from([("VAULT_TOKEN", TOKEN)]),
    )
    .probe()
    .await
    .unwrap_err();
    assert!(error.why.ends_with("does not speak TLS"), "{}", error.why);
}

#[tokio::test]
async fn an_answer_that_drips_is_given_up_as_one_that_never_comes() {
    let server = Responder::new(|_| {
        let long = "Content-Type: application/json\r\nContent-Length: 100000\r\n";
        Reply::Drip(format!("HTTP/1.1 200 OK\r\n{long}\r\n{{").into_bytes())
    });
    let begun = std::time::Instant::now();
    let error = source(&server.address).probe().await.unwrap_err();
    assert!(
        error.why.contains("did not answer within 1 s"),
        "{}",
        error.why
    );
    assert!(begun.elapsed() < Duration::from_secs(10));
}
