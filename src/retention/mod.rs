//! Which backups of a series stay and which go, decided from a list, a policy, a time zone and the
//! store's time alone. Nothing here asks a clock or deletes anything: the plan is for others.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::clock;

/// The floor where `keep_min` is not set and `keep_last` is not smaller.
const DEFAULT_FLOOR: u32 = 2;

/// The rules of a job. They are a union: a backup stays if any of them keeps it. A rule of zero
/// keeps nothing, as if it were not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The newest N backups.
    pub keep_last: Option<u32>,
    /// Backups no older than this before the newest backup of the series. Measured from the
    /// newest backup, not from the clock, so that a source that stopped loses nothing.
    pub keep_within: Option<Duration>,
    /// The newest backup of each of the last N days that have one.
    pub daily: Option<u32>,
    /// The newest backup of each of the last N ISO weeks that have one.
    pub weekly: Option<u32>,
    /// The newest backup of each of the last N months that have one.
    pub monthly: Option<u32>,
    /// The newest backup of each of the last N years that have one.
    pub yearly: Option<u32>,
    /// The floor: where the rules keep fewer verified backups than this, the newest verified
    /// others stay too. By default 2, or `keep_last` where that is smaller.
    pub keep_min: Option<u32>,
}

impl Policy {
    /// What is wrong with the rules, as a sentence for a configuration error: they name no rule,
    /// or all of them are zero and would keep nothing. A policy with a problem is never carried
    /// out.
    pub fn problem(&self) -> Option<String> {
        let counts = [
            self.keep_last,
            self.daily,
            self.weekly,
            self.monthly,
            self.yearly,
        ];
        if counts.iter().flatten().any(|count| *count > 0)
            || self.keep_within.is_some_and(|span| !span.is_zero())
        {
            return None;
        }
        let what = if counts.iter().any(Option::is_some) || self.keep_within.is_some() {
            "would keep nothing: every rule is zero"
        } else if self.keep_min.is_some() {
            "names no rule: `keep_min` is only a floor under the others"
        } else {
            "names no rule"
        };
        Some(format!(
            "{what}; set at least one of `keep_last`, `keep_within`, `daily`, `weekly`, \
             `monthly`, `yearly` above zero"
        ))
    }

    fn floor(&self) -> u32 {
        self.keep_min
            .unwrap_or_else(|| self.keep_last.unwrap_or(DEFAULT_FLOOR).min(DEFAULT_FLOOR))
    }
}

/// One manifest of the series, as far as retention is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The manifest's id, unique in the series.
    pub id: String,
    /// When the data was captured.
    pub captured_at: Timestamp,
    /// The data object the manifest names. Manifests that name the same one are one backup.
    pub data_key: String,
    /// Whether the engine's proof of wholeness passed.
    pub verified: bool,
}

/// What stays and what goes, each with its reasons, both newest first. Every candidate is in
/// exactly one of the two lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The manifests that stay.
    pub keep: Vec<Kept>,
    /// The manifests that go.
    pub remove: Vec<Removed>,
    /// The ids of those that stay because they are dated ahead of the store's clock.
    pub future: Vec<String>,
    /// Why nothing may be removed, where the policy cannot be carried out.
    pub refused: Option<String>,
}

/// A manifest that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The manifest's id.
    pub id: String,
    /// Every rule that keeps it, such as `last 7` or `day 2026-11-21`.
    pub reasons: Vec<String>,
}

/// A manifest that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// The manifest's id.
    pub id: String,
    /// Why no rule holds it, with its age by the store's clock.
    pub reason: String,
}

/// Decides which of `backups`, all the manifests of one series in one destination, stay under
/// `policy`. Days, weeks, months and years are those of `zone`; `store_now` is the destination's
/// own time.
///
/// The newest verified backup always stays. A manifest dated more than [`clock::TOLERANCE`] ahead
/// of `store_now` stays too and counts for no rule: its date says nothing about its age.
pub fn plan(backups: &[Candidate], policy: &Policy, zone: &TimeZone, store_now: Timestamp) -> Plan {
    let (listed, future, present) = in_order(backups, store_now);
    if let Some(why) = policy.problem() {
        return refuse(&listed, &future, why);
    }

    let mut series = Series::group(&present);
    series.apply(policy, zone);

    let mut plan = Plan {
        future: ids(&future),
        ..Plan::default()
    };
    for candidate in &future {
        plan.keep(candidate, vec!["dated in the future".to_owned()]);
    }
    let held_by_future: HashMap<&str, &str> = future
        .iter()
        .rev()
        .map(|c| (c.data_key.as_str(), c.id.as_str()))
        .collect();
    for candidate in &present {
        let backup = &series.backups[series.by_data[candidate.data_key.as_str()]];
        let shares = |id: &str| vec![format!("same data as {id}")];
        if backup.reasons.is_empty() {
            match held_by_future.get(candidate.data_key.as_str()) {
                Some(id) => plan.keep(candidate, shares(id)),
                None => plan.remove(candidate, store_now),
            }
        } else if backup.newest.id == candidate.id {
            plan.keep(candidate, backup.reasons.clone());
        } else {
            plan.keep(candidate, shares(&backup.newest.id));
        }
    }
    refuse_to_empty(plan, &listed, &future)
}

