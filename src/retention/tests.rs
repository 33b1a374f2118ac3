use std::collections::BTreeSet;

use jiff::ToSpan;
use proptest::prelude::*;

use super::*;

const NOW: &str = "2026-11-21T02:34:47Z";

fn at(time: &str) -> Timestamp {
    time.parse().expect("a test's own time")
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).expect("a zone of the bundled database")
}

/// A verified backup of its own data.
fn backup(time: &str) -> Candidate {
    Candidate {
        id: time.to_owned(),
        captured_at: at(time),
        data_key: format!("cache/data/{time}.rdb"),
        verified: true,
    }
}

fn unverified(time: &str) -> Candidate {
    Candidate {
        verified: false,
        ..backup(time)
    }
}

/// The manifest of a run that found the data of `other` unchanged.
fn unchanged(time: &str, other: &str) -> Candidate {
    Candidate {
        data_key: backup(other).data_key,
        ..backup(time)
    }
}

fn days(count: u64) -> Duration {
    Duration::from_hours(24 * count)
}

/// The plan, one line for each manifest, as `lifeboat prune` would show it.
fn lines(backups: &[Candidate], policy: &Policy, zone_name: &str) -> Vec<String> {
    let plan = plan(backups, policy, &zone(zone_name), at(NOW));
    assert_eq!(plan.refused, None);
    let keep = plan
        .keep
        .iter()
        .map(|kept| format!("{}: {}", kept.id, kept.reasons.join(", ")));
    let remove = plan
        .remove
        .iter()
        .map(|gone| format!("{} goes: {}", gone.id, gone.reason));
    keep.chain(remove).collect()
}

#[test]
fn every_rule_gives_its_reason() {
    let backups = [
        backup("2026-11-20T01:15:00Z"),
        backup("2026-11-21T02:15:00Z"),
        backup("2026-11-20T22:59:59Z"),
        backup("2026-10-31T12:00:00Z"),
        backup("2026-11-07T01:15:00Z"),
        backup("2025-12-31T12:00:00Z"),
        backup("2025-12-30T12:00:00Z"),
    ];
    let policy = Policy {
        keep_last: Some(1),
        keep_within: Some(Duration::from_hours(36)),
        daily: Some(2),
        weekly: Some(2),
        monthly: Some(2),
        yearly: Some(9),
        keep_min: None,
    };
    assert_eq!(
        lines(&backups, &policy, "UTC"),
        [
            "2026-11-21T02:15:00Z: newest, newest verified, last 1, within 36 h, day 2026-11-21, \
             week 2026-W47, month 2026-11, year 2026",
            "2026-11-20T22:59:59Z: within 36 h, day 2026-11-20",
            "2026-11-20T01:15:00Z: within 36 h",
            "2026-11-07T01:15:00Z: week 2026-W45",
            "2026-10-31T12:00:00Z: month 2026-10",
            "2025-12-31T12:00:00Z: year 2025",
            "2025-12-30T12:00:00Z goes: covered by no rule (325 d old)",
        ]
    );
}

#[test]
fn keep_within_counts_from_the_newest_backup_and_includes_its_edge() {
    let backups = [
        backup("2020-01-31T00:00:00Z"),
        backup("2020-01-01T00:00:00Z"),
        backup("2019-12-31T23:59:59.999Z"),
    ];
    let policy = Policy {
        keep_within: Some(days(30)),
        keep_min: Some(0),
        ..Policy::default()
    };
    assert_eq!(
        lines(&backups, &policy, "UTC"),
        [
            "2020-01-31T00:00:00Z: newest, newest verified, within 30 d",
            "2020-01-01T00:00:00Z: within 30 d",
            "2019-12-31T23:59:59.999Z goes: covered by no rule (2516 d old)",
        ]
    );
}

