//! Retention carried out: a plan per destination, and its execution.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Job;
use crate::catalog::{self, Catalog, ReadError};
use crate::clock;
use crate::destination::{Depth, Destination, Object, StoreError, StoreErrorKind};
use crate::error::Error;
use crate::manifest::{Id, data_prefix, manifest_key};
use crate::retention::{self, Candidate, Plan, Policy};
use crate::seal;
use crate::source;

/// Data without a manifest is left by a run that died between the two. When it is older than this,
/// by its id and by the store's clock, no run can be about to name it.
const ORPHAN_AGE: Duration = Duration::from_hours(24);

/// What retention would do in one destination.
#[derive(Debug)]
pub struct Planned {
    /// The destination.
    pub destination: Destination,
    /// The series.
    pub series: String,
    /// What stays and what goes, with reasons; `refused` when nothing may go.
    pub plan: Plan,
    catalog: Catalog,
}

/// What retention did after a run.
#[derive(Debug, Default)]
pub(super) struct AfterRun {
    pub removed: usize,
    pub kept: Option<usize>,
    pub warnings: Vec<String>,
}

/// Plans retention for one series of one destination.
///
/// # Errors
/// When the catalog cannot be read: a list that failed is no empty list.
pub async fn plan(
    destination: &Destination,
    series: &str,
    policy: &Policy,
    zone: &TimeZone,
) -> Result<Planned, StoreError> {
    let catalog = Catalog::load(destination, series).await?;
    let now = clock::now();
    let store_now = catalog.store_time.unwrap_or(now);
    let candidates: Vec<Candidate> = catalog
        .backups
        .iter()
        .map(|backup| Candidate {
            id: backup.id.to_string(),
            captured_at: backup.captured_at,
            data_key: backup.key.clone(),
            verified: backup.verified,
        })
        .collect();
    let plan = match reason_to_refuse(&catalog, now, store_now) {
        Some(why) => retention::refused(&candidates, why, store_now),
        None => retention::plan(&candidates, policy, zone, store_now),
    };
    Ok(Planned {
        destination: destination.clone(),
        series: series.to_owned(),
        plan,
        catalog,
    })
}

fn reason_to_refuse(catalog: &Catalog, now: Timestamp, store_now: Timestamp) -> Option<String> {
    if let Some(unreadable) = catalog.unreadable.first() {
        return Some(format!(
            "the manifest of {} {}; which data it names is not known",
            unreadable.id, unreadable.why
        ));
    }
    let apart = clock::since(now, store_now).max(clock::since(store_now, now));
    (apart > clock::TOLERANCE).then(|| {
        format!(
            "the clock here and the store's differ by {}",
            crate::value::format_age(apart)
        )
    })
}

impl Planned {
    /// Removes what the plan says: a manifest before its data, and data only when a fresh list
    /// shows no manifest that names it. Answers with the number of backups removed.
    ///
    /// # Errors
    /// When the plan is refused, or the store refuses; what was removed until then is removed.
    pub async fn execute(&self) -> Result<usize, (usize, Error)> {
        let name = self.destination.name();
        if let Some(why) = &self.plan.refused {
            return Err((
                0,
                Error::failed(name, format!("retention is refused: {why}")),
            ));
        }
        let mut removed = 0;
        let mut orphaned = Vec::new();
        for goes in &self.plan.remove {
            let Some(backup) = self
                .catalog
                .backups
                .iter()
                .find(|b| b.id.as_str() == goes.id)
            else {
                continue;
            };
            let key = manifest_key(&self.series, &backup.id);
            if let Err(error) = self.destination.delete(&key).await {
                return Err((removed, error.at(name)));
            }
            removed += 1;
            orphaned.push(backup);
        }
        if orphaned.is_empty() {
            return Ok(0);
        }
        let gone: HashSet<&Id> = orphaned.iter().map(|backup| &backup.id).collect();
        let named = self
            .still_named(&gone)
            .await
            .map_err(|error| (removed, error))?;
        let mut keys: Vec<&str> = orphaned.iter().map(|backup| backup.key.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            // An index is only a cache: what it says is not enough to delete outside our folder.
            if named.contains(key) || !key.starts_with(&data_prefix(&self.series)) {
                continue;
            }
            if let Err(error) = self.destination.delete(key).await {
                return Err((removed, error.at(name)));
            }
        }
        Ok(removed)
    }

