//! The daemon's schedule, from the real program: what the destinations hold decides what is due.

use std::time::{Duration, Instant};

use jiff::{Span, Timestamp};
use serde_json::{Value, json};

use crate::daemon_support::Daemon;
use crate::sandbox::Sandbox;
use crate::shelf::Shelf;

/// One job, `app`, of a database that is there, with a destination `nas` that is there.
fn app(job: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.folder("nas");
    sandbox.folder("scratch");
    sandbox.sqlite("app.db", "CREATE TABLE t (x); INSERT INTO t VALUES (0)");
    configure(&sandbox, "nas", job);
    sandbox
}

fn configure(sandbox: &Sandbox, destinations: &str, job: &str) {
    let root = sandbox.root().display();
    let destinations: Vec<String> = destinations
        .split(' ')
        .map(|name| format!("  {name}: file://{root}/{name}"))
        .collect();
    let destinations = destinations.join("\n");
    sandbox.write(
        "config.yaml",
        format!(
            "\
destinations:
{destinations}
jobs:
  app:
    source: {{ type: sqlite, path: {root}/app.db }}
    {job}
scratch_dir: {root}/scratch
"
        ),
    );
}

fn shelf(sandbox: &Sandbox, destination: &str) -> Shelf {
    Shelf::new(&sandbox.path(destination), "app")
}

fn outcomes(event: &Value) -> Vec<(&str, &str)> {
    event["destinations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|line| {
            (
                line["name"].as_str().expect("a name"),
                line["outcome"].as_str().expect("an outcome"),
            )
        })
        .collect()
}

fn ago(span: Span) -> Timestamp {
    let then = Timestamp::now().checked_sub(span).expect("a time");
    Timestamp::from_second(then.as_second()).expect("a time")
}

/// Leaves the sandbox with one backup, of `captured_at`.
fn with_backup_of(sandbox: &Sandbox, captured_at: Timestamp) {
    sandbox.run(["backup"]).ok();
    let shelf = shelf(sandbox, "nas");
    let taken = shelf.newest();
    shelf.file(&taken, captured_at);
    shelf.discard(&taken);
}

#[test]
fn three_restarts_make_no_backup_that_is_not_due() {
    let sandbox = app("schedule: { every: 1h }");
    sandbox.run(["backup"]).ok();
    let before = shelf(&sandbox, "nas").ids();
    for _ in 0..3 {
        let mut daemon = Daemon::start_with(&sandbox, &["run", "-v"], &[("LOG_FORMAT", "json")]);
        daemon.expect("next run at");
        assert_eq!(daemon.stop().0, Some(0));
    }
    assert_eq!(shelf(&sandbox, "nas").ids(), before);
}

#[test]
fn a_missed_run_is_caught_up_at_start_and_the_next_is_a_period_later() {
    for (schedule, age) in [
        ("every: 1h", Span::new().hours(2)),
        ("cron: '0 0 1 1 *'", Span::new().hours(24 * 400)),
    ] {
        let sandbox = app(&format!("schedule: {{ {schedule} }}"));
        with_backup_of(&sandbox, ago(age));
        let mut daemon = Daemon::start_with(&sandbox, &["run", "-v"], &[("LOG_FORMAT", "json")]);
        assert_eq!(daemon.run_event()["outcome"], "completed");
        daemon.expect("next run at");
        daemon.stop();
        assert_eq!(shelf(&sandbox, "nas").ids().len(), 2, "{schedule}");
    }
}

