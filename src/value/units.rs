mod duration;
mod size;

pub use duration::{HumanDuration, format_age};
pub use size::{HumanSize, format_bytes};

/// Text that is no duration or no size; its message says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseUnitError(String);

/// Splits a leading number such as `1.5` off: its whole part, the digits of its fraction, the rest.
fn leading_number(text: &str) -> Option<(u64, &str, &str)> {
    let (whole, rest) = split_digits(text);
    let whole = whole.parse().ok()?;
    match rest.strip_prefix('.').map(split_digits) {
        Some((fraction, rest)) if !fraction.is_empty() => Some((whole, fraction, rest)),
        _ => Some((whole, "", rest)),
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

fn split_letters(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_alphabetic())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// `whole.fraction` times `unit`, rounded down; nothing if it overflows.
fn scaled(whole: u64, fraction: &str, unit: u64) -> Option<u64> {
    let mut total = whole.checked_mul(unit)?;
    let mut place = u128::from(unit);
    for digit in fraction.bytes().take(18) {
        // Digit by digit, so that no fraction is long enough to overflow.
        let tenth = place * u128::from(digit - b'0') / 10;
        total = total.checked_add(u64::try_from(tenth).ok()?)?;
        place /= 10;
    }
    Some(total)
}

#[cfg(test)]
mod tests;
