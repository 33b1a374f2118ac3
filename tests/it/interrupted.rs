//! Runs that are ended in the middle, by a signal that asks and by one that does not.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use super::program::{Home, add_ballast, age, files, finish, holds, orders, signal, wait_until};

/// An application whose backup takes long enough to be ended in the middle.
fn home_with_much() -> Home {
    let home = Home::new();
    add_ballast(&home.app(10), 100);
    home.configure("", "    seal: { compression: none }\n");
    home
}

#[test]
fn a_signal_during_the_capture_leaves_no_trace() {
    for asks in [Signal::TERM, Signal::INT] {
        let home = home_with_much();
        let running = home.spawn(&["backup", "app"]);
        wait_until("the copy is begun", || {
            holds(&home.path("scratch"), "copy.db")
        });
        signal(&running, asks);
        let run = finish(running).exits(130);
        assert!(run.stdout.contains("nothing was recorded"), "{run:?}");
        assert!(files(&home.store()).is_empty());
        home.is_clean();
    }
}

#[test]
fn a_signal_during_the_upload_leaves_no_trace() {
    for asks in [Signal::TERM, Signal::INT] {
        let home = home_with_much();
        home.configure("", "    seal: { compression: zstd, level: 19 }\n");
        let running = home.spawn(&["backup", "app", "--json"]);
        wait_until("the upload is begun", || holds(&home.store(), ".partial"));
        signal(&running, asks);
        let document = finish(running).exits(130).json();
        assert_eq!(document["runs"][0]["outcome"], "failed");
        assert_eq!(document["runs"][0]["id"], serde_json::Value::Null);
        assert!(files(&home.store()).is_empty());
        home.is_clean();
    }
}

#[test]
fn what_a_killed_backup_leaves_is_no_backup_and_the_next_one_removes_it() {
    for (place, mark) in [("scratch", "copy.db"), ("backups", ".partial")] {
        let home = home_with_much();
        let running = home.spawn(&["backup", "app"]);
        wait_until("it has begun to write", || holds(&home.path(place), mark));
        signal(&running, Signal::KILL);
        finish(running).exits(-9);
        assert!(home.ids().is_empty());
        home.run(&["restore", "app", "--to", home.path("x").to_str().unwrap()])
            .exits(4);
        for name in home
            .stored()
            .keys()
            .filter(|name| name.ends_with(".partial"))
        {
            age(&home.store().join(name), Duration::from_mins(1));
        }
        home.backup();
        home.run(&["verify", "app"]).exits(0);
        home.is_clean();
        assert_eq!(home.stored().len(), 2, "{:?}", home.stored().keys());
    }
}

#[test]
fn a_signal_during_a_restore_leaves_the_target_as_it_was() {
    let home = home_with_much();
    home.backup();
    for (asks, code) in [(Signal::TERM, 130), (Signal::INT, 130), (Signal::KILL, -9)] {
        fs::create_dir_all(home.path("target")).unwrap();
        let to = home.path("target/app.db");
        fs::write(&to, "what was there").unwrap();
        let running = home.spawn(&["restore", "app", "--to", to.to_str().unwrap()]);
        wait_until("the restore has begun to write", || {
            holds(&home.path("target"), ".partial")
        });
        signal(&running, asks);
        finish(running).exits(code);
        assert_eq!(fs::read(&to).unwrap(), b"what was there");
        if code == 130 {
            assert_eq!(files(&home.path("target")).len(), 1);
            home.is_clean();
        }
    }
    for name in files(&home.path("target"))
        .keys()
        .filter(|name| name.ends_with(".partial"))
    {
        age(&home.path("target").join(name), Duration::from_mins(1));
    }
    let to = home.path("target/app.db");
    home.run(&["restore", "app", "--to", to.to_str().unwrap()])
        .exits(0);
    assert_eq!(orders(&to), 10);
    home.is_clean();
}

#[test]
fn a_signal_during_a_verification_leaves_no_copy() {
    let home = home_with_much();
    home.backup();
    let running = home.spawn(&["verify", "app"]);
    wait_until("the copy is begun", || {
        holds(&home.path("scratch"), "plain")
    });
    signal(&running, Signal::TERM);
    finish(running).exits(130);
    home.is_clean();
}

#[test]
fn eight_backups_of_one_series_at_once_are_eight_whole_backups() {
    let home = Home::with_app();
    let running: Vec<_> = (0..8)
        .map(|_| home.spawn(&["backup", "app", "--json"]))
        .collect();
    for one in running {
        finish(one).exits(0);
    }
    assert_eq!(home.ids().len(), 8);
    let checked = home
        .run(&["verify", "app", "--all", "--json"])
        .exits(0)
        .json();
    assert_eq!(checked["checked"].as_array().unwrap().len(), 8);
    home.is_clean();
}

#[test]
fn eight_backups_that_prune_each_other_leave_only_whole_backups_and_no_orphan() {
    let home = Home::with_app();
    home.configure("", "    retention: { keep_last: 2, keep_min: 1 }\n");
    for _ in 0..3 {
        let running: Vec<_> = (0..8).map(|_| home.spawn(&["backup", "app"])).collect();
        for one in running {
            let run = finish(one);
            assert!([0, 1, 3].contains(&run.code), "{run:?}");
            assert!(!run.stderr.contains("the manifest of"), "{run:?}");
        }
        home.run(&["verify", "app", "--all"]).exits(0);
    }
    let named: std::collections::BTreeSet<String> = home
        .ids()
        .iter()
        .map(|id| {
            home.data_object(id)
                .strip_prefix(home.store())
                .unwrap()
                .display()
                .to_string()
        })
        .collect();
    for key in home.stored().keys().filter(|key| key.contains("/data/")) {
        assert!(named.contains(key), "{key} is named by no manifest");
    }
}