#[test]
fn runs_that_found_nothing_changed_extend_the_backup_they_name() {
    let backups = [
        backup("2026-11-20T00:00:00Z"),
        backup("2026-11-21T00:00:00Z"),
        unchanged("2026-11-21T01:00:00Z", "2026-11-21T00:00:00Z"),
        unchanged("2026-11-21T02:00:00Z", "2026-11-21T00:00:00Z"),
        backup("2026-11-19T00:00:00Z"),
        unchanged("2026-11-19T01:00:00Z", "2026-11-19T00:00:00Z"),
    ];
    let policy = Policy {
        keep_last: Some(2),
        ..Policy::default()
    };
    assert_eq!(
        lines(&backups, &policy, "UTC"),
        [
            "2026-11-21T02:00:00Z: newest, newest verified, last 2",
            "2026-11-21T01:00:00Z: same data as 2026-11-21T02:00:00Z",
            "2026-11-21T00:00:00Z: same data as 2026-11-21T02:00:00Z",
            "2026-11-20T00:00:00Z: last 2",
            "2026-11-19T01:00:00Z goes: covered by no rule (2 d old)",
            "2026-11-19T00:00:00Z goes: covered by no rule (2 d old)",
        ]
    );
}

#[test]
fn a_backup_is_dated_by_its_newest_manifest() {
    let backups = [
        backup("2026-11-20T00:00:00Z"),
        backup("2026-11-01T00:00:00Z"),
        unchanged("2026-11-21T02:00:00Z", "2026-11-01T00:00:00Z"),
    ];
    let policy = Policy {
        daily: Some(1),
        keep_min: Some(0),
        ..Policy::default()
    };
    assert_eq!(
        lines(&backups, &policy, "UTC"),
        [
            "2026-11-21T02:00:00Z: newest, newest verified, day 2026-11-21",
            "2026-11-01T00:00:00Z: same data as 2026-11-21T02:00:00Z",
            "2026-11-20T00:00:00Z goes: covered by no rule (1 d old)",
        ]
    );
}

#[test]
fn the_floor_adds_the_newest_verified_others() {
    let backups = [
        unverified("2026-11-21T02:34:40Z"),
        backup("2026-11-21T02:20:00Z"),
        unverified("2026-11-21T01:00:00Z"),
        backup("2026-11-20T23:00:00Z"),
        backup("2026-11-18T23:00:00Z"),
    ];
    let policy = Policy {
        keep_last: Some(1),
        keep_min: Some(2),
        ..Policy::default()
    };
    assert_eq!(
        lines(&backups, &policy, "UTC"),
        [
            "2026-11-21T02:34:40Z: last 1",
            "2026-11-21T02:20:00Z: newest verified",
            "2026-11-20T23:00:00Z: floor of 2",
            "2026-11-21T01:00:00Z goes: covered by no rule (1 h old)",
            "2026-11-18T23:00:00Z goes: covered by no rule (2 d old)",
        ]
    );
}

#[test]
fn the_default_floor_is_two_or_keep_last_where_that_is_smaller() {
    let backups: Vec<_> = (10..20)
        .map(|day| backup(&format!("2026-11-{day}T00:00:00Z")))
        .collect();
    let kept = |policy: Policy| plan(&backups, &policy, &TimeZone::UTC, at(NOW)).keep.len();
    let daily = Policy {
        daily: Some(1),
        ..Policy::default()
    };
    assert_eq!(kept(daily.clone()), 2);
    assert_eq!(
        kept(Policy {
            keep_last: Some(1),
            ..daily.clone()
        }),
        1
    );
    assert_eq!(
        kept(Policy {
            keep_last: Some(5),
            ..daily.clone()
        }),
        5
    );
    assert_eq!(
        kept(Policy {
            keep_min: Some(0),
            ..daily.clone()
        }),
        1
    );
    assert_eq!(
        kept(Policy {
            keep_last: Some(1),
            keep_min: Some(4),
            ..daily
        }),
        4
    );
}

#[test]
fn backups_dated_ahead_stay_and_count_for_no_rule() {
    let backups = [
        backup("2027-11-21T00:00:00Z"),
        unchanged("2026-12-01T00:00:00Z", "2026-11-19T00:00:00Z"),
        unchanged("2026-11-21T02:39:47.001Z", "2026-11-19T00:00:00Z"),
        backup("2026-11-21T02:39:47Z"),
        backup("2026-11-20T00:00:00Z"),
        backup("2026-11-19T00:00:00Z"),
    ];
    let policy = Policy {
        keep_last: Some(1),
        keep_within: Some(days(1)),
        ..Policy::default()
    };
    assert_eq!(
        lines(&backups, &policy, "UTC"),
        [
            "2027-11-21T00:00:00Z: dated in the future",
            "2026-12-01T00:00:00Z: dated in the future",
            "2026-11-21T02:39:47.001Z: dated in the future",
            "2026-11-21T02:39:47Z: newest, newest verified, last 1, within 1 d",
            // Its data is needed, so no part of it goes.
            "2026-11-19T00:00:00Z: same data as 2026-12-01T00:00:00Z",
            "2026-11-20T00:00:00Z goes: covered by no rule (1 d old)",
        ]
    );
    let plan = plan(&backups, &policy, &TimeZone::UTC, at(NOW));
    assert_eq!(
        plan.future,
        [
            "2027-11-21T00:00:00Z",
            "2026-12-01T00:00:00Z",
            "2026-11-21T02:39:47.001Z"
        ]
    );
}

