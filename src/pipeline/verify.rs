//! Verification: stored backups are read again from their destination and proved.

use std::path::Path;

use serde::Serialize;

use super::Progress;
use super::fetch::{FetchError, Into, fetch};
use crate::catalog::{self, ReadError};
use crate::destination::{Destination, StoreErrorKind};
use crate::error::Error;
use crate::exit::Exit;
use crate::manifest::{Check, Id, ManifestError};
use crate::source::Stop;

/// What verification found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finding {
    /// Whole and good.
    Ok,
    /// Not what the manifest says.
    Damaged,
    /// The data object is not there.
    Missing,
    /// It could not be read: the store failed, or a newer version wrote it.
    Unreadable,
}

/// One backup's verification.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// Where.
    pub destination: String,
    /// Which series.
    pub series: String,
    /// Which backup.
    pub id: Id,
    /// What was found.
    pub outcome: Finding,
    /// Each proof.
    pub checks: Vec<Check>,
    /// The exit code this one would give.
    #[serde(skip)]
    pub exit: Exit,
}

/// Verifies one backup.
///
/// # Errors
/// When work was stopped, or the scratch folder failed; what is wrong with the backup or its store
/// is in the answer.
pub async fn verify(
    destination: &Destination,
    series: &str,
    id: &Id,
    scratch: &Path,
    stop: &Stop,
    progress: &Progress,
) -> Result<Checked, Error> {
    let answer = |outcome, exit, checks| Checked {
        destination: destination.name().to_owned(),
        series: series.to_owned(),
        id: id.clone(),
        outcome,
        checks,
        exit,
    };
    let manifest = match catalog::manifest(destination, series, id).await {
        Ok(manifest) => manifest,
        Err(ReadError::Manifest(why)) => {
            let checks = vec![Check::failed("manifest", why.to_string())];
            return Ok(match why {
                ManifestError::Format(_) => answer(Finding::Unreadable, Exit::Failed, checks),
                _ => answer(Finding::Damaged, Exit::Damaged, checks),
            });
        }
        Err(ReadError::Store(error)) if error.kind == StoreErrorKind::NotFound => {
            let checks = vec![Check::failed("manifest", "is not there")];
            return Ok(answer(Finding::Missing, Exit::NoBackup, checks));
        }
        Err(ReadError::Store(error)) => {
            let checks = vec![Check::failed("manifest", error.to_string())];
            return Ok(answer(Finding::Unreadable, Exit::Failed, checks));
        }
    };
    let meter = progress.start(format!("{series} {id}"), manifest.stored.bytes);
    match fetch(destination, &manifest, Into::Proof(scratch), stop, &meter).await {
        Ok(checks) => Ok(answer(Finding::Ok, Exit::Ok, checks)),
        Err(FetchError::Damaged(checks)) => Ok(answer(Finding::Damaged, Exit::Damaged, checks)),
        Err(FetchError::Missing(why)) => Ok(answer(
            Finding::Missing,
            Exit::Damaged,
            vec![Check::failed("data", why)],
        )),
        Err(FetchError::Unreadable(why)) => Ok(answer(
            Finding::Unreadable,
            Exit::Failed,
            vec![Check::failed("data", why)],
        )),
        Err(FetchError::Store(error)) => {
            let checks = vec![Check::failed("data", error.to_string())];
            Ok(answer(Finding::Unreadable, Exit::Failed, checks))
        }
        Err(FetchError::Local(error)) => Err(error.at(series)),
    }
}
