//! The Redis engine against real servers.

mod fleet;
mod login;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use lifeboat::source::redis::{RdbVerifier, RedisConfig, RedisFormat, RedisSource};
use lifeboat::source::{
    BackupFacts, Capture, Engine, Facts, Format, Home, Probe, Role, Severity, SourceError,
    SourceErrorKind, Stop, Verifier,
};
use lifeboat::value::Env;
use serde_json::{Value, json};

use crate::support::servers::wait_until;
use crate::support::{Process, RedisServer, TestCa, free_port, require};

const PATIENCE: Duration = Duration::from_secs(20);

fn source(settings: Value) -> RedisSource {
    let config: RedisConfig = serde_json::from_value(settings).expect("the settings are known");
    RedisSource::new(&config, &Env::default()).expect("the settings are sound")
}

fn beside(server: &RedisServer) -> RedisSource {
    source(json!({ "url": server.url(), "data_dir": server.dir }))
}

async fn probe(settings: Value) -> Result<Probe, SourceError> {
    source(settings).probe().await
}

async fn refusal(settings: Value) -> SourceError {
    probe(settings)
        .await
        .expect_err("the server cannot be asked so")
}

async fn capture(source: &RedisSource) -> Result<Capture, SourceError> {
    let before = source.probe().await?;
    assert_eq!(before.not_now, None);
    source
        .capture(&before, Path::new("/nonexistent"), &Stop::default())
        .await
}

