//! What a backup of a good SQLite database holds.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;

use super::program::{
    Home, Run, add_ballast, add_rows, beside, files, open_existing, orders, require_root,
};

fn write_ahead(database: &Connection) {
    let mode: String = database
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
}

/// Restores the newest backup to a new file and opens it.
#[track_caller]
fn restored(home: &Home) -> Connection {
    let to = home.path("restored.db");
    home.run(&["restore", "app", "--to", to.to_str().unwrap()])
        .exits(0);
    open_existing(&to)
}

fn one<T: rusqlite::types::FromSql>(database: &Connection, sql: &str) -> T {
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn manifest(home: &Home) -> Value {
    home.run(&["show", "app", "--json"]).exits(0).json()
}

/// Rows that only the write-ahead log holds; the connection must stay open for them to stay there.
fn app_with_log(home: &Home) -> Connection {
    let writer = home.app(10);
    write_ahead(&writer);
    writer.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    add_rows(&writer, 7);
    home.configure("", "");
    writer
}

/// The files of a process that was killed: a log, and no shared memory.
fn crash(home: &Home) {
    let (main, log) = (
        fs::read(home.path("app.db")),
        fs::read(home.path("app.db-wal")),
    );
    fs::create_dir(home.path("crashed")).unwrap();
    fs::write(home.path("crashed/app.db"), main.unwrap()).unwrap();
    fs::write(home.path("crashed/app.db-wal"), log.unwrap()).unwrap();
}

#[test]
fn the_write_ahead_log_of_an_open_writer_is_included() {
    let home = Home::new();
    let writer = app_with_log(&home);
    home.backup();
    let shown = manifest(&home);
    assert_eq!(shown["engine"]["facts"]["wal_included"], true);
    assert_eq!(shown["engine"]["facts"]["journal_mode"], "wal");
    assert_eq!(
        one::<u32>(&restored(&home), "SELECT count(*) FROM orders"),
        17
    );
    add_rows(&writer, 1);
    assert_eq!(one::<u32>(&writer, "SELECT count(*) FROM orders"), 18);
}

#[test]
fn the_log_of_a_crashed_writer_is_included_and_stays_where_it_is() {
    let home = Home::new();
    let writer = app_with_log(&home);
    crash(&home);
    drop(writer);
    let source = format!("sqlite://{}", home.path("crashed/app.db").display());
    home.on_store(&["backup", "--source", &source]).exits(0);
    let log = fs::metadata(home.path("crashed/app.db-wal")).unwrap();
    assert!(log.len() > 0);
    assert_eq!(
        one::<u32>(&restored(&home), "SELECT count(*) FROM orders"),
        17
    );
    assert_eq!(orders(&home.path("crashed/app.db")), 17);
}

#[test]
fn nothing_is_left_beside_a_database_that_was_cleanly_closed() {
    let home = Home::new();
    drop(app_with_log(&home));
    home.backup();
    for suffix in ["-wal", "-shm", "-journal"] {
        let left = beside(&home.path("app.db"), suffix);
        assert!(!left.exists(), "{} was made", left.display());
    }
}

/// Runs the program as a user who may write nothing but the store and the scratch folder.
fn run_as_nobody(home: &Home, arguments: &[&str]) -> Run {
    for folder in ["backups", "scratch"] {
        fs::set_permissions(home.path(folder), fs::Permissions::from_mode(0o777)).unwrap();
    }
    fs::set_permissions(home.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    // The build folder may be closed to others; and a copy made by this process could still be
    // open for writing in another test's child.
    let program = home.path("lifeboat");
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_lifeboat"))
        .arg(&program)
        .status();
    assert!(copied.unwrap().success());
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program);
    home.isolate(&mut command);
    command
        .args(arguments)
        .output()
        .expect("`setpriv` runs")
        .into()
}

#[test]
#[ignore = "needs root"]
fn a_read_only_folder_is_enough_in_rollback_mode_and_after_a_clean_close() {
    require_root();
    for log in [false, true] {
        let home = Home::new();
        let writer = home.app(10);
        if log {
            write_ahead(&writer);
        }
        drop(writer);
        home.configure("", "");
        run_as_nobody(&home, &["backup", "app"]).exits(0);
        assert_eq!(
            one::<u32>(&restored(&home), "SELECT count(*) FROM orders"),
            10,
            "log: {log}"
        );
    }
}

#[test]
#[ignore = "needs root"]
fn a_read_only_folder_is_enough_while_the_writer_runs() {
    require_root();
    let home = Home::new();
    let _writer = app_with_log(&home);
    run_as_nobody(&home, &["backup", "app"]).exits(0);
    assert_eq!(
        one::<u32>(&restored(&home), "SELECT count(*) FROM orders"),
        17
    );
}

#[test]
#[ignore = "needs root"]
fn a_crashed_log_in_a_read_only_folder_is_refused_and_not_left_out() {
    require_root();
    let home = Home::new();
    let writer = app_with_log(&home);
    crash(&home);
    drop(writer);
    let source = format!("sqlite://{}", home.path("crashed/app.db").display());
    let store = home.store_url();
    let run = run_as_nobody(
        &home,
        &["backup", "--source", &source, "--destination", &store],
    );
    run.exits(1).complains("has a write-ahead log with commits");
    assert!(files(&home.store()).is_empty());
}

#[test]
fn writers_in_write_ahead_mode_are_never_blocked() {
    let home = Home::new();
    let mut writer = home.app(1);
    write_ahead(&writer);
    add_ballast(&writer, 100);
    writer.busy_timeout(Duration::ZERO).unwrap();
    home.configure("", "");
    let done = AtomicBool::new(false);
    let commits = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut commits = 0_u32;
            while !done.load(Ordering::Relaxed) {
                let transaction = writer.transaction().unwrap();
                transaction
                    .execute("INSERT INTO orders (item) VALUES ('busy')", [])
                    .unwrap();
                transaction.commit().unwrap();
                commits += 1;
            }
            commits
        });
        home.backup();
        done.store(true, Ordering::Relaxed);
        writing.join().unwrap()
    });
    assert!(commits > 10, "{commits} commits while the backup ran");
    home.is_clean();
    home.run(&["verify", "app"]).exits(0);
}

