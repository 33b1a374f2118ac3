use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{RetentionConfig, ScheduleConfig, load};
use crate::destination::DestinationConfig;
use crate::retention::Policy;
use crate::schedule::Cadence;
use crate::seal::SealConfig;
use crate::source::SourceConfig;
use crate::value::{Env, Problem, closest, one_of, unreadable_secrets};

/// Mistakes that the schema cannot see. Works on each part of the document that can be read on its
/// own, so that a typo in one hides nothing in another. `checked` is what the schema found: a part
/// that cannot be read although the schema found nothing in it is a mistake of its own.
pub(super) fn contradictions(document: &Value, env: &Env, checked: &[Problem]) -> Vec<Problem> {
    let mut judge = Judge {
        checked,
        found: unreadable_secrets(document, load::schema(), env),
    };
    let empty = serde_json::Map::new();
    let block = |key: &str| {
        document
            .get(key)
            .and_then(Value::as_object)
            .unwrap_or(&empty)
    };
    let destinations: Vec<&str> = block("destinations").keys().map(String::as_str).collect();
    for (name, entry) in block("destinations") {
        judge.destination(&format!("destinations.{name}"), name, entry);
    }
    let mut filed: BTreeMap<(String, String), &str> = BTreeMap::new();
    for (name, job) in block("jobs") {
        let path = format!("jobs.{name}");
        judge.job(&path, name, job);
        references(&path, job, &destinations, &mut judge.found);
        if job.get("enabled") != Some(&Value::Bool(false)) {
            judge.places(&path, name, job, &destinations, &mut filed);
        }
    }
    judge.found
}

struct Judge<'a> {
    checked: &'a [Problem],
    found: Vec<Problem>,
}

impl Judge<'_> {
    fn add(&mut self, path: &str, what: impl Into<String>) {
        self.found.push(problem(path, what));
    }

    /// What the parts of a block say of each other, but for keys that are wrong in themselves.
    fn contradictions(&mut self, path: &str, found: Vec<(&'static str, String)>) {
        for (key, why) in found {
            let here = format!("{path}.{key}");
            if !self.checked.iter().any(|known| known.path == here) {
                self.add(&here, why);
            }
        }
    }

    /// A part of the document as its type, if it can be read.
    fn part<T: DeserializeOwned>(&mut self, path: &str, value: Option<&Value>) -> Option<T> {
        match serde_json::from_value(value?.clone()) {
            Ok(part) => Some(part),
            Err(error) => {
                if !self.checked.iter().any(|known| lies_in(&known.path, path)) {
                    self.add(path, error.to_string());
                }
                None
            }
        }
    }

    fn destination(&mut self, path: &str, name: &str, entry: &Value) {
        bad_name(path, name, &mut self.found);
        if let Some(url) = entry.as_str() {
            for mistake in load::read_destination_url(url).err().unwrap_or_default() {
                let what = match mistake.path.as_str() {
                    "" => mistake.what,
                    key => format!("`{key}` in the URL: {}", mistake.what),
                };
                self.add(path, what);
            }
        } else if let Some(settings) = self.part::<DestinationConfig>(path, Some(entry)) {
            self.contradictions(path, settings.contradictions());
        }
    }

    fn job(&mut self, path: &str, name: &str, job: &Value) {
        bad_name(path, name, &mut self.found);
        let at = |key: &str| (format!("{path}.{key}"), job.get(key));
        let (here, value) = at("source");
        if let Some(source) = self.part::<SourceConfig>(&here, value) {
            self.contradictions(&here, source.contradictions());
        }
        let (here, value) = at("schedule");
        if let Some(schedule) = self.part::<ScheduleConfig>(&here, value) {
            schedule_problems(&here, &schedule, &mut self.found);
        }
        let (here, value) = at("seal");
        let seal = self.part::<SealConfig>(&here, value);
        if let Some(why) = seal.and_then(|seal| seal.problem()) {
            self.add(&here, why);
        }
        let (here, value) = at("retention");
        let rules = self.part::<RetentionConfig>(&here, value);
        if let Some(why) = rules.and_then(|rules| Policy::from(&rules).problem()) {
            self.add(&here, why);
        }
    }

    /// Two jobs must not file their backups in one place.
    fn places<'d>(
        &mut self,
        path: &str,
        name: &'d str,
        job: &Value,
        destinations: &[&str],
        filed: &mut BTreeMap<(String, String), &'d str>,
    ) {
        if destinations.is_empty() {
            self.add(path, "has no destination; name one under `destinations`");
        }
        let series = job.get("series").and_then(Value::as_str).unwrap_or(name);
        let used: Vec<&str> = match job.get("destinations").and_then(Value::as_array) {
            Some(names) => names.iter().filter_map(Value::as_str).collect(),
            None => destinations.to_vec(),
        };
        for destination in used {
            let place = (destination.to_owned(), series.to_owned());
            if let Some(other) = filed.insert(place, name)
                && other != name
            {
                self.add(
                    path,
                    format!("files its backups under `{series}` in `{destination}`, as `{other}` does; give it a `series` of its own"),
                );
            }
        }
    }
}

/// Whether `path` is `place` or something in it.
pub(super) fn lies_in(path: &str, place: &str) -> bool {
    path.strip_prefix(place)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn problem(path: &str, what: impl Into<String>) -> Problem {
    Problem {
        path: path.to_owned(),
        what: what.into(),
    }
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

fn schedule_problems(path: &str, schedule: &ScheduleConfig, found: &mut Vec<Problem>) {
    if schedule.every.is_some() && schedule.cron.is_some() {
        found.push(problem(path, "has both `every` and `cron`; keep one"));
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
