//! The manifest: the JSON record of a backup, and the storage format, version 1.
//!
//! ```text
//! <prefix>/<series>/data/<id>.<ext>       the data object: captured, verified, sealed
//! <prefix>/<series>/manifests/<id>.json   the manifest: written last, create-only
//! <prefix>/<series>/index/<id>.json.zst   a summary of many manifests; see below
//! ```
//!
//! A backup exists if and only if its manifest exists: data is written before its manifest, and a
//! manifest is deleted before its data. `<id>` is `YYYYMMDDTHHMMSSZ-xxxxxx`: the UTC time of the
//! capture and six random hex digits, so that ids sort by time and two writers never meet. A run
//! that found nothing changed writes a manifest whose `key` names the data object of an earlier
//! one; a data object goes only when no manifest names it.
//!
//! `ext` is the engine's extension (`rdb`, `db`), then the compression's (`.zst`, `.gz`). The
//! digests of the plain and of the stored bytes are SHA-256 in lower-case hex. `restore` is a list
//! of shell lines that bring the plain data back with standard tools, run under `sh -e` in an empty
//! folder. Readers accept fields they do not know, and refuse any `format` but 1.
//!
//! # The index
//! A plan needs a few facts of every backup: when, verified or not, and which data object it
//! names. Reading each manifest costs a request each, so a run that finds many of them unindexed
//! leaves a summary behind, `index/<id>.json.zst`, its id the time it was written. It is a cache
//! and never an authority: what exists is decided by the list of `manifests/` alone, an entry
//! counts only while that list shows the same size and time for its manifest, a summary whose
//! checksum (zstd's own) does not match is ignored, and one that is missing costs time and nothing
//! else. It is created, never overwritten; those it replaces are deleted afterwards. The alternatives were
//! facts in the key (the key is part of the contract) and a local database (the destination is the
//! only truth).

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock;

/// The storage format this program writes and reads.
pub const FORMAT: u64 = 1;

/// A manifest is small; what is longer is none.
pub const LIMIT: usize = 1 << 20;

/// The record of one backup. See the module for where it lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`FORMAT`].
    pub format: u64,
    /// The backup's id.
    pub id: Id,
    /// The job that made it.
    pub job: String,
    /// The series it is filed under.
    pub series: String,
    /// The machine that made it.
    pub host: String,
    /// The source's role before and after the capture.
    pub role: Roles,
    /// The engine and what it knows of the data.
    pub engine: EngineRecord,
    /// When the data was caught, to the millisecond.
    pub captured_at: Timestamp,
    /// When the data object was stored.
    pub finished_at: Timestamp,
    /// The data as the engine wrote it.
    pub plain: Sum,
    /// The data as it is stored.
    pub stored: Sum,
    /// The data object's key below the destination's prefix.
    pub key: String,
    /// The seal's steps in order.
    pub seal: Vec<SealStep>,
    /// The proofs made before this record was written.
    pub verified: Verified,
    /// The lease under which the run worked, where one was held.
    pub lease_epoch: Option<u64>,
    /// The version of Lifeboat that wrote this.
    pub lifeboat: String,
    /// Shell lines that bring the plain data back without Lifeboat.
    pub restore: Vec<String>,
}

/// What an engine knows of the data it captured.
pub type Facts = serde_json::Map<String, Value>;

/// The part a node plays in its fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The node that takes writes, and has others that follow it.
    Primary,
    /// A node that follows another.
    Replica,
    /// A node on its own; counts as primary.
    Standalone,
    /// It did not say.
    Unknown,
}

impl Role {
    /// The word for it, as in manifests and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
            Role::Standalone => "standalone",
            Role::Unknown => "unknown",
        }
    }
}

/// One proof, as manifests and `verify` record it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was proved: `sha256`, `crc64`, `integrity_check`.
    pub name: String,
    /// Whether it held.
    pub ok: bool,
    /// The figure or the reason.
    pub detail: String,
}

impl Check {
    /// A proof that held.
    pub fn ok(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ok: true,
            detail: detail.into(),
        }
    }

    /// A proof that did not hold, or could not be made.
    pub fn failed(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ok: false,
            detail: detail.into(),
        }
    }
}

/// The source's role around the capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// When the run began.
    pub before: Role,
    /// When all bytes were read.
    pub after: Role,
}

