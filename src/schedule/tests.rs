use jiff::ToSpan;
use proptest::prelude::*;

use super::*;

fn at(time: &str) -> Timestamp {
    time.parse().expect("a test's own time")
}

fn cron(expr: &str, zone: &str) -> Cadence {
    Cadence::cron(expr, zone).expect("a test's own schedule")
}

fn without_jitter(cadence: Cadence) -> Schedule {
    Schedule {
        cadence,
        jitter: Duration::ZERO,
    }
}

/// The next occurrences after `after`, in the zone's own time.
fn occurrences(expr: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let cadence = cron(expr, zone);
    let zone = TimeZone::get(zone).expect("a zone of the bundled database");
    let mut moment = at(after);
    let mut found = Vec::new();
    for _ in 0..count {
        moment = cadence.next(moment);
        found.push(
            moment
                .to_zoned(zone.clone())
                .strftime("%m-%d %H:%M %:z")
                .to_string(),
        );
    }
    found
}

#[test]
fn every_is_counted_from_the_newest_backup() {
    let hourly = without_jitter(Cadence::Every(Duration::from_hours(1)));
    let now = at("2026-11-21T12:00:00Z");
    let due = |newest: &str| hourly.due(Some(at(newest)), "cache", now);
    assert_eq!(
        due("2026-11-21T11:30:00.250Z"),
        at("2026-11-21T12:30:00.250Z")
    );
    // A missed run is caught up.
    assert_eq!(due("2026-11-19T11:30:00Z"), at("2026-11-19T12:30:00Z"));
    assert_eq!(
        hourly.due(Some(Timestamp::MAX), "cache", Timestamp::MAX),
        Timestamp::MAX
    );
}

#[test]
fn cron_is_counted_from_the_newest_backup() {
    let nightly = without_jitter(cron("0 2 * * *", "Europe/Berlin"));
    let now = at("2026-11-21T12:00:00Z");
    let due = |newest: &str| nightly.due(Some(at(newest)), "cache", now);
    assert_eq!(due("2026-11-20T00:59:59.999Z"), at("2026-11-20T01:00:00Z"));
    assert_eq!(due("2026-11-20T01:00:00Z"), at("2026-11-21T01:00:00Z"));
    assert_eq!(due("2026-11-21T01:00:00.001Z"), at("2026-11-22T01:00:00Z"));
}

#[test]
fn a_destination_with_nothing_stored_is_due_at_once() {
    let now = at("2026-11-21T12:34:56Z");
    for cadence in [
        Cadence::Every(Duration::from_hours(1)),
        cron("0 2 * * *", "UTC"),
    ] {
        let schedule = Schedule {
            cadence,
            jitter: Duration::from_hours(1),
        };
        assert_eq!(schedule.due(None, "cache", now), now);
    }
}

#[test]
fn a_newest_backup_from_a_bad_clock_counts_as_now() {
    let hourly = without_jitter(Cadence::Every(Duration::from_hours(1)));
    let now = at("2026-11-21T12:00:00Z");
    let due = |newest: &str| hourly.due(Some(at(newest)), "cache", now);
    assert_eq!(due("2026-11-21T12:05:00Z"), at("2026-11-21T13:05:00Z"));
    assert_eq!(due("2026-11-21T12:05:00.001Z"), at("2026-11-21T13:00:00Z"));
    assert_eq!(due("2031-01-01T00:00:00Z"), at("2026-11-21T13:00:00Z"));
}

#[test]
fn the_newest_credible_backup_is_not_from_the_future() {
    let now = at("2026-11-21T12:00:00Z");
    let newest = |captured: &[&str]| newest_credible(captured.iter().map(|time| at(time)), now);
    let (ahead, edge, old) = (
        "2026-11-21T12:05:00.001Z",
        "2026-11-21T12:05:00Z",
        "2026-11-20T12:00:00Z",
    );
    assert_eq!(newest(&[ahead, old, edge]), Some(at(edge)));
    assert_eq!(newest(&[ahead, old]), Some(at(old)));
    assert_eq!(newest(&[ahead]), None);
}

#[test]
fn one_time_of_day_runs_once_on_the_days_the_clocks_change() {
    let on = |after: &str| occurrences("30 2 * * *", "Europe/Berlin", after, 3);
    // 02:00 to 03:00 is skipped: the run comes as soon as the clocks have changed.
    assert_eq!(
        on("2026-03-28T00:00:00Z"),
        [
            "03-28 02:30 +01:00",
            "03-29 03:00 +02:00",
            "03-30 02:30 +02:00"
        ]
    );
    // 02:00 to 03:00 comes twice: the first one counts.
    let fall_back = [
        "10-25 02:30 +02:00",
        "10-26 02:30 +01:00",
        "10-27 02:30 +01:00",
    ];
    assert_eq!(on("2026-10-24T12:00:00Z"), fall_back);
    for between in [
        "00:30:00", "00:59:59", "01:00:00", "01:15:00", "01:30:00", "02:30:00",
    ] {
        assert_eq!(
            on(&format!("2026-10-25T{between}Z"))[0],
            fall_back[1],
            "{between}"
        );
    }
}

