use std::fs;

use serde_json::json;

use super::*;
use crate::source::redis::dump::Dump;

const REPLICA: &[u8] = include_bytes!("../../../../tests/fixtures/rdb/replica.rdb");
const TYPES: &[u8] = include_bytes!("../../../../tests/fixtures/rdb/types.rdb");
const REPLID: &str = "f527d7f68c195317f10f10fe98218688f9ba4d31";
const OTHER: &str = "834d544d9f35e5eb26cbe9c3a4021a1c7a469405";
const ANOTHER: &str = "cdd688bd85b6330ceef133575ae84bfed2cc7382";

struct Case {
    folder: tempfile::TempDir,
    config: RedisConfig,
}

impl Case {
    fn new(dump: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        fs::write(folder.path().join("dump.rdb"), dump).expect("a file can be written");
        let config = RedisConfig {
            data_dir: folder.path().into(),
            ..RedisConfig::default()
        };
        Self { folder, config }
    }

    fn dump(&self, age: Duration) -> Dump {
        let mut dump = Dump::open(&self.config.dump()).expect("it is a dump");
        dump.opened_at = dump.dated() + age;
        dump
    }

    fn capture(&self, probe: &Probe) -> Result<Capture, SourceError> {
        capture(self.dump(Duration::from_mins(4)), &self.config, probe)
    }
}

fn probe(role: Role, state: &serde_json::Value) -> Probe {
    let mut probe = Probe::of(role, "");
    probe.state = state.as_object().cloned().unwrap_or_default();
    probe
}

fn now_and_before(replid: &str, replid2: Option<&str>) -> State {
    State {
        replid: Some(replid.into()),
        replid2: replid2.map(str::to_owned),
        changes: Some(3),
        append_only: Some(false),
        ..State::default()
    }
}

#[test]
fn a_capture_is_the_file_with_its_facts() {
    let case = Case::new(REPLICA);
    let mut before = probe(
        Role::Replica,
        &json!({ "replid": REPLID, "server": "redis" }),
    );
    before.version = Some("7.0.15".into());
    let capture = case.capture(&before).expect("it may be saved");
    assert_eq!(capture.bytes, REPLICA.len() as u64);
    assert_eq!(capture.version.as_deref(), Some("7.0.15"));
    assert_eq!(capture.summary, "replica in sync, saved 4 min ago");
    assert_eq!(capture.facts["repl_id"], REPLID);
    assert_eq!(capture.facts["server"], "redis");
    assert_eq!(capture.facts["crc64"], "f098879b28bf15e1");
    let marks = capture.marks.expect("there are marks");
    assert_eq!(
        json!(marks),
        json!({ "crc64": "f098879b28bf15e1", "ctime": "2026-11-21T05:05:53Z" })
    );
    // The pipeline looks for them among the facts of the newest backup.
    assert!(
        marks
            .iter()
            .all(|(name, mark)| capture.facts.get(name) == Some(mark))
    );
    assert!(capture.warnings.is_empty() && capture.scratch.is_none());
}

#[test]
fn a_dump_saved_without_its_server_names_its_writer() {
    let case = Case::new(TYPES);
    let capture = case
        .capture(&Probe::of(Role::Unknown, ""))
        .expect("it may be saved");
    assert_eq!(capture.version.as_deref(), Some("7.0.15"));
    assert_eq!(
        capture.summary,
        "the server did not answer, saved 4 min ago"
    );
}

#[test]
fn a_replica_saves_its_own_history_only() {
    let unnamed = Case::new(TYPES).dump(Duration::ZERO);
    let named = Case::new(REPLICA).dump(Duration::ZERO);
    let idle = |mut state: State| {
        state.changes = Some(0);
        state
    };
    let from_log = |mut state: State| {
        state.append_only = Some(true);
        state
    };
    let cases = [
        ("in sync", &named, now_and_before(REPLID, None), false),
        (
            "after a failover",
            &named,
            now_and_before(OTHER, Some(REPLID)),
            false,
        ),
        (
            "synced past the disk",
            &named,
            now_and_before(OTHER, None),
            true,
        ),
        (
            "synced past the disk, idle",
            &named,
            idle(now_and_before(OTHER, None)),
            true,
        ),
        (
            "two failovers",
            &named,
            now_and_before(OTHER, Some(ANOTHER)),
            true,
        ),
        (
            "two failovers, idle",
            &named,
            idle(now_and_before(OTHER, Some(ANOTHER))),
            false,
        ),
        (
            "two failovers, idle, loaded from its append-only file",
            &named,
            idle(from_log(now_and_before(OTHER, Some(ANOTHER)))),
            true,
        ),
        (
            "saved before it was a replica",
            &unnamed,
            now_and_before(OTHER, None),
            true,
        ),
        (
            "saved before it had replicas, then demoted, idle",
            &unnamed,
            idle(now_and_before(OTHER, Some(ANOTHER))),
            false,
        ),
        (
            "a server that names no history",
            &unnamed,
            State::default(),
            false,
        ),
    ];
    let mut packed = Case::new(REPLICA).dump(Duration::ZERO);
    packed.head.aux.insert("repl-id".into(), Text::Compressed);
    assert!(
        !is_foreign(&packed.head, &now_and_before(OTHER, None)),
        "a history that is not read"
    );
    for (what, dump, state, foreign) in cases {
        assert_eq!(is_foreign(&dump.head, &state), foreign, "{what}");
    }
}

