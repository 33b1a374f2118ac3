//! How the daemon ends, whatever it is doing, and what a killed one leaves to its successor.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::daemon_support::{Daemon, wait_until};
use crate::sandbox::{Sandbox, names};
use crate::shelf::Shelf;

/// Rows of a megabyte each: a copy of them takes long, in few steps.
const LARGE: &str = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; CREATE TABLE t (x);
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
    INSERT INTO t SELECT randomblob(1000000) FROM n;";

/// Steps that keep a run busy for hours, and for a second or so.
const HOURS: u64 = 1_000_000_000_000;
const SECONDS: u64 = 10_000_000;

fn sandbox(grace: &str, database: &str, steps: u64) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.folder("nas");
    sandbox.folder("scratch");
    sandbox.sqlite("app.db", database);
    configure(&sandbox, grace, steps);
    sandbox
}

fn configure(sandbox: &Sandbox, grace: &str, steps: u64) {
    let root = sandbox.root().display();
    sandbox.write(
        "config.yaml",
        format!(
            "\
destinations: {{ nas: 'file://{root}/nas' }}
jobs:
  app:
    source:
      type: sqlite
      path: {root}/app.db
      sql:
        - WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {steps})
          SELECT count(*) FROM n
scratch_dir: {root}/scratch
grace: {grace}
"
        ),
    );
}

fn small(grace: &str, steps: u64) -> Sandbox {
    sandbox(grace, "CREATE TABLE t (x)", steps)
}

fn shelf(sandbox: &Sandbox) -> Shelf {
    Shelf::new(&sandbox.path("nas"), "app")
}

/// A daemon whose run has begun and not ended.
fn in_the_middle_of_a_run(sandbox: &Sandbox) -> Daemon {
    let daemon = Daemon::start(sandbox);
    wait_until("a scratch copy", || {
        !names(&sandbox.path("scratch")).is_empty()
    });
    daemon
}

fn run_events(said: &[String]) -> Vec<Value> {
    said.iter()
        .map(|line| serde_json::from_str::<Value>(line).expect("a JSON line"))
        .filter(|event| event.get("outcome").is_some())
        .collect()
}

/// Nothing half-written: what is on the shelf is whole, and there is no scratch.
#[track_caller]
fn assert_clean(sandbox: &Sandbox, backups: usize) {
    let shelf = shelf(sandbox);
    assert_eq!(shelf.ids().len(), backups);
    assert_eq!(shelf.data().len(), backups, "{:?}", shelf.data());
    assert!(names(&sandbox.path("scratch")).is_empty());
    for id in shelf.ids() {
        sandbox.run(["verify", "app", &id]).ok();
    }
}

#[test]
fn an_idle_daemon_ends_at_once_at_either_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let sandbox = small("25s", 1);
        let mut daemon = Daemon::start(&sandbox);
        daemon.run_event();
        let asked = Instant::now();
        daemon.signal(signal);
        let (code, _) = daemon.ended();
        assert_eq!(code, Some(0));
        assert!(asked.elapsed() < Duration::from_secs(3), "{signal:?}");
        assert_clean(&sandbox, 1);
    }
}

#[test]
fn a_run_that_can_be_finished_within_the_grace_period_is() {
    for signal in [Signal::TERM, Signal::INT] {
        let sandbox = small("60s", SECONDS);
        let daemon = in_the_middle_of_a_run(&sandbox);
        daemon.signal(signal);
        let (code, said) = daemon.ended();
        assert_eq!(code, Some(0), "{said:#?}");
        assert_eq!(run_events(&said)[0]["outcome"], "completed");
        assert_clean(&sandbox, 1);
    }
}

#[test]
fn a_run_that_cannot_be_finished_in_time_leaves_nothing() {
    let sandbox = small("2s", HOURS);
    let daemon = in_the_middle_of_a_run(&sandbox);
    daemon.signal(Signal::TERM);
    let (code, said) = daemon.ended();
    assert_eq!(code, Some(0), "{said:#?}");
    let events = run_events(&said);
    assert_eq!(events[0]["outcome"], "failed", "{said:#?}");
    assert_eq!(
        events[0]["reason"],
        "interrupted before it was finished; nothing was recorded"
    );
    assert_clean(&sandbox, 0);
}

#[test]
fn a_second_signal_cuts_the_draining_short() {
    let sandbox = small("10m", HOURS);
    let mut daemon = in_the_middle_of_a_run(&sandbox);
    daemon.signal(Signal::TERM);
    daemon.expect("stopping: no new runs");
    daemon.signal(Signal::TERM);
    let (code, said) = daemon.ended();
    assert_eq!(code, Some(0), "{said:#?}");
    assert_eq!(run_events(&said)[0]["outcome"], "failed", "{said:#?}");
    assert_clean(&sandbox, 0);
}

#[test]
fn a_killed_daemon_leaves_no_backup_and_its_successor_sweeps_up_and_makes_one() {
    let sandbox = small("25s", HOURS);
    let daemon = in_the_middle_of_a_run(&sandbox);
    daemon.signal(Signal::KILL);
    let (code, _) = daemon.ended();
    assert_eq!(code, None);
    assert_eq!(shelf(&sandbox).ids().len(), 0);
    assert_eq!(names(&sandbox.path("scratch")).len(), 1);

    configure(&sandbox, "25s", 1);
    let mut daemon = Daemon::start(&sandbox);
    assert_eq!(daemon.run_event()["outcome"], "completed");
    assert_eq!(daemon.stop().0, Some(0));
    assert_clean(&sandbox, 1);
}

#[test]
fn the_copy_of_a_large_database_is_finished_or_aborted_in_time() {
    let sandbox = sandbox("2s", LARGE, 1);
    let daemon = in_the_middle_of_a_run(&sandbox);
    daemon.signal(Signal::TERM);
    let (code, said) = daemon.ended();
    assert_eq!(code, Some(0), "{said:#?}");
    let completed = run_events(&said)[0]["outcome"] == "completed";
    assert_clean(&sandbox, usize::from(completed));
}

#[test]
fn a_store_that_does_not_answer_holds_no_shutdown_up() {
    let sandbox = small("25s", 1);
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let yaml = std::fs::read_to_string(sandbox.path("config.yaml")).expect("it was written");
    let bucket = format!(
        "destinations: {{ s3: {{ type: s3, bucket: b, endpoint: 'http://{}', access_key_id: k, secret_access_key: s }} }}",
        silent.local_addr().expect("an address")
    );
    let (_, jobs) = yaml.split_once('\n').expect("two lines");
    sandbox.write("config.yaml", format!("{bucket}\n{jobs}"));
    let daemon = Daemon::start(&sandbox);
    let (_asked, _) = silent.accept().expect("the daemon lists the bucket");
    let stopped = Instant::now();
    let (code, said) = daemon.stop();
    assert_eq!(code, Some(0), "{said:#?}");
    assert!(stopped.elapsed() < Duration::from_secs(5), "{said:#?}");
}