#[test]
fn several_times_of_day_run_once_each_on_the_days_the_clocks_change() {
    let berlin = |expr, after| occurrences(expr, "Europe/Berlin", after, 3);
    assert_eq!(
        berlin("30 2,14 * * *", "2026-03-28T20:00:00Z"),
        [
            "03-29 03:00 +02:00",
            "03-29 14:30 +02:00",
            "03-30 02:30 +02:00"
        ]
    );
    assert_eq!(
        berlin("30 2,14 * * *", "2026-10-24T20:00:00Z"),
        [
            "10-25 02:30 +02:00",
            "10-25 14:30 +01:00",
            "10-26 02:30 +01:00"
        ]
    );
    // Four runs were skipped, one makes up for them, and the hour's own first is the same one.
    assert_eq!(
        berlin("*/15 2-3 * * *", "2026-03-28T20:00:00Z"),
        [
            "03-29 03:00 +02:00",
            "03-29 03:15 +02:00",
            "03-29 03:30 +02:00"
        ]
    );
    // Clocks went from midnight to 01:00.
    assert_eq!(
        occurrences("0 */12 * * *", "America/Havana", "2026-03-07T12:00:00Z", 3),
        [
            "03-07 12:00 -05:00",
            "03-08 01:00 -04:00",
            "03-08 12:00 -04:00"
        ]
    );
}

#[test]
fn a_pattern_for_every_hour_follows_real_time() {
    let berlin = |after| occurrences("30 * * * *", "Europe/Berlin", after, 4);
    assert_eq!(
        berlin("2026-10-24T23:00:00Z"),
        [
            "10-25 01:30 +02:00",
            "10-25 02:30 +02:00",
            "10-25 02:30 +01:00",
            "10-25 03:30 +01:00"
        ]
    );
    assert_eq!(
        berlin("2026-03-28T23:00:00Z"),
        [
            "03-29 00:30 +01:00",
            "03-29 01:30 +01:00",
            "03-29 03:30 +02:00",
            "03-29 04:30 +02:00"
        ]
    );
}

#[test]
fn a_day_that_a_zone_left_out_is_made_up_for() {
    // Samoa went from 29 December to the 31st.
    assert_eq!(
        occurrences("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", 4),
        [
            "12-29 12:00 -10:00",
            "12-31 00:00 +14:00",
            "12-31 12:00 +14:00",
            "01-01 12:00 +14:00"
        ]
    );
}

#[test]
fn seconds_nicknames_and_rare_dates_are_understood() {
    let cases = [
        ("15 30 2 * * *", "2026-01-01T02:30:15Z"),
        ("@hourly", "2026-01-01T01:00:00Z"),
        ("@daily", "2026-01-02T00:00:00Z"),
        ("@weekly", "2026-01-04T00:00:00Z"),
        ("@monthly", "2026-02-01T00:00:00Z"),
        ("@yearly", "2027-01-01T00:00:00Z"),
        ("  0  0 * jan-feb Mon ", "2026-01-05T00:00:00Z"),
        ("0 0 L * *", "2026-01-31T00:00:00Z"),
        ("0 0 LW * *", "2026-01-30T00:00:00Z"),
        ("0 0 15W 2 *", "2026-02-16T00:00:00Z"),
        ("0 0 * * FRI#2", "2026-01-09T00:00:00Z"),
        ("0 0 * * FRIL", "2026-01-30T00:00:00Z"),
        ("0 0 1 * +MON", "2026-06-01T00:00:00Z"),
        ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
    ];
    for (expr, expected) in cases {
        assert_eq!(
            cron(expr, "UTC").next(at("2026-01-01T00:00:00Z")),
            at(expected),
            "{expr}"
        );
    }
}

#[test]
fn a_wrong_expression_is_named_with_its_wrong_part() {
    let cases = [
        ("0 25 * * *", "`25` is not a valid hour (0-23)"),
        ("60 * * * *", "`60` is not a valid minute (0-59)"),
        ("0 0 0 * *", "`0` is not a valid day of the month (1-31)"),
        ("0 0 * 13 *", "`13` is not a valid month (1-12 or JAN-DEC)"),
        (
            "0 0 * * 8",
            "`8` is not a valid day of the week (0-7 or SUN-SAT)",
        ),
        ("61 * * * * *", "`61` is not a valid second (0-59)"),
        (
            "0 0 * MON *",
            "`MON` is not a valid month (1-12 or JAN-DEC)",
        ),
        (
            "0 0 * * JAN",
            "`JAN` is not a valid day of the week (0-7 or SUN-SAT)",
        ),
        ("MON * * * *", "`MON` is not a valid minute (0-59)"),
        ("*/90 * * * *", "`*/90` is not a valid minute (0-59)"),
        ("0/15 * * * *", "`0/15` is not a valid minute (0-59)"),
        ("*/0 * * * *", "`*/0` is not a valid minute (0-59)"),
        ("0 , * * *", "`,` is not a valid hour (0-23)"),
        ("1,,2 * * * *", "`1,,2` is not a valid minute (0-59)"),
        ("0 0 30 2 *", "no date matches it"),
        ("0 2 * *", "it has 4 fields"),
        ("", "it has 0 fields"),
        ("0 0 0 1 1 * 2026", "it has 7 fields"),
        ("@reboot", "use `@hourly`, `@daily`"),
    ];
    for (expr, expected) in cases {
        let error = Cadence::cron(expr, "UTC").expect_err(expr);
        let start = format!("`{expr}` cannot be a schedule: {expected}");
        assert!(error.starts_with(&start), "{error}");
    }
}

