//! Days, weeks and years where the calendar is not simple.

use super::*;

#[test]
fn days_are_those_of_the_zone_also_when_clocks_change() {
    let policy = Policy {
        daily: Some(9),
        keep_min: Some(0),
        ..Policy::default()
    };
    let cases: [(&str, &[&str], &[&str]); 4] = [
        // Spring forward: the day has 23 hours and ends at 22:00 UTC.
        (
            "Europe/Berlin",
            &[
                "2026-03-28T22:59:59Z",
                "2026-03-28T23:00:00Z",
                "2026-03-29T21:59:59Z",
            ],
            &["day 2026-03-29", "day 2026-03-28"],
        ),
        // Fall back: the day has 25 hours.
        (
            "Europe/Berlin",
            &[
                "2026-10-24T22:00:00Z",
                "2026-10-25T22:59:59Z",
                "2026-10-25T23:00:00Z",
            ],
            &["day 2026-10-26", "day 2026-10-25"],
        ),
        // Clocks went from 00:01 on the 7th back to 23:01 on the 6th.
        (
            "America/St_Johns",
            &["2010-11-07T02:30:30Z", "2010-11-07T02:45:00Z"],
            &["day 2010-11-06", "day 2010-11-07"],
        ),
        // There was no 30 December.
        (
            "Pacific/Apia",
            &["2011-12-30T09:59:59Z", "2011-12-30T10:00:00Z"],
            &["day 2011-12-31", "day 2011-12-29"],
        ),
    ];
    for (zone_name, times, expected) in cases {
        let backups: Vec<_> = times.iter().copied().map(backup).collect();
        let plan = plan(&backups, &policy, &zone(zone_name), at(NOW));
        let reasons: Vec<_> = plan
            .keep
            .iter()
            .filter_map(|kept| kept.reasons.last().map(String::as_str))
            .collect();
        assert_eq!(reasons, expected, "{zone_name} {times:?}");
    }
}

#[test]
fn the_last_days_are_the_calendars_last_even_where_clocks_were_put_back_across_midnight() {
    // 00:00:30 on the 7th, then 23:15 on the 6th.
    let backups = [
        backup("2010-11-07T02:30:30Z"),
        backup("2010-11-07T02:45:00Z"),
    ];
    let policy = Policy {
        daily: Some(1),
        keep_min: Some(0),
        ..Policy::default()
    };
    assert_eq!(
        lines(&backups, &policy, "America/St_Johns"),
        [
            "2010-11-07T02:45:00Z: newest, newest verified",
            "2010-11-07T02:30:30Z: day 2010-11-07",
        ]
    );
}

#[test]
fn weeks_belong_to_their_iso_year() {
    let backups = [
        backup("2027-01-04T00:00:00Z"),
        backup("2027-01-03T12:00:00Z"),
        backup("2026-12-28T00:00:00Z"),
        backup("2026-12-27T12:00:00Z"),
        backup("2024-12-30T12:00:00Z"),
    ];
    let policy = Policy {
        weekly: Some(9),
        yearly: Some(1),
        ..Policy::default()
    };
    let plan = plan(
        &backups,
        &policy,
        &TimeZone::UTC,
        at("2027-02-01T00:00:00Z"),
    );
    let reasons: Vec<_> = plan
        .keep
        .iter()
        .map(|kept| kept.reasons.join(", "))
        .collect();
    assert_eq!(
        reasons,
        [
            "newest, newest verified, week 2027-W01, year 2027",
            "week 2026-W53",
            "week 2026-W52",
            "week 2025-W01",
        ]
    );
    assert_eq!(plan.remove[0].id, "2026-12-28T00:00:00Z");
}
