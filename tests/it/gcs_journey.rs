//! Google Cloud Storage through the real program.

use std::fs;

use rusqlite::Connection;

use crate::sandbox::Sandbox;
use crate::support::{GcsCall, GcsDouble, GcsFault};

const BUCKET: &str = "backups";

fn scene(double: &GcsDouble) -> Sandbox {
    let sandbox = Sandbox::new();
    let database = Connection::open(sandbox.path("app.db")).unwrap();
    database.execute_batch("CREATE TABLE t (x)").unwrap();
    grow(&sandbox, 50);
    sandbox.write(
        "config.yaml",
        format!(
            "destinations: {{ offsite: {{ type: gcs, bucket: {BUCKET}, prefix: prod, endpoint: \
             \"{}\", control_endpoint: \"{}\", chunk_size: 1MiB }} }}\n\
             jobs: {{ app: {{ source: {{ type: sqlite, path: app.db }}, seal: {{ compression: none }}, \
             retention: {{ keep_last: 2 }} }} }}\n",
            double.endpoint(),
            double.control_endpoint()
        ),
    );
    sandbox
}

fn grow(sandbox: &Sandbox, rows: u32) {
    let database = Connection::open(sandbox.path("app.db")).unwrap();
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
               INSERT INTO t SELECT randomblob(1000) FROM n";
    database.execute(sql, [rows]).unwrap();
}

fn rows(sandbox: &Sandbox, name: &str) -> i64 {
    let database = Connection::open(sandbox.path(name)).unwrap();
    let count = "SELECT count(*) FROM t";
    database.query_row(count, [], |row| row.get(0)).unwrap()
}

fn below(double: &GcsDouble, prefix: &str) -> usize {
    let names = double.names(BUCKET);
    names.iter().filter(|name| name.starts_with(prefix)).count()
}

#[test]
fn a_backup_goes_there_and_comes_back() {
    let double = GcsDouble::start(BUCKET);
    let sandbox = scene(&double);
    // More than one chunk.
    grow(&sandbox, 3000);
    sandbox.run(["check"]).ok();
    assert_eq!(double.names(BUCKET), [] as [String; 0]);
    // A chunk is lost on the way, each time.
    double.fail(GcsCall::Chunk, 1, 1, GcsFault::Cut(10_000));
    for _ in 0..3 {
        grow(&sandbox, 1);
        sandbox.run(["backup"]).ok();
    }
    assert!(!double.seen(GcsCall::Query).is_empty());
    let listed = sandbox.run(["list", "--json"]).ok().document();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 2);
    assert_eq!(below(&double, "prod/app/data/"), 2);
    assert_eq!(below(&double, "prod/app/manifests/"), 2);
    assert_eq!(double.open_sessions(), [] as [String; 0]);
    sandbox.run(["verify", "--all"]).ok();
    sandbox.run(["restore", "app", "--to", "back.db"]).ok();
    assert_eq!(rows(&sandbox, "back.db"), rows(&sandbox, "app.db"));
    let id = listed["backups"][0]["id"].as_str().unwrap();
    let shown = sandbox.run(["show", "app", id, "--json"]).ok().document();
    let line = shown["restore"][0].as_str().unwrap();
    assert!(
        line.contains("gcloud storage cp 'gs://backups/prod/app/data/"),
        "{line}"
    );

    // All that is left is a bucket and this program.
    fs::remove_file(sandbox.path("config.yaml")).unwrap();
    let url = format!("gs://{BUCKET}/prod?{}", double.query());
    let run = |arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(["--destination", &*url]);
        sandbox.run(all)
    };
    let listed = run(&["list", "--json"]).ok().document();
    assert_eq!(listed["backups"].as_array().unwrap().len(), 2);
    run(&["restore", "app", "--to", "rescued.db"]).ok();
    assert_eq!(rows(&sandbox, "rescued.db"), rows(&sandbox, "app.db"));
}

#[test]
fn a_store_that_denies_writing_fails_the_run_with_the_right_it_takes() {
    let double = GcsDouble::start(BUCKET);
    let sandbox = scene(&double);
    sandbox.run(["backup"]).ok();
    let denied = GcsFault::Status(403, "robot@example does not have access");
    double.fail(GcsCall::Multipart, 0, 99, denied);
    grow(&sandbox, 1);
    let failed = sandbox.run(["backup"]);
    failed.code(1);
    let text = format!("{}{}", failed.stdout, failed.stderr);
    assert!(text.contains("storage.objects.create"), "{text}");
    assert_eq!(below(&double, "prod/app/manifests/"), 1);
}

#[test]
fn without_any_credentials_the_next_step_is_named() {
    let mut sandbox = Sandbox::new();
    let home = sandbox.folder("home").to_string_lossy().into_owned();
    // Nothing listens there.
    sandbox
        .set("HOME", &home)
        .set("GCE_METADATA_HOST", "127.0.0.1:1");
    let listed = sandbox.run(["list", "app", "--destination", "gs://backups"]);
    listed.code(1);
    assert!(
        listed.stderr.contains("no credentials"),
        "{}",
        listed.stderr
    );
    assert!(
        listed.stderr.contains("hint: set `credentials_file`"),
        "{}",
        listed.stderr
    );
}