#[test]
fn stale_history_stops_replicas_and_warns_primaries() {
    let case = Case::new(REPLICA);
    let state = json!(now_and_before(OTHER, Some(ANOTHER)));
    let error = case
        .capture(&probe(Role::Replica, &state))
        .expect_err("it is not its data");
    assert_eq!(error.kind, SourceErrorKind::Stale);
    assert!(error.why.contains("another replication history"), "{error}");
    let capture = case
        .capture(&probe(Role::Primary, &state))
        .expect("it may be saved");
    assert!(
        capture.warnings[0].contains("last failover"),
        "{:?}",
        capture.warnings
    );
    // A primary that names no previous history has none to compare with.
    let state = json!(now_and_before(OTHER, None));
    let capture = case
        .capture(&probe(Role::Standalone, &state))
        .expect("it may be saved");
    assert!(capture.warnings.is_empty(), "{:?}", capture.warnings);
}

#[test]
fn a_dump_older_than_its_limit_is_stale() {
    let mut case = Case::new(TYPES);
    case.config.max_age = Some(crate::value::HumanDuration(Duration::from_hours(1)));
    let state = State {
        changes: Some(18_204),
        ..State::default()
    };
    let judge = |age| refuse_stale(&case.dump(age), &case.config, Role::Standalone, &state);
    judge(Duration::from_hours(1)).expect("it is not older");
    let error = judge(Duration::from_hours(3)).expect_err("it is older");
    assert_eq!(error.kind, SourceErrorKind::Stale);
    let words = "was written 3 h ago, max_age is 1h; Redis has 18,204 changes since";
    assert!(error.why.ends_with(words), "{error}");
}

#[test]
fn people_are_told_what_makes_a_dump_worth_less() {
    let case = Case::new(TYPES);
    let said = |age, state: State| warnings(&case.dump(age), Role::Standalone, &state).join("\n");
    let two_days = Duration::from_hours(48);
    assert_eq!(said(two_days, State::default()), "");
    let failed = State {
        last_save_ok: Some(false),
        ..State::default()
    };
    assert!(said(two_days, failed).contains("last save failed"));
    let log = State {
        append_only: Some(true),
        ..State::default()
    };
    assert!(said(two_days, log.clone()).contains("append-only file and its dump is 2 d old"));
    assert_eq!(said(Duration::from_hours(1), log), "");
}

#[test]
fn a_dump_that_the_server_does_not_write_is_remarked_on() {
    let case = Case::new(TYPES);
    let dump = case.dump(Duration::ZERO);
    let saved = |saves, later: i64| {
        let last_save = Some(dump.modified.as_second() + later);
        saved_elsewhere(
            &dump,
            &State {
                saves: Some(saves),
                last_save,
                ..State::default()
            },
        )
    };
    assert!(saved(1, 3_600));
    assert!(!saved(1, 60));
    assert!(!saved(1, -3_600));
    // The time is that of the server's start.
    assert!(!saved(0, 3_600));
    assert!(!saved_elsewhere(&dump, &State::default()));
}

#[test]
fn a_dump_dated_ahead_of_the_clock_is_remarked_on() {
    let case = Case::new(TYPES);
    let mut dump = case.dump(Duration::ZERO);
    dump.opened_at = dump.dated() - Duration::from_mins(4);
    assert!(warnings(&dump, Role::Standalone, &State::default()).is_empty());
    dump.opened_at = dump.dated() - Duration::from_mins(6);
    let said = warnings(&dump, Role::Standalone, &State::default());
    assert!(said[0].contains("6 min ahead"), "{said:?}");
}

#[test]
fn a_dump_written_in_place_is_found_and_one_replaced_is_not() {
    let case = Case::new(TYPES);
    let path = case.config.dump();
    let before = Probe::of(Role::Unknown, "");
    let capture = case.capture(&before).expect("it may be saved");
    let next = case.folder.path().join("temp-1.rdb");
    fs::write(&next, REPLICA).expect("a file can be written");
    fs::rename(&next, &path).expect("it can be replaced");
    unchanged(&capture).expect("the open file is the same");

    let capture = case.capture(&before).expect("it may be saved");
    let touched = fs::File::options()
        .append(true)
        .open(&path)
        .expect("it is ours");
    touched
        .set_modified(std::time::SystemTime::now() - Duration::from_secs(9))
        .expect("ours");
    assert_eq!(
        unchanged(&capture).expect_err("it was touched").kind,
        SourceErrorKind::Changed
    );

    let capture = case.capture(&before).expect("it may be saved");
    let time = touched
        .metadata()
        .and_then(|metadata| metadata.modified())
        .expect("it has a time");
    touched.set_len(10).expect("it is ours");
    touched.set_modified(time).expect("it is ours");
    assert_eq!(
        unchanged(&capture).expect_err("it was cut").kind,
        SourceErrorKind::Changed
    );
}
