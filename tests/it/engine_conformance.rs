//! What every engine promises, as functions over any [`Engine`] and its [`Format`]. A new engine is
//! one more row below.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use lifeboat::source::{
    self, Capture, Check, Engine, Format, Proof, Role, SourceConfig, SourceError, SourceErrorKind,
    Stop,
};
use lifeboat::value::Env;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::sandbox::names;
use crate::support::{RedisServer, shared_vault};

/// An engine under test, over a store that holds something.
struct Subject {
    engine: Arc<dyn Engine>,
    /// Whether it makes a plain copy in the scratch folder.
    copies: bool,
}

fn subject(settings: Value, env: &Env, copies: bool) -> Subject {
    let config: SourceConfig = serde_json::from_value(settings).expect("the settings are known");
    assert!(config.contradictions().is_empty());
    let engine = source::open(&config, env).expect("the settings are sound");
    Subject { engine, copies }
}

async fn conforms(subject: &Subject) {
    a_role_is_told_and_lets_it_save(subject).await;
    a_capture_is_whole_and_leaves_nothing_behind(subject).await;
    a_stopped_capture_leaves_nothing_behind(subject).await;
    a_capture_is_good_to_its_own_format_only(subject).await;
    every_cut_is_damage(subject).await;
    people_can_do_without_us(subject).await;
    nothing_is_wrong_with_a_good_source(subject).await;
}

async fn capture(subject: &Subject, scratch: &Path) -> Capture {
    let before = subject.engine.probe().await.expect("it answers");
    let stop = Stop::default();
    let captured = subject.engine.capture(&before, scratch, &stop).await;
    captured.expect("it can be captured")
}

fn bytes(capture: &Capture) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; usize::try_from(capture.bytes).expect("it is small")];
    capture
        .file
        .read_exact_at(&mut bytes, 0)
        .expect("it has as many bytes as it says");
    assert_eq!(
        capture.file.read_at(&mut [0], capture.bytes).unwrap(),
        0,
        "it has no more"
    );
    bytes
}

/// Proves bytes as a stored backup is proved.
fn proved(format: &dyn Format, bytes: &[u8], capture: &Capture) -> Result<Vec<Check>, SourceError> {
    if let Some(mut verifier) = format.forward() {
        for chunk in bytes.chunks(4096) {
            verifier.update(chunk)?;
        }
        let Proof { checks, .. } = verifier.finish()?;
        return Ok(checks);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plain");
    fs::write(&path, bytes).expect("a file");
    format.verify_file(&path, &capture.facts, &Stop::default())
}

async fn a_role_is_told_and_lets_it_save(subject: &Subject) {
    let probe = subject.engine.probe().await.expect("it answers");
    assert!(
        matches!(probe.role, Role::Primary | Role::Standalone),
        "{probe:?}"
    );
    assert_eq!(probe.not_now, None);
    assert_eq!(probe.warnings, Vec::<String>::new());
}

async fn a_capture_is_whole_and_leaves_nothing_behind(subject: &Subject) {
    let scratch = tempfile::tempdir().expect("a folder");
    let capture = capture(subject, scratch.path()).await;
    let made = names(scratch.path());
    assert_eq!(made.len(), usize::from(subject.copies), "{made:?}");
    for name in made {
        let mode = fs::metadata(scratch.path().join(name))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o700, "a scratch folder is private");
    }
    assert!(capture.bytes > 0 && bytes(&capture).len() as u64 == capture.bytes);
    let before = subject.engine.probe().await.expect("it answers");
    let role = subject.engine.confirm(&capture, &before).await;
    assert_eq!(role.expect("nothing has changed"), before.role);
    if let Some(role) = subject.engine.role_now(&before).await {
        assert_eq!(role, before.role);
    }
    drop(capture);
    assert_eq!(names(scratch.path()), Vec::<String>::new());
}

async fn a_stopped_capture_leaves_nothing_behind(subject: &Subject) {
    let scratch = tempfile::tempdir().expect("a folder");
    let before = subject.engine.probe().await.expect("it answers");
    let stop = Stop::default();
    stop.0.cancel();
    let captured = subject.engine.capture(&before, scratch.path(), &stop).await;
    let error = captured.expect_err("it was stopped");
    assert_eq!(error.kind, SourceErrorKind::Stopped, "{error}");
    assert_eq!(names(scratch.path()), Vec::<String>::new());
}

