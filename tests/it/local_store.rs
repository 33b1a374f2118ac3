//! A folder as a destination.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use super::program::{Home, add_rows, age, files, names, open_existing, require_root};

#[test]
fn a_folder_that_is_not_there_is_not_made_and_the_source_is_left_in_peace() {
    let home = Home::with_app();
    fs::rename(home.store(), home.path("unmounted")).unwrap();
    for arguments in [
        &["backup", "app"][..],
        &["list", "app"],
        &["verify", "app"],
        &["restore", "app", "--to", "x"],
        &["prune", "app", "--keep-last", "1"],
    ] {
        home.run(arguments).exits(1).complains("no such folder");
    }
    assert!(!home.store().exists());
    home.is_clean();
}

#[test]
fn a_folder_that_may_be_made_is_an_empty_one_until_the_first_backup() {
    let home = Home::with_app();
    fs::remove_dir(home.store()).unwrap();
    let text = fs::read_to_string(home.path("config.yaml")).unwrap();
    let text = text.replace("backups\" }", "backups/deep/er\", create: true }");
    fs::write(home.path("config.yaml"), text).unwrap();
    home.run(&["list", "app"]).exits(0);
    home.run(&["verify", "app"]).exits(4);
    home.run(&["prune", "app", "--keep-last", "1"]).exits(0);
    assert!(!home.store().exists(), "reading made it");
    home.run(&["backup", "app"]).exits(0);
    home.run(&["verify", "app"]).exits(0);
    let mode = |path: &str| fs::metadata(home.path(path)).unwrap().permissions().mode();
    for folder in ["backups", "backups/deep", "backups/deep/er"] {
        assert_eq!(mode(folder) & 0o077, 0, "{folder}");
    }
}

