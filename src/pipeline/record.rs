use crate::catalog;
use crate::clock;
use crate::destination::{Destination, StoreError, StoreErrorKind};
use crate::error::Error;
use crate::manifest::{
    EngineRecord, FORMAT, Facts, Id, Manifest, Roles, SealStep, Sum, Verified, manifest_key,
};
use crate::seal;
use crate::source::{Capture, Check, Format};

use super::Job;

/// The data object a manifest names.
#[derive(Debug, Clone)]
pub(super) struct DataObject {
    pub key: String,
    pub plain: Sum,
    pub stored: Sum,
    pub seal: Vec<SealStep>,
}

/// What all manifests of one run share.
pub(super) struct Record<'a> {
    pub job: &'a Job,
    pub format: &'static dyn Format,
    pub id: Id,
    pub role: Roles,
    pub capture: &'a Capture,
    pub checks: Vec<Check>,
    pub facts: Facts,
}

impl Record<'_> {
    /// Whether every proof was made.
    pub fn verified(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.ok)
    }

    fn manifest(&self, destination: &Destination, data: &DataObject) -> Manifest {
        Manifest {
            format: FORMAT,
            id: self.id.clone(),
            job: self.job.name.clone(),
            series: self.job.series.clone(),
            host: self.job.host.clone(),
            role: self.role,
            engine: EngineRecord {
                name: self.format.name().to_owned(),
                version: self.capture.version.clone(),
                facts: self.facts.clone(),
            },
            captured_at: self.capture.captured_at,
            finished_at: clock::now(),
            plain: data.plain.clone(),
            stored: data.stored.clone(),
            key: data.key.clone(),
            seal: data.seal.clone(),
            verified: Verified {
                ok: self.verified(),
                checks: self.checks.clone(),
            },
            lease_epoch: None,
            lifeboat: env!("CARGO_PKG_VERSION").to_owned(),
            restore: manual_restore(self.format, &self.facts, destination, data),
        }
    }

    /// Records freshly stored data. Where the manifest cannot be written the data goes again; where
    /// it is not known whether it was written, the data stays: it may be named.
    pub async fn stored(&self, destination: &Destination, data: &DataObject) -> Result<(), Error> {
        match self.write(destination, data).await {
            Ok(()) => Ok(()),
            Err((error, Written::No)) => {
                // What stays behind has no manifest and counts for nothing.
                let _ = destination.delete(&data.key).await;
                Err(error.at(destination.name()))
            }
            Err((error, Written::Unknown)) => Err(error.at(destination.name())),
        }
    }

    /// Records that nothing changed since `earlier`, whose data the new manifest names.
    ///
    /// Another process may prune `earlier` at the same moment. It deletes the manifest first and
    /// then lists anew, so a manifest that is still there after ours was written proves that our
    /// name for the data will be seen.
    pub async fn unchanged(
        &self,
        destination: &Destination,
        earlier: &Manifest,
        data: &DataObject,
    ) -> Result<(), Error> {
        let at = |error: StoreError| error.at(destination.name());
        self.write(destination, data)
            .await
            .map_err(|(error, _)| at(error))?;
        match destination.head(&earlier.manifest_key()).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let _ = destination
                    .delete(&manifest_key(&self.job.series, &self.id))
                    .await;
                if error.kind == StoreErrorKind::NotFound {
                    let why = "the backup that holds the same data was pruned meanwhile";
                    return Err(Error::failed(destination.name(), why)
                        .hint("run again; the data will be stored anew"));
                }
                Err(at(error))
            }
        }
    }

    async fn write(
        &self,
        destination: &Destination,
        data: &DataObject,
    ) -> Result<(), (StoreError, Written)> {
        let manifest = self.manifest(destination, data);
        let key = manifest.manifest_key();
        let Err(error) = destination.put_small(&key, manifest.to_json()).await else {
            return Ok(());
        };
        // The answer may have been lost after the deed.
        match catalog::manifest(destination, &self.job.series, &self.id).await {
            Ok(found) if found == manifest => Ok(()),
            Err(catalog::ReadError::Store(read)) if read.kind == StoreErrorKind::NotFound => {
                Err((error, Written::No))
            }
            _ => Err((error, Written::Unknown)),
        }
    }
}

enum Written {
    No,
    Unknown,
}

fn manual_restore(
    format: &dyn Format,
    facts: &Facts,
    destination: &Destination,
    data: &DataObject,
) -> Vec<String> {
    let file = data.key.rsplit('/').next().unwrap_or(&data.key);
    let mut lines = vec![
        destination.manual().line(&data.key, file),
        format!("echo '{}  {file}' | sha256sum -c -", data.stored.sha256),
    ];
    lines.extend(seal::manual_unseal(&data.seal, file));
    lines.push(format!(
        "echo '{}  plain' | sha256sum -c -",
        data.plain.sha256
    ));
    lines.extend(format.manual_restore(facts));
    lines
}
