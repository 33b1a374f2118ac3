//! Lengths of time as the other programs write them.

use std::time::Duration;

use crate::value::HumanDuration;

/// A unit's name and its length in nanoseconds.
type Unit = (&'static str, u128);

const SECOND: u128 = 1_000_000_000;
const DAY: u128 = 86_400 * SECOND;

/// The units of Go.
pub(super) const GO: &[Unit] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3_600 * SECOND),
];

/// The units of Rust's humantime, which has words for them, and days and longer ones.
pub(super) const HUMANTIME: &[Unit] = &[
    ("nsec", 1),
    ("ns", 1),
    ("usec", 1_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("msec", 1_000_000),
    ("ms", 1_000_000),
    ("seconds", SECOND),
    ("second", SECOND),
    ("secs", SECOND),
    ("sec", SECOND),
    ("s", SECOND),
    ("minutes", 60 * SECOND),
    ("minute", 60 * SECOND),
    ("mins", 60 * SECOND),
    ("min", 60 * SECOND),
    ("m", 60 * SECOND),
    ("hours", 3_600 * SECOND),
    ("hour", 3_600 * SECOND),
    ("hrs", 3_600 * SECOND),
    ("hr", 3_600 * SECOND),
    ("h", 3_600 * SECOND),
    ("days", DAY),
    ("day", DAY),
    ("d", DAY),
    ("weeks", 7 * DAY),
    ("week", 7 * DAY),
    ("w", 7 * DAY),
    ("months", 2_630_016 * SECOND),
    ("month", 2_630_016 * SECOND),
    ("M", 2_630_016 * SECOND),
    ("years", 31_557_600 * SECOND),
    ("year", 31_557_600 * SECOND),
    ("y", 31_557_600 * SECOND),
];

/// Numbers, whole or with a fraction, each with a unit: `1h30m`, `1.5h`, `300s`; `0` needs none.
pub(super) fn parse(text: &str, units: &[Unit]) -> Option<HumanDuration> {
    let mut rest = text.trim();
    rest = rest.strip_prefix('+').unwrap_or(rest);
    if rest == "0" {
        return Some(HumanDuration(Duration::ZERO));
    }
    let mut total: u128 = 0;
    while !rest.is_empty() || total == 0 {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split(after.trim_start(), char::is_alphabetic);
        let (_, length) = units.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, *length)?)?;
        rest = after.trim_start();
        if rest.is_empty() {
            break;
        }
    }
    // Settings are exact to the millisecond.
    let millis = u64::try_from(total / 1_000_000).ok()?;
    Some(HumanDuration(Duration::from_millis(millis)))
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// A decimal number times `length`, rounded down.
fn scaled(number: &str, length: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    // More digits say nothing to the nanosecond.
    let fraction = &fraction[..fraction.len().min(18)];
    let digits = u32::try_from(fraction.len()).ok()?;
    let part: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let part = part.checked_mul(length)? / 10_u128.checked_pow(digits)?;
    whole.checked_mul(length)?.checked_add(part)
}
