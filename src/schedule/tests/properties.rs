//! Cron against a clock that is watched minute by minute, with patterns it reads itself.

use std::collections::BTreeSet;

use super::*;

/// One field of a random pattern: as written, and the values it stands for.
#[derive(Clone)]
struct Field {
    text: String,
    values: BTreeSet<i8>,
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn field(low: i8, high: i8) -> impl Strategy<Value = Field> {
    let all = move |step: usize| (low..=high).step_by(step).collect();
    let range = (low..=high).prop_flat_map(move |from| (Just(from), from..=high, 1..6_usize));
    prop_oneof![
        3 => Just(Field { text: "*".into(), values: all(1) }),
        1 => (1..7_usize).prop_map(move |n| Field { text: format!("*/{n}"), values: all(n) }),
        3 => prop::collection::btree_set(low..=high, 1..4).prop_map(|values| Field {
            text: values.iter().map(i8::to_string).collect::<Vec<_>>().join(","),
            values,
        }),
        1 => range.prop_map(|(from, to, step)| Field {
            text: format!("{from}-{to}/{step}"),
            values: (from..=to).step_by(step).collect(),
        }),
    ]
}

/// Minute, hour, day, month and weekday. Days and months mostly match, or nothing ever happens.
fn patterns() -> impl Strategy<Value = [Field; 5]> {
    let mostly_any = |low, high| {
        let any = Field {
            text: "*".into(),
            values: (low..=high).collect(),
        };
        prop_oneof![4 => Just(any), 1 => field(low, high)]
    };
    let early = (0..4_i8, 0..4_i8).prop_map(|(from, more)| Field {
        text: format!("{from}-{}", from + more),
        values: (from..=from + more).collect(),
    });
    let hours = prop_oneof![early, field(0, 23)];
    (
        field(0, 59),
        hours,
        mostly_any(1, 31),
        mostly_any(1, 12),
        mostly_any(0, 6),
    )
        .prop_map(Into::into)
}

fn matches([minute, hour, day, month, weekday]: &[Field; 5], wall: DateTime) -> bool {
    let on_day = day.values.contains(&wall.day());
    let on_weekday = weekday
        .values
        .contains(&wall.weekday().to_sunday_zero_offset());
    // crontab's old rule: where both are restricted, either will do.
    let today = match (day.text.as_str(), weekday.text.as_str()) {
        ("*", _) => on_weekday,
        (_, "*") => on_day,
        _ => on_day || on_weekday,
    };
    minute.values.contains(&wall.minute())
        && hour.values.contains(&wall.hour())
        && month.values.contains(&wall.month())
        && today
}

/// Watches a clock on the wall, minute by minute. Each time it shows a minute for the first time,
/// that one and any it has jumped over may be a run; a pattern for every hour looks only at what
/// the clock shows.
fn watch(
    pattern: &[Field; 5],
    zone: &TimeZone,
    after: Timestamp,
    until: Timestamp,
) -> Option<Timestamp> {
    let every_hour = pattern[1].values.len() == 24;
    let minute = 60 * 1_000_000_000;
    let start = after.as_nanosecond().div_euclid(minute) * minute;
    // Two days' run-up, to know what the clock has shown already.
    let mut moment =
        Timestamp::from_nanosecond(start).expect("a time of this century") - 48.hours();
    let mut shown = zone.to_datetime(moment);
    while moment <= until {
        moment += 1.minutes();
        let wall = zone.to_datetime(moment);
        let mut runs = every_hour && matches(pattern, wall);
        while shown < wall {
            shown += 1.minutes();
            runs |= !every_hour && matches(pattern, shown);
        }
        if runs && moment > after {
            return Some(moment);
        }
    }
    None
}

/// Around changes of clock: by an hour, by half an hour, across midnight, by a whole day.
fn changes() -> impl Strategy<Value = (&'static str, Timestamp)> {
    let changes = [
        ("Europe/Berlin", "2026-03-29T01:00:00Z"),
        ("Europe/Berlin", "2026-10-25T01:00:00Z"),
        ("America/New_York", "2026-03-08T07:00:00Z"),
        ("America/New_York", "2026-11-01T06:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
        ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
        ("America/Havana", "2026-03-08T05:00:00Z"),
        ("America/Havana", "2026-11-01T05:00:00Z"),
        ("America/St_Johns", "2010-11-07T02:31:00Z"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z"),
        ("Asia/Kathmandu", "2026-12-31T18:15:00Z"),
        ("UTC", "2028-02-29T00:00:00Z"),
    ];
    prop::sample::select(changes.map(|(zone, time)| (zone, at(time))).to_vec())
}

/// Whole minutes of the watch's step, or anything between them.
fn offsets() -> impl Strategy<Value = i64> {
    prop_oneof![
        (-180..180_i64).prop_map(|minutes| minutes * 60_000),
        -172_800_000..172_800_000_i64,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_next_run_is_what_a_watched_clock_shows(
        pattern in patterns(), (zone, change) in changes(), offset in offsets(),
    ) {
        let expr = pattern.each_ref().map(|field| field.text.as_str()).join(" ");
        let after = change + offset.milliseconds();
        let until = after + 60.hours();
        let tz = TimeZone::get(zone).expect("a zone of the bundled database");
        // Some random patterns have no date at all, such as 30 February.
        let Ok(cadence) = Cadence::cron(&expr, zone) else {
            prop_assert_eq!(watch(&pattern, &tz, after, until), None);
            return Ok(());
        };
        let next = cadence.next(after);
        match watch(&pattern, &tz, after, until) {
            Some(seen) => prop_assert_eq!(next, seen, "`{}` in {} after {}", expr, zone, after),
            None => prop_assert!(next > until, "`{}` in {} after {}: {}", expr, zone, after, next),
        }
    }

    #[test]
    fn jitter_puts_off_by_less_than_its_limit(
        pattern in patterns(), offset in offsets(), jitter in 1..100_000_u64,
    ) {
        let expr = pattern.each_ref().map(|field| field.text.as_str()).join(" ");
        let Ok(cadence) = Cadence::cron(&expr, "Europe/Berlin") else { return Ok(()) };
        let newest = at("2026-03-29T01:00:00Z") + offset.milliseconds();
        let schedule = Schedule { cadence, jitter: Duration::from_millis(jitter) };
        let nominal = schedule.cadence.next(newest);
        let due = schedule.due(Some(newest), "cache", newest);
        prop_assert!(due >= nominal && due < nominal + schedule.jitter);
    }
}
