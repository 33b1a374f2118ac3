//! What retention must never do, and what it does in a folder of thousands.

use std::fs;
use std::time::Duration;

use jiff::{Span, Timestamp};
use serde_json::Value;

use crate::sandbox::{Ended, Sandbox, names};
use crate::shelf::Shelf;

const RULES: &str = "retention: { keep_last: 1 }";

/// A folder `nas`, a database and a job `app` with these rules.
fn sandbox(rules: &str) -> (Sandbox, Shelf) {
    let sandbox = Sandbox::new();
    let nas = sandbox.folder("nas");
    sandbox.sqlite("app.db", "CREATE TABLE t (x)");
    let root = sandbox.root().display();
    sandbox.write(
        "config.yaml",
        format!(
            "\
destinations: {{ nas: 'file://{root}/nas' }}
jobs:
  app:
    source: {{ type: sqlite, path: {root}/app.db }}
    {rules}
"
        ),
    );
    (sandbox, Shelf::new(&nas, "app"))
}

/// Makes a backup of something new.
fn back_up(sandbox: &Sandbox) -> Ended {
    sandbox.sqlite("app.db", "INSERT INTO t VALUES (random())");
    sandbox.run(["backup", "--json"])
}

/// Files `count` copies of the newest backup, an hour apart, before it.
fn file_older(shelf: &Shelf, count: i64) {
    let newest = shelf.newest();
    let captured: Timestamp = newest["captured_at"].as_str().unwrap().parse().unwrap();
    for hours in 1..=count {
        let moment = captured.checked_sub(Span::new().hours(hours)).unwrap();
        shelf.file(&newest, moment);
    }
}

fn listed(sandbox: &Sandbox) -> Vec<String> {
    let document = sandbox.run(["list", "app", "--json"]).ok().document();
    let backups = document["backups"].as_array().expect("a list");
    backups
        .iter()
        .map(|backup| backup["id"].as_str().expect("an id").to_owned())
        .collect()
}

fn indexes(shelf: &Shelf) -> Vec<String> {
    names(&shelf.path("index"))
}

#[test]
fn each_run_removes_what_no_rule_keeps() {
    let (sandbox, shelf) = sandbox("retention: { keep_last: 2 }");
    back_up(&sandbox).ok();
    file_older(&shelf, 3);
    let run = back_up(&sandbox).ok().document();
    let line = &run["runs"][0]["destinations"][0];
    assert_eq!(line["outcome"], "stored");
    assert_eq!(line["pruned"], 3);
    assert_eq!(shelf.ids().len(), 2);
    assert_eq!(shelf.data().len(), 2);
}

#[test]
fn a_run_that_stored_nothing_removes_nothing() {
    let (sandbox, shelf) = sandbox(RULES);
    back_up(&sandbox).ok();
    file_older(&shelf, 3);
    let before = shelf.ids();
    // A store that lists, and takes no data.
    fs::rename(shelf.path("data"), shelf.path("away")).unwrap();
    fs::write(shelf.path("data"), "in the way").unwrap();
    let run = back_up(&sandbox);
    let run = &run.code(1).document()["runs"][0];
    assert_eq!(run["outcome"], "failed");
    assert_eq!(run["destinations"][0]["pruned"], 0);
    assert_eq!(shelf.ids(), before);

    // And the source's failure costs no backup either.
    fs::remove_file(shelf.path("data")).unwrap();
    fs::rename(shelf.path("away"), shelf.path("data")).unwrap();
    fs::write(sandbox.path("app.db"), "not a database, but as long as one").unwrap();
    sandbox.run(["backup"]).code(1);
    assert_eq!(shelf.ids(), before);
    assert_eq!(shelf.data().len(), before.len());
}

#[test]
fn files_of_others_are_never_touched() {
    let (sandbox, shelf) = sandbox(RULES);
    back_up(&sandbox).ok();
    file_older(&shelf, 2);
    let strangers = [
        "notes.txt",
        "data/notes.txt",
        "data/20200101T000000Z-zzzzzz.db",
        "data/20200101T000000Z.db",
        "manifests/notes.txt",
        "manifests/notes.json",
        "manifests/20200101T000000Z-ABCDEF.json",
        "manifests/20200101T000000Z-abcdef.json.bak",
        "manifests/old",
        "index/notes.txt",
    ];
    fs::create_dir_all(shelf.path("index")).unwrap();
    for name in strangers {
        fs::write(shelf.path(name), "mine").unwrap();
    }
    let run = back_up(&sandbox).ok().document();
    assert_eq!(run["runs"][0]["destinations"][0]["pruned"], 3);
    sandbox.run(["prune", "app", "--apply"]).ok();
    for name in strangers {
        assert_eq!(fs::read(shelf.path(name)).unwrap(), b"mine", "{name}");
    }
}

