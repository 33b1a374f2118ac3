//! The promises of the design, one test each, kept by the real program. Needs no server; the part
//! of promise 5 that does is in `redis_roles`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rusqlite::Connection;
use serde_json::Value;

use crate::sandbox::{Ended, Sandbox, names};

/// A sandbox with a database, a store and a configuration that keeps one backup.
fn scene() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.folder("store");
    sandbox.folder("scratch");
    database(&sandbox.path("app.db"), 50);
    configure(&sandbox, "{ type: sqlite, path: app.db }", "zstd");
    sandbox
}

fn configure(sandbox: &Sandbox, source: &str, compression: &str) {
    let store = sandbox.path("store");
    sandbox.write(
        "config.yaml",
        format!(
            "scratch_dir: scratch\n\
             destinations: {{ store: \"file://{}\" }}\n\
             jobs:\n  app:\n    source: {source}\n    seal: {{ compression: {compression} }}\n    \
             retention: {{ keep_last: 1 }}\n",
            store.display()
        ),
    );
}

fn database(path: &Path, rows: u32) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch("CREATE TABLE IF NOT EXISTS t (x)")
        .unwrap();
    add(&connection, rows);
}

fn add(connection: &Connection, rows: u32) {
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
               INSERT INTO t SELECT hex(randomblob(500)) FROM n";
    connection.execute(sql, [rows]).unwrap();
}

fn change(sandbox: &Sandbox) {
    add(&Connection::open(sandbox.path("app.db")).unwrap(), 1);
}

fn manifests(sandbox: &Sandbox) -> Vec<String> {
    names(&sandbox.path("store/app/manifests"))
}

fn data(sandbox: &Sandbox) -> Vec<String> {
    names(&sandbox.path("store/app/data"))
}

/// Scratch folders; one that its maker has not locked yet has another name.
fn scratch(sandbox: &Sandbox) -> Vec<String> {
    let mut names = names(&sandbox.path("scratch"));
    names.retain(|name| name.starts_with("lifeboat-scratch-"));
    names
}

/// A dump whose body is `bytes` of zeros: the proof of wholeness never decodes keys.
fn dump(path: &Path, bytes: u64) {
    let mut file = fs::File::create(path).unwrap();
    let head = b"REDIS0011\xfa\x09redis-ver\x067.0.15\xfe\x00";
    file.write_all(head).unwrap();
    file.seek(SeekFrom::Current(i64::try_from(bytes).unwrap()))
        .unwrap();
    file.write_all(b"\xff").unwrap();
    let params = crc_fast::CrcParams::new(
        "CRC-64/REDIS",
        64,
        0xad93_d235_94c9_35a9,
        0,
        true,
        0,
        0xe9c6_d914_c4b8_d9ca,
    );
    let mut crc = crc_fast::Digest::new_with_params(params);
    crc.update(head);
    let zeros = vec![0; 1 << 20];
    for _ in 0..bytes >> 20 {
        crc.update(&zeros);
    }
    crc.update(&zeros[..usize::try_from(bytes % (1 << 20)).unwrap()]);
    crc.update(b"\xff");
    file.write_all(&crc.finalize().to_le_bytes()).unwrap();
}