#[test]
fn backups_of_one_moment_are_ordered_by_id() {
    let twin = |id: &str| Candidate {
        id: id.into(),
        data_key: id.into(),
        ..backup(NOW)
    };
    let policy = Policy {
        keep_last: Some(1),
        ..Policy::default()
    };
    assert_eq!(
        lines(&[twin("a"), twin("c"), twin("b")], &policy, "UTC"),
        [
            "c: newest, newest verified, last 1",
            "b goes: covered by no rule (0 s old)",
            "a goes: covered by no rule (0 s old)",
        ]
    );
}

#[test]
fn a_policy_that_keeps_nothing_is_a_problem_and_keeps_everything() {
    let backups = [
        backup("2026-11-21T00:00:00Z"),
        backup("2099-01-01T00:00:00Z"),
    ];
    let zeroes = Policy {
        keep_last: Some(0),
        keep_within: Some(Duration::ZERO),
        daily: Some(0),
        ..Policy::default()
    };
    let cases = [
        (Policy::default(), "names no rule;"),
        (
            Policy {
                keep_min: Some(3),
                ..Policy::default()
            },
            "names no rule: `keep_min` is only",
        ),
        (
            Policy {
                keep_last: Some(0),
                ..Policy::default()
            },
            "would keep nothing",
        ),
        (zeroes.clone(), "would keep nothing"),
    ];
    for (policy, expected) in cases {
        let problem = policy.problem().expect("a problem");
        assert!(problem.starts_with(expected), "{problem}");
        let plan = plan(&backups, &policy, &TimeZone::UTC, at(NOW));
        assert_eq!(plan.refused, Some(problem));
        assert_eq!((plan.keep.len(), plan.remove.len()), (2, 0));
        assert_eq!(plan.future, ["2099-01-01T00:00:00Z"]);
    }
    for policy in [
        Policy {
            yearly: Some(1),
            ..zeroes.clone()
        },
        Policy {
            keep_within: Some(Duration::from_millis(1)),
            ..zeroes
        },
    ] {
        assert_eq!(policy.problem(), None);
    }
}

#[test]
fn a_plan_that_leaves_only_backups_dated_ahead_is_refused() {
    let present = backup("2026-11-21T00:00:00Z");
    let ahead = backup("2099-01-01T00:00:00Z");
    let mut wrong = Plan::default();
    wrong.keep(&ahead, Vec::new());
    wrong.remove(&present, at(NOW));
    let plan = refuse_to_empty(wrong, &[&ahead, &present], &[&ahead]);
    assert_eq!(
        plan.refused.as_deref(),
        Some("the plan would remove every backup")
    );
    assert_eq!((plan.keep.len(), plan.remove.len()), (2, 0));
}

#[test]
fn nothing_to_plan_is_an_empty_plan() {
    let policy = Policy {
        keep_last: Some(1),
        keep_within: Some(days(1)),
        ..Policy::default()
    };
    assert_eq!(plan(&[], &policy, &TimeZone::UTC, at(NOW)), Plan::default());
}

#[test]
fn durations_are_named_in_fitting_units() {
    let of = Duration::from_secs;
    let cases = [(59, "59 s", "59 s"), (90, "90 s", "1 min")];
    let hours = [
        (5400, "90 min", "1 h"),
        (129_600, "36 h", "1 d"),
        (1_209_600, "14 d", "14 d"),
    ];
    for (seconds, whole, age) in cases.into_iter().chain(hours) {
        assert_eq!(
            (exact(of(seconds)).as_str(), rounded(of(seconds)).as_str()),
            (whole, age)
        );
    }
    assert_eq!(exact(Duration::from_millis(1500)), "1.5s");
}

mod calendar;
mod properties;
