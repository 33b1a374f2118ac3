use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{ParseUnitError, leading_number, scaled, split_letters};
use crate::value::words::quote;

const BINARY: [(&str, u64); 5] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
];
const DECIMAL: [(&str, u64); 5] = [
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("PB", 1_000_000_000_000_000),
];

/// A number of bytes as settings write it: a whole number with `KiB`, `MiB`, `GiB`, `TiB`, `PiB`
/// (powers of 1024), `KB`, `MB`, `GB`, `TB`, `PB` (powers of 1000) or `B`; without a unit, bytes.
///
/// Shown in the unit that divides it into the smallest number, so that it reads back as the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HumanSize(pub u64);

impl FromStr for HumanSize {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        let not_a_size =
            |advice: &str| ParseUnitError(format!("{} is not a size; write {advice}", quote(text)));
        let like = "it like `64MiB`, `1GiB` or `10MB`";
        if !trimmed.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(not_a_size(like));
        }
        let too_large = || ParseUnitError(format!("{} is too large", quote(text)));
        let (whole, fraction, rest) = leading_number(trimmed).ok_or_else(too_large)?;
        let unit = rest.strip_prefix(' ').unwrap_or(rest);
        if let (Some(bytes), "") = (unit_bytes(unit), fraction) {
            return whole.checked_mul(bytes).map(Self).ok_or_else(too_large);
        }
        let Some((name, bytes)) = unit_meant(unit) else {
            return Err(not_a_size(like));
        };
        let total = scaled(whole, fraction, bytes).ok_or_else(too_large)?;
        if fraction.is_empty() {
            Err(not_a_size(&format!("`{whole}{name}`")))
        } else {
            Err(not_a_size(&format!("`{}`", Self(total))))
        }
    }
}

fn unit_bytes(unit: &str) -> Option<u64> {
    match unit {
        "" | "B" => Some(1),
        "kB" => Some(1_000),
        _ => BINARY
            .iter()
            .chain(&DECIMAL)
            .find(|(name, _)| *name == unit)
            .map(|(_, bytes)| *bytes),
    }
}

/// The unit behind `m`, `Mi`, `mib`, `mb` or `bytes`; a letter alone is taken as binary, as most
/// tools do.
fn unit_meant(written: &str) -> Option<(&'static str, u64)> {
    let (word, rest) = split_letters(written.trim());
    let lower = word.to_lowercase();
    if !rest.is_empty() {
        return None;
    }
    if matches!(lower.as_str(), "" | "b" | "byte" | "bytes") {
        return Some(("B", 1));
    }
    let known = |units: &[(&'static str, u64)], ending: &str| {
        units.iter().copied().find(|(name, _)| {
            let letter = name.to_lowercase().chars().next();
            letter == lower.chars().next() && lower.get(1..) == Some(ending)
        })
    };
    known(&DECIMAL, "b").or_else(|| ["", "i", "ib"].iter().find_map(|end| known(&BINARY, end)))
}

impl fmt::Display for HumanSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Binary before decimal, so that it wins where both give the same number.
        let best = BINARY
            .iter()
            .chain(&DECIMAL)
            .filter(|(_, bytes)| self.0.is_multiple_of(*bytes))
            .min_by_key(|(_, bytes)| self.0 / bytes);
        match best {
            _ if self.0 == 0 => f.write_str("0"),
            Some((unit, bytes)) => write!(f, "{}{unit}", self.0 / bytes),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl Serialize for HumanSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for HumanSize {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "size" })
    }
}

/// A number of bytes for people, in binary units with one decimal below ten: `482 MiB`,
/// `1.0 GiB`, `12 B`.
pub fn format_bytes(bytes: u64) -> String {
    let mut shown = format!("{bytes} B");
    for (unit, size) in BINARY {
        let tenths = (u128::from(bytes) * 10 + u128::from(size) / 2) / u128::from(size);
        let whole = (u128::from(bytes) + u128::from(size) / 2) / u128::from(size);
        // 1023.6 KiB is a whole 1.0 MiB once rounded, hence the comparison before dividing.
        let below = u128::from(bytes) * 2 + u128::from(size >> 10) < u128::from(size) * 2;
        if below {
            break;
        }
        shown = if tenths < 100 {
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        } else {
            format!("{whole} {unit}")
        };
    }
    shown
}
