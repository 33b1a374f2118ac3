//! Sources that cannot be saved: the exit code, one clear line with a hint, and nothing stored,
//! nothing pruned, nothing left behind.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::program::{
    Home, SmallDisk, add_ballast, add_rows, files, finish, open_existing, require_root, signal,
    wait_until,
};

/// A store with three backups, and a job that would keep one of them.
fn home_with_history() -> Home {
    let home = Home::with_app();
    for _ in 0..3 {
        add_rows(&open_existing(&home.path("app.db")), 1);
        home.backup();
    }
    home.configure("", "    retention: { keep_last: 1, keep_min: 1 }\n");
    home
}

#[track_caller]
fn refuses(home: &Home, why: &str) {
    let before = home.stored();
    home.run(&["backup", "app"]).exits(1).complains(why);
    assert_eq!(
        home.stored().keys().collect::<Vec<_>>(),
        before.keys().collect::<Vec<_>>()
    );
    assert!(home.stored() == before, "the store has changed");
    home.is_clean();
    let runs = home.run(&["backup", "app", "--json"]).exits(1).json();
    let run = &runs["runs"][0];
    assert_eq!(run["outcome"], "failed");
    assert!(run["reason"].as_str().unwrap().contains(why), "{run}");
    assert_eq!(run["id"], serde_json::Value::Null);
    assert_eq!(run["destinations"][0]["outcome"], "skipped");
    assert_eq!(run["destinations"][0]["pruned"], 0);
}

#[test]
fn a_missing_database_fails_and_is_not_created() {
    let home = home_with_history();
    fs::remove_file(home.path("app.db")).unwrap();
    refuses(&home, "no such file");
    assert!(!home.path("app.db").exists());
}

#[test]
fn an_empty_database_file_fails() {
    let home = home_with_history();
    fs::write(home.path("app.db"), "").unwrap();
    refuses(&home, "is empty");
}

#[test]
fn a_folder_in_place_of_the_database_fails() {
    let home = home_with_history();
    fs::remove_file(home.path("app.db")).unwrap();
    fs::create_dir(home.path("app.db")).unwrap();
    refuses(&home, "is not a file");
}

#[test]
fn a_file_that_is_no_database_fails() {
    let home = home_with_history();
    for content in [
        &b"<html>not found</html>"[..],
        &[0x5a; 8192],
        b"SQLite format 3\0",
        &[0; 4096],
    ] {
        fs::write(home.path("app.db"), content).unwrap();
        refuses(&home, "is not a SQLite database");
    }
}

#[test]
fn a_truncated_database_fails_wherever_it_was_cut() {
    let home = home_with_history();
    add_rows(&open_existing(&home.path("app.db")), 3000);
    let whole = fs::read(home.path("app.db")).unwrap();
    for part in [
        101,
        4095,
        4096,
        whole.len() / 2,
        whole.len() - 4096,
        whole.len() - 1,
    ] {
        fs::write(home.path("app.db"), &whole[..part]).unwrap();
        refuses(&home, "app.db: ");
    }
}

#[test]
fn bytes_behind_the_last_page_are_no_damage() {
    let home = home_with_history();
    let mut file = File::options()
        .append(true)
        .open(home.path("app.db"))
        .unwrap();
    file.write_all(b"not mine").unwrap();
    home.backup();
    home.run(&["verify", "app"]).exits(0);
}

#[test]
fn a_page_of_noise_fails() {
    let home = home_with_history();
    add_rows(&open_existing(&home.path("app.db")), 3000);
    let file = File::options()
        .write(true)
        .open(home.path("app.db"))
        .unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    file.write_all_at(&[0xa5; 4096], (pages - 2) * 4096)
        .unwrap();
    drop(file);
    refuses(&home, "app.db: ");
}

/// An index that does not know of some rows: taken out of the schema while they are inserted.
fn break_index(database: &Connection) {
    database
        .execute_batch(
            "CREATE INDEX by_item ON orders (item);
             CREATE TEMP TABLE kept AS SELECT * FROM sqlite_schema WHERE name = 'by_item';
             PRAGMA writable_schema = ON;
             DELETE FROM sqlite_schema WHERE name = 'by_item';",
        )
        .unwrap();
    let path = database.path().unwrap().to_owned();
    let blind = Connection::open(&path).unwrap();
    add_rows(&blind, 5);
    drop(blind);
    database
        .execute_batch(
            "INSERT INTO sqlite_schema SELECT * FROM kept; PRAGMA writable_schema = RESET;",
        )
        .unwrap();
}

#[test]
fn an_index_that_misses_rows_fails() {
    let home = home_with_history();
    break_index(&open_existing(&home.path("app.db")));
    refuses(&home, "missing from index by_item");
}