#[test]
fn a_wrong_zone_is_named_with_an_example() {
    for zone in ["nope", "", "+02:00", "Etc/Unknown", "../etc/passwd"] {
        let error = Cadence::cron("0 2 * * *", zone).expect_err(zone);
        let expected =
            format!("`{zone}` is not a time zone; write an IANA name such as `Europe/Berlin`");
        assert_eq!(error, expected);
    }
}

#[test]
fn jitter_is_the_same_whenever_it_is_worked_out() {
    let cadence = Cadence::Every(Duration::from_hours(1));
    let schedule = Schedule {
        cadence,
        jitter: Duration::from_mins(10),
    };
    let newest = at("2026-11-21T11:30:00Z");
    let due = |identity, now: &str| schedule.due(Some(newest), identity, at(now));
    let cache = due("cache", "2026-11-21T11:30:00Z");
    assert_eq!(cache, due("cache", "2026-11-22T00:00:00Z"));
    assert_ne!(cache, due("vault", "2026-11-21T11:30:00Z"));
    // Every version of the program must agree on it.
    assert_eq!(cache, at("2026-11-21T12:33:28.506Z"));
}

#[test]
fn jitter_spreads_evenly_below_its_limit() {
    let jitter = Duration::from_secs(100);
    let mut tenths = [0_u32; 10];
    for job in 0..200 {
        for hour in 0..50 {
            let part = spread(
                jitter,
                &format!("job-{job}"),
                at("2026-11-21T00:00:00Z") + hour.hours(),
            );
            tenths[usize::try_from(part.as_millis() / 10_000).expect("a small number")] += 1;
        }
    }
    assert!(
        tenths.iter().all(|count| (880..1120).contains(count)),
        "{tenths:?}"
    );
    assert_eq!(
        spread(Duration::ZERO, "cache", Timestamp::MAX),
        Duration::ZERO
    );
    assert!(spread(Duration::MAX, "cache", Timestamp::MAX) < Duration::MAX);
}

#[test]
fn the_period_is_the_time_between_two_runs() {
    let now = at("2026-11-21T12:00:00Z");
    let hours = |cadence| without_jitter(cadence).period(now).as_secs_f64() / 3600.0;
    for (expr, expected) in [
        ("0 2 * * *", 24.0),
        ("*/15 * * * *", 0.25),
        ("@weekly", 168.0),
        ("0 8,20 * * *", 12.0),
    ] {
        assert!((hours(cron(expr, "UTC")) - expected).abs() < 1e-9, "{expr}");
    }
    assert!((hours(Cadence::Every(Duration::from_mins(90))) - 1.5).abs() < 1e-9);
}

#[test]
fn retries_back_off_inside_the_period() {
    let delays = |period| -> Vec<u64> {
        (1..=8)
            .map(|attempt| retry_delay(Duration::from_secs(period), attempt).as_secs())
            .collect()
    };
    assert_eq!(delays(3600), [60, 120, 240, 480, 960, 1920, 3600, 3600]);
    assert_eq!(delays(86_400), [60, 120, 240, 480, 960, 1920, 3840, 7680]);
    assert_eq!(delays(600), [10, 20, 40, 80, 160, 320, 600, 600]);
    assert_eq!(delays(5), [1, 2, 4, 5, 5, 5, 5, 5]);
    assert_eq!(
        retry_delay(Duration::from_hours(1), 0),
        Duration::from_mins(1)
    );
    assert_eq!(
        retry_delay(Duration::from_hours(1), u32::MAX),
        Duration::from_hours(1)
    );
}

mod properties;

#[test]
fn a_standby_waits_longer_only_behind_a_long_run() {
    let waits = |period: u64| -> Vec<u64> {
        (1..=6)
            .map(|look| standby_delay(Duration::from_secs(period), look).as_secs())
            .collect()
    };
    assert_eq!(waits(3600), [60, 60, 120, 240, 300, 300]);
    assert_eq!(waits(60), [10, 10, 20, 40, 50, 50]);
    assert_eq!(waits(6), [3, 3, 6, 6, 6, 6]);
    assert_eq!(
        standby_delay(Duration::from_secs(1), u32::MAX),
        Duration::from_secs(1)
    );
}