#[test]
fn a_series_is_not_its_neighbour_whose_name_begins_alike() {
    let sandbox = Sandbox::new();
    let nas = sandbox.folder("nas");
    sandbox.sqlite("app.db", "CREATE TABLE t (x)");
    let url = format!("file://{}", nas.display());
    let source = format!("sqlite://{}", sandbox.path("app.db").display());
    for name in ["redis-1", "redis-10", "redis"] {
        let save = ["backup", "--source", &source, "--name", name];
        let save = save.into_iter().chain(["--destination", &url]);
        sandbox.run(save).ok();
        file_older(&Shelf::new(&nas, name), 4);
    }
    let rules = ["--keep-last", "1", "--apply", "--destination", &url];
    sandbox.run(["prune", "redis-1"].iter().chain(&rules)).ok();
    let left = |name| Shelf::new(&nas, name).ids().len();
    assert_eq!(
        [left("redis-1"), left("redis-10"), left("redis")],
        [1, 5, 5]
    );
}

#[test]
fn the_manifest_goes_before_the_data() {
    let (sandbox, shelf) = sandbox(RULES);
    back_up(&sandbox).ok();
    file_older(&shelf, 1);
    let old = shelf.ids().first().expect("the older one").clone();
    let key = shelf.manifest(&old)["key"].as_str().unwrap().to_owned();
    let data = sandbox.path("nas").join(key);
    // Data that cannot be deleted: a folder that is not empty.
    fs::remove_file(&data).unwrap();
    fs::create_dir(&data).unwrap();
    fs::write(data.join("x"), "x").unwrap();

    let ended = sandbox.run(["prune", "app", "--apply", "--json"]);
    let plan = &ended.code(1).document()["plans"][0];
    assert_eq!(plan["applied"], false);
    assert!(!shelf.manifest_path(&old).exists(), "no visible backup");
    assert!(data.exists());
    let left = sandbox.run(["verify", "app", "--all"]);
    left.ok();
}

#[test]
fn a_store_that_refuses_deletes_leaves_the_run_completed_with_a_warning() {
    let (sandbox, shelf) = sandbox(RULES);
    back_up(&sandbox).ok();
    file_older(&shelf, 1);
    // Data that cannot be deleted: a folder that is not empty.
    let data = shelf.path("data").join(&shelf.data()[0]);
    fs::remove_file(&data).unwrap();
    fs::create_dir(&data).unwrap();
    fs::write(data.join("x"), "x").unwrap();
    sandbox.sqlite("app.db", "INSERT INTO t VALUES (random())");
    let ended = sandbox.run(["backup"]);
    assert!(ended.ok().stdout.contains("completed"), "{ended:#?}");
    let told = format!("{}{}", ended.stdout, ended.stderr);
    assert!(told.contains("cannot delete app/data/"), "{told}");
    assert_eq!(shelf.ids().len(), 1);
}

#[test]
fn data_of_a_run_that_died_goes_after_a_day_and_no_other_data_does() {
    let (sandbox, shelf) = sandbox(RULES);
    back_up(&sandbox).ok();
    let now = Timestamp::now();
    let id = |hours: i64| {
        let moment = now.checked_sub(Span::new().hours(hours)).unwrap();
        format!("{}-abcdef", moment.strftime("%Y%m%dT%H%M%SZ"))
    };
    let file = |name: String, hours: u64| {
        let path = shelf.path("data").join(&name);
        let file = fs::File::create(&path).unwrap();
        let then = std::time::SystemTime::now() - Duration::from_hours(hours);
        file.set_modified(then).unwrap();
        name
    };
    let orphans = [
        file(format!("{}.db", id(50)), 50),
        file(format!("{}.rdb.zst", id(49)), 49),
    ];
    let stay = [
        file(format!("{}.db", id(23)), 50),
        file(format!("{}.db", id(48)), 23),
        file(format!("{}.txt", id(47)), 47),
        file("notes.db".to_owned(), 50),
    ];
    let named = shelf.newest()["key"].as_str().unwrap().to_owned();

    let document = sandbox.run(["prune", "app", "--json"]).ok().document();
    let found = document["plans"][0]["orphans"].as_array().unwrap();
    let keys: Vec<&str> = found.iter().map(|o| o["key"].as_str().unwrap()).collect();
    assert_eq!(keys, orphans.clone().map(|name| format!("app/data/{name}")));
    assert_eq!(shelf.data().len(), 7, "a plan removes nothing");
    let told = sandbox.run(["prune", "app"]);
    assert!(
        told.ok().stdout.contains("Run again with --apply"),
        "{told:#?}"
    );

    sandbox.run(["prune", "app", "--apply"]).ok();
    let mut left = stay.to_vec();
    left.push(named.rsplit('/').next().unwrap().to_owned());
    left.sort();
    assert_eq!(shelf.data(), left);

    // A run that makes room sweeps too.
    file(orphans[0].clone(), 50);
    file_older(&shelf, 1);
    back_up(&sandbox).ok();
    assert!(!shelf.data().contains(&orphans[0]));
    assert_eq!(shelf.data().len(), 5);

    // But nobody who does not know what every manifest names.
    file(orphans[0].clone(), 50);
    let newest = shelf.newest();
    let unreadable = |manifest: &mut Value| manifest["format"] = 2.into();
    shelf.file_as(
        &newest,
        now.checked_sub(Span::new().hours(90)).unwrap(),
        unreadable,
    );
    sandbox.run(["prune", "app", "--apply"]).code(1);
    assert!(shelf.data().contains(&orphans[0]));
}