/// The engine that made the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineRecord {
    /// `sqlite`, `redis`.
    pub name: String,
    /// The store's version, if it said one.
    pub version: Option<String>,
    /// What the engine knows of the data.
    #[serde(default)]
    pub facts: Facts,
}

/// Length and digest of a run of bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
}

/// One step of the seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealStep {
    /// `zstd`, `gzip`.
    pub name: String,
    /// Public fingerprints of those who can open it; empty for compression.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
}

/// The proofs behind a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Whether every proof the engine demands was made.
    pub ok: bool,
    /// Each proof.
    pub checks: Vec<Check>,
}

/// Why a stored manifest cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or not this record.
    #[error("is not a manifest: {0}")]
    Garbage(String),
    /// Written by a newer Lifeboat.
    #[error("has format {0}; this version of Lifeboat reads format {FORMAT}")]
    Format(String),
    /// A record, but not the one its key promises.
    #[error("describes {0}, not the backup it is named after")]
    Misplaced(String),
}

impl Manifest {
    /// The key of this manifest below the destination's prefix.
    pub fn manifest_key(&self) -> String {
        manifest_key(&self.series, &self.id)
    }

    /// As it is stored.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json =
            serde_json::to_vec_pretty(self).expect("a struct of strings and numbers is JSON");
        json.push(b'\n');
        json
    }

    /// Reads the manifest stored for `series` and `id`.
    ///
    /// # Errors
    /// When it is garbage, of another format, or another backup's.
    pub fn parse(json: &[u8], series: &str, id: &Id) -> Result<Self, ManifestError> {
        let value: Value =
            serde_json::from_slice(json).map_err(|_| ManifestError::Garbage("not JSON".into()))?;
        match value.get("format") {
            Some(format) if format.as_u64() == Some(FORMAT) => {}
            Some(format) => return Err(ManifestError::Format(format.to_string())),
            None => return Err(ManifestError::Garbage("it has no `format`".into())),
        }
        let manifest: Self = serde_json::from_value(value)
            .map_err(|error| ManifestError::Garbage(error.to_string()))?;
        if manifest.id != *id || manifest.series != series {
            let found = format!("{}/{}", manifest.series, manifest.id);
            return Err(ManifestError::Misplaced(found));
        }
        // The key is joined to a folder and handed to deletes: it must stay in its series.
        let inside = manifest.key.strip_prefix(&data_prefix(series));
        if inside.is_none_or(|name| name.is_empty() || name.contains('/') || name.starts_with('.'))
        {
            return Err(ManifestError::Garbage(format!(
                "its key `{}` is outside the series",
                manifest.key
            )));
        }
        Ok(manifest)
    }
}

/// `YYYYMMDDTHHMMSSZ-xxxxxx`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

/// Not an id.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{0}` is not a backup id; ids look like 20261121T023447Z-3fa9c1")]
pub struct BadId(String);

impl Id {
    /// A new id for data caught at `captured_at`.
    pub fn new(captured_at: Timestamp) -> Self {
        let random = rand::random::<u32>() & 0x00ff_ffff;
        Self(format!("{}-{random:06x}", clock::compact(captured_at)))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The second it was made in.
    pub fn second(&self) -> Timestamp {
        // The constructor and the parser both let only such dates in.
        DateTime::strptime("%Y%m%dT%H%M%SZ", &self.0[..16])
            .and_then(|civil| civil.to_zoned(jiff::tz::TimeZone::UTC))
            .map_or(Timestamp::UNIX_EPOCH, |zoned| zoned.timestamp())
    }
}

impl FromStr for Id {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = || BadId(text.to_owned());
        let (time, random) = text.split_once('-').ok_or_else(bad)?;
        let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        let sound = time.len() == 16
            && DateTime::strptime("%Y%m%dT%H%M%SZ", time).is_ok()
            && random.len() == 6
            && random.bytes().all(hex);
        if sound {
            Ok(Self(text.to_owned()))
        } else {
            Err(bad())
        }
    }
}

impl TryFrom<String> for Id {
    type Error = BadId;

