//! Retention, from the real program: which backups a plan keeps, which it removes, and why.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sandbox::{Ended, Sandbox};
use crate::shelf::Shelf;

/// A folder `nas` with the series `app`, empty but for what a test files there.
struct Series {
    sandbox: Sandbox,
    shelf: Shelf,
    /// A backup to make others of.
    template: Value,
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

impl Series {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let nas = sandbox.folder("nas");
        sandbox.sqlite("app.db", "CREATE TABLE t (x)");
        let shelf = Shelf::new(&nas, "app");
        let series = Self {
            sandbox,
            shelf: shelf.clone(),
            template: Value::Null,
        };
        series.back_up().ok();
        Self {
            template: shelf.newest(),
            ..series
        }
    }

    fn url(&self) -> String {
        format!("file://{}", self.sandbox.path("nas").display())
    }

    fn back_up(&self) -> Ended {
        let source = format!("sqlite://{}", self.sandbox.path("app.db").display());
        let arguments = ["backup", "--source", &source, "--destination", &self.url()];
        self.sandbox.run(arguments)
    }

    /// Files backups of these moments, and nothing else.
    fn of(moments: &[&str]) -> (Self, Vec<String>) {
        let series = Self::new();
        let ids = moments
            .iter()
            .map(|moment| series.shelf.file(&series.template, at(moment)))
            .collect();
        series.shelf.discard(&series.template);
        (series, ids)
    }

    fn prune(&self, rules: &str) -> Ended {
        let url = self.url();
        let arguments = ["--destination", &url, "prune", "app", "--json"];
        let rules = rules.split(' ').filter(|rule| !rule.is_empty());
        self.sandbox.run(arguments.into_iter().chain(rules))
    }

    fn plan(&self, rules: &str) -> Value {
        let mut document = self.prune(rules).ok().document();
        document["plans"][0].take()
    }
}

fn kept(plan: &Value) -> Vec<(&str, Vec<&str>)> {
    plan["keep"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|kept| {
            let reasons = kept["reasons"].as_array().expect("reasons");
            let reasons = reasons.iter().map(|reason| reason.as_str().expect("text"));
            (kept["id"].as_str().expect("an id"), reasons.collect())
        })
        .collect()
}

fn ids_of<'a>(plan: &'a Value, list: &str) -> Vec<&'a str> {
    let list = plan[list].as_array().expect("a list");
    list.iter()
        .map(|one| one["id"].as_str().expect("an id"))
        .collect()
}

#[test]
fn a_backup_stays_if_any_rule_keeps_it_and_the_plan_says_which() {
    let (series, ids) = Series::of(&[
        "2024-03-10T12:00:00Z",
        "2024-03-10T06:00:00Z",
        "2024-03-09T12:00:00Z",
        "2024-03-04T12:00:00Z",
        "2024-03-03T12:00:00Z",
        "2024-02-28T12:00:00Z",
        "2024-01-15T12:00:00Z",
        "2023-12-31T12:00:00Z",
        "2023-06-01T12:00:00Z",
    ]);
    let rules = "--keep-last 2 --daily 2 --weekly 2 --monthly 3 --yearly 2";
    let plan = series.plan(rules);
    assert_eq!(
        kept(&plan),
        [
            (
                ids[0].as_str(),
                vec![
                    "newest",
                    "newest verified",
                    "last 2",
                    "day 2024-03-10",
                    "week 2024-W10",
                    "month 2024-03",
                    "year 2024"
                ]
            ),
            (&ids[1], vec!["last 2"]),
            (&ids[2], vec!["day 2024-03-09"]),
            (&ids[4], vec!["week 2024-W09"]),
            (&ids[5], vec!["month 2024-02"]),
            (&ids[6], vec!["month 2024-01"]),
            (&ids[7], vec!["year 2023"]),
        ]
    );
    assert_eq!(ids_of(&plan, "remove"), [&ids[3], &ids[8]]);
    let reason = plan["remove"][0]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("covered by no rule (") && reason.ends_with(" d old)"),
        "{reason}"
    );
    let mut keys: Vec<_> = plan.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "applied",
            "destination",
            "keep",
            "orphans",
            "refused",
            "remove",
            "series"
        ]
    );
    assert_eq!(plan["series"], "app");
    assert_eq!(plan["applied"], false);
    assert_eq!(plan["refused"], Value::Null);
    assert_eq!(series.shelf.ids().len(), 9, "a plan removes nothing");

    let applied = series.plan(&format!("{rules} --apply"));
    assert_eq!(applied["applied"], true);
    assert_eq!(applied["keep"], plan["keep"]);
    let mut left = ids.clone();
    left.retain(|id| *id != ids[3] && *id != ids[8]);
    left.sort();
    assert_eq!(series.shelf.ids(), left);
    assert_eq!(series.shelf.data().len(), 7);
}

