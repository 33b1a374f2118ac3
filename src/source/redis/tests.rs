use std::io::Write;
use std::process::Command;

use serde_json::json;

use super::*;
use crate::source::{Facts, SourceErrorKind};

const TYPES: &[u8] = include_bytes!("../../../tests/fixtures/rdb/types.rdb");

fn source(settings: serde_json::Value) -> Result<RedisSource, Error> {
    let config = serde_json::from_value(settings).expect("the settings can be read");
    RedisSource::new(&config, &Env::default())
}

/// A source with this data folder, at an address where nothing listens.
fn source_in(data_dir: &Path) -> RedisSource {
    let url = format!("unix://{}", data_dir.join("none.sock").display());
    source(json!({ "url": url, "data_dir": data_dir })).expect("the settings are sound")
}

#[test]
fn what_cannot_be_used_is_found_before_the_first_run() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let text = folder.path().join("text.pem");
    std::fs::write(&text, "no certificate").expect("a file can be written");
    let cases = [
        (json!({ "password": { "env": "UNSET" } }), "source.password"),
        (
            json!({ "password": { "file": "/none/password" } }),
            "source.password",
        ),
        (
            json!({ "url": "rediss://a", "ca_cert": "/none/ca.pem" }),
            "source.ca_cert",
        ),
        (
            json!({ "url": "rediss://a", "ca_cert": text }),
            "source.ca_cert",
        ),
        (
            json!({ "url": "rediss://a", "client_cert": text, "client_key": text }),
            "source.client_cert",
        ),
        (json!({ "url": "mysql://a" }), "source.url"),
    ];
    for (settings, what) in cases {
        let error = source(settings).expect_err("the settings cannot be used");
        assert_eq!(error.what, what, "{error}");
        assert_eq!(error.kind, crate::error::Kind::Usage);
    }
}

#[test]
fn a_source_shows_no_secret() {
    let source = source(json!({ "url": "redis://ann:hunter2@a", "password": "hunter2" }));
    assert!(!format!("{source:?}").contains("hunter2"));
}

#[test]
fn the_format_proves_files() {
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    file.write_all(TYPES).expect("a file can be written");
    let checks = RedisFormat
        .verify_file(file.path(), &Facts::new(), &Stop::default())
        .expect("it is whole");
    assert_eq!(checks.len(), 3);
    let stop = Stop::default();
    stop.0.cancel();
    let error = RedisFormat
        .verify_file(file.path(), &Facts::new(), &stop)
        .expect_err("it was stopped");
    assert_eq!(error.kind, SourceErrorKind::Stopped);
    file.write_all(b"more").expect("a file can be written");
    let error = RedisFormat
        .verify_file(file.path(), &Facts::new(), &Stop::default())
        .expect_err("more follows");
    assert_eq!(error.kind, SourceErrorKind::Damaged);
}

#[test]
fn the_manual_restore_runs_with_a_shell_alone() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    std::fs::write(folder.path().join("plain"), TYPES).expect("a file can be written");
    let script = RedisFormat.manual_restore(&Facts::new()).join("\n");
    let ran = Command::new("sh")
        .args(["-e", "-c", &script])
        .current_dir(folder.path())
        .status();
    assert!(ran.expect("a shell can be run").success());
    assert_eq!(
        std::fs::read(folder.path().join("dump.rdb")).expect("it is there"),
        TYPES
    );
}

#[tokio::test]
async fn an_append_only_file_in_the_way_of_a_restore_is_refused_unless_forced() {
    let backup = BackupFacts {
        version: None,
        facts: &Facts::new(),
    };
    for name in ["appendonlydir", "appendonly.aof"] {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let source = source_in(folder.path());
        let home = folder.path().join("dump.rdb");
        let answer = source.home(&backup, false).await;
        let answer = answer.expect("nothing is in the way");
        assert!(matches!(answer, Home::File(path) if path == home));
        std::fs::create_dir(folder.path().join(name)).expect("a folder can be made");
        let error = source
            .home(&backup, false)
            .await
            .expect_err("it is in the way");
        assert!(error.why.contains(name) && error.hint.is_some(), "{error}");
        let answer = source.home(&backup, true).await.expect("it is forced");
        assert!(matches!(answer, Home::File(path) if path == home));
    }
}

#[tokio::test]
async fn an_unknown_role_stays_unknown_while_the_server_is_down() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    std::fs::write(folder.path().join("dump.rdb"), TYPES).expect("a file can be written");
    let source = source_in(folder.path());
    let error = source.probe().await.expect_err("nothing listens");
    assert_eq!(error.kind, SourceErrorKind::Unreachable);
    let before = Probe::of(Role::Unknown, "");
    let stop = Stop::default();
    let capture = source
        .capture(&before, folder.path(), &stop)
        .await
        .expect("it may be saved");
    let role = source
        .confirm(&capture, &before)
        .await
        .expect("the file is the same");
    assert_eq!(role, Role::Unknown);
    let error = source
        .confirm(&capture, &Probe::of(Role::Primary, ""))
        .await;
    assert_eq!(
        error.expect_err("it answered before").kind,
        SourceErrorKind::Unreachable
    );
    assert_eq!(source.uses(&folder.path().join("dump.rdb")).await, None);
    std::fs::write(folder.path().join("dump.rdb"), "other").expect("a file can be written");
    let changed = source
        .confirm(&capture, &before)
        .await
        .expect_err("it was written in place");
    assert_eq!(changed.kind, SourceErrorKind::Changed);
    stop.0.cancel();
    let stopped = source.capture(&before, folder.path(), &stop).await;
    assert_eq!(
        stopped.expect_err("it was stopped").kind,
        SourceErrorKind::Stopped
    );
}