fn backwards(a: &str, b: &str) -> std::cmp::Ordering {
    b.cmp(a)
}

#[test]
fn a_collation_only_the_application_knows_is_no_obstacle() {
    for extra in ["", ", check: quick"] {
        let home = Home::new();
        let writer = home.app(10);
        writer.create_collation("BACKWARDS", backwards).unwrap();
        writer
            .execute_batch(
                "CREATE TABLE names (name TEXT COLLATE BACKWARDS PRIMARY KEY);
                 INSERT INTO names SELECT item FROM orders;
                 CREATE INDEX by_item ON orders (item COLLATE BACKWARDS);",
            )
            .unwrap();
        home.configure(extra, "");
        home.backup();
        assert_eq!(manifest(&home)["engine"]["facts"]["method"], "backup api");
        home.run(&["verify", "app"]).exits(0);
        let copy = restored(&home);
        copy.create_collation("BACKWARDS", backwards).unwrap();
        assert_eq!(one::<String>(&copy, "PRAGMA integrity_check"), "ok");
        assert_eq!(
            one::<String>(&copy, "SELECT name FROM names ORDER BY name LIMIT 1"),
            "item 9"
        );
    }
}

#[test]
fn a_table_ordered_by_an_unknown_collation_is_not_called_damaged() {
    let home = Home::new();
    let writer = home.app(10);
    writer.create_collation("BACKWARDS", backwards).unwrap();
    writer
        .execute_batch(
            "CREATE TABLE names (name TEXT COLLATE BACKWARDS PRIMARY KEY) WITHOUT ROWID;
             INSERT INTO names SELECT item FROM orders;",
        )
        .unwrap();
    home.configure("", "");
    home.backup();
    home.run(&["verify", "app"]).exits(0);
}

#[test]
fn the_quick_check_of_a_database_with_an_unknown_collation_is_recorded_as_quick() {
    let home = Home::new();
    let writer = home.app(10);
    writer.create_collation("BACKWARDS", backwards).unwrap();
    writer
        .execute_batch("CREATE INDEX by_item ON orders (item COLLATE BACKWARDS)")
        .unwrap();
    home.configure(", check: quick", "");
    home.backup();
    let checks = manifest(&home)["verified"]["checks"].clone();
    assert_eq!(checks[0]["name"], "quick_check", "{checks}");
}

/// Parents and children, a trigger, and a table with a secret.
fn app_with_relations(home: &Home) {
    home.app(3)
        .execute_batch(
            "CREATE TABLE customers (id INTEGER PRIMARY KEY);
             CREATE TABLE bills (id INTEGER PRIMARY KEY,
                 customer INTEGER REFERENCES customers(id) ON DELETE CASCADE);
             INSERT INTO customers VALUES (1), (2);
             INSERT INTO bills (customer) VALUES (1), (1), (2);
             CREATE TABLE cache_a (x); CREATE TABLE cache_b (x);
             CREATE TABLE sessions (token TEXT);
             INSERT INTO sessions VALUES ('the-session-token');
             CREATE TRIGGER t AFTER INSERT ON bills BEGIN SELECT 1; END;",
        )
        .unwrap();
}

#[test]
fn dropped_tables_take_no_child_rows_along() {
    let home = Home::new();
    app_with_relations(&home);
    home.configure(", drop_tables: [customers, \"cache_*\"]", "");
    home.backup();
    let copy = restored(&home);
    assert_eq!(one::<u32>(&copy, "SELECT count(*) FROM bills"), 3);
    let names = "SELECT group_concat(name) FROM (SELECT name FROM sqlite_schema \
                 WHERE type = 'table' ORDER BY name)";
    assert_eq!(one::<String>(&copy, names), "bills,orders,sessions");
    assert_eq!(manifest(&home)["engine"]["facts"]["sanitised"], true);
    let source = open_existing(&home.path("app.db"));
    assert_eq!(one::<u32>(&source, "SELECT count(*) FROM customers"), 2);
}