fn replica_of(primary: &RedisServer, args: &[&str]) -> RedisServer {
    primary.cli(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
    let replica = RedisServer::start(
        &[
            &["--replicaof", "127.0.0.1", &primary.port.to_string()],
            args,
        ]
        .concat(),
    );
    wait_in_sync(&replica);
    replica
}

fn follow(replica: &RedisServer, primary: &RedisServer) {
    primary.cli(&["REPLICAOF", "NO", "ONE"]);
    primary.cli(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
    replica.cli(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
    wait_in_sync(replica);
}

fn wait_in_sync(replica: &RedisServer) {
    wait_for(replica, "master_link_status", "up");
}

fn wait_for(server: &RedisServer, field: &str, value: &str) {
    wait_until(field, PATIENCE, || match server.info(field) {
        Some(found) if found == value => Ok(()),
        found => Err(format!("{field} is {found:?}")),
    });
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_sentinel_is_no_source() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let port = free_port();
    let config = folder.path().join("sentinel.conf");
    fs::write(&config, format!("port {port}\nbind 127.0.0.1\n")).expect("a file can be written");
    let args = [config.as_os_str(), "--sentinel".as_ref()];
    let log = folder.path().join("log");
    let mut sentinel = Process::spawn(&require("redis-server"), &args, &[], &log);
    sentinel.wait_ready(|| {
        std::net::TcpStream::connect(("127.0.0.1", port))
            .map(|_| ())
            .map_err(|e| e.to_string())
    });
    let error = refusal(json!({ "url": format!("redis://127.0.0.1:{port}") })).await;
    assert!(error.why.contains("is a sentinel"), "{error}");
    assert!(error.hint.is_some_and(|hint| hint.contains("data node")));
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_frozen_server_is_unreachable_within_the_limit() {
    let server = RedisServer::start(&[]);
    server.process.signal("STOP");
    let begin = std::time::Instant::now();
    let error = beside(&server).probe().await.expect_err("it is frozen");
    server.process.signal("CONT");
    assert_eq!(error.kind, SourceErrorKind::Unreachable, "{error}");
    assert!(error.why.contains("timed out"), "{error}");
    assert!(
        begin.elapsed() < Duration::from_secs(9),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_loading_server_is_not_to_be_saved_now() {
    let server = RedisServer::start(&["--loading-process-events-interval-bytes", "1024"]);
    server.populate(2_000, "key", 200);
    server.cli(&["CONFIG", "SET", "key-load-delay", "1000"]);
    let source = beside(&server);
    std::thread::scope(|scope| {
        scope.spawn(|| server.cli(&["DEBUG", "RELOAD"]));
        wait_for(&server, "loading", "1");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let seen = scope
            .spawn(|| {
                runtime
                    .expect("a runtime can be made")
                    .block_on(source.probe())
            })
            .join()
            .expect("the probe ends")
            .expect("it answers");
        assert_eq!(
            seen.not_now.as_deref(),
            Some("Redis is loading its dataset")
        );
        server.cli(&["CONFIG", "SET", "key-load-delay", "0"]);
    });
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_capture_is_the_dump_and_asks_for_no_save() {
    let server = RedisServer::start(&[]);
    let source = beside(&server);
    let error = capture(&source).await.expect_err("nothing was saved yet");
    assert_eq!(error.kind, SourceErrorKind::Missing);
    assert!(error.hint.is_some_and(|hint| hint.contains("save points")));
    assert!(!server.dump_path().exists());

    server.populate(5_000, "key", 100);
    server.save();
    let saves = server.info("rdb_saves");
    let before = source.probe().await.expect("it answers");
    let mut caught = capture(&source).await.expect("it may be saved");
    assert_eq!(caught.facts["rdb_version"], 10);
    assert_eq!(caught.facts["db0_keys"], 5_000);
    assert!(caught.summary.starts_with("saved "), "{}", caught.summary);

    // The server saves again while the capture is read.
    let first = fs::read(server.dump_path()).expect("it is there");
    server.populate(9_000, "more", 100);
    server.save();
    let mut bytes = Vec::new();
    caught.file.read_to_end(&mut bytes).expect("it can be read");
    assert_eq!(bytes, first);
    let mut verifier = Box::new(RdbVerifier::new());
    verifier.update(&bytes).expect("it is whole so far");
    let proof = verifier.finish().expect("it is whole");
    assert!(proof.checks.iter().all(|check| check.ok));
    assert_eq!(proof.facts["crc64"], caught.facts["crc64"]);
    let role = source
        .confirm(&caught, &before)
        .await
        .expect("it was replaced, not changed");
    assert_eq!(role, Role::Standalone);
    RedisFormat
        .verify_file(
            &server.dump_path(),
            &lifeboat::manifest::Facts::new(),
            &Stop::default(),
        )
        .expect("the new one is whole");

    source.inspect().await;
    assert_eq!(
        server.info("rdb_saves"),
        saves.map(|saves| (saves.parse::<u32>().unwrap() + 1).to_string())
    );
    let asked = server.cli(&["INFO", "commandstats"]);
    for command in ["client|setinfo", "select", "bgsave", "lastsave", "hello"] {
        assert!(!asked.contains(&format!("cmdstat_{command}:")), "{asked}");
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_failed_save_is_told() {
    let server = RedisServer::start(&[]);
    server.cli(&["SET", "key", "value"]);
    server.save();
    server.cli(&["CONFIG", "SET", "rdb-key-save-delay", "60000000"]);
    server.cli(&["BGSAVE"]);
    let pid = server.process.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let child = children.expect("Linux lists children");
    crate::support::run(Path::new("/bin/sh"), ["-c", &format!("kill -9 {child}")]);
    wait_for(&server, "rdb_last_bgsave_status", "err");
    let caught = capture(&beside(&server))
        .await
        .expect("the old dump may be saved");
    assert!(
        caught.warnings[0].contains("last save failed"),
        "{:?}",
        caught.warnings
    );
    let findings = beside(&server).inspect().await;
    let dump = findings
        .iter()
        .find(|finding| finding.name == "dump")
        .expect("it was looked at");
    assert_eq!(dump.problem, Some(Severity::Warning));
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_check_tells_what_an_old_dump_lacks() {
    let server = RedisServer::start(&[]);
    server.cli(&["SET", "key", "value"]);
    server.save();
    let settings = |limit: &str| {
        source(json!({ "url": server.url(), "data_dir": server.dir, "max_age": limit }))
    };
    let source = beside(&server);
    let problems = |findings: Vec<lifeboat::source::Finding>| -> Vec<_> {
        findings
            .into_iter()
            .map(|finding| (finding.name, finding.problem))
            .collect()
    };
    assert_eq!(
        problems(source.inspect().await),
        [("server".to_owned(), None), ("dump".to_owned(), None)]
    );
    server.cli(&["SET", "key", "other"]);
    std::thread::sleep(Duration::from_secs(2));
    let findings = settings("1s").inspect().await;
    let dump = findings
        .iter()
        .find(|finding| finding.name == "dump")
        .expect("it was looked at");
    assert_eq!(dump.problem, Some(Severity::Failed));
    assert!(
        dump.detail
            .ends_with("max_age is 1s; Redis has 1 change since"),
        "{}",
        dump.detail
    );
    let error = capture(&settings("1s")).await.expect_err("it is too old");
    assert_eq!(error.kind, SourceErrorKind::Stale);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_running_server_is_in_the_way_of_a_restore() {
    let mut server = RedisServer::options()
        .acl(&["user default on >other ~* &* +@all"], "default", "other")
        .start();
    server.save();
    // Not even logged in to: that it listens is enough.
    let url = format!("redis://127.0.0.1:{}", server.port);
    let source = source(json!({ "url": url, "data_dir": server.dir }));
    let facts = Facts::new();
    let backup = BackupFacts {
        version: None,
        facts: &facts,
    };
    let home = server.dump_path();
    let error = source.home(&backup, false).await.expect_err("it runs");
    assert_eq!(error.kind, SourceErrorKind::InUse);
    assert!(
        error
            .hint
            .is_some_and(|hint| hint.contains("stop it first"))
    );
    let answer = source.home(&backup, true).await.expect("it is forced");
    assert!(matches!(answer, Home::File(path) if path == home));
    let used = source.uses(&home).await.expect("it is the server's own");
    assert!(used.contains("Redis answers at"), "{used}");
    let other = server.dir.join("other.rdb");
    fs::copy(&home, &other).expect("it can be copied");
    assert_eq!(source.uses(&other).await, None);

    server.terminate();
    let answer = source.home(&backup, false).await.expect("it is down");
    assert!(matches!(answer, Home::File(path) if path == home));
    assert_eq!(source.uses(&home).await, None);
}