/// The plan where a reason outside this module forbids to remove anything: everything stays.
pub fn refused(backups: &[Candidate], why: String, store_now: Timestamp) -> Plan {
    let (listed, future, _) = in_order(backups, store_now);
    refuse(&listed, &future, why)
}

/// All, newest first, and the same apart: those dated ahead of the store's clock, and the others.
fn in_order(
    backups: &[Candidate],
    store_now: Timestamp,
) -> (Vec<&Candidate>, Vec<&Candidate>, Vec<&Candidate>) {
    let mut listed: Vec<&Candidate> = backups.iter().collect();
    listed.sort_by(|a, b| (b.captured_at, &b.id).cmp(&(a.captured_at, &a.id)));
    // Where the sum overflows, no date can lie ahead.
    let horizon = store_now
        .checked_add(clock::TOLERANCE)
        .unwrap_or(Timestamp::MAX);
    let (future, present) = listed
        .iter()
        .partition(|candidate| candidate.captured_at > horizon);
    (listed, future, present)
}

impl Plan {
    fn keep(&mut self, candidate: &Candidate, reasons: Vec<String>) {
        self.keep.push(Kept {
            id: candidate.id.clone(),
            reasons,
        });
    }

    fn remove(&mut self, candidate: &Candidate, store_now: Timestamp) {
        let age = rounded(clock::since(candidate.captured_at, store_now));
        let reason = format!("covered by no rule ({age} old)");
        self.remove.push(Removed {
            id: candidate.id.clone(),
            reason,
        });
    }
}

/// A plan that keeps everything, and says why.
fn refuse(listed: &[&Candidate], future: &[&Candidate], why: String) -> Plan {
    let mut plan = Plan {
        future: ids(future),
        refused: Some(why),
        ..Plan::default()
    };
    for candidate in listed {
        plan.keep(candidate, vec!["plan refused".to_owned()]);
    }
    plan
}

/// The last guard: every working rule keeps the newest backup, so a plan that leaves none with a
/// credible date comes from a mistake in this module and must cost nobody their backups.
fn refuse_to_empty(plan: Plan, listed: &[&Candidate], future: &[&Candidate]) -> Plan {
    if !plan.remove.is_empty() && plan.keep.len() == future.len() {
        return refuse(
            listed,
            future,
            "the plan would remove every backup".to_owned(),
        );
    }
    plan
}

fn ids(candidates: &[&Candidate]) -> Vec<String> {
    candidates
        .iter()
        .map(|candidate| candidate.id.clone())
        .collect()
}

/// The backups of a series, newest first.
struct Series<'a> {
    backups: Vec<Backup<'a>>,
    /// Where in `backups` the one with this data object is.
    by_data: HashMap<&'a str, usize>,
    /// Where the one with the newest verified manifest is.
    newest_verified: Option<usize>,
}

/// The manifests that name one data object, dated by the newest of them: a run that found nothing
/// changed proved that the data was still current then.
struct Backup<'a> {
    newest: &'a Candidate,
    verified: bool,
    reasons: Vec<String>,
}

