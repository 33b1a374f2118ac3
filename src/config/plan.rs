use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::{Config, JobConfig};
use crate::destination::Destination;
use crate::error::Error;
use crate::pipeline::Job;
use crate::schedule::{Cadence, Schedule};
use crate::source;
use crate::value::Env;

/// Where plain copies are made.
pub fn scratch_dir(config: &Config) -> PathBuf {
    config
        .scratch_dir
        .clone()
        .unwrap_or_else(std::env::temp_dir)
}

/// A configured job, opened; `destinations` are the opened ones, by name.
///
/// # Errors
/// When a secret or a certificate it names cannot be read.
pub fn job(
    config: &Config,
    name: &str,
    settings: &JobConfig,
    destinations: &BTreeMap<String, Destination>,
    env: &Env,
) -> Result<Job, Error> {
    let chosen = match &settings.destinations {
        Some(names) => names
            .iter()
            .filter_map(|name| destinations.get(name))
            .cloned()
            .collect(),
        None => destinations.values().cloned().collect(),
    };
    let bad = |why| Error::usage(format!("jobs.{name}.schedule"), why);
    let timing = &settings.schedule;
    let cadence = match &timing.cron {
        Some(pattern) => Cadence::cron(pattern, &timing.timezone).map_err(bad)?,
        None => Cadence::Every(
            timing
                .every
                .map_or(Duration::from_hours(1), |every| every.0),
        ),
    };
    let zone = TimeZone::get(&timing.timezone)
        .map_err(|_| bad(format!("`{}` is not a time zone", timing.timezone)))?;
    let host = hostname();
    let series = settings
        .series
        .as_deref()
        .unwrap_or(name)
        .replace("{hostname}", &host);
    Ok(Job {
        name: name.to_owned(),
        series,
        engine: source::open(&settings.source, env)?,
        run_on: settings.run_on,
        destinations: chosen,
        seal: settings.seal.clone(),
        retention: settings.retention.as_ref().map(Into::into),
        zone,
        schedule: Schedule {
            cadence,
            jitter: timing.jitter.0,
        },
        initial_delay: timing.initial_delay.0,
        max_age: settings.max_age.map(|age| age.0),
        timeout: settings.timeout.0,
        scratch_dir: scratch_dir(config),
        host,
    })
}

/// This machine's name; what does not fit a series name becomes `-`.
fn hostname() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let sound: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
                c
            } else {
                '-'
            }
        })
        .collect();
    let sound = sound.trim_start_matches(['.', '-']).to_owned();
    if sound.is_empty() {
        "unknown".into()
    } else {
        sound
    }
}
