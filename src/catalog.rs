//! The catalog: the backups of one series in one destination, newest first.
//!
//! What exists is decided by one complete list of the manifests; what is in them is read from the
//! index where that still fits, and from the manifests otherwise. See [`crate::manifest`] for the
//! index and why it may be trusted.

use std::collections::BTreeMap;
use std::io::Read;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::destination::{Depth, Destination, Object, StoreError, StoreErrorKind};
use crate::manifest::{
    self, Id, Manifest, ManifestError, Role, id_in_key, index_prefix, manifest_prefix,
};
use crate::{clock, manifest::FORMAT};

/// Manifests read at once.
const READERS: usize = 32;
/// Unindexed manifests that are worth a new index.
const WORTH_AN_INDEX: usize = 256;
/// An index of a million backups stays below this.
const INDEX_LIMIT: usize = 1 << 30;

/// What lists and plans need to know of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its id.
    pub id: Id,
    /// The job that made it.
    pub job: String,
    /// When its data was caught.
    pub captured_at: Timestamp,
    /// The engine's name.
    pub engine: String,
    /// The source's role when the data was caught.
    pub role: Role,
    /// Size of the plain data, bytes.
    pub plain_bytes: u64,
    /// Size of the data object, bytes.
    pub stored_bytes: u64,
    /// The data object's key.
    pub key: String,
    /// Names of the seal's steps.
    pub seal: Vec<String>,
    /// Whether the engine's proofs were made.
    pub verified: bool,
}

impl From<&Manifest> for Summary {
    fn from(manifest: &Manifest) -> Self {
        Self {
            id: manifest.id.clone(),
            job: manifest.job.clone(),
            captured_at: manifest.captured_at,
            engine: manifest.engine.name.clone(),
            role: manifest.role.before,
            plain_bytes: manifest.plain.bytes,
            stored_bytes: manifest.stored.bytes,
            key: manifest.key.clone(),
            seal: manifest.seal.iter().map(|step| step.name.clone()).collect(),
            verified: manifest.verified.ok,
        }
    }
}

/// A manifest that is there and cannot be used.
#[derive(Debug, Clone)]
pub struct Unreadable {
    /// The id in its name.
    pub id: Id,
    /// Why.
    pub why: ManifestError,
}

/// The ids of a series, oldest first, as one list shows them.
#[derive(Debug, Clone)]
pub struct Ids {
    /// Each id with its manifest as listed.
    pub found: BTreeMap<Id, Object>,
    /// The store's clock at the list.
    pub store_time: Option<Timestamp>,
}

/// The backups of one series in one destination.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// Newest first, by capture time, then by id.
    pub backups: Vec<Summary>,
    /// Manifests that cannot be read; they name data objects we do not know.
    pub unreadable: Vec<Unreadable>,
    /// The store's clock at the list.
    pub store_time: Option<Timestamp>,
    listed: BTreeMap<Id, Object>,
    indexed: usize,
    indexes: Vec<String>,
}

/// Why a manifest could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The store did not give it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it gave is not usable.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

#[derive(Serialize, Deserialize)]
struct Index {
    format: u64,
    entries: Vec<Indexed>,
}

#[derive(Serialize, Deserialize)]
struct Indexed {
    #[serde(flatten)]
    summary: Summary,
    manifest_bytes: u64,
    manifest_modified: Option<Timestamp>,
}

/// The series a destination holds, by name.
///
/// # Errors
/// When the destination cannot be listed.
pub async fn series(destination: &Destination) -> Result<Vec<String>, StoreError> {
    let top = destination.list("", Depth::Children).await?;
    let mut series = Vec::new();
    for folder in top.folders {
        let inside = destination.list(&folder, Depth::Children).await?;
        let name = folder.trim_end_matches('/');
        if inside.folders.contains(&manifest_prefix(name)) {
            series.push(name.to_owned());
        }
    }
    Ok(series)
}

/// The ids of a series. Names that are no ids are strangers and are left alone.
///
/// # Errors
/// When the list failed or came back short.
pub async fn ids(destination: &Destination, series: &str) -> Result<Ids, StoreError> {
    let listing = destination
        .list(&manifest_prefix(series), Depth::Children)
        .await?;
    let found = listing
        .objects
        .into_iter()
        .filter(|object| object.key.ends_with(".json"))
        .filter_map(|object| {
            let id = id_in_key(&object.key)?;
            (object.key == manifest::manifest_key(series, &id)).then_some((id, object))
        })
        .collect();
    Ok(Ids {
        found,
        store_time: listing.store_time,
    })
}

/// One manifest, read and checked.
///
/// # Errors
/// [`StoreErrorKind::NotFound`] when there is no such backup.
pub async fn manifest(
    destination: &Destination,
    series: &str,
    id: &Id,
) -> Result<Manifest, ReadError> {
    stored_manifest(destination, series, id)
        .await
        .map(|(manifest, _)| manifest)
}