impl<'a> Series<'a> {
    /// Groups manifests, which must come newest first, by the data they name.
    fn group(manifests: &[&'a Candidate]) -> Self {
        let mut series = Series {
            backups: Vec::new(),
            by_data: HashMap::new(),
            newest_verified: None,
        };
        for manifest in manifests {
            let position = *series.by_data.entry(&manifest.data_key).or_insert_with(|| {
                series.backups.push(Backup {
                    newest: manifest,
                    verified: false,
                    reasons: Vec::new(),
                });
                series.backups.len() - 1
            });
            if manifest.verified {
                series.backups[position].verified = true;
                series.newest_verified.get_or_insert(position);
            }
        }
        series
    }

    /// Gives every backup that stays its reasons. One that has none afterwards goes.
    fn apply(&mut self, policy: &Policy, zone: &TimeZone) {
        if let Some(position) = self.newest_verified {
            if position == 0 {
                self.hold(position, "newest".to_owned());
            }
            self.hold(position, "newest verified".to_owned());
        }
        if let Some(count) = policy.keep_last {
            for backup in self.backups.iter_mut().take(count as usize) {
                backup.reasons.push(format!("last {count}"));
            }
        }
        if let Some(span) = policy.keep_within.filter(|span| !span.is_zero()) {
            self.hold_within(span);
        }
        let calendar: [(Option<u32>, PeriodOf, Label); 4] = [
            (
                policy.daily,
                |date| (date.year(), date.month(), date.day()),
                |(year, month, day)| format!("day {year:04}-{month:02}-{day:02}"),
            ),
            (
                policy.weekly,
                // The ISO year: around New Year it is not the date's own.
                |date| (date.iso_week_date().year(), date.iso_week_date().week(), 0),
                |(year, week, _)| format!("week {year:04}-W{week:02}"),
            ),
            (
                policy.monthly,
                |date| (date.year(), date.month(), 0),
                |(year, month, _)| format!("month {year:04}-{month:02}"),
            ),
            (
                policy.yearly,
                |date| (date.year(), 0, 0),
                |(year, ..)| format!("year {year:04}"),
            ),
        ];
        for (count, period_of, label) in calendar {
            if let Some(count) = count {
                self.hold_newest_of_each(count, zone, period_of, label);
            }
        }
        self.hold_floor(policy.floor());
    }

    fn hold(&mut self, position: usize, reason: String) {
        self.backups[position].reasons.push(reason);
    }

    fn hold_within(&mut self, span: Duration) {
        let Some(newest) = self.backups.first().map(|backup| backup.newest.captured_at) else {
            return;
        };
        // A span that reaches back before all time keeps everything.
        let oldest = newest.checked_sub(span).unwrap_or(Timestamp::MIN);
        let reason = format!("within {}", exact(span));
        for backup in &mut self.backups {
            if backup.newest.captured_at >= oldest {
                backup.reasons.push(reason.clone());
            }
        }
    }

    fn hold_newest_of_each(
        &mut self,
        count: u32,
        zone: &TimeZone,
        period_of: PeriodOf,
        label: Label,
    ) {
        // A map, because dates need not fall as instants do: a clock put back across midnight
        // visits a day twice.
        let mut newest: BTreeMap<Period, usize> = BTreeMap::new();
        for (position, backup) in self.backups.iter().enumerate() {
            let date = zone.to_datetime(backup.newest.captured_at).date();
            newest.entry(period_of(date)).or_insert(position);
        }
        for (period, position) in newest.into_iter().rev().take(count as usize) {
            self.hold(position, label(period));
        }
    }

    fn hold_floor(&mut self, floor: u32) {
        let verified = self.backups.iter_mut().filter(|backup| backup.verified);
        let (held, loose): (Vec<_>, Vec<_>) =
            verified.partition(|backup| !backup.reasons.is_empty());
        let missing = (floor as usize).saturating_sub(held.len());
        for backup in loose.into_iter().take(missing) {
            backup.reasons.push(format!("floor of {floor}"));
        }
    }
}

/// A day, week, month or year, in an order that is the calendar's; unused parts are zero.
type Period = (i16, i8, i8);
type PeriodOf = fn(Date) -> Period;
type Label = fn(Period) -> String;

const UNITS: [(u64, &str); 4] = [(24 * 60 * 60, "d"), (60 * 60, "h"), (60, "min"), (1, "s")];

/// `30 d`, `36 h`, `90 min`: in the largest unit that loses nothing.
fn exact(span: Duration) -> String {
    let seconds = span.as_secs();
    match UNITS.iter().find(|(size, _)| seconds.is_multiple_of(*size)) {
        Some((size, unit)) if span.subsec_nanos() == 0 => format!("{} {unit}", seconds / size),
        _ => format!("{span:?}"),
    }
}

/// `14 d`, `3 h`, `19 min`, `8 s`: in the largest unit that is reached, rounded down.
fn rounded(age: Duration) -> String {
    let seconds = age.as_secs();
    match UNITS.iter().find(|(size, _)| seconds >= *size) {
        Some((size, unit)) => format!("{} {unit}", seconds / size),
        None => "0 s".to_owned(),
    }
}

#[cfg(test)]
mod tests;