#[test]
fn keep_within_looks_back_from_the_newest_backup_and_not_from_the_clock() {
    let (series, ids) = Series::of(&[
        "2024-03-31T12:00:00Z",
        "2024-03-01T12:00:00Z",
        "2024-03-01T11:59:59Z",
        "2024-01-01T00:00:00Z",
    ]);
    let plan = series.plan("--keep-within 30d");
    assert_eq!(ids_of(&plan, "keep"), ids[..2]);
    assert_eq!(kept(&plan)[1].1, ["within 30 d"]);
    assert_eq!(ids_of(&plan, "remove"), ids[2..]);
}

#[test]
fn days_are_those_of_the_jobs_time_zone() {
    let (series, ids) = Series::of(&[
        "2024-03-10T10:00:00Z",
        "2024-03-09T23:30:00Z",
        "2024-03-09T10:00:00Z",
    ]);
    let plan_in = |zone: &str| {
        let (root, url) = (series.sandbox.root().display(), series.url());
        series.sandbox.write(
            "config.yaml",
            format!(
                "\
destinations: {{ nas: '{url}' }}
jobs:
  app:
    source: {{ type: sqlite, path: {root}/app.db }}
    schedule: {{ timezone: {zone} }}
    retention: {{ daily: 2, keep_min: 1 }}
"
            ),
        );
        let mut plans = series.sandbox.run(["prune", "--json"]).ok().document();
        plans["plans"][0].take()
    };
    let plan = plan_in("UTC");
    assert_eq!(ids_of(&plan, "remove"), [&ids[2]]);
    let plan = plan_in("Europe/Berlin");
    assert_eq!(ids_of(&plan, "remove"), [&ids[1]]);
    assert_eq!(plan["destination"], "nas");
}

#[test]
fn runs_that_found_nothing_changed_are_one_backup_dated_by_the_newest() {
    let (series, ids) = Series::of(&["2024-03-01T12:00:00Z", "2024-03-02T12:00:00Z"]);
    let first = series.shelf.manifest(&ids[0]);
    let unchanged: Vec<String> = ["2024-03-03T12:00:00Z", "2024-03-04T12:00:00Z"]
        .iter()
        .map(|moment| {
            series.shelf.file_as(&first, at(moment), |manifest| {
                manifest["key"] = first["key"].clone();
            })
        })
        .collect();
    assert_eq!(series.shelf.data().len(), 2);

    // Of two backups the one that was found unchanged last is the newer.
    let plan = series.plan("--keep-last 1 --keep-min 1 --apply");
    assert_eq!(
        kept(&plan),
        [
            (
                unchanged[1].as_str(),
                vec!["newest", "newest verified", "last 1"]
            ),
            (
                &unchanged[0],
                vec![format!("same data as {}", unchanged[1]).as_str()]
            ),
            (
                &ids[0],
                vec![format!("same data as {}", unchanged[1]).as_str()]
            ),
        ]
    );
    assert_eq!(ids_of(&plan, "remove"), [&ids[1]]);
    assert_eq!(series.shelf.ids().len(), 3);
    assert_eq!(series.shelf.data().len(), 1);
    let url = series.url();
    let verify = ["verify", "app", "--all", "--destination", &url];
    series.sandbox.run(verify).ok();

    // When the backup goes, all its manifests go, and only then its data.
    series.shelf.file(&first, at("2024-03-05T12:00:00Z"));
    let plan = series.plan("--keep-last 1 --keep-min 1 --apply");
    assert_eq!(ids_of(&plan, "remove").len(), 3);
    assert_eq!(series.shelf.ids().len(), 1);
    assert_eq!(series.shelf.data().len(), 1);
    series.sandbox.run(verify).ok();
}

#[test]
fn two_verified_backups_stay_whatever_the_rules_say_unless_keep_last_is_smaller() {
    let moments = [
        "2024-03-04T12:00:00Z",
        "2024-03-03T12:00:00Z",
        "2024-03-02T12:00:00Z",
        "2024-03-01T12:00:00Z",
    ];
    let (series, ids) = Series::of(&moments);
    for (rules, stay) in [
        ("--keep-last 1", 1),
        ("--yearly 1", 2),
        ("--yearly 1 --keep-min 3", 3),
        ("--keep-last 1 --keep-min 2", 2),
    ] {
        assert_eq!(ids_of(&series.plan(rules), "keep"), ids[..stay], "{rules}");
    }
    assert_eq!(kept(&series.plan("--yearly 1"))[1].1, ["floor of 2"]);
}

