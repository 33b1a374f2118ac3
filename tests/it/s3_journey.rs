//! Buckets through the real program: two implementations, and a proxy in between that breaks
//! things.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;

use crate::daemon_support::Daemon;
use crate::sandbox::{Ended, Sandbox};
use crate::support::{Fault, FaultProxy, S3Server, Times};

const BUCKET: &str = "backups";

fn scene(server: &S3Server) -> Sandbox {
    server.create_bucket(BUCKET);
    let mut sandbox = Sandbox::new();
    sandbox.set("AWS_ACCESS_KEY_ID", &server.access_key);
    sandbox.set("AWS_SECRET_ACCESS_KEY", &server.secret_key);
    let database = Connection::open(sandbox.path("app.db")).unwrap();
    database.execute_batch("CREATE TABLE t (x)").unwrap();
    grow(&sandbox, 50);
    configure(&sandbox, &server.endpoint, BUCKET);
    sandbox
}

fn configure(sandbox: &Sandbox, endpoint: &str, bucket: &str) {
    sandbox.write(
        "config.yaml",
        format!(
            "destinations: {{ offsite: {{ type: s3, bucket: {bucket}, prefix: prod, endpoint: \
             \"{endpoint}\" }} }}\n\
             jobs: {{ app: {{ source: {{ type: sqlite, path: app.db }}, seal: {{ compression: none }}, \
             retention: {{ keep_last: 2 }} }} }}\n"
        ),
    );
}

fn grow(sandbox: &Sandbox, rows: u32) {
    let database = Connection::open(sandbox.path("app.db")).unwrap();
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
               INSERT INTO t SELECT randomblob(1000) FROM n";
    database.execute(sql, [rows]).unwrap();
}

fn rows(path: &Path) -> i64 {
    let database = Connection::open(path).unwrap();
    database
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap()
}

fn keys(server: &S3Server) -> Vec<String> {
    server
        .objects(BUCKET, "")
        .into_iter()
        .map(|(key, _)| key)
        .collect()
}

fn assert_nothing_half_made(server: &S3Server) {
    assert_eq!(server.multipart_uploads(BUCKET), [] as [String; 0]);
}