#[test]
fn each_period_brings_a_backup_of_what_is_new_and_runs_never_overlap() {
    let sandbox = app("schedule: { every: 2s }");
    let mut daemon = Daemon::start(&sandbox);
    let mut ids = Vec::new();
    for row in 1..=3 {
        let event = daemon.run_event();
        assert_eq!(event["outcome"], "completed", "{event}");
        assert_eq!(outcomes(&event), [("nas", "stored")]);
        ids.push(event["id"].as_str().expect("an id").to_owned());
        sandbox.sqlite("app.db", &format!("INSERT INTO t VALUES ({row})"));
    }
    daemon.stop();
    let shelf = shelf(&sandbox, "nas");
    assert_eq!(shelf.ids()[..3], ids);
    let captured: Vec<Timestamp> = shelf
        .ids()
        .iter()
        .map(|id| {
            shelf.manifest(id)["captured_at"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    for pair in captured.windows(2) {
        let apart = pair[1].duration_since(pair[0]).as_millis();
        // Schedules go by the id's second, so up to one of them may be missing.
        assert!((1_000..60_000).contains(&apart), "{captured:?}");
    }
}

#[test]
fn a_period_without_news_names_the_data_that_is_stored() {
    let sandbox = app("schedule: { every: 1s }");
    let mut daemon = Daemon::start(&sandbox);
    assert_eq!(outcomes(&daemon.run_event()), [("nas", "stored")]);
    assert_eq!(outcomes(&daemon.run_event()), [("nas", "unchanged")]);
    daemon.stop();
    assert_eq!(shelf(&sandbox, "nas").data().len(), 1);
}

#[test]
fn the_first_run_waits_for_the_initial_delay() {
    let sandbox = app("schedule: { every: 1h, initial_delay: 3s }");
    let mut daemon = Daemon::start(&sandbox);
    let started = daemon.started;
    daemon.run_event();
    assert!(started.elapsed() >= Duration::from_secs(3));
    daemon.stop();
}

#[test]
fn a_source_that_fails_is_asked_ever_less_often_and_saved_as_soon_as_it_is_back() {
    let sandbox = app("schedule: { every: 1m }");
    let database = sandbox.path("app.db");
    let away = sandbox.path("away.db");
    std::fs::rename(&database, &away).unwrap();
    let mut daemon = Daemon::start(&sandbox);
    // After 0, 1, 3 and 7 s.
    let deadline = Instant::now() + Duration::from_secs(8);
    let mut failed = 0;
    while let Some(event) = daemon.run_event_before(deadline) {
        assert_eq!(event["outcome"], "failed");
        assert!(
            event["reason"].as_str().unwrap().contains("no such file"),
            "{event}"
        );
        failed += 1;
    }
    assert!(
        (2..=5).contains(&failed),
        "{failed} runs: {:#?}",
        daemon.said
    );
    std::fs::rename(&away, &database).unwrap();
    assert_eq!(daemon.run_event()["outcome"], "completed");
    daemon.stop();
    assert_eq!(shelf(&sandbox, "nas").ids().len(), 1);
}

#[test]
fn a_destination_that_missed_a_run_is_due_alone() {
    let sandbox = app("");
    configure(&sandbox, "far nas", "schedule: { every: 1m }");
    let mut daemon = Daemon::start(&sandbox);
    let first = daemon.run_event();
    assert_eq!(first["outcome"], "completed");
    assert_eq!(first["level"], "warn");
    assert_eq!(outcomes(&first), [("far", "failed"), ("nas", "stored")]);
    let second = daemon.run_event();
    assert_eq!(second["outcome"], "failed");
    assert_eq!(outcomes(&second), [("far", "failed"), ("nas", "skipped")]);
    assert!(
        second.get("plain_bytes").is_none(),
        "captured for nobody: {second}"
    );
    sandbox.folder("far");
    let third = loop {
        let event = daemon.run_event();
        if event["outcome"] == "completed" {
            break event;
        }
    };
    assert_eq!(outcomes(&third), [("far", "stored"), ("nas", "skipped")]);
    daemon.stop();
    assert_eq!(shelf(&sandbox, "nas").ids().len(), 1);
    assert_eq!(shelf(&sandbox, "far").ids().len(), 1);
}

#[test]
fn nothing_is_captured_while_no_destination_can_take_it() {
    let sandbox = app("schedule: { every: 1m }");
    std::fs::remove_dir(sandbox.path("nas")).unwrap();
    // A source that would fail loudly.
    std::fs::remove_file(sandbox.path("app.db")).unwrap();
    let mut daemon = Daemon::start(&sandbox);
    let event = daemon.run_event();
    let reason = event["reason"].as_str().unwrap();
    assert!(reason.contains("/nas: no such folder"), "{event}");
    assert_eq!(outcomes(&event), [("nas", "failed")]);
    daemon.stop();
    assert!(!sandbox.path("nas").exists());
}

#[test]
fn one_job_that_fails_holds_no_other_up() {
    let sandbox = app("");
    let root = sandbox.root().display().to_string();
    sandbox.write(
        "config.yaml",
        format!(
            "\
destinations: {{ nas: 'file://{root}/nas' }}
jobs:
  bad: {{ source: {{ type: sqlite, path: {root}/no.db }}, schedule: {{ every: 1m }} }}
  good: {{ source: {{ type: sqlite, path: {root}/app.db }}, schedule: {{ every: 1s }} }}
"
        ),
    );
    let mut daemon = Daemon::start(&sandbox);
    let mut ended = [0, 0];
    while ended[1] < 3 {
        let event = daemon.run_event();
        ended[usize::from(event["job"] == "good")] += 1;
    }
    assert!((1..=4).contains(&ended[0]), "{ended:?}");
    daemon.stop();
}

#[test]
fn a_run_is_one_event_with_everything_there_is_to_say() {
    let sandbox = app("schedule: { every: 1h }\n    retention: { keep_last: 3 }");
    let mut daemon = Daemon::start(&sandbox);
    let event = daemon.run_event();
    let (code, said) = daemon.stop();
    assert_eq!(code, Some(0));
    for (key, expected) in [
        ("level", json!("info")),
        ("job", json!("app")),
        ("series", json!("app")),
        ("engine", json!("sqlite")),
        ("outcome", json!("completed")),
        ("role", json!("standalone")),
        ("pruned", json!(0)),
        ("plain_bytes", json!(8192)),
    ] {
        assert_eq!(event[key], expected, "{key} in {event}");
    }
    assert_eq!(event["id"], shelf(&sandbox, "nas").newest()["id"]);
    assert!(event["stored_bytes"].is_u64() && event["seconds"].is_f64());
    assert!(event["timestamp"].as_str().unwrap().ends_with('Z'));
    let line = &event["destinations"][0];
    assert_eq!(line["name"], "nas");
    assert_eq!(line["outcome"], "stored");
    assert_eq!(line["key"], shelf(&sandbox, "nas").newest()["key"]);
    let runs = said.iter().filter(|line| line.contains("\"outcome\""));
    // Inside the event each destination has an outcome too.
    assert_eq!(runs.count(), 1, "{said:#?}");
    assert_eq!(
        said.len(),
        4,
        "started, the run, stopping, stopped: {said:#?}"
    );
}

#[test]
fn the_log_is_text_unless_json_is_asked_for_and_as_loud_as_asked() {
    let sandbox = app("schedule: { every: 1h }");
    let mut daemon = Daemon::start_with(&sandbox, &["run"], &[]);
    let line = daemon.expect("backup completed");
    assert!(
        line.contains(" INFO ")
            && line.contains("job=app")
            && line.contains("outcome=\"completed\""),
        "{line}"
    );
    daemon.stop();
    let mut daemon = Daemon::start_with(&sandbox, &["run"], &[("LOG_FORMAT", "xml")]);
    let line = daemon.expect("LOG_FORMAT");
    assert!(
        line.contains("must be `text` or `json`, not `xml`"),
        "{line}"
    );
    daemon.stop();
    for variables in [[("RUST_LOG", "error")], [("LIFEBOAT_LOG__LEVEL", "error")]] {
        let daemon = Daemon::start_with(&sandbox, &["run"], &variables);
        // Signals are heard from the very start.
        crate::daemon_support::wait_until("the daemon hears signals", || daemon.hears_signals());
        let (code, said) = daemon.stop();
        assert_eq!(code, Some(0));
        assert!(said.is_empty(), "{variables:?}: {said:#?}");
    }
}