#[test]
fn triggers_are_left_out_and_statements_run_on_the_copy_alone() {
    let home = Home::new();
    app_with_relations(&home);
    let sql = ", drop_triggers: true, sql: [\"DELETE FROM sessions\", \
               \"UPDATE orders SET item = 'x'\"]";
    home.configure(sql, "");
    let id = home.backup();
    let copy = restored(&home);
    assert_eq!(
        one::<u32>(
            &copy,
            "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'"
        ),
        0
    );
    assert_eq!(one::<u32>(&copy, "SELECT count(*) FROM sessions"), 0);
    assert_eq!(
        one::<u32>(&copy, "SELECT count(*) FROM orders WHERE item = 'x'"),
        3
    );
    let source = open_existing(&home.path("app.db"));
    assert_eq!(one::<u32>(&source, "SELECT count(*) FROM sessions"), 1);
    let token = b"the-session-token";
    let plain = fs::read(home.path("restored.db")).unwrap();
    assert!(
        !plain.windows(token.len()).any(|part| part == token),
        "{id} holds deleted content"
    );
}

#[test]
fn a_full_text_table_goes_with_its_shadow_tables_whatever_the_glob() {
    for glob in ["docs", "docs*"] {
        let home = Home::new();
        home.app(3)
            .execute_batch(
                "CREATE VIRTUAL TABLE docs USING fts5(text); INSERT INTO docs VALUES ('a')",
            )
            .unwrap();
        home.configure(&format!(", drop_tables: [\"{glob}\"]"), "");
        home.backup();
        let left: u32 = one(
            &restored(&home),
            "SELECT count(*) FROM sqlite_schema WHERE name GLOB 'docs*'",
        );
        assert_eq!(left, 0, "{glob}");
    }
}

#[test]
fn the_copy_gets_the_page_size_asked_for_and_keeps_what_the_source_says_of_itself() {
    let home = Home::new();
    let writer = home.app(10);
    writer
        .execute_batch("PRAGMA user_version = 42; PRAGMA application_id = 7;")
        .unwrap();
    write_ahead(&writer);
    home.configure(", page_size: 8192, check: quick", "");
    home.backup();
    add_rows(&writer, 1);
    home.backup();
    let shown = manifest(&home);
    let facts = &shown["engine"]["facts"];
    assert_eq!(facts["user_version"], 42);
    assert_eq!(facts["application_id"], 7);
    assert_eq!(facts["page_size"], 8192);
    assert_eq!(facts["journal_mode"], "wal");
    assert_eq!(shown["verified"]["checks"][0]["name"], "quick_check");
    let copy = restored(&home);
    assert_eq!(one::<u32>(&copy, "PRAGMA page_size"), 8192);
    assert_eq!(one::<u32>(&copy, "PRAGMA user_version"), 42);
    assert_eq!(one::<String>(&copy, "PRAGMA journal_mode"), "wal");
}

#[test]
fn odd_names_are_just_names() {
    let home = Home::new();
    drop(home.app(5));
    for name in [
        "a b.db",
        "100%.db",
        "what?.db",
        "x#y.db",
        "it's.db",
        "schön.db",
        "file:z.db",
    ] {
        let folder = home.path("o'd d%20");
        fs::create_dir_all(&folder).unwrap();
        fs::copy(home.path("app.db"), folder.join(name)).unwrap();
        let yaml = format!(
            "destinations: {{ store: {{ type: local, path: {:?} }} }}\nscratch_dir: {:?}\n\
             jobs: {{ app: {{ source: {{ type: sqlite, path: {:?} }} }} }}",
            home.store(),
            folder.join("file:scratch ?#%"),
            folder.join(name),
        );
        fs::write(home.path("config.yaml"), yaml).unwrap();
        home.backup();
        let to = folder.join(format!("back {name}"));
        home.run(&["restore", "app", "--to", to.to_str().unwrap()])
            .exits(0);
        assert_eq!(orders(&to), 5, "{name}");
    }
}

#[test]
fn the_page_size_in_the_manifest_is_the_copys_own_where_it_cannot_be_changed() {
    let home = Home::new();
    let writer = home.app(10);
    writer.create_collation("BACKWARDS", backwards).unwrap();
    writer
        .execute_batch("CREATE INDEX by_item ON orders (item COLLATE BACKWARDS)")
        .unwrap();
    home.configure(", page_size: 8192", "");
    home.backup();
    assert_eq!(manifest(&home)["engine"]["facts"]["page_size"], 4096);
    assert_eq!(one::<u32>(&restored(&home), "PRAGMA page_size"), 4096);
}