#[test]
fn what_was_saved_by_the_quick_check_comes_back_by_the_quick_check() {
    let home = home_with_history();
    // As many entries as the table has rows, in the wrong order: only the full check compares.
    open_existing(&home.path("app.db"))
        .execute_batch(
            "CREATE INDEX odd ON orders (item);
             PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = 'CREATE INDEX odd ON orders (item DESC)'
             WHERE name = 'odd';",
        )
        .unwrap();
    refuses(&home, "integrity_check found");
    home.configure(", check: quick", "");
    home.backup();
    home.run(&["verify", "app"]).exits(0);
    let to = home.path("back.db");
    home.run(&["restore", "app", "--to", to.to_str().unwrap()])
        .exits(0);
}

#[test]
fn a_writer_that_holds_its_lock_is_waited_for_and_then_named() {
    let home = home_with_history();
    home.configure(", busy_timeout: 200ms", "");
    let writer = open_existing(&home.path("app.db"));
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    refuses(&home, "a writer held its lock longer than busy_timeout");
    writer.execute_batch("COMMIT").unwrap();
    home.backup();
}

#[test]
fn a_signal_ends_the_wait_for_a_lock() {
    let home = home_with_history();
    home.configure(", busy_timeout: 1h", "");
    let before = home.stored();
    let writer = open_existing(&home.path("app.db"));
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let running = home.spawn(&["backup", "app"]);
    // Its scratch folder is there as soon as it turns to the database.
    wait_until("it waits for the lock", || {
        fs::read_dir(home.path("scratch")).unwrap().count() > 0
    });
    let asked = Instant::now();
    signal(&running, rustix::process::Signal::TERM);
    finish(running).exits(130);
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "took {:?}",
        asked.elapsed()
    );
    assert!(home.stored() == before);
    home.is_clean();
}

#[test]
fn a_lock_that_is_released_in_time_is_no_failure() {
    let home = home_with_history();
    home.configure(", busy_timeout: 1m", "");
    let writer = open_existing(&home.path("app.db"));
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let running = home.spawn(&["backup", "app"]);
    wait_until("it waits for the lock", || {
        fs::read_dir(home.path("scratch")).unwrap().count() > 0
    });
    writer.execute_batch("COMMIT").unwrap();
    finish(running).exits(0);
}

#[test]
fn a_statement_that_fails_is_named_by_its_place() {
    let home = home_with_history();
    home.configure(
        ", sql: [\"DELETE FROM orders\", \"DELETE FROM nowhere\"]",
        "",
    );
    let before = home.stored();
    let run = home.run(&["backup", "app"]).exits(1);
    run.complains("source.sql[1]: no such table: nowhere");
    assert!(home.stored() == before);
    home.is_clean();
}

#[test]
fn a_page_size_that_is_none_is_a_mistake_in_the_configuration() {
    let home = Home::with_app();
    home.configure(", page_size: 1000", "");
    let run = home.run(&["backup", "app"]).exits(2);
    assert!(run.stderr.contains("jobs.app.source.page_size"), "{run:?}");
}

#[test]
fn a_scratch_folder_that_cannot_be_made_fails() {
    let home = home_with_history();
    fs::remove_dir(home.path("scratch")).unwrap();
    File::create(home.path("scratch"))
        .unwrap()
        .write_all(b"in the way")
        .unwrap();
    let before = home.stored();
    home.run(&["backup", "app"]).exits(1).complains("scratch");
    assert!(home.stored() == before);
}

#[test]
#[ignore = "needs root"]
fn a_full_scratch_folder_fails_with_the_space_it_needs() {
    require_root();
    let home = home_with_history();
    let database = open_existing(&home.path("app.db"));
    add_ballast(&database, 8);
    let disk = SmallDisk::mount(&home.path("scratch"), 1024);
    refuses(&home, "no space left on device for the scratch copy");
    // Room for the copy, and none for what the statements make of it.
    drop(disk);
    let _disk = SmallDisk::mount(&home.path("scratch"), 12 * 1024);
    home.configure(
        ", sql: [\"INSERT INTO ballast SELECT noise FROM ballast\"]",
        "",
    );
    refuses(&home, "no space left on device for the scratch copy");
}

#[test]
#[ignore = "needs root"]
fn a_full_destination_fails_and_nothing_of_the_backup_is_seen() {
    require_root();
    let home = Home::new();
    add_ballast(&home.app(10), 8);
    home.configure("", "    retention: { keep_last: 1, keep_min: 1 }\n");
    let _disk = SmallDisk::mount(&home.store(), 4 * 1024);
    home.run(&["backup", "app"])
        .exits(1)
        .complains("no space left on device");
    assert!(
        files(&home.store()).is_empty(),
        "{:?}",
        files(&home.store()).keys()
    );
    home.is_clean();
    home.run(&["list", "app", "--json"]).exits(0);
}