#[test]
fn thousands_of_backups_are_planned_and_removed() {
    let (sandbox, shelf) = sandbox("retention: { keep_last: 3, daily: 7, keep_min: 1 }");
    back_up(&sandbox).ok();
    file_older(&shelf, 2_200);
    let plan = sandbox.run(["prune", "app", "--json"]).ok().document();
    let plan = &plan["plans"][0];
    let lengths = |list: &str| plan[list].as_array().unwrap().len();
    assert_eq!(lengths("keep") + lengths("remove"), 2_201);
    assert!((9..=10).contains(&lengths("keep")), "{}", plan["keep"]);
    let stay: Vec<String> = plan["keep"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kept| kept["id"].as_str().unwrap().to_owned())
        .collect();

    sandbox.run(["prune", "app", "--apply"]).ok();
    assert_eq!(listed(&sandbox), stay);
    assert_eq!(shelf.data().len(), stay.len());
}

#[test]
fn a_run_leaves_an_index_where_many_backups_have_none_and_only_the_list_decides_what_exists() {
    let (sandbox, shelf) = sandbox("");
    back_up(&sandbox).ok();
    file_older(&shelf, 254);
    back_up(&sandbox).ok();
    assert_eq!(indexes(&shelf).len(), 1, "256 manifests are worth one");
    let all = listed(&sandbox);
    assert_eq!(all.len(), 256);

    // A manifest that goes is gone, one that comes is there, one that changed counts as it is.
    let gone = shelf.manifest(&all[10]);
    shelf.discard(&gone);
    let mut changed = shelf.manifest(&all[20]);
    changed["verified"]["ok"] = false.into();
    fs::write(shelf.manifest_path(&all[20]), changed.to_string()).unwrap();
    let newest = shelf.newest();
    let added = shelf.file(&newest, Timestamp::now() + Duration::from_secs(2));
    let document = sandbox.run(["list", "app", "--json"]).ok().document();
    let backups = document["backups"].as_array().unwrap();
    let verified = |id: &str| -> Option<bool> {
        let found = backups.iter().find(|backup| backup["id"] == id);
        found.and_then(|backup: &Value| backup["verified"].as_bool())
    };
    assert_eq!(verified(&all[10]), None);
    assert_eq!(verified(&all[20]), Some(false));
    assert_eq!(verified(&all[21]), Some(true));
    assert_eq!(verified(&added), Some(true));
    assert_eq!(backups.len(), 256);
}

#[test]
fn an_index_that_is_damaged_or_old_is_passed_over_and_replaced() {
    let (sandbox, shelf) = sandbox("");
    back_up(&sandbox).ok();
    file_older(&shelf, 300);
    back_up(&sandbox).ok();
    let all = listed(&sandbox);
    let first = indexes(&shelf);
    let path = shelf.path("index").join(&first[0]);
    let sound = fs::read(&path).unwrap();
    for damage in [
        Vec::new(),
        b"not an index".to_vec(),
        sound[..sound.len() / 2].to_vec(),
        {
            let mut turned = sound.clone();
            turned[sound.len() / 2] ^= 0x10;
            turned
        },
    ] {
        fs::write(&path, damage).unwrap();
        assert_eq!(listed(&sandbox), all);
        sandbox.run(["verify", "app"]).ok();
    }
    back_up(&sandbox).ok();
    let second = indexes(&shelf);
    assert_eq!(second.len(), 1, "the damaged one is replaced: {second:?}");
    assert_ne!(second, first);
    assert_eq!(listed(&sandbox).len(), all.len() + 1);

    // One that few backups miss stays.
    back_up(&sandbox).ok();
    assert_eq!(indexes(&shelf), second);
}