#[test]
fn promise_1_a_visible_manifest_implies_a_complete_object_that_verifies_whenever_it_is_killed() {
    let sandbox = scene();
    add(&Connection::open(sandbox.path("app.db")).unwrap(), 8_000);
    let mut interrupted = 0;
    for delay in 0..12 {
        change(&sandbox);
        let mut child = sandbox
            .command(["backup"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Somewhere between the capture and the end, another place each time.
        let begun =
            || !scratch(&sandbox).is_empty() || !names(&sandbox.path("store/app/data")).is_empty();
        while !begun() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        std::thread::sleep(std::time::Duration::from_millis(delay * 9));
        child.kill().unwrap();
        interrupted += u32::from(!child.wait().unwrap().success());
        let ended = sandbox.run(["verify", "--all", "app"]);
        assert!(matches!(ended.code, Some(0 | 4)), "{ended:#?}");
    }
    assert!(
        interrupted > 0,
        "no run was interrupted, so nothing was tested"
    );
    sandbox.run(["backup"]).ok();
    assert_eq!(
        scratch(&sandbox),
        [""; 0],
        "a killed run's scratch stays for ever"
    );
}

#[test]
fn promise_1_data_is_deleted_after_its_manifest_and_only_when_no_manifest_names_it() {
    let sandbox = scene();
    sandbox.run(["backup"]).ok();
    sandbox.run(["backup"]).ok();
    assert_eq!((manifests(&sandbox).len(), data(&sandbox).len()), (2, 1));
    change(&sandbox);
    sandbox.run(["backup"]).ok();
    assert_eq!((manifests(&sandbox).len(), data(&sandbox).len()), (1, 1));
    sandbox.run(["verify", "--all"]).ok();
}

#[test]
fn promise_2_nothing_is_recorded_unless_the_engines_own_proof_passed() {
    let sandbox = scene();
    sandbox.folder("redis");
    let whole = sandbox.path("redis/dump.rdb");
    let source = r#"{ type: redis, url: "redis://127.0.0.1:1", data_dir: redis }"#;
    let job = |sandbox: &Sandbox| {
        configure(sandbox, source, "none");
        let text = fs::read_to_string(sandbox.path("config.yaml")).unwrap();
        sandbox.write("config.yaml", format!("{text}    run_on: any\n"));
    };
    job(&sandbox);
    dump(&whole, 3_000_000);
    let genuine = fs::read(&whole).unwrap();
    let mut flipped = genuine.clone();
    flipped[2_000_000] ^= 4;
    let mut longer = genuine.clone();
    longer.push(0);
    for (what, bytes) in [
        ("cut", &genuine[..1_500_000]),
        ("cut in its footer", &genuine[..genuine.len() - 1]),
        ("flipped", &flipped),
        ("longer", &longer),
    ] {
        fs::write(&whole, bytes).unwrap();
        let ended = sandbox.run(["backup"]);
        assert_eq!(ended.code, Some(1), "{what}: {ended:#?}");
        assert!(ended.stderr.contains("error:"), "{what}: {ended:#?}");
        assert!(
            manifests(&sandbox).is_empty() && data(&sandbox).is_empty(),
            "{what}"
        );
    }
    fs::write(&whole, &genuine).unwrap();
    sandbox.run(["backup"]).ok();
    assert_eq!(manifests(&sandbox).len(), 1);
}

#[test]
fn promise_3_a_destination_that_gained_no_backup_loses_none() {
    let sandbox = scene();
    sandbox.run(["backup"]).ok();
    let before = (manifests(&sandbox), data(&sandbox));
    // A damaged source, twice, with keep_last 1: the good copy must survive.
    let mut bytes = fs::read(sandbox.path("app.db")).unwrap();
    let half = bytes.len() / 2;
    bytes.truncate(half);
    fs::write(sandbox.path("app.db"), bytes).unwrap();
    for _ in 0..2 {
        sandbox.run(["backup"]).code(1);
    }
    assert_eq!((manifests(&sandbox), data(&sandbox)), before);
}

#[test]
fn promise_3_objects_that_lifeboat_did_not_write_are_never_touched() {
    let sandbox = scene();
    sandbox.run(["backup"]).ok();
    let strangers = [
        "store/app/manifests/notes.json",
        "store/app/manifests/20200101T000000Z-zzzzzz.json",
        "store/app/data/20200101T000000Z-aaaaaa.rdb",
        "store/app/README",
        "store/app-2/data/x.db",
    ];
    for name in strangers {
        fs::create_dir_all(sandbox.path(name).parent().unwrap()).unwrap();
        sandbox.write(name, "mine");
    }
    for _ in 0..2 {
        change(&sandbox);
        sandbox.run(["backup"]).ok();
    }
    sandbox
        .run(["prune", "--apply", "--keep-last", "1", "app"])
        .ok();
    for name in strangers {
        assert!(sandbox.path(name).exists(), "{name} is gone");
    }
}

#[test]
fn promise_3_a_list_that_failed_is_an_error_and_never_empty() {
    let sandbox = scene();
    sandbox.run(["backup"]).ok();
    fs::rename(sandbox.path("store/app/manifests"), sandbox.path("aside")).unwrap();
    sandbox.write("store/app/manifests", "not a folder");
    for command in [
        vec!["list"],
        vec!["backup"],
        vec!["prune", "--apply"],
        vec!["verify"],
    ] {
        let ended = sandbox.run(&command);
        assert_eq!(ended.code, Some(1), "{command:?}: {ended:#?}");
    }
    assert_eq!(
        data(&sandbox).len(),
        1,
        "data was removed, or stored beside an unreadable catalog"
    );
}

#[test]
fn promise_4_two_processes_on_one_series_never_corrupt_each_other() {
    let sandbox = scene();
    let text = fs::read_to_string(sandbox.path("config.yaml")).unwrap();
    sandbox.write("config.yaml", text.replace("keep_last: 1", "keep_last: 99"));
    let children: Vec<_> = (0..8)
        .map(|_| {
            change(&sandbox);
            let mut command = sandbox.command(["backup", "--json"]);
            command.stdout(Stdio::piped()).stderr(Stdio::null());
            command.spawn().unwrap()
        })
        .collect();
    let mut ids = Vec::new();
    for child in children {
        let ended = Ended::of(child.wait_with_output().unwrap());
        let run = &ended.ok().document()["runs"][0];
        ids.push(run["id"].as_str().unwrap().to_owned());
    }
    let told = ids.clone();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), told.len(), "two runs had one id: {told:?}");
    // What each of them recorded is still there, and is what it recorded.
    let kept: BTreeSet<String> = manifests(&sandbox)
        .into_iter()
        .map(|name| name.trim_end_matches(".json").to_owned())
        .collect();
    assert!(ids.iter().all(|id| kept.contains(id)));
    sandbox.run(["verify", "--all", "app"]).ok();
}

