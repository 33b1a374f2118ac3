use std::collections::HashSet;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::session::Session;
use super::{table, ui};
use crate::catalog::{Catalog, Summary};
use crate::clock;
use crate::error::Error;
use crate::exit::Exit;
use crate::manifest::{Id, Role};
use crate::pipeline::Job;
use crate::value::{format_age, format_bytes};

#[derive(Serialize)]
struct JobStatus {
    name: String,
    engine: &'static str,
    role: Role,
    last_backup: Option<LastBackup>,
    next_run: Option<Timestamp>,
    fresh: bool,
    destinations: Vec<DestinationStatus>,
    #[serde(skip)]
    source: Option<String>,
}

#[derive(Serialize)]
struct LastBackup {
    id: Id,
    captured_at: Timestamp,
    age_seconds: u64,
}

#[derive(Serialize)]
struct DestinationStatus {
    name: String,
    backups: usize,
    stored_bytes: u64,
    newest: Option<Timestamp>,
    error: Option<String>,
}

pub(super) async fn status(session: &Session) -> Result<Exit, Error> {
    session.stop_on_signals()?;
    let loaded = session.load()?;
    let jobs = session.jobs(&loaded.config, &[]).await?;
    let mut all = Vec::new();
    for job in &jobs {
        all.push(look_at(job).await);
    }
    if session.stop.requested() {
        return Err(Error::new(
            crate::error::Kind::Interrupted,
            "status",
            "interrupted",
        ));
    }
    if session.global.json {
        ui::document(&json!({ "jobs": all }));
    } else {
        all.iter().for_each(tell);
    }
    Ok(if all.iter().all(|job| job.fresh) {
        Exit::Ok
    } else {
        Exit::NoBackup
    })
}

async fn look_at(job: &Job) -> JobStatus {
    let now = clock::now();
    let (role, source) = match job.engine.probe().await {
        Ok(probe) => (probe.role, None),
        Err(error) => (Role::Unknown, Some(error.why)),
    };
    let mut destinations = Vec::new();
    let mut newest: Option<Summary> = None;
    let mut next_run: Option<Timestamp> = None;
    for destination in &job.destinations {
        let mut line = DestinationStatus {
            name: destination.name().to_owned(),
            backups: 0,
            stored_bytes: 0,
            newest: None,
            error: None,
        };
        match Catalog::load(destination, &job.series).await {
            Ok(catalog) => {
                line.backups = catalog.backups.len();
                line.stored_bytes = stored_bytes(&catalog);
                line.newest = catalog.backups.first().map(|backup| backup.captured_at);
                let due = job.schedule.due(line.newest, &job.series, now);
                next_run = Some(next_run.map_or(due, |next| next.min(due)));
                if let Some(lost) = catalog.unreadable.first() {
                    line.error = Some(format!("the manifest of {} {}", lost.id, lost.why));
                }
                if let Some(verified) = catalog.newest_verified()
                    && newest
                        .as_ref()
                        .is_none_or(|n| n.captured_at < verified.captured_at)
                {
                    newest = Some(verified.clone());
                }
            }
            Err(error) => line.error = Some(error.at(destination.name()).why),
        }
        destinations.push(line);
    }
    let last_backup = newest.map(|backup| LastBackup {
        age_seconds: clock::since(backup.captured_at, now).as_secs(),
        captured_at: backup.captured_at,
        id: backup.id,
    });
    let limit = job.freshness_limit(now).as_secs();
    JobStatus {
        name: job.name.clone(),
        engine: job.engine.format().name(),
        role,
        fresh: last_backup
            .as_ref()
            .is_some_and(|last| last.age_seconds <= limit),
        last_backup,
        next_run,
        destinations,
        source,
    }
}

/// Unchanged backups share their data.
fn stored_bytes(catalog: &Catalog) -> u64 {
    let mut seen = HashSet::new();
    catalog
        .backups
        .iter()
        .filter(|backup| seen.insert(backup.key.as_str()))
        .map(|backup| backup.stored_bytes)
        .sum()
}

fn tell(job: &JobStatus) {
    let last = match &job.last_backup {
        Some(last) => {
            let age = format_age(std::time::Duration::from_secs(last.age_seconds));
            format!("{} {age} ago", last.id)
        }
        None => "no verified backup".into(),
    };
    let word = if job.fresh {
        ui::good("fresh")
    } else {
        ui::bad("NOT FRESH")
    };
    let next = match job.next_run {
        Some(next) if next <= clock::now() => ", due now".to_owned(),
        Some(next) => format!(", next {}", clock::local_minute(next)),
        None => String::new(),
    };
    ui::line(format!(
        "{}  {word}  {}, {}: {last}{next}",
        job.name,
        job.engine,
        job.role.as_str()
    ));
    if let Some(why) = &job.source {
        ui::line(format!("  {} {why}", ui::bad("source:")));
    }
    let rows: Vec<Vec<String>> = job
        .destinations
        .iter()
        .map(|destination| {
            let held = format!(
                "{}, {}",
                super::prune::plural(destination.backups, "backup"),
                format_bytes(destination.stored_bytes)
            );
            let error = destination.error.as_ref();
            let error = error.map_or_else(String::new, |e| format!("{} {e}", ui::bad("failed:")));
            vec![format!("  {}", destination.name), held, error]
        })
        .collect();
    for line in table::align(&rows) {
        ui::line(line);
    }
}