    fn try_from(text: String) -> Result<Self, BadId> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The folder of a series' manifests, ending in `/`.
pub fn manifest_prefix(series: &str) -> String {
    format!("{series}/manifests/")
}

/// The folder of a series' data, ending in `/`.
pub fn data_prefix(series: &str) -> String {
    format!("{series}/data/")
}

/// The folder of a series' summaries, ending in `/`.
pub fn index_prefix(series: &str) -> String {
    format!("{series}/index/")
}

/// The key of one manifest.
pub fn manifest_key(series: &str, id: &Id) -> String {
    format!("{}{id}.json", manifest_prefix(series))
}

/// The key of one data object.
pub fn data_key(series: &str, id: &Id, extension: &str) -> String {
    format!("{}{id}.{extension}", data_prefix(series))
}

/// The id in a key of the form `…/<id>.<anything>`, if it is one of ours.
pub fn id_in_key(key: &str) -> Option<Id> {
    let name = key.rsplit('/').next()?;
    name.split_once('.')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let captured_at: Timestamp = "2026-11-21T02:34:47.123Z".parse().unwrap();
        let id = Id::new(captured_at);
        Manifest {
            format: FORMAT,
            key: data_key("app", &id, "db.zst"),
            id,
            job: "app".into(),
            series: "app".into(),
            host: "node-1".into(),
            role: Roles {
                before: Role::Standalone,
                after: Role::Standalone,
            },
            engine: EngineRecord {
                name: "sqlite".into(),
                version: None,
                facts: Facts::new(),
            },
            captured_at,
            finished_at: captured_at,
            plain: Sum {
                bytes: 3,
                sha256: "00".into(),
            },
            stored: Sum {
                bytes: 2,
                sha256: "11".into(),
            },
            seal: vec![SealStep {
                name: "zstd".into(),
                recipients: Vec::new(),
            }],
            verified: Verified {
                ok: true,
                checks: vec![Check::ok("integrity_check", "ok")],
            },
            lease_epoch: None,
            lifeboat: "0.1.0".into(),
            restore: vec!["zstd -d".into()],
        }
    }

    #[test]
    fn a_manifest_survives_the_round_trip_and_unknown_fields() {
        let manifest = sample();
        let mut value: Value = serde_json::from_slice(&manifest.to_json()).unwrap();
        value["a_later_field"] = 7.into();
        let again = Manifest::parse(value.to_string().as_bytes(), "app", &manifest.id).unwrap();
        assert_eq!(again, manifest);
    }

    #[test]
    fn another_format_is_refused_by_its_number() {
        let manifest = sample();
        let mut value: Value = serde_json::from_slice(&manifest.to_json()).unwrap();
        value["format"] = 2.into();
        let error = Manifest::parse(value.to_string().as_bytes(), "app", &manifest.id).unwrap_err();
        assert_eq!(
            error.to_string(),
            "has format 2; this version of Lifeboat reads format 1"
        );
    }

    #[test]
    fn a_key_outside_the_series_is_refused() {
        for key in [
            "other/data/x.db",
            "app/data/../../x",
            "/etc/passwd",
            "app/data/",
            "",
        ] {
            let manifest = Manifest {
                key: key.into(),
                ..sample()
            };
            assert!(
                Manifest::parse(&manifest.to_json(), "app", &manifest.id).is_err(),
                "{key:?} was accepted"
            );
        }
    }

    #[test]
    fn a_manifest_under_another_name_is_refused() {
        let manifest = sample();
        let other = Id::new(clock::now());
        assert!(Manifest::parse(&manifest.to_json(), "app", &other).is_err());
        assert!(Manifest::parse(&manifest.to_json(), "app-2", &manifest.id).is_err());
    }

    #[test]
    fn ids_sort_by_time_and_carry_their_second() {
        let first = Id::new("2026-11-21T02:34:47.999Z".parse().unwrap());
        let second = Id::new("2026-11-21T02:34:48Z".parse().unwrap());
        assert!(first < second);
        assert_eq!(first.second(), "2026-11-21T02:34:47Z".parse().unwrap());
    }

    #[test]
    fn what_is_no_id_is_not_taken_for_one() {
        for text in [
            "",
            "20261121T023447Z",
            "20261121T023447Z-3fa9c",
            "20261121T023447Z-3FA9C1",
            "20261321T023447Z-3fa9c1",
            "20261121T023447Z-3fa9c1x",
            "2026-11-21T02:34:47Z-3fa9c1",
        ] {
            assert!(text.parse::<Id>().is_err(), "{text:?} was taken for an id");
        }
    }
}