    /// Data objects that no manifest names and none will. None where the plan is refused, or where
    /// there is no manifest at all.
    ///
    /// # Errors
    /// When the store cannot be listed, or a manifest cannot be read.
    pub async fn orphans(&self) -> Result<Vec<Object>, Error> {
        // Where every manifest is gone, the data is somebody's last hope and no run's leftover.
        if self.plan.refused.is_some() || self.catalog.backups.is_empty() {
            return Ok(Vec::new());
        }
        // The data is listed before the manifests, so that what gets its manifest now is named.
        let listing = self
            .destination
            .list(&data_prefix(&self.series), Depth::Children)
            .await
            .map_err(|error| error.at(self.destination.name()))?;
        let now = listing.store_time.unwrap_or_else(clock::now);
        let old = |moment: Timestamp| clock::since(moment, now) > ORPHAN_AGE;
        let mut orphans = listing.objects;
        orphans.retain(|object| {
            let id = data_id(&self.series, &object.key);
            id.is_some_and(|id| old(id.second())) && object.modified.is_some_and(old)
        });
        if !orphans.is_empty() {
            let named = self.still_named(&HashSet::new()).await?;
            orphans.retain(|object| !named.contains(&object.key));
        }
        Ok(orphans)
    }

    /// Removes what [`Self::orphans`] found.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn sweep(&self, orphans: &[Object]) -> Result<(), Error> {
        for orphan in orphans {
            self.destination
                .delete(&orphan.key)
                .await
                .map_err(|error| error.at(self.destination.name()))?;
        }
        Ok(())
    }

    /// The data objects that manifests name now. Manifests are never changed, so only those that
    /// came since the plan was made must be read.
    async fn still_named(&self, gone: &HashSet<&Id>) -> Result<HashSet<String>, Error> {
        let name = self.destination.name();
        let ids = catalog::ids(&self.destination, &self.series)
            .await
            .map_err(|error| error.at(name))?;
        let mut named: HashSet<String> = self
            .catalog
            .backups
            .iter()
            .filter(|backup| !gone.contains(&backup.id))
            .map(|backup| backup.key.clone())
            .collect();
        let known: HashSet<&Id> = self
            .catalog
            .backups
            .iter()
            .map(|backup| &backup.id)
            .collect();
        for id in ids.found.keys().filter(|id| !known.contains(id)) {
            match catalog::manifest(&self.destination, &self.series, id).await {
                Ok(manifest) => {
                    named.insert(manifest.key);
                }
                // Pruned by another process since the list: it names nothing any more.
                Err(ReadError::Store(error)) if error.kind == StoreErrorKind::NotFound => {}
                Err(error) => {
                    let why = format!("the manifest of {id}: {error}");
                    return Err(Error::failed(name, why));
                }
            }
        }
        Ok(named)
    }
}

/// The id of a data object that one of our engines wrote; strangers have none.
fn data_id(series: &str, key: &str) -> Option<Id> {
    let name = key.strip_prefix(&data_prefix(series))?;
    let (id, extension) = name.split_once('.')?;
    let known = source::FORMATS.iter().any(|format| {
        let sealed = extension.strip_prefix(format.extension());
        sealed.is_some_and(seal::is_extension)
    });
    known.then(|| id.parse().ok())?
}

/// Retention at the end of a run that added a backup to `destination`.
pub(super) async fn after_run(job: &Job, destination: &Destination) -> AfterRun {
    let mut after = AfterRun::default();
    let keep_all = Policy::default();
    let policy = job.retention.as_ref();
    let planned = match plan(
        destination,
        &job.series,
        policy.unwrap_or(&keep_all),
        &job.zone,
    )
    .await
    {
        Ok(planned) => planned,
        Err(error) => {
            let why = error.at(destination.name()).why;
            after.warnings.push(format!("retention did not run: {why}"));
            return after;
        }
    };
    if let Err(error) = planned
        .catalog
        .refresh_index(destination, &job.series)
        .await
    {
        after
            .warnings
            .push(format!("no index was written: {}", error.at("").why));
    }
    if policy.is_none() {
        return after;
    }
    for id in &planned.plan.future {
        after.warnings.push(format!(
            "{id} is dated in the future and counts for no rule"
        ));
    }
    match planned.execute().await {
        Ok(removed) => after.removed = removed,
        Err((removed, error)) => {
            after.removed = removed;
            after.warnings.push(error.why);
        }
    }
    // Looking for orphans costs a list of its own, so only a run that tidies up does.
    if after.removed > 0 {
        let swept = match planned.orphans().await {
            Ok(orphans) => planned.sweep(&orphans).await,
            Err(error) => Err(error),
        };
        after.warnings.extend(swept.err().map(|error| error.why));
    }
    after.kept = Some(planned.catalog.backups.len() - after.removed);
    after
}
