//! Bringing a SQLite backup back: what is there afterwards, and what became of what was there.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use rusqlite::Connection;

use super::program::{Home, add_rows, beside, names, open_existing, orders};

/// A home with backups of 10 and then 11 orders; answers with their ids, oldest first.
fn home_with_two() -> (Home, [String; 2]) {
    let home = Home::with_app();
    let first = home.backup();
    add_rows(&open_existing(&home.path("app.db")), 1);
    let second = home.backup();
    (home, [first, second])
}

fn to(path: &Path) -> [&str; 2] {
    ["--to", path.to_str().unwrap()]
}

#[test]
fn latest_an_id_and_a_time_each_name_a_backup() {
    let (home, [first, second]) = home_with_two();
    let shown = home.run(&["show", "app", &first, "--json"]).exits(0).json();
    let moment = shown["captured_at"].as_str().unwrap();
    for (arguments, id, expected) in [
        (vec![], &second, 11),
        (vec!["latest"], &second, 11),
        (vec![first.as_str()], &first, 10),
        (vec!["--at", moment], &first, 10),
        (vec!["--at", "2999-01-01 00:00"], &second, 11),
    ] {
        let path = home.path(&format!("restored-{}.db", arguments.join("-")));
        let mut all = vec!["restore", "app"];
        all.extend(&arguments);
        all.extend(to(&path));
        all.push("--json");
        let document = home.run(&all).exits(0).json();
        assert_eq!(document["id"], id.as_str(), "{arguments:?}");
        assert_eq!(orders(&path), expected, "{arguments:?}");
    }
}

#[test]
fn what_no_backup_answers_to_is_exit_4() {
    let (home, _) = home_with_two();
    let path = home.path("x.db");
    for wanted in [
        &["20200101T000000Z-abcdef"][..],
        &["--at", "2020-01-01 00:00"],
    ] {
        let mut all = vec!["restore", "app"];
        all.extend(wanted);
        all.extend(to(&path));
        home.run(&all).exits(4).complains("there is no backup");
    }
    assert!(!path.exists());
    home.run(&["restore", "app", "yesterday", "--to", "x"])
        .exits(2)
        .complains("is not a backup id");
    home.is_clean();
}

#[test]
fn a_file_in_the_way_is_kept_whole_beside_the_restored_one() {
    let (home, _) = home_with_two();
    let path = home.path("app.db");
    add_rows(&open_existing(&path), 100);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let document = home
        .run(&["restore", "app", "--into-source", "--json"])
        .exits(0)
        .json();
    assert_eq!(orders(&path), 11);
    let kept = Path::new(document["replaced"].as_str().unwrap());
    assert_eq!(orders(kept), 111);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    // A second one in the same second takes another name.
    let again = home
        .run(&["restore", "app", "--into-source", "--json"])
        .exits(0)
        .json();
    assert_ne!(again["replaced"], document["replaced"]);
    assert_eq!(orders(kept), 111);
}

#[test]
fn a_stale_log_moves_aside_with_its_file_and_is_not_replayed_into_the_new_one() {
    let (home, _) = home_with_two();
    let path = home.path("app.db");
    let writer = open_existing(&path);
    writer
        .query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))
        .unwrap();
    writer.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    add_rows(&writer, 50);
    let crashed = home.path("crashed/app.db");
    fs::create_dir(home.path("crashed")).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        fs::copy(beside(&path, suffix), beside(&crashed, suffix)).unwrap();
    }
    drop(writer);
    let [flag, target] = to(&crashed);
    let document = home
        .run(&["restore", "app", flag, target, "--json"])
        .exits(0)
        .json();
    assert_eq!(orders(&crashed), 11);
    let kept = Path::new(document["replaced"].as_str().unwrap());
    assert!(beside(kept, "-wal").exists());
    assert_eq!(orders(kept), 61);
}

#[test]
fn the_journal_mode_comes_back() {
    for mode in ["wal", "delete"] {
        let home = Home::with_app();
        let writer = open_existing(&home.path("app.db"));
        writer
            .query_row(&format!("PRAGMA journal_mode = {mode}"), [], |_| Ok(()))
            .unwrap();
        home.backup();
        let path = home.path("restored.db");
        home.run(&["restore", "app", "--to", path.to_str().unwrap()])
            .exits(0);
        let found: String = open_existing(&path)
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .unwrap();
        assert_eq!(found, mode);
    }
}

/// An application that has the database open and in use, until it is dropped.
fn in_use(path: &Path) -> Connection {
    let application = open_existing(path);
    application.execute_batch("BEGIN IMMEDIATE").unwrap();
    application
}

