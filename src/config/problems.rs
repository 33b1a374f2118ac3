use std::collections::BTreeMap;

use serde_json::Value;

use super::{DestinationEntry, JobConfig, ScheduleConfig, load};
use crate::retention::Policy;
use crate::schedule::Cadence;
use crate::value::{Env, Problem, closest, one_of, unreadable_secrets};

/// Mistakes that the schema cannot see. Works on the document, and on each part of it that can be
/// read on its own, so that a typo in one job hides nothing in another.
pub(super) fn contradictions(document: &Value, env: &Env) -> Vec<Problem> {
    let mut found = unreadable_secrets(document, load::schema(), env);
    let empty = serde_json::Map::new();
    let block = |key: &str| {
        document
            .get(key)
            .and_then(Value::as_object)
            .unwrap_or(&empty)
    };
    let destinations: Vec<&str> = block("destinations").keys().map(String::as_str).collect();

    for (name, entry) in block("destinations") {
        let path = format!("destinations.{name}");
        bad_name(&path, name, &mut found);
        if let Ok(DestinationEntry::Url(url)) = DestinationEntry::deserialize_from(entry)
            && let Err(error) = load::destination_from_url(&url)
        {
            found.push(problem(&path, one_line(&error.why)));
        }
    }
    let mut filed: BTreeMap<(String, String), &str> = BTreeMap::new();
    for (name, entry) in block("jobs") {
        let path = format!("jobs.{name}");
        bad_name(&path, name, &mut found);
        references(&path, entry, &destinations, &mut found);
        if let Some(schedule) = entry.get("schedule") {
            schedule_problems(&path, schedule, &mut found);
        }
        if let Some(rules) = entry.get("retention")
            && let Ok(rules) = serde_json::from_value::<super::RetentionConfig>(rules.clone())
            && let Some(why) = Policy::from(&rules).problem()
        {
            found.push(problem(&format!("{path}.retention"), why));
        }
        let Ok(job) = serde_json::from_value::<JobConfig>(entry.clone()) else {
            continue;
        };
        for (key, why) in job.source.contradictions() {
            found.push(problem(&format!("{path}.source.{key}"), why));
        }
        if let Some(why) = job.seal.problem() {
            found.push(problem(&format!("{path}.seal"), why));
        }
        if !job.enabled {
            continue;
        }
        if destinations.is_empty() {
            found.push(problem(
                &path,
                "has no destination; name one under `destinations`",
            ));
        }
        let series = job.series.clone().unwrap_or_else(|| name.clone());
        let used = job.destinations.clone().unwrap_or_else(|| {
            destinations
                .iter()
                .map(|&destination| destination.to_owned())
                .collect()
        });
        for destination in used {
            if let Some(other) = filed.insert((destination.clone(), series.clone()), name) {
                found.push(problem(
                    &path,
                    format!("files its backups under `{series}` in `{destination}`, as `{other}` does; give it a `series` of its own"),
                ));
            }
        }
    }
    found
}

impl DestinationEntry {
    fn deserialize_from(entry: &Value) -> Result<Self, serde_json::Error> {
        serde_json::from_value(entry.clone())
    }
}

fn problem(path: &str, what: impl Into<String>) -> Problem {
    Problem {
        path: path.to_owned(),
        what: what.into(),
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// Names become folders and environment variables.
fn bad_name(path: &str, name: &str, found: &mut Vec<Problem>) {
    if !sound_name(name) {
        found.push(problem(path, "is not a name; use letters, digits, `-`, `_` and `.`, and begin with a letter, a digit or `_`"));
    }
}

/// `[A-Za-z0-9_][A-Za-z0-9._-]*`
pub(crate) fn sound_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(word) && name.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

fn references(path: &str, job: &Value, known: &[&str], found: &mut Vec<Problem>) {
    let Some(names) = job.get("destinations").and_then(Value::as_array) else {
        return;
    };
    if names.is_empty() {
        found.push(problem(
            &format!("{path}.destinations"),
            "is empty; leave it out to use all",
        ));
    }
    for (at, name) in names.iter().enumerate() {
        let Some(name) = name.as_str() else { continue };
        let here = format!("{path}.destinations[{at}]");
        if names[..at]
            .iter()
            .any(|earlier| earlier.as_str() == Some(name))
        {
            found.push(problem(&here, format!("`{name}` is named twice")));
        } else if !known.contains(&name) {
            let which = match (closest(name, known.iter().copied()), known.len()) {
                (Some(close), _) if known.len() > 8 => format!("; did you mean `{close}`?"),
                (_, 0) => "; `destinations` is empty".to_owned(),
                (_, 1) => format!("; there is {}", one_of(known.iter().copied())),
                _ => format!("; there are {}", one_of(known.iter().copied())),
            };
            found.push(problem(
                &here,
                format!("no destination is called `{name}`{which}"),
            ));
        }
    }
}

fn schedule_problems(path: &str, schedule: &Value, found: &mut Vec<Problem>) {
    let Ok(schedule) = serde_json::from_value::<ScheduleConfig>(schedule.clone()) else {
        return;
    };
    let path = format!("{path}.schedule");
    if schedule.every.is_some() && schedule.cron.is_some() {
        found.push(problem(&path, "has both `every` and `cron`; keep one"));
    }
    if let Some(every) = schedule.every
        && every.0 < std::time::Duration::from_secs(1)
    {
        found.push(problem(&format!("{path}.every"), "must be at least `1s`"));
    }
    let every = schedule
        .every
        .map_or(std::time::Duration::from_hours(1), |every| every.0);
    if schedule.cron.is_none() && schedule.jitter.0 >= every {
        found.push(problem(
            &format!("{path}.jitter"),
            "must be shorter than `every`",
        ));
    }
    // The pattern and the zone are judged apart, so that both mistakes show.
    if let Some(cron) = &schedule.cron
        && let Err(why) = Cadence::cron(cron, "UTC")
    {
        found.push(problem(&format!("{path}.cron"), why));
    }
    if let Err(why) = Cadence::cron("0 0 * * *", &schedule.timezone) {
        found.push(problem(&format!("{path}.timezone"), why));
    }
}