#[test]
fn promise_5_role_unknown_is_no_licence_and_three_outcomes_are_three_things() {
    let sandbox = scene();
    sandbox.folder("redis");
    dump(&sandbox.path("redis/dump.rdb"), 1000);
    configure(
        &sandbox,
        r#"{ type: redis, url: "redis://127.0.0.1:1", data_dir: redis }"#,
        "none",
    );
    let ended = sandbox.run(["backup", "--json"]);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let run = &ended.document()["runs"][0];
    assert_eq!(
        (&run["outcome"], &run["role"]),
        (&"failed".into(), &"unknown".into())
    );
    assert!(manifests(&sandbox).is_empty());

    let text = fs::read_to_string(sandbox.path("config.yaml")).unwrap();
    sandbox.write("config.yaml", format!("{text}    run_on: any\n"));
    let ended = sandbox.run(["backup", "--json"]);
    let run = &ended.ok().document()["runs"][0];
    assert_eq!(
        (&run["outcome"], &run["role"]),
        (&"completed".into(), &"unknown".into())
    );
    assert_eq!(manifest(&sandbox)["role"]["before"], "unknown");
}

fn manifest(sandbox: &Sandbox) -> Value {
    let name = manifests(sandbox).pop().unwrap();
    let path = sandbox.path("store/app/manifests").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
#[ignore = "needs zstd"]
fn promise_6_a_backup_is_restored_without_lifeboat_by_its_own_lines() {
    for compression in ["zstd", "gzip", "none"] {
        let sandbox = scene();
        configure(&sandbox, "{ type: sqlite, path: app.db }", compression);
        sandbox.run(["backup"]).ok();
        let lines: Vec<String> = manifest(&sandbox)["restore"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line.as_str().unwrap().to_owned())
            .collect();
        let empty = sandbox.folder("by-hand");
        let status = Command::new("sh")
            .args(["-e", "-c", &lines.join("\n")])
            .current_dir(&empty)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{compression}: {lines:#?}");
        let count = |path: PathBuf| -> i64 {
            let connection = Connection::open(path).unwrap();
            connection
                .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
                .unwrap()
        };
        assert_eq!(
            count(empty.join("restored.db")),
            count(sandbox.path("app.db"))
        );
    }
}

#[test]
fn promise_7_no_secret_reaches_anything_that_is_printed_or_stored() {
    const CANARY: &str = "c4n4ry-5ecret";
    let mut sandbox = scene();
    sandbox.set("THE_SECRET", CANARY);
    sandbox.write("secret", format!("{CANARY}\n"));
    sandbox.folder("redis");
    dump(&sandbox.path("redis/dump.rdb"), 1000);
    let store = sandbox.path("store");
    sandbox.write(
        "config.yaml",
        format!(
            "scratch_dir: scratch\n\
             destinations:\n  store: \"file://{}\"\n  bucket: {{ type: s3, bucket: b, endpoint: \
             \"http://127.0.0.1:1\", access_key_id: id, secret_access_key: {CANARY} }}\n\
             jobs:\n  \
             a: {{ run_on: any, destinations: [store, bucket], source: {{ type: redis, url: \"redis://u:{CANARY}@127.0.0.1:1\", data_dir: redis }} }}\n  \
             b: {{ run_on: any, destinations: [store], source: {{ type: redis, url: \"redis://127.0.0.1:1\", data_dir: redis, password: {{ env: THE_SECRET }} }} }}\n  \
             c: {{ run_on: any, destinations: [store], source: {{ type: redis, url: \"redis://127.0.0.1:1\", data_dir: redis, password: {{ file: secret }} }} }}\n",
            store.display()
        ),
    );
    for command in [
        vec!["backup", "-vv"],
        vec!["config", "show"],
        vec!["config", "show", "--json"],
        vec!["check", "--json", "-vv", "--destination", "store"],
        vec!["list", "-vv"],
        vec!["show", "b", "--json"],
    ] {
        let ended = sandbox.run(&command);
        let printed = format!("{}{}", ended.stdout, ended.stderr);
        assert!(
            !printed.contains(CANARY),
            "{command:?} printed it: {printed}"
        );
    }
    let mut stored = 0;
    for series in ["a", "b", "c"] {
        for name in names(&sandbox.path(&format!("store/{series}/manifests"))) {
            let path = sandbox.path(&format!("store/{series}/manifests/{name}"));
            assert!(!fs::read_to_string(path).unwrap().contains(CANARY));
            stored += 1;
        }
    }
    assert!(stored >= 3, "nothing was stored, so nothing was tested");
}

#[test]
fn promise_8_restore_verifies_first_swaps_last_and_keeps_what_it_replaces() {
    let sandbox = scene();
    sandbox.run(["backup"]).ok();
    let target = sandbox.write("target.db", "what was there");
    let object = sandbox.path("store/app/data").join(&data(&sandbox)[0]);
    let good = fs::read(&object).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::write(&object, &bad).unwrap();
    let to = ["restore", "app", "--to", "target.db"];
    sandbox.run(to).code(5);
    assert_eq!(fs::read_to_string(&target).unwrap(), "what was there");
    assert!(
        !names(sandbox.root())
            .iter()
            .any(|name| name.contains("before-"))
    );

    fs::write(&object, &good).unwrap();
    let ended = sandbox.run(["restore", "app", "--to", "target.db", "--json"]);
    let document = ended.ok().document();
    let kept = document["replaced"].as_str().unwrap();
    assert_eq!(
        fs::read_to_string(sandbox.path(kept)).unwrap(),
        "what was there"
    );
    Connection::open(&target)
        .unwrap()
        .execute_batch("SELECT * FROM t")
        .unwrap();
}

#[test]
fn promise_9_memory_does_not_grow_with_the_data_and_a_dump_needs_no_scratch() {
    let peak = |megabytes: u64| {
        let sandbox = scene();
        sandbox.folder("redis");
        dump(&sandbox.path("redis/dump.rdb"), megabytes << 20);
        let source = r#"{ type: redis, url: "redis://127.0.0.1:1", data_dir: redis }"#;
        configure(&sandbox, source, "none");
        let text = fs::read_to_string(sandbox.path("config.yaml")).unwrap();
        sandbox.write("config.yaml", format!("{text}    run_on: any\n"));
        let mut child = sandbox
            .command(["backup", "-q"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut peak = 0;
        let mut scratch = 0;
        while child.try_wait().unwrap().is_none() {
            peak = peak.max(high_water_mark(child.id()).unwrap_or(0));
            scratch = scratch.max(names(&sandbox.path("scratch")).len());
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(child.wait().unwrap().success());
        assert_eq!(scratch, 0, "a second copy was made on disk");
        peak
    };
    let (small, large) = (peak(32), peak(320));
    assert!(
        small > 0 && large < small + (12 << 10),
        "{small} KiB became {large} KiB"
    );
}

/// Peak resident memory of a process, KiB.
fn high_water_mark(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