/// One manifest, read and checked, and the bytes it is stored as.
///
/// # Errors
/// As [`manifest`].
pub async fn stored_manifest(
    destination: &Destination,
    series: &str,
    id: &Id,
) -> Result<(Manifest, Bytes), ReadError> {
    let key = manifest::manifest_key(series, id);
    match destination.read_small(&key, manifest::LIMIT).await {
        Ok(json) => Ok((Manifest::parse(&json, series, id)?, json)),
        Err(error) if error.kind == StoreErrorKind::Damaged => {
            Err(ManifestError::Garbage(error.why).into())
        }
        Err(error) => Err(error.into()),
    }
}

impl Catalog {
    /// Reads the catalog of `series`.
    ///
    /// # Errors
    /// When the list, or the reading of a listed manifest, fails.
    pub async fn load(destination: &Destination, series: &str) -> Result<Self, StoreError> {
        let Ids { found, store_time } = ids(destination, series).await?;
        let (mut known, indexes) = if found.len() < WORTH_AN_INDEX {
            (Vec::new(), Vec::new())
        } else {
            read_index(destination, series).await?
        };
        known.retain(|entry| {
            found.get(&entry.summary.id).is_some_and(|object| {
                object.bytes == entry.manifest_bytes && object.modified == entry.manifest_modified
            })
        });
        let indexed = known.len();
        let mut backups: Vec<Summary> = known.into_iter().map(|entry| entry.summary).collect();
        let have: std::collections::HashSet<&Id> = backups.iter().map(|b| &b.id).collect();
        let missing: Vec<Id> = found
            .keys()
            .filter(|id| !have.contains(id))
            .cloned()
            .collect();

        let mut unreadable = Vec::new();
        let mut reads = stream::iter(missing)
            .map(|id| async move {
                let read = manifest(destination, series, &id).await;
                (id, read)
            })
            .buffer_unordered(READERS);
        while let Some((id, read)) = reads.next().await {
            match read {
                Ok(manifest) => backups.push(Summary::from(&manifest)),
                Err(ReadError::Manifest(why)) => unreadable.push(Unreadable { id, why }),
                // Pruned by another process since the list.
                Err(ReadError::Store(error)) if error.kind == StoreErrorKind::NotFound => {}
                Err(ReadError::Store(error)) => return Err(error),
            }
        }
        drop(reads);
        backups.sort_by(|a, b| (b.captured_at, &b.id).cmp(&(a.captured_at, &a.id)));
        unreadable.sort_by(|a, b| b.id.cmp(&a.id));
        Ok(Self {
            backups,
            unreadable,
            store_time,
            listed: found,
            indexed,
            indexes,
        })
    }

    /// The newest backup whose proofs were made.
    pub fn newest_verified(&self) -> Option<&Summary> {
        self.backups.iter().find(|backup| backup.verified)
    }

    /// Leaves an index behind when enough of this catalog was not in one. Only for those who may
    /// write; a failure costs the next reader time and nothing else.
    ///
    /// # Errors
    /// When the new index could not be written.
    pub async fn refresh_index(
        &self,
        destination: &Destination,
        series: &str,
    ) -> Result<(), StoreError> {
        if self.backups.len().saturating_sub(self.indexed) < WORTH_AN_INDEX {
            return Ok(());
        }
        let entries = self
            .backups
            .iter()
            .filter_map(|summary| {
                let object = self.listed.get(&summary.id)?;
                Some(Indexed {
                    summary: summary.clone(),
                    manifest_bytes: object.bytes,
                    manifest_modified: object.modified,
                })
            })
            .collect();
        let json = serde_json::to_vec(&Index {
            format: FORMAT,
            entries,
        })
        .expect("a struct of strings and numbers is JSON");
        let packed = zstd::bulk::Compressor::new(3).and_then(|mut compressor| {
            compressor.include_checksum(true)?;
            compressor.compress(&json)
        });
        let key = format!("{}{}.json.zst", index_prefix(series), Id::new(clock::now()));
        let packed = packed.map_err(|error| {
            StoreError::new(StoreErrorKind::Other, "write", &key, error.to_string())
        })?;
        destination.put_small(&key, packed).await?;
        for old in &self.indexes {
            destination.delete(old).await?;
        }
        Ok(())
    }
}

/// The newest index that can be read, and the keys of all.
async fn read_index(
    destination: &Destination,
    series: &str,
) -> Result<(Vec<Indexed>, Vec<String>), StoreError> {
    let listing = destination
        .list(&index_prefix(series), Depth::Children)
        .await?;
    let mut keys: Vec<String> = listing
        .objects
        .into_iter()
        .map(|object| object.key)
        .filter(|key| key.ends_with(".json.zst") && id_in_key(key).is_some())
        .collect();
    keys.sort();
    for key in keys.iter().rev() {
        if let Ok(packed) = destination.read_small(key, INDEX_LIMIT).await
            && let Some(index) = parse_index(&packed)
        {
            return Ok((index.entries, keys));
        }
    }
    Ok((Vec::new(), keys))
}

fn parse_index(packed: &[u8]) -> Option<Index> {
    let mut json = Vec::new();
    let limit = u64::try_from(INDEX_LIMIT).ok()?;
    zstd::stream::read::Decoder::new(packed)
        .ok()?
        .take(limit)
        .read_to_end(&mut json)
        .ok()?;
    let index: Index = serde_json::from_slice(&json).ok()?;
    (index.format == FORMAT).then_some(index)
}