fn reason(ended: &Ended) -> String {
    ended.document()["runs"][0]["reason"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn whole_way(server: &S3Server) {
    let sandbox = scene(server);
    // More than one part.
    grow(&sandbox, 15_000);
    sandbox.run(["check"]).ok();
    assert_eq!(
        keys(server),
        [] as [String; 0],
        "check left something behind"
    );
    for _ in 0..3 {
        grow(&sandbox, 1);
        sandbox.run(["backup"]).ok();
    }
    sandbox.run(["backup"]).ok();
    let listed = sandbox.run(["list", "--json"]).document();
    let backups = listed["backups"].as_array().unwrap();
    // Two backups stay; the last run found nothing changed and extends the second.
    assert_eq!(backups.len(), 3);
    assert_eq!(backups[0]["key"], backups[1]["key"]);
    let stored = keys(server);
    assert_eq!(
        stored
            .iter()
            .filter(|key| key.starts_with("prod/app/data/"))
            .count(),
        2
    );
    assert_eq!(
        stored
            .iter()
            .filter(|key| key.starts_with("prod/app/manifests/"))
            .count(),
        3
    );
    sandbox.run(["verify", "--all"]).ok();
    sandbox.run(["restore", "app", "--to", "back.db"]).ok();
    assert_eq!(
        rows(&sandbox.path("back.db")),
        rows(&sandbox.path("app.db"))
    );
    assert_nothing_half_made(server);

    // All that is left is a bucket, a key and this program.
    fs::remove_file(sandbox.path("config.yaml")).unwrap();
    let url = format!("s3://{BUCKET}/prod?endpoint={}", server.endpoint);
    let listed = sandbox
        .run(["list", "--json", "--destination", &url])
        .ok()
        .document();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 3);
    sandbox
        .run([
            "restore",
            "app",
            "--to",
            "rescued.db",
            "--destination",
            &url,
        ])
        .ok();
    assert_eq!(
        rows(&sandbox.path("rescued.db")),
        rows(&sandbox.path("app.db"))
    );
}

#[test]
#[ignore = "needs MinIO"]
fn a_backup_makes_the_whole_way_through_minio() {
    whole_way(&S3Server::minio());
}

#[test]
#[ignore = "needs versitygw"]
fn a_backup_makes_the_whole_way_through_versitygw() {
    whole_way(&S3Server::versitygw());
}

#[test]
#[ignore = "needs MinIO"]
fn a_bit_turned_in_the_bucket_is_found_and_never_restored() {
    let server = S3Server::minio();
    let sandbox = scene(&server);
    sandbox.run(["backup"]).ok();
    let key = keys(&server)
        .into_iter()
        .find(|key| key.contains("/data/"))
        .unwrap();
    let mut bytes = server.get_object(BUCKET, &key);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    server.put_object(BUCKET, &key, &bytes);
    sandbox.run(["verify"]).code(5);
    sandbox.run(["restore", "app", "--to", "back.db"]).code(5);
    assert!(!sandbox.path("back.db").exists());
    server.delete_object(BUCKET, &key);
    sandbox.run(["verify"]).code(5);
    sandbox.run(["restore", "app", "--to", "back.db"]).code(5);
}

#[test]
#[ignore = "needs MinIO"]
fn an_upload_cut_anywhere_leaves_no_object_and_no_unfinished_upload() {
    let server = S3Server::minio();
    let sandbox = scene(&server);
    grow(&sandbox, 20_000);
    let proxy = FaultProxy::start(&server.endpoint);
    configure(&sandbox, &proxy.endpoint(), BUCKET);
    // The third part, on each of its attempts.
    proxy.inject(
        Times::Always,
        Fault::CutRequestBodyAfter(1 << 20),
        |method, path| method == "PUT" && path.contains("partNumber=3"),
    );
    let ended = sandbox.run(["backup", "--json"]);
    ended.code(1);
    assert!(!reason(&ended).is_empty());
    assert_eq!(keys(&server), [] as [String; 0]);
    assert_nothing_half_made(&server);
    proxy.clear();
    sandbox.run(["backup"]).ok();
    sandbox.run(["verify"]).ok();
}

#[test]
#[ignore = "needs MinIO"]
fn refused_uploads_prune_nothing_and_end_with_exit_1() {
    let server = S3Server::minio();
    let sandbox = scene(&server);
    sandbox.run(["backup"]).ok();
    let before = keys(&server);
    let proxy = FaultProxy::start(&server.endpoint);
    configure(&sandbox, &proxy.endpoint(), BUCKET);
    let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
    let refuse = Fault::Status {
        code: 403,
        body: denied.into(),
    };
    proxy.inject(Times::Always, refuse, |method, path| {
        method == "PUT" && path.contains("/data/")
    });
    for _ in 0..2 {
        grow(&sandbox, 1);
        let ended = sandbox.run(["backup", "--json"]);
        ended.code(1);
        assert!(reason(&ended).contains("data"), "{}", reason(&ended));
    }
    assert_eq!(keys(&server), before);
}

#[test]
#[ignore = "needs MinIO"]
fn a_list_that_is_refused_is_an_error_and_nothing_is_uploaded() {
    let server = S3Server::minio();
    let sandbox = scene(&server);
    let proxy = FaultProxy::start(&server.endpoint);
    configure(&sandbox, &proxy.endpoint(), BUCKET);
    let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
    let refuse = Fault::Status {
        code: 403,
        body: denied.into(),
    };
    proxy.inject(Times::Always, refuse, |method, path| {
        method == "GET" && path.contains("list-type")
    });
    sandbox.run(["backup"]).code(1);
    sandbox.run(["list"]).code(1);
    sandbox.run(["prune", "--apply"]).code(1);
    assert_eq!(keys(&server), [] as [String; 0]);
}

#[test]
#[ignore = "needs MinIO"]
fn a_commit_whose_answer_was_lost_is_a_commit() {
    let server = S3Server::minio();
    let sandbox = scene(&server);
    let proxy = FaultProxy::start(&server.endpoint);
    configure(&sandbox, &proxy.endpoint(), BUCKET);
    for part in ["/data/", "/manifests/"] {
        proxy.inject(
            Times::First(1),
            Fault::StatusAfterEffect { code: 500 },
            move |method, path| method == "PUT" && path.contains(part),
        );
    }
    sandbox.run(["backup"]).ok();
    sandbox.run(["verify", "--all"]).ok();
    assert_eq!(keys(&server).len(), 2);
}

#[test]
#[ignore = "needs MinIO"]
fn a_download_that_breaks_is_taken_up_again_where_it_broke() {
    let server = S3Server::minio();
    let sandbox = scene(&server);
    grow(&sandbox, 8_000);
    sandbox.run(["backup"]).ok();
    let proxy = FaultProxy::start(&server.endpoint);
    configure(&sandbox, &proxy.endpoint(), BUCKET);
    let cut = proxy.inject(
        Times::First(2),
        Fault::CutResponseAfter(3 << 20),
        |method, path| method == "GET" && path.contains("/data/"),
    );
    sandbox.run(["restore", "app", "--to", "back.db"]).ok();
    assert!(cut.fired() > 0);
    assert_eq!(
        rows(&sandbox.path("back.db")),
        rows(&sandbox.path("app.db"))
    );
}

#[test]
#[ignore = "needs MinIO"]
fn each_misconfiguration_has_its_own_words_and_a_hint() {
    let server = S3Server::minio();
    let mut sandbox = scene(&server);
    configure(&sandbox, &server.endpoint, "no-such-bucket");
    let missing = sandbox.run(["backup"]);
    assert!(
        missing.code(1).stderr.contains("no-such-bucket"),
        "{missing:#?}"
    );
    assert!(missing.stderr.contains("hint:"), "{missing:#?}");
    configure(&sandbox, "http://127.0.0.1:1", BUCKET);
    let unreachable = sandbox.run(["backup"]);
    assert!(
        unreachable.code(1).stderr.contains("127.0.0.1:1"),
        "{unreachable:#?}"
    );
    configure(&sandbox, &server.endpoint, BUCKET);
    sandbox.set("AWS_SECRET_ACCESS_KEY", "wr0ng-secret");
    let wrong = sandbox.run(["backup", "-vv"]);
    assert!(wrong.code(1).stderr.contains("hint:"), "{wrong:#?}");
    assert!(!format!("{wrong:?}").contains("wr0ng-secret"), "{wrong:#?}");
}

#[test]
#[ignore = "needs MinIO"]
fn a_missing_bucket_costs_the_daemon_no_capture_and_no_tight_loop() {
    let server = S3Server::minio();
    let sandbox = scene(&server);
    configure(&sandbox, &server.endpoint, "no-such-bucket");
    let mut daemon = Daemon::start(&sandbox);
    assert_eq!(daemon.run_event()["outcome"], "failed");
    // The back-off of an hourly job begins at one minute.
    let soon = Instant::now() + Duration::from_secs(5);
    assert!(
        daemon.run_event_before(soon).is_none(),
        "it tried again at once"
    );
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
#[ignore = "needs MinIO"]
fn more_than_a_thousand_backups_are_all_listed_and_planned() {
    let server = S3Server::minio();
    let sandbox = scene(&server);
    sandbox.run(["backup"]).ok();
    let key = keys(&server)
        .into_iter()
        .find(|key| key.contains("/manifests/"))
        .unwrap();
    let mut manifest: Value = serde_json::from_slice(&server.get_object(BUCKET, &key)).unwrap();
    let rescue = sandbox.folder("seed");
    // One by one through HTTP takes long; the server's own folder layout is not ours to write.
    for n in 0..1_100_u32 {
        let at = format!(
            "2026010{}T{:02}{:02}{:02}Z",
            n / 500 + 1,
            n / 60 % 24,
            n % 60,
            n % 59
        );
        let id = format!("{at}-{n:06x}");
        manifest["id"] = id.clone().into();
        manifest["captured_at"] = format!(
            "2026-01-0{}T{:02}:{:02}:{:02}.000Z",
            n / 500 + 1,
            n / 60 % 24,
            n % 60,
            n % 59
        )
        .into();
        fs::write(rescue.join(format!("{id}.json")), manifest.to_string()).unwrap();
    }
    let copied = std::process::Command::new(crate::support::require("rclone"))
        .args([
            "copy",
            "--transfers",
            "16",
            "--quiet",
            "seed",
            "b:backups/prod/app/manifests",
        ])
        .current_dir(sandbox.root())
        .env_remove("AWS_CA_BUNDLE")
        .env("RCLONE_CONFIG", "/dev/null")
        .env("RCLONE_CONFIG_B_TYPE", "s3")
        .env("RCLONE_CONFIG_B_PROVIDER", "Minio")
        .env("RCLONE_CONFIG_B_ENDPOINT", &server.endpoint)
        .env("RCLONE_CONFIG_B_ACCESS_KEY_ID", &server.access_key)
        .env("RCLONE_CONFIG_B_SECRET_ACCESS_KEY", &server.secret_key)
        .status()
        .unwrap();
    assert!(copied.success());
    let count = |sandbox: &Sandbox| {
        let listed = sandbox.run(["list", "--json"]).ok().document();
        listed["backups"].as_array().unwrap().len()
    };
    assert_eq!(count(&sandbox), 1_101);
    // A run leaves an index, and prunes what its rules do not cover; all the rest name data that
    // the newest backup's manifest named too, so they are one backup with it.
    grow(&sandbox, 1);
    sandbox.run(["backup"]).ok();
    assert_eq!(count(&sandbox), 1_102);
    assert!(
        keys(&server)
            .iter()
            .any(|key| key.starts_with("prod/app/index/"))
    );
}
