//! When a job is next due, worked out from the newest backup in a destination, so that every node
//! of a fleet arrives at the same moment whenever it started.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::civil::{DateTime, date};
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::clock;

/// How often a job runs.
#[derive(Debug, Clone)]
pub enum Cadence {
    /// This long after the newest backup; one second or more.
    Every(Duration),
    /// At the times of day that a crontab pattern names in a time zone.
    ///
    /// Each time of day that the pattern names is one run a day, whatever the clocks do: one that
    /// is skipped when they go forward runs as soon as they have, one that comes twice when they
    /// go back runs the first time. A pattern for every hour (`30 * * * *`) follows real time
    /// instead: it runs in both of the repeated hours, and not for the hour that never was.
    Cron {
        /// The parsed pattern.
        pattern: Box<Cron>,
        /// The zone its times of day are in.
        zone: TimeZone,
    },
}

/// A job's cadence, and how far its runs are spread.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// How often.
    pub cadence: Cadence,
    /// Each run is put off by a part of this, so that many jobs do not start as one.
    pub jitter: Duration,
}

impl Cadence {
    /// A cadence from a crontab expression and the IANA name of a time zone.
    ///
    /// The expression has five fields, or six with seconds first, or is a nickname such as
    /// `@daily`. An error is a sentence that says which part is wrong.
    pub fn cron(expr: &str, zone_name: &str) -> Result<Self, String> {
        let zone = TimeZone::get(zone_name)
            .ok()
            .filter(|zone| !zone.is_unknown());
        let Some(zone) = zone else {
            return Err(format!(
                "`{zone_name}` is not a time zone; write an IANA name such as `Europe/Berlin`"
            ));
        };
        let pattern = parse(expr).map_err(|why| format!("`{expr}` cannot be a schedule: {why}"))?;
        Ok(Self::Cron {
            pattern: Box::new(pattern),
            zone,
        })
    }

    /// The first occurrence strictly after `after`; the end of time where there is none.
    fn next(&self, after: Timestamp) -> Timestamp {
        let next = match self {
            Self::Every(every) => after.checked_add(*every).ok(),
            Self::Cron { pattern, zone } => next_match(pattern, zone, after),
        };
        next.unwrap_or(Timestamp::MAX)
    }
}

impl Schedule {
    /// When a destination whose newest backup is `newest` is due: one `every` after it, or at the
    /// next cron time after it. A moment in the past means now: a missed run is caught up. With
    /// nothing stored it is due at once, without jitter, so that asking again gives no later
    /// answer.
    ///
    /// Jitter is drawn from `identity` (the series' name) and the moment itself: stable when it is
    /// worked out again, the same on every node, spread evenly from nothing up to the limit.
    ///
    /// A `newest` dated more than [`clock::TOLERANCE`] ahead of `now` was written under a bad
    /// clock and counts as `now`; taken at its word, it would stop the schedule until its date.
    /// Such an answer moves with `now`, so pick `newest` with [`newest_credible`].
    pub fn due(&self, newest: Option<Timestamp>, identity: &str, now: Timestamp) -> Timestamp {
        let Some(newest) = newest else { return now };
        let newest = if is_ahead(newest, now) { now } else { newest };
        let nominal = self.cadence.next(newest);
        nominal
            .checked_add(spread(self.jitter, identity, nominal))
            .unwrap_or(Timestamp::MAX)
    }

    /// The nominal time between two runs: `every`, or from the next cron time after `now` to the
    /// one after that.
    pub fn period(&self, now: Timestamp) -> Duration {
        match &self.cadence {
            Cadence::Every(every) => *every,
            cron @ Cadence::Cron { .. } => {
                let first = cron.next(now);
                clock::since(first, cron.next(first))
            }
        }
    }
}

/// The newest of `captured` that is not dated ahead of `now` by more than [`clock::TOLERANCE`]:
/// the one to centre a schedule on. A backup from a bad clock would otherwise stay the newest
/// however many good ones follow it.
pub fn newest_credible(
    captured: impl IntoIterator<Item = Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    captured
        .into_iter()
        .filter(|moment| !is_ahead(*moment, now))
        .max()
}

/// How long to wait after the `attempt`-th failed run in a row, counted from 1: a sixtieth of the
/// period, at least 1 s and at most 60 s, doubled each time, and never more than the period.
pub fn retry_delay(period: Duration, attempt: u32) -> Duration {
    let base = (period / 60).clamp(Duration::from_secs(1), Duration::from_mins(1));
    let delay = 2_u32
        .checked_pow(attempt.saturating_sub(1))
        .and_then(|n| base.checked_mul(n));
    delay.map_or(period, |delay| delay.min(period))
}

/// How long a node that is not to save now waits before it looks whether another one did, for the
/// `look`-th time in a row, counted from 1: a sixth of the period, at least 3 s and at most 60 s.
/// Long enough that the run of a healthy fleet is over by then, so that a standby looks twice a
/// period; short enough that one whose leader died in its run takes over soon. From the third look
/// on the wait grows, up to five times as long, because the leader's run is a long one; it is
/// never more than the period.
pub fn standby_delay(period: Duration, look: u32) -> Duration {
    let delay = (period / 6).clamp(Duration::from_secs(3), Duration::from_mins(1));
    let longer = 2_u32.saturating_pow(look.saturating_sub(2)).clamp(1, 5);
    (delay * longer).min(period)
}

