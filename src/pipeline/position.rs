use std::collections::BTreeMap;

use super::Job;
use super::run::Target;
use crate::catalog::{self, Ids};
use crate::destination::{Destination, StoreError};
use crate::error::Error;
use crate::manifest::{Id, Manifest};
use crate::source::{Capture, Position};

/// How many manifests are read in the search for one of the same history. A series holds one
/// history; more than one is a mistake, or the time after a cluster was replaced.
const LOOK_BACK: usize = 8;

/// The newest backup of each target, by its index. One whose manifest cannot be read now is left
/// out: no reason to fail, the data is stored anew.
pub(super) async fn newest_backups(job: &Job, targets: &[Target]) -> BTreeMap<usize, Manifest> {
    let mut newest = BTreeMap::new();
    for target in targets {
        let Some(id) = target.ids.found.keys().next_back() else {
            continue;
        };
        let destination = &job.destinations[target.at];
        if let Ok(manifest) = catalog::manifest(destination, &job.series, id).await {
            newest.insert(target.at, manifest);
        }
    }
    newest
}

/// Refuses a capture that lies behind a backup of the same history: a node that lags answered, or
/// the history was turned back.
pub(super) async fn refuse_stale(
    job: &Job,
    capture: &Capture,
    targets: &[Target],
    newest: &BTreeMap<usize, Manifest>,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    let format = job.engine.format();
    let Some(ours) = format.position(&capture.facts) else {
        return Ok(());
    };
    for target in targets {
        let destination = &job.destinations[target.at];
        let mut strangers = None;
        for id in target.ids.found.keys().rev().take(LOOK_BACK) {
            let read;
            let manifest = match newest.get(&target.at).filter(|newest| newest.id == *id) {
                Some(newest) => newest,
                None => match catalog::manifest(destination, &job.series, id).await {
                    Ok(manifest) => {
                        read = manifest;
                        &read
                    }
                    Err(_) => continue,
                },
            };
            let Some(theirs) = format.position(&manifest.engine.facts) else {
                continue;
            };
            if theirs.history != ours.history {
                strangers.get_or_insert((id, theirs.history));
                continue;
            }
            strangers = None;
            if theirs.at > ours.at {
                return Err(behind(job, &ours, id, &theirs, destination));
            }
            break;
        }
        if let Some((id, history)) = strangers {
            warnings.push(format!(
                "{}: the newest backup {id} is of another cluster ({history}, this is {}); \
                 two clusters must not share a series",
                destination.name(),
                ours.history
            ));
        }
    }
    Ok(())
}

fn behind(
    job: &Job,
    ours: &Position,
    id: &Id,
    theirs: &Position,
    destination: &Destination,
) -> Error {
    let why = format!(
        "the capture ends at index {}, behind {} of backup {id} in {}",
        ours.at,
        theirs.at,
        destination.name()
    );
    Error::failed(&job.name, why).hint(
        "a node that lags answered; or the cluster was restored from an older backup: \
         then give the job another `series`, so that both histories are kept",
    )
}

/// A backup that was made while this run worked, and has come as far in the same history.
///
/// # Errors
/// When the list failed.
pub(super) async fn overtaken(
    job: &Job,
    destination: &Destination,
    known: &Ids,
    ours: &Position,
) -> Result<Option<Id>, StoreError> {
    let now = catalog::ids(destination, &job.series).await?;
    let fresh = now
        .found
        .keys()
        .rev()
        .filter(|id| !known.found.contains_key(id));
    for id in fresh.take(LOOK_BACK) {
        let Ok(manifest) = catalog::manifest(destination, &job.series, id).await else {
            continue;
        };
        let theirs = job.engine.format().position(&manifest.engine.facts);
        if manifest.verified.ok && theirs.is_some_and(|theirs| theirs.covers(ours)) {
            return Ok(Some(id.clone()));
        }
    }
    Ok(None)
}
