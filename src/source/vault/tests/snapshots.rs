//! What a capture makes of a snapshot, and of what comes instead of one.

use super::*;

const GENUINE: &[u8] = include_bytes!("../../../../tests/fixtures/vault/vault-1.21.0.snap");

fn snapshot() -> Reply {
    Reply::Bytes(chunks(GENUINE, true))
}

async fn captured(source: &VaultSource) -> Capture {
    let scratch = tempfile::tempdir().unwrap();
    let before = source.probe().await.unwrap();
    source
        .capture(&before, scratch.path(), &Stop::default())
        .await
        .unwrap()
}

async fn refused(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> SourceError {
    let server = leader(reply);
    let source = source(&server.address);
    let before = source.probe().await.unwrap();
    capture_error(&source, &before).await
}

#[tokio::test]
async fn what_the_server_sends_is_what_is_kept() {
    use std::io::Read;
    let server = leader(|_| snapshot());
    let mut capture = captured(&source(&server.address)).await;
    let mut bytes = Vec::new();
    capture.file.read_to_end(&mut bytes).unwrap();
    assert!(bytes == GENUINE && capture.bytes == GENUINE.len() as u64);
    assert_eq!(capture.version.as_deref(), Some("1.21.0"));
    assert_eq!(capture.facts["product"], "vault");
    assert_eq!(capture.facts["cluster_id"], "c-1");
    assert!(!capture.checks.is_empty() && capture.checks.iter().all(|check| check.ok));
    let asked = server.requests();
    let asked = asked.last().unwrap();
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("GET", SNAPSHOT)
    );
    assert_eq!(asked.headers["x-vault-token"], TOKEN);
}

#[tokio::test]
async fn an_end_without_an_end_is_a_broken_connection() {
    let error = refused(|_| Reply::Bytes(chunks(&GENUINE[..5000], false))).await;
    assert_eq!(error.kind, SourceErrorKind::Unreachable);
    assert!(
        error.why.contains("broke off after 4.9 KiB"),
        "{}",
        error.why
    );
}

#[tokio::test]
async fn a_stalled_snapshot_is_given_up() {
    let error = refused(|_| Reply::Hang(chunks(&GENUINE[..5000], false))).await;
    assert!(error.why.contains("no byte for 1 s"), "{}", error.why);
}

#[tokio::test]
async fn a_server_that_never_begins_is_given_up() {
    let error = refused(|_| Reply::Hang(Vec::new())).await;
    assert!(
        error.why.contains("did not answer within 1 s"),
        "{}",
        error.why
    );
}

#[tokio::test]
async fn a_missing_right_is_named_as_the_policy_needs_it() {
    let error = refused(|_| errors(403, &["1 error occurred:\n\t* permission denied\n\n"])).await;
    assert_eq!(error.kind, SourceErrorKind::Denied);
    let hint = error.hint.unwrap();
    assert!(
        hint.contains("path \"sys/storage/raft/snapshot\" { capabilities = [\"read\"] }"),
        "{hint}"
    );
}

#[tokio::test]
async fn a_dead_token_is_told_from_a_missing_right() {
    let said = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n";
    let error = refused(move |_| errors(403, &[said])).await;
    assert_eq!(error.kind, SourceErrorKind::Login);
    assert!(error.why.contains("revoked"), "{}", error.why);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_within_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "hvs.old").unwrap();
    let rotated = file.clone();
    let server = leader(move |request| {
        if request.headers["x-vault-token"] == "hvs.new" {
            return snapshot();
        }
        std::fs::write(&rotated, "hvs.new").unwrap();
        errors(403, &["permission denied"])
    });
    let auth = json!({ "method": "token", "token_file": file });
    let settings = json!({ "address": server.address, "auth": auth });
    captured(&source_with(settings, &Env::default())).await;
    assert_eq!(
        server
            .paths()
            .iter()
            .filter(|path| *path == SNAPSHOT)
            .count(),
        2
    );
}

