use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{ParseUnitError, leading_number, scaled, split_digits, split_letters};
use crate::value::words::quote;

/// Unit and its milliseconds, longest first.
const UNITS: [(&str, u64); 6] = [
    ("w", 604_800_000),
    ("d", DAY),
    ("h", HOUR),
    ("m", MINUTE),
    ("s", SECOND),
    ("ms", 1),
];
const DAY: u64 = 86_400_000;
const HOUR: u64 = 3_600_000;
const MINUTE: u64 = 60_000;
const SECOND: u64 = 1_000;
/// A hundred years: a longer duration is a slip, and adding it to a date could overflow.
const MAX: u64 = 36_500 * DAY;

/// A length of time as settings write it: whole numbers with `w`, `d`, `h`, `m`, `s` or `ms`, the
/// longer unit first, such as `90s`, `1h30m` or `30d`; `0` needs no unit. At most 100 years.
///
/// Shown in the same way, in days and shorter units and to the millisecond; what is shown reads
/// back as the same duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HumanDuration(pub Duration);

impl FromStr for HumanDuration {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        let quoted = quote(text);
        let written = read(trimmed);
        let Some(millis) = written.or_else(|| guess(trimmed)) else {
            let like = "write it like `90s`, `1h30m` or `30d`";
            return Err(ParseUnitError(format!(
                "{quoted} is not a duration; {like}"
            )));
        };
        let duration = Self(Duration::from_millis(millis));
        if millis > MAX {
            Err(ParseUnitError(format!(
                "{quoted} is too long; the most is `36500d`"
            )))
        } else if written.is_some() {
            Ok(duration)
        } else if split_digits(trimmed).1.is_empty() {
            Err(ParseUnitError(format!(
                "{quoted} has no unit; write `{trimmed}s`"
            )))
        } else {
            Err(ParseUnitError(format!(
                "{quoted} is not a duration; write `{duration}`"
            )))
        }
    }
}

/// Milliseconds of text written by the rules.
fn read(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut total = 0_u64;
    let mut units = UNITS.iter();
    let mut rest = text;
    loop {
        let (digits, after) = split_digits(rest);
        let (unit, after) = split_letters(after);
        // The iterator only moves forward: a unit that comes twice or too late is not found.
        let (_, millis) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(digits.parse::<u64>().ok()?.checked_mul(*millis)?)?;
        rest = after.trim_start();
        if rest.is_empty() {
            return Some(total);
        }
    }
}

/// Milliseconds of text that breaks the rules but can be understood: `1hour30`, `1.5 days`,
/// `PT10M`, `90`.
fn guess(text: &str) -> Option<u64> {
    let lower = text.to_lowercase();
    let mut rest = lower.strip_prefix('p').unwrap_or(&lower);
    let mut total = 0_u64;
    let mut last = None;
    loop {
        rest = rest.trim_start_matches([' ', ',', 't']);
        if rest.is_empty() {
            return last.map(|_| total);
        }
        let (whole, fraction, after) = leading_number(rest)?;
        let (word, after) = split_letters(after.trim_start());
        let millis = match (word, last) {
            ("", None) => SECOND,
            ("", Some(longer)) => UNITS
                .iter()
                .map(|(_, millis)| *millis)
                .find(|m| *m < longer)?,
            (word, _) => unit_meant(word)?,
        };
        total = total.checked_add(scaled(whole, fraction, millis)?)?;
        last = Some(millis);
        rest = after;
    }
}

fn unit_meant(word: &str) -> Option<u64> {
    Some(match word {
        "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "secs" | "second" | "seconds" => SECOND,
        "m" | "min" | "mins" | "minute" | "minutes" => MINUTE,
        "h" | "hr" | "hrs" | "hour" | "hours" => HOUR,
        "d" | "day" | "days" => DAY,
        "w" | "wk" | "wks" | "week" | "weeks" => 7 * DAY,
        "mo" | "mon" | "month" | "months" => 30 * DAY,
        "y" | "yr" | "yrs" | "year" | "years" => 365 * DAY,
        _ => return None,
    })
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        // Weeks are left out: `14d` is what people compare with `30d`.
        for (unit, millis) in &UNITS[1..] {
            let millis = u128::from(*millis);
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for HumanDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "duration" })
    }
}

/// How old something is, in one unit and rounded down, for people: `12 s`, `19 min`, `4 h`, `14 d`.
pub fn format_age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        // Two days in hours still tell yesterday from the day before.
        seconds @ 3_600..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}
