//! Redis through the real program, beside real servers, to folders and buckets.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::sandbox::{Sandbox, names};
use crate::support::RedisServer;
use crate::support::servers::wait_until;

fn configure(sandbox: &Sandbox, server: &RedisServer, more: &str) {
    sandbox.folder("store");
    sandbox.write(
        "config.yaml",
        format!(
            "destinations: {{ store: \"file://{}\" }}\n\
             jobs:\n  cache:\n    source: {{ type: redis, url: \"{}\", data_dir: \"{}\" }}\n    \
             retention: {{ keep_last: 2 }}\n{more}",
            sandbox.path("store").display(),
            server.url(),
            server.dir.display()
        ),
    );
}

fn run_of(sandbox: &Sandbox, code: i32) -> Value {
    let ended = sandbox.run(["backup", "--json"]);
    ended.code(code).document()["runs"][0].clone()
}

fn stored(sandbox: &Sandbox) -> usize {
    names(&sandbox.path("store/cache/manifests")).len()
}

fn replica_of(primary: &RedisServer) -> RedisServer {
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    wait_until(
        "the replica is in sync",
        Duration::from_secs(30),
        || match replica.info("master_link_status").as_deref() {
            Some("up") => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    replica
}

fn load(dir: &Path) -> RedisServer {
    RedisServer::start_in(dir, &[])
}

#[test]
#[ignore = "needs redis-server"]
fn a_dump_makes_the_whole_way_and_a_server_starts_on_it() {
    let server = RedisServer::start(&[]);
    server.populate(5_000, "key", 200);
    server.save();
    for compression in ["none", "zstd", "gzip"] {
        let sandbox = Sandbox::new();
        configure(
            &sandbox,
            &server,
            &format!("    seal: {{ compression: {compression} }}\n"),
        );
        let run = run_of(&sandbox, 0);
        assert_eq!(
            (&run["outcome"], &run["engine"]),
            (&"completed".into(), &"redis".into())
        );
        assert_eq!(
            run["plain_bytes"],
            fs::metadata(server.dump_path()).unwrap().len()
        );
        sandbox.run(["verify", "cache"]).ok();
        let fresh = sandbox.folder("fresh");
        sandbox
            .run(["restore", "cache", "--to", "fresh/dump.rdb"])
            .ok();
        assert_eq!(
            fs::read(fresh.join("dump.rdb")).unwrap(),
            fs::read(server.dump_path()).unwrap()
        );
        assert_eq!(load(&fresh).cli(&["DBSIZE"]), "5000");
    }
}

#[test]
#[ignore = "needs redis-server"]
fn an_unchanged_dump_is_named_again_and_a_new_one_is_stored() {
    let server = RedisServer::start(&[]);
    server.populate(100, "key", 100);
    server.save();
    let sandbox = Sandbox::new();
    configure(&sandbox, &server, "");
    let first = run_of(&sandbox, 0);
    let second = run_of(&sandbox, 0);
    let outcome = |run: &Value| run["destinations"][0]["outcome"].clone();
    assert_eq!(
        (outcome(&first), outcome(&second)),
        ("stored".into(), "unchanged".into())
    );
    assert_eq!(
        first["destinations"][0]["key"],
        second["destinations"][0]["key"]
    );
    server.cli(&["SET", "one", "more"]);
    server.save();
    assert_eq!(outcome(&run_of(&sandbox, 0)), "stored");
    sandbox.run(["verify", "--all"]).ok();
}

#[test]
#[ignore = "needs redis-server"]
fn lifeboat_never_asks_for_a_save() {
    let server = RedisServer::start(&[]);
    server.populate(10, "key", 10);
    server.save();
    let before = (server.info("rdb_saves"), server.info("rdb_last_save_time"));
    let sandbox = Sandbox::new();
    configure(&sandbox, &server, "");
    run_of(&sandbox, 0);
    sandbox.run(["check"]).ok();
    sandbox.run(["status"]).ok();
    assert_eq!(
        (server.info("rdb_saves"), server.info("rdb_last_save_time")),
        before
    );
    let told = server.cli(&["INFO", "commandstats"]);
    assert!(!told.contains("cmdstat_bgsave"), "{told}");
}

#[test]
#[ignore = "needs redis-server"]
fn each_node_saves_in_its_role_and_a_skip_is_no_success_and_no_failure() {
    let primary = RedisServer::start(&[]);
    primary.populate(100, "key", 100);
    primary.save();
    let replica = replica_of(&primary);
    let expect = |server: &RedisServer, run_on: &str, outcome: &str, role: &str| {
        let sandbox = Sandbox::new();
        configure(&sandbox, server, &format!("    run_on: {run_on}\n"));
        let run = run_of(&sandbox, 0);
        assert_eq!(
            (&run["outcome"], &run["role"]),
            (&outcome.into(), &role.into()),
            "{run_on}"
        );
        assert_eq!(run["reason"].is_string(), outcome == "skipped");
        assert_eq!(stored(&sandbox), usize::from(outcome == "completed"));
    };
    expect(&primary, "primary", "completed", "primary");
    expect(&replica, "primary", "skipped", "replica");
    expect(&primary, "replica", "skipped", "primary");
    expect(&replica, "replica", "completed", "replica");
    expect(&primary, "any", "completed", "primary");
    expect(&replica, "any", "completed", "replica");
    expect(&primary, "prefer_replica", "skipped", "primary");
    expect(&replica, "prefer_replica", "completed", "replica");
    drop(replica);
    wait_until(
        "the primary has noticed",
        Duration::from_secs(30),
        || match primary.info("connected_slaves").as_deref() {
            Some("0") => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    expect(&primary, "prefer_replica", "completed", "standalone");
}

#[test]
#[ignore = "needs redis-server"]
fn a_primary_that_became_a_replica_does_not_upload_its_old_file_as_the_newest() {
    let old = RedisServer::start(&["--repl-diskless-load", "swapdb"]);
    old.populate(10, "old", 100);
    old.save();
    let new = RedisServer::start(&[
        "--repl-diskless-sync",
        "yes",
        "--repl-diskless-sync-delay",
        "0",
    ]);
    new.populate(500, "new", 100);
    old.cli(&["REPLICAOF", "127.0.0.1", &new.port.to_string()]);
    wait_until(
        "the old primary follows",
        Duration::from_secs(30),
        || match old.info("master_link_status").as_deref() {
            Some("up") => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    let sandbox = Sandbox::new();
    configure(&sandbox, &old, "    run_on: any\n");
    let run = run_of(&sandbox, 1);
    assert_eq!(run["outcome"], "failed");
    assert!(
        run["reason"]
            .as_str()
            .unwrap()
            .contains("another replication history"),
        "{run}"
    );
    assert_eq!(stored(&sandbox), 0);
}

#[test]
#[ignore = "needs redis-server"]
fn a_cut_dump_twice_with_two_to_keep_pushes_no_good_copy_out() {
    let server = RedisServer::start(&[]);
    server.populate(1_000, "key", 100);
    server.save();
    let sandbox = Sandbox::new();
    configure(&sandbox, &server, "");
    run_of(&sandbox, 0);
    let whole = fs::read(server.dump_path()).unwrap();
    for part in [2, 3] {
        fs::write(server.dump_path(), &whole[..whole.len() / part]).unwrap();
        run_of(&sandbox, 1);
    }
    assert_eq!(stored(&sandbox), 1);
    sandbox.run(["verify", "--all"]).ok();
}

#[test]
#[ignore = "needs redis-server"]
fn a_missing_an_empty_and_a_foreign_dump_fail_each_with_its_own_words() {
    let server = RedisServer::start(&[]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server, "");
    let mut reasons = Vec::new();
    for content in [
        None,
        Some(&b""[..]),
        Some(&b"not a dump at all, but long enough to be read"[..]),
    ] {
        match content {
            None => {}
            Some(bytes) => fs::write(server.dump_path(), bytes).unwrap(),
        }
        reasons.push(run_of(&sandbox, 1)["reason"].as_str().unwrap().to_owned());
    }
    let told = reasons.clone();
    reasons.dedup();
    assert_eq!(reasons.len(), 3, "{told:?}");
    assert_eq!(stored(&sandbox), 0);
}

#[test]
#[ignore = "needs redis-server"]
fn a_dump_without_a_checksum_is_stored_unverified_and_warned_about() {
    let server = RedisServer::start(&["--rdbchecksum", "no"]);
    server.populate(10, "key", 10);
    server.save();
    let sandbox = Sandbox::new();
    configure(&sandbox, &server, "");
    let ended = sandbox.run(["backup"]);
    assert!(ended.ok().stderr.contains("warning:"), "{ended:#?}");
    let listed = sandbox.run(["list", "--json"]).document();
    assert_eq!(listed["backups"][0]["verified"], false);
    // It is no verified backup, so the job is not fresh.
    sandbox.run(["status"]).code(4);
}

#[test]
#[ignore = "needs redis-server"]
fn a_stale_dump_fails_the_run_when_max_age_says_so() {
    let server = RedisServer::start(&[]);
    server.populate(10, "key", 10);
    server.save();
    let sandbox = Sandbox::new();
    configure(&sandbox, &server, "");
    let text = fs::read_to_string(sandbox.path("config.yaml")).unwrap();
    sandbox.write(
        "config.yaml",
        text.replace("type: redis,", "type: redis, max_age: 1s,"),
    );
    wait_until("the dump is old", Duration::from_secs(10), || {
        let age = fs::metadata(server.dump_path())
            .unwrap()
            .modified()
            .unwrap()
            .elapsed()
            .unwrap();
        if age > Duration::from_secs(3) {
            Ok(())
        } else {
            Err(format!("{age:?}"))
        }
    });
    let run = run_of(&sandbox, 1);
    assert!(
        run["reason"].as_str().unwrap().contains("max_age is 1s"),
        "{run}"
    );
}

#[test]
#[ignore = "needs redis-server"]
fn a_restore_over_the_dump_of_a_running_server_is_refused_and_one_of_a_stopped_server_is_loaded() {
    let mut server = RedisServer::start(&[]);
    server.populate(50, "key", 100);
    server.save();
    let sandbox = Sandbox::new();
    configure(&sandbox, &server, "");
    run_of(&sandbox, 0);
    server.cli(&["FLUSHALL"]);
    server.save();
    let into = ["restore", "cache", "--into-source"];
    let refused = sandbox.run(into);
    assert!(refused.code(1).stderr.contains("hint:"), "{refused:#?}");
    assert_eq!(server.cli(&["DBSIZE"]), "0");
    server.terminate();
    let document = sandbox
        .run(["restore", "cache", "--into-source", "--json"])
        .ok()
        .document();
    assert!(Path::new(document["replaced"].as_str().unwrap()).exists());
    server.restart();
    assert_eq!(server.cli(&["DBSIZE"]), "50");
}

#[test]
#[ignore = "needs redis-server"]
fn redis_1_never_touches_the_backups_of_redis_10() {
    let server = RedisServer::start(&[]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server, "");
    let url = format!("{}?data_dir={}", server.url(), server.dir.display());
    let store = format!("file://{}", sandbox.path("store").display());
    for round in 0..3 {
        server.cli(&["SET", "round", &round.to_string()]);
        server.save();
        for name in ["redis-1", "redis-10"] {
            let args = [
                "backup",
                "--source",
                &url,
                "--name",
                name,
                "--destination",
                &store,
            ];
            sandbox.run(args).ok();
        }
    }
    let args = [
        "prune",
        "redis-1",
        "--apply",
        "--keep-last",
        "1",
        "--destination",
        &store,
    ];
    sandbox.run(args).ok();
    assert_eq!(names(&sandbox.path("store/redis-1/manifests")).len(), 1);
    assert_eq!(names(&sandbox.path("store/redis-10/manifests")).len(), 3);
    assert_eq!(names(&sandbox.path("store/redis-10/data")).len(), 3);
}

#[test]
#[ignore = "needs redis-server"]
fn a_wrong_password_fails_the_run_and_is_not_shown() {
    let server = RedisServer::start(&[]);
    server.save();
    server.cli(&["CONFIG", "SET", "requirepass", "right"]);
    let sandbox = Sandbox::new();
    sandbox.folder("store");
    sandbox.write(
        "config.yaml",
        format!(
            "destinations: {{ store: \"file://{}\" }}\n\
             jobs: {{ cache: {{ run_on: any, source: {{ type: redis, url: \"redis://:wr0ng-secret@127.0.0.1:{}\", data_dir: \"{}\" }} }} }}\n",
            sandbox.path("store").display(),
            server.port,
            server.dir.display()
        ),
    );
    let ended = sandbox.run(["backup", "-vv"]);
    ended.code(1);
    assert!(!format!("{ended:?}").contains("wr0ng-secret"), "{ended:#?}");
    assert_eq!(stored(&sandbox), 0);
}