#[tokio::test]
async fn a_token_that_the_server_repeats_is_not_repeated_by_us() {
    for (status, token) in [(500, TOKEN), (403, TOKEN), (200, TOKEN)] {
        // `capture_error` looks for the token.
        let error = refused(move |request| match request.path.as_str() {
            SNAPSHOT => errors(status, &[&format!("no use for {token}")]),
            _ => errors(500, &[&format!("nor for {token}")]),
        })
        .await;
        assert!(error.why.contains("<redacted>"), "{status}: {}", error.why);
    }
}

#[tokio::test]
async fn what_is_no_snapshot_says_what_it_is() {
    let cases: [(Reply, SourceErrorKind, &str); 8] = [
        (
            errors(400, &["raft storage is not in use"]),
            SourceErrorKind::Other,
            "only raft has snapshots",
        ),
        (
            errors(
                500,
                &["local node not active but active cluster node not found"],
            ),
            SourceErrorKind::Unreachable,
            "knows no leader",
        ),
        (
            errors(503, &["Vault is sealed"]),
            SourceErrorKind::Unreachable,
            "is sealed by now",
        ),
        (
            errors(500, &["disk is full"]),
            SourceErrorKind::Unreachable,
            "answers 500: disk is full",
        ),
        (
            responder::json(200, &json!({ "errors": ["something broke"] })),
            SourceErrorKind::Unreachable,
            "something broke",
        ),
        (
            text(200, "text/html", "<!doctype html>"),
            SourceErrorKind::Unreachable,
            "with a web page",
        ),
        (
            text(200, "application/gzip", ""),
            SourceErrorKind::Damaged,
            "an empty snapshot",
        ),
        (
            text(200, "application/gzip", "not a gzip at all"),
            SourceErrorKind::Damaged,
            "that is no snapshot",
        ),
    ];
    for (reply, kind, words) in cases {
        let error = refused(move |_| reply.clone()).await;
        assert!(error.why.contains(words), "{words}: {}", error.why);
        assert_eq!(error.kind, kind, "{words}");
    }
}

#[tokio::test]
async fn a_run_ends_when_its_time_is_up_or_it_is_told_to() {
    let server = leader(|_| Reply::Hang(chunks(&GENUINE[..5000], false)));
    let settings = json!({ "address": server.address, "timeout": "200ms" });
    let short = source_with(settings, &Env::from([("VAULT_TOKEN", TOKEN)]));
    let before = short.probe().await.unwrap();
    let error = capture_error(&short, &before).await;
    assert!(
        error.why.contains("not complete within 200ms"),
        "{}",
        error.why
    );

    let scratch = tempfile::tempdir().unwrap();
    let stop = Stop::default();
    let ending = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        ending.0.cancel();
    });
    let source = source(&server.address);
    let error = source.capture(&before, scratch.path(), &stop).await;
    assert_eq!(error.unwrap_err().kind, SourceErrorKind::Stopped);
    assert!(std::fs::read_dir(scratch.path()).unwrap().next().is_none());
}

#[tokio::test]
async fn a_new_leader_does_not_make_a_snapshot_worse() {
    let asked = AtomicUsize::new(0);
    let server = Responder::new(move |request| match request.path.as_str() {
        SEAL => responder::json(200, &unsealed()),
        HEALTH => responder::json(200, &healthy()),
        LEADER if asked.fetch_add(1, Ordering::Relaxed) == 0 => responder::json(200, &leads()),
        LEADER => errors(503, &["Vault is sealed"]),
        _ => snapshot(),
    });
    let source = source(&server.address);
    let scratch = tempfile::tempdir().unwrap();
    let before = source.probe().await.unwrap();
    let stop = Stop::default();
    let capture = source
        .capture(&before, scratch.path(), &stop)
        .await
        .unwrap();
    source.confirm(&capture, &before).await.unwrap();
    assert_eq!(source.role_now(&before).await, Some(Role::Unknown));
}