#[test]
fn what_is_stored_is_its_owners_alone() {
    let home = Home::with_app();
    home.backup();
    for name in names(&home.store()) {
        let mode = fs::metadata(home.store().join(&name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
    for folder in ["app", "app/data", "app/manifests"] {
        let mode = fs::metadata(home.store().join(folder))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{folder} has mode {mode:o}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_read_only_folder_fails_and_is_as_it_was() {
    require_root();
    let home = Home::with_app();
    home.backup();
    add_rows(&open_existing(&home.path("app.db")), 1);
    let before = home.stored();
    let bound = Command::new("mount")
        .args(["--bind", "-o", "ro"])
        .args([home.store(), home.store()])
        .output()
        .unwrap();
    assert!(
        bound.status.success(),
        "cannot mount read-only, which this test needs: {bound:?}"
    );
    let run = home.run(&["backup", "app"]);
    let pruned = home.run(&["prune", "app", "--keep-last", "1", "--apply"]);
    let verified = home.run(&["verify", "app"]);
    assert!(
        Command::new("umount")
            .arg(home.store())
            .status()
            .unwrap()
            .success()
    );
    run.exits(1).complains("read-only file system");
    pruned.exits(0);
    verified.exits(0);
    assert!(home.stored() == before);
    home.is_clean();
}

#[test]
fn a_series_is_not_its_neighbour_whose_name_begins_alike() {
    let home = Home::with_app();
    let source = home.source_url();
    for name in ["app-1", "app-10", "app"] {
        for _ in 0..2 {
            add_rows(&open_existing(&home.path("app.db")), 1);
            home.on_store(&["backup", "--source", &source, "--name", name])
                .exits(0);
        }
    }
    let rules = ["--keep-last", "1", "--keep-min", "1", "--apply"];
    home.on_store(&[&["prune", "app-1"][..], &rules].concat())
        .exits(0);
    let count = |series: &str| {
        let listed = home.on_store(&["list", series, "--json"]).exits(0).json();
        listed["backups"].as_array().unwrap().len()
    };
    assert_eq!((count("app-1"), count("app-10"), count("app")), (1, 2, 2));
}

#[test]
fn files_of_others_are_no_backups_and_are_never_touched() {
    let home = Home::with_app();
    home.configure("", "    retention: { keep_last: 1, keep_min: 1 }\n");
    home.backup();
    let strangers = [
        "notes.txt",
        "app/notes.txt",
        "app/data/notes.db",
        "app/data/20200101T000000Z-abcdef.db.zst.mine",
        "app/manifests/notes.json",
        "app/manifests/20200101T000000Z-abcdef.json.bak",
        "app/manifests/20200101T000000Z-ABCDEF.json",
        "app/manifests/.lifeboat-mine.txt",
        "other/manifests/README",
    ];
    for name in strangers {
        let path = home.store().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, name).unwrap();
        age(&path, Duration::from_hours(48));
    }
    for _ in 0..2 {
        add_rows(&open_existing(&home.path("app.db")), 1);
        home.backup();
    }
    home.run(&["prune", "app", "--apply"]).exits(0);
    assert_eq!(home.ids().len(), 1);
    for name in strangers {
        let found = fs::read_to_string(home.store().join(name));
        assert_eq!(found.ok().as_deref(), Some(name), "{name} was touched");
    }
}

#[test]
fn a_stranger_under_an_id_stops_retention_and_nothing_else() {
    let home = Home::with_app();
    home.configure("", "    retention: { keep_last: 1, keep_min: 1 }\n");
    home.backup();
    fs::write(
        home.store()
            .join("app/manifests/20200101T000000Z-abcdef.json"),
        "hello",
    )
    .unwrap();
    add_rows(&open_existing(&home.path("app.db")), 1);
    let run = home.run(&["backup", "app"]).exits(0);
    assert!(run.stderr.contains("warning: "), "{run:?}");
    assert_eq!(home.ids().len(), 2);
}

#[test]
fn a_file_in_place_of_the_series_or_the_store_fails() {
    let home = Home::with_app();
    fs::write(home.store().join("app"), "in the way").unwrap();
    home.run(&["backup", "app"]).exits(1);
    assert_eq!(files(&home.store()).len(), 1);
    home.is_clean();
    fs::remove_dir_all(home.store()).unwrap();
    fs::write(home.store(), "in the way").unwrap();
    home.run(&["backup", "app"]).exits(1);
    assert_eq!(fs::read(home.store()).unwrap(), b"in the way");
}

#[test]
fn more_than_a_thousand_backups_are_listed_found_and_pruned() {
    let home = Home::with_app();
    let id = home.backup();
    let manifest = fs::read_to_string(home.manifest(&id)).unwrap();
    let data = fs::read(home.data_object(&id)).unwrap();
    for n in 0..1100 {
        let other = format!("20240101T{:02}{:02}00Z-{n:06x}", n / 60, n % 60);
        let moment = format!("2024-01-01T{:02}:{:02}:00.000Z", n / 60, n % 60);
        let mut copy: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        copy["id"] = other.clone().into();
        copy["captured_at"] = moment.into();
        copy["key"] = format!("app/data/{other}.db.zst").into();
        fs::write(home.manifest(&other), copy.to_string()).unwrap();
        fs::write(home.store().join(format!("app/data/{other}.db.zst")), &data).unwrap();
    }
    assert_eq!(home.ids().len(), 1101);
    let oldest = "20240101T000000Z-000000";
    home.run(&["verify", "app", oldest]).exits(0);
    home.configure("", "    retention: { keep_last: 3 }\n");
    add_rows(&open_existing(&home.path("app.db")), 1);
    let document = home.run(&["backup", "app", "--json"]).exits(0).json();
    assert_eq!(document["runs"][0]["destinations"][0]["pruned"], 1099);
    assert_eq!(home.ids().len(), 3);
    let left: Vec<String> = names(&home.store())
        .into_iter()
        .filter(|name| name.contains("/data/"))
        .collect();
    assert_eq!(left.len(), 3);
    home.run(&["verify", "app", "--all"]).exits(0);
}

#[test]
fn series_are_found_in_a_store_that_nothing_else_is_known_of() {
    let home = Home::with_app();
    let source = home.source_url();
    for name in ["one", "two"] {
        home.on_store(&["backup", "--source", &source, "--name", name])
            .exits(0);
    }
    fs::remove_file(home.path("config.yaml")).unwrap();
    let listed = home.on_store(&["list", "--json"]).exits(0).json();
    let mut series: Vec<&str> = listed["backups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| b["series"].as_str().unwrap())
        .collect();
    series.sort_unstable();
    assert_eq!(series, ["one", "two"]);
    let checked = home.on_store(&["verify", "--json"]).exits(0).json();
    assert_eq!(checked["checked"].as_array().unwrap().len(), 2);
}