async fn a_capture_is_good_to_its_own_format_only(subject: &Subject) {
    let scratch = tempfile::tempdir().expect("a folder");
    let capture = capture(subject, scratch.path()).await;
    let (plain, format) = (bytes(&capture), subject.engine.format());
    let checks = proved(format, &plain, &capture).expect("it is good");
    assert!(
        !checks.is_empty() && checks.iter().all(|check| check.ok),
        "{checks:?}"
    );
    let known: Vec<&str> = source::FORMATS
        .iter()
        .filter(|format| format.recognises(&plain[..plain.len().min(512)]))
        .map(|format| format.name())
        .collect();
    assert_eq!(known, [format.name()]);
    assert_eq!(
        source::format(format.name()).map(Format::name),
        Some(format.name())
    );
    assert!(!format.describe(&capture.facts).is_empty());
    for other in source::FORMATS
        .iter()
        .filter(|other| other.name() != format.name())
    {
        let refused = proved(*other, &plain, &capture).expect_err("it is another engine's");
        assert_eq!(
            refused.kind,
            SourceErrorKind::Damaged,
            "{}: {refused}",
            other.name()
        );
    }
}

async fn every_cut_is_damage(subject: &Subject) {
    let scratch = tempfile::tempdir().expect("a folder");
    let capture = capture(subject, scratch.path()).await;
    let plain = bytes(&capture);
    let step = (plain.len() / 40).max(1);
    let cuts = (0..plain.len()).step_by(step).chain([plain.len() - 1]);
    for cut in cuts {
        let proved = proved(subject.engine.format(), &plain[..cut], &capture);
        let error = proved.expect_err("it is cut");
        assert_eq!(error.kind, SourceErrorKind::Damaged, "at {cut}: {error}");
    }
}

async fn people_can_do_without_us(subject: &Subject) {
    let scratch = tempfile::tempdir().expect("a folder");
    let capture = capture(subject, scratch.path()).await;
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("plain"), bytes(&capture)).expect("a file");
    let lines = subject
        .engine
        .format()
        .manual_restore(&capture.facts)
        .join("\n");
    let done = Command::new("sh")
        .args(["-e", "-c", &lines])
        .current_dir(folder.path())
        .output()
        .expect("a shell");
    assert!(done.status.success(), "{lines}\n{done:?}");
}

async fn nothing_is_wrong_with_a_good_source(subject: &Subject) {
    for finding in subject.engine.inspect().await {
        assert_ne!(
            finding.problem,
            Some(source::Severity::Failed),
            "{finding:?}"
        );
    }
}

#[tokio::test]
async fn sqlite_conforms() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.db");
    let database = rusqlite::Connection::open(&path).expect("a database");
    let rows = "CREATE TABLE t (x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
                WHERE i < 300) INSERT INTO t SELECT hex(randomblob(40)) FROM n";
    database.execute_batch(rows).expect("sound SQL");
    let settings = json!({ "type": "sqlite", "path": path });
    conforms(&subject(settings, &Env::default(), true)).await;
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn redis_conforms() {
    let server = RedisServer::start(&[]);
    server.cli(&["DEBUG", "POPULATE", "500"]);
    server.cli(&["SAVE"]);
    let settings = json!({ "type": "redis", "url": server.url(), "data_dir": server.dir });
    conforms(&subject(settings, &Env::default(), false)).await;
}

#[tokio::test]
#[ignore = "needs vault"]
async fn vault_conforms() {
    let cluster = tokio::task::spawn_blocking(shared_vault)
        .await
        .expect("a server");
    let token = tokio::task::spawn_blocking(|| cluster.snapshot_token());
    let token = token.await.expect("a token");
    let env = Env::from([("VAULT_TOKEN", token)]);
    let settings = json!({ "type": "vault", "address": cluster.nodes[0].address });
    conforms(&subject(settings, &env, true)).await;
}