#[test]
fn the_newest_verified_backup_stays_and_unverified_ones_do_not_count_for_the_floor() {
    let (series, ids) = Series::of(&["2024-03-01T12:00:00Z", "2024-03-02T12:00:00Z"]);
    let good = series.shelf.manifest(&ids[0]);
    let doubtful: Vec<String> = ["2024-03-03T12:00:00Z", "2024-03-04T12:00:00Z"]
        .iter()
        .map(|moment| {
            series.shelf.file_as(&good, at(moment), |manifest| {
                manifest["verified"]["ok"] = json!(false);
            })
        })
        .collect();
    let plan = series.plan("--keep-last 1");
    assert_eq!(
        kept(&plan),
        [
            (doubtful[1].as_str(), vec!["last 1"]),
            (&ids[1], vec!["newest verified"]),
        ]
    );
    assert_eq!(ids_of(&plan, "remove"), [&doubtful[0], &ids[0]]);
    let plan = series.plan("--keep-last 1 --keep-min 2");
    assert_eq!(ids_of(&plan, "remove"), [&doubtful[0]]);
}

#[test]
fn a_backup_from_the_future_stays_and_counts_for_no_rule() {
    let (series, ids) = Series::of(&["2024-03-01T12:00:00Z", "2024-03-02T12:00:00Z"]);
    let good = series.shelf.manifest(&ids[0]);
    let ahead = series.shelf.file(&good, at("2099-01-01T00:00:00Z"));
    let plan = series.plan("--keep-last 1 --apply");
    assert_eq!(
        kept(&plan),
        [
            (ahead.as_str(), vec!["dated in the future"]),
            (&ids[1], vec!["newest", "newest verified", "last 1"]),
        ]
    );
    assert_eq!(ids_of(&plan, "remove"), [&ids[0]]);
    assert_eq!(series.shelf.data().len(), 2);
}

#[test]
fn a_manifest_that_cannot_be_read_stops_the_whole_plan() {
    for change in [
        |manifest: &mut Value| manifest["format"] = json!(2),
        |manifest: &mut Value| manifest["captured_at"] = json!("yesterday"),
    ] {
        let (series, ids) = Series::of(&[
            "2024-03-03T12:00:00Z",
            "2024-03-02T12:00:00Z",
            "2024-03-01T12:00:00Z",
        ]);
        let good = series.shelf.manifest(&ids[0]);
        let moment = at("2024-02-01T12:00:00Z");
        let unreadable = series.shelf.file_as(&good, moment, change);
        let before = (series.shelf.ids(), series.shelf.data());

        let plan = series.plan("--keep-last 1");
        let why = plan["refused"].as_str().expect("a reason");
        assert!(why.contains(&unreadable), "{why}");
        assert_eq!(ids_of(&plan, "remove"), [""; 0], "{plan:#}");

        let ended = series.prune("--keep-last 1 --apply");
        let plan = &ended.code(1).document()["plans"][0];
        assert_eq!(plan["applied"], false);
        assert_eq!(plan["refused"], why);
        assert_eq!((series.shelf.ids(), series.shelf.data()), before);

        let url = series.url();
        let told = series
            .sandbox
            .run(["prune", "app", "--keep-last", "1", "--destination", &url]);
        assert!(told.ok().stdout.contains("refused: "), "{told:#?}");
        assert!(!told.stdout.contains("Run again with --apply"), "{told:#?}");
    }
}

#[test]
fn rules_that_would_keep_nothing_are_refused_as_a_mistake() {
    let (series, _) = Series::of(&["2024-03-03T12:00:00Z", "2024-03-02T12:00:00Z"]);
    for (rules, said) in [
        ("--keep-last 0", "would keep nothing: every rule is zero"),
        ("--keep-min 3", "names no rule"),
        ("", "no retention is configured"),
    ] {
        let ended = series.prune(&format!("{rules} --apply"));
        let error = &ended.code(2).document()["error"];
        assert!(error["why"].as_str().unwrap().starts_with(said), "{error}");
    }
    assert_eq!(series.shelf.ids().len(), 2);
}