fn is_ahead(moment: Timestamp, now: Timestamp) -> bool {
    clock::since(now, moment) > clock::TOLERANCE
}

/// A part of `jitter`, in whole milliseconds below it. The hash is written out (FNV-1a, then
/// murmur's finaliser to mix the upper bits) because nodes of different versions must agree on it.
fn spread(jitter: Duration, identity: &str, moment: Timestamp) -> Duration {
    let moment = moment.as_nanosecond().to_le_bytes();
    let mut hash = identity
        .bytes()
        .chain(moment)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^= hash >> 33;
    let limit = u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX);
    let part = (u128::from(hash) * u128::from(limit)) >> 64;
    Duration::from_millis(u64::try_from(part).expect("a part of a u64 fits in one"))
}

fn next_match(pattern: &Cron, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    if pattern.pattern.hours.values().len() == 24 {
        let next = pattern.find_next_occurrence(&after.to_zoned(zone.clone()), false);
        return next.ok().map(|next| next.timestamp());
    }
    // With a zone, croner sees to clock changes only for a single time of day: `30 2,14 * * *` it
    // loses to a skipped hour, and runs twice in a repeated one. So it is asked for times of day
    // without a zone. As instants these never go back, so the first one past `after` is the next.
    let mut wall = zone.to_datetime(after);
    loop {
        wall = pattern.find_next_occurrence(&wall, false).ok()?;
        let moment = first_instant(zone, wall)?;
        if moment > after {
            return Some(moment);
        }
    }
}

/// The first moment at which clocks show `wall` or, where they skip it, have just passed it.
fn first_instant(zone: &TimeZone, wall: DateTime) -> Option<Timestamp> {
    let candidates = zone.to_ambiguous_timestamp(wall);
    let AmbiguousOffset::Gap { after, .. } = candidates.offset() else {
        return candidates.earlier().ok();
    };
    let before = candidates.earlier().ok()?;
    zone.following(before)
        .find(|change| change.offset() == after)
        .map(|change| change.timestamp())
}

/// A field of a crontab pattern: its name, its values as a reader writes them, the largest of them,
/// and the words it knows.
type Field = (&'static str, &'static str, u32, &'static [&'static str]);

const FIELDS: [Field; 6] = [
    ("second", "0-59", 59, &[]),
    ("minute", "0-59", 59, &[]),
    ("hour", "0-23", 23, &[]),
    ("day of the month", "1-31", 31, &["L", "W", "LW"]),
    (
        "month",
        "1-12 or JAN-DEC",
        12,
        &[
            "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
        ],
    ),
    (
        "day of the week",
        "0-7 or SUN-SAT",
        7,
        &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "L"],
    ),
];

/// Parses a crontab expression. Each field is tried alone first, so that an error can name it.
fn parse(expr: &str) -> Result<Cron, String> {
    let parser = CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Disallowed)
        .build();
    let fields: Vec<&str> = expr.split_whitespace().collect();
    if let [nickname] = fields[..]
        && nickname.starts_with('@')
    {
        let known = "use `@hourly`, `@daily`, `@weekly`, `@monthly` or `@yearly`";
        return parser.parse(nickname).map_err(|_| known.to_owned());
    }
    let Some(first) = FIELDS
        .len()
        .checked_sub(fields.len())
        .filter(|missing| *missing < 2)
    else {
        return Err(format!(
            "it has {} fields; a cron expression has 5 (minute, hour, day, month, weekday), or 6 \
             with seconds first",
            fields.len()
        ));
    };
    for (position, text) in (first..).zip(&fields) {
        let mut alone = ["*"; FIELDS.len()];
        alone[position] = text;
        let field = FIELDS[position];
        if !is_plausible(text, field) || parser.parse(&alone.join(" ")).is_err() {
            let (name, values, ..) = field;
            return Err(format!("`{text}` is not a valid {name} ({values})"));
        }
    }
    let pattern = parser.parse(expr).map_err(|error| error.to_string())?;
    if pattern
        .find_next_occurrence(&DateTime::from(date(2000, 1, 1)), false)
        .is_err()
    {
        return Err("no date matches it".to_owned());
    }
    Ok(pattern)
}

/// Catches what croner lets pass: nothing between two commas, a step past the field's end (`*/90`
/// is not every 90 minutes), and a word of another field (`MON` as a month would be January).
fn is_plausible(text: &str, (_, _, largest, words): Field) -> bool {
    let known = |word: &str| {
        let word = word.to_uppercase();
        // `FRIL` is the last Friday.
        let bare = word.strip_suffix('L').filter(|_| words.contains(&"L"));
        words.contains(&word.as_str()) || bare.is_some_and(|bare| words.contains(&bare))
    };
    text.split(',').all(|item| {
        let step = item.split_once('/').map(|(_, step)| step);
        !item.is_empty()
            && step.is_none_or(|step| step.parse::<u32>().is_ok_and(|step| step <= largest))
            && item
                .split(|c: char| !c.is_alphabetic())
                .filter(|word| !word.is_empty())
                .all(known)
    })
}

#[cfg(test)]
mod tests;