#[test]
fn a_target_in_use_is_refused_unless_forced() {
    let (home, _) = home_with_two();
    let path = home.path("app.db");
    add_rows(&open_existing(&path), 5);
    let application = in_use(&path);
    for target in [&["--into-source"][..], &to(&path)] {
        let mut all = vec!["restore", "app"];
        all.extend(target);
        home.run(&all).exits(1).complains("is in use");
        all.push("--dry-run");
        home.run(&all).exits(0);
    }
    assert!(
        !names(&home.path(""))
            .iter()
            .any(|name| name.contains(".before-"))
    );
    home.run(&["restore", "app", "--into-source", "--force"])
        .exits(0);
    drop(application);
    assert_eq!(orders(&path), 11);
}

#[test]
fn if_empty_leaves_data_alone_and_fills_what_is_not_there() {
    let (home, _) = home_with_two();
    let path = home.path("app.db");
    add_rows(&open_existing(&path), 5);
    let application = in_use(&path);
    let document = home
        .run(&["restore", "app", "--into-source", "--if-empty", "--json"])
        .exits(0)
        .json();
    assert_eq!(document["bytes"], 0);
    assert_eq!(document["verified"], false);
    drop(application);
    assert_eq!(orders(&path), 16);
    for empty in [true, false] {
        fs::remove_file(&path).unwrap();
        if empty {
            fs::write(&path, "").unwrap();
        }
        home.run(&["restore", "app", "--into-source", "--if-empty"])
            .exits(0);
        assert_eq!(orders(&path), 11);
    }
}

#[test]
fn if_empty_needs_no_store_where_there_is_data() {
    let (home, _) = home_with_two();
    fs::rename(home.store(), home.path("unmounted")).unwrap();
    let path = home.path("app.db");
    home.run(&[
        "restore",
        "app",
        "--to",
        path.to_str().unwrap(),
        "--if-empty",
    ])
    .exits(0);
    assert_eq!(orders(&path), 11);
}

#[test]
fn a_dry_run_proves_everything_and_changes_nothing() {
    let (home, _) = home_with_two();
    let before = names(&home.path(""));
    let path = home.path("app.db");
    let content = fs::read(&path).unwrap();
    for target in [path.clone(), home.path("new.db")] {
        let all = [
            "restore",
            "app",
            "--to",
            target.to_str().unwrap(),
            "--dry-run",
            "--json",
        ];
        let document = home.run(&all).exits(0).json();
        assert_eq!(document["dry_run"], true);
        assert_eq!(document["verified"], true);
        assert_eq!(document["replaced"], serde_json::Value::Null);
    }
    assert_eq!(names(&home.path("")), before);
    assert!(fs::read(&path).unwrap() == content);
}

#[test]
fn a_symbolic_link_in_the_way_is_kept_and_what_it_points_to_is_not_touched() {
    let (home, _) = home_with_two();
    let real = home.path("real.db");
    fs::rename(home.path("app.db"), &real).unwrap();
    add_rows(&open_existing(&real), 5);
    std::os::unix::fs::symlink(&real, home.path("app.db")).unwrap();
    home.run(&["restore", "app", "--into-source"]).exits(0);
    assert_eq!(orders(&home.path("app.db")), 11);
    assert_eq!(orders(&real), 16);
}

/// Runs the manifest's `restore` lines in an empty folder and opens what comes out.
fn by_hand(compression: &str) {
    let home = Home::new();
    let _writer = home.app(10);
    home.configure("", &format!("    seal: {{ compression: {compression} }}\n"));
    home.backup();
    let shown = home.run(&["show", "app", "--json"]).exits(0).json();
    let lines: Vec<&str> = shown["restore"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect();
    let folder = home.path("by-hand");
    fs::create_dir(&folder).unwrap();
    let run = |script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-e", "-c", script]).current_dir(&folder);
        shell.output().unwrap()
    };
    let ran = run(&lines.join("\n"));
    assert!(ran.status.success(), "{lines:?}: {ran:?}");
    assert_eq!(orders(&folder.join("restored.db")), 10);
    // One flipped bit stops the script before anything looks restored.
    let object = home.store().join(shown["key"].as_str().unwrap());
    let mut content = fs::read(&object).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(&object, content).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    assert!(!run(&lines.join("\n")).status.success());
    assert!(!folder.join("restored.db").exists());
}

#[test]
fn the_lines_in_the_manifest_bring_gzip_and_plain_backups_back() {
    by_hand("gzip");
    by_hand("none");
}

#[test]
#[ignore = "needs zstd"]
fn the_lines_in_the_manifest_bring_zstd_backups_back() {
    by_hand("zstd");
}

#[test]
#[ignore = "needs sqlite3"]
fn the_sqlite_shell_reads_what_was_restored() {
    let (home, _) = home_with_two();
    let path = home.path("restored.db");
    home.run(&["restore", "app", "--to", path.to_str().unwrap()])
        .exits(0);
    let read = Command::new("sqlite3")
        .arg(&path)
        .arg("PRAGMA integrity_check; SELECT count(*) FROM orders")
        .output()
        .expect("`sqlite3` runs");
    assert_eq!(
        String::from_utf8_lossy(&read.stdout),
        "ok\n11\n",
        "{read:?}"
    );
}
