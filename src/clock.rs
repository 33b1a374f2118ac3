//! The one place that asks what time it is.

use std::time::Duration;

use jiff::Timestamp;

/// How far a clock may be off before its word is not taken: retention stops, and backups dated
/// further ahead than this count for no rule.
pub const TOLERANCE: Duration = Duration::from_mins(5);

/// The machine's wall clock, in whole milliseconds: that is what a manifest can record.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// The time from `earlier` to `later`; zero where `earlier` is the later one.
pub fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

/// `moment` as people read it: in the machine's zone, to the minute.
pub fn local_minute(moment: Timestamp) -> String {
    moment
        .to_zoned(jiff::tz::TimeZone::system())
        .strftime("%Y-%m-%d %H:%M")
        .to_string()
}

/// `moment` as it stands in ids and in the names of files that were moved aside:
/// `20261121T023447Z`.
pub fn compact(moment: Timestamp) -> String {
    moment.strftime("%Y%m%dT%H%M%SZ").to_string()
}
