//! Verification: stored backups are read again from their destination and proved.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use bytes::BytesMut;
use futures_util::StreamExt;
use serde::Serialize;

use super::Progress;
use super::fetch::{FetchError, Into, fetch};
use crate::catalog::{self, ReadError};
use crate::destination::{Destination, StoreError, StoreErrorKind};
use crate::error::Error;
use crate::exit::Exit;
use crate::manifest::{Check, Facts, Id, ManifestError};
use crate::source::{
    self, Format, Proof, Scratch, SourceError, SourceErrorKind, Stop, Verifier, blocking, prove,
};

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

/// A file's verification.
#[derive(Debug, Clone)]
pub struct CheckedFile {
    /// The engine whose data it holds, if it looks like any.
    pub engine: Option<&'static str>,
    /// What was found.
    pub outcome: Finding,
    /// Each proof.
    pub checks: Vec<Check>,
    /// What came out on the way.
    pub facts: Facts,
}

const WHAT: &str = "name a file that this user may read: a snapshot, a dump or a database";
/// What is looked at to tell whose data an object holds.
const HEAD: usize = 64 << 10;

/// Verifies an object of plain data that anybody may have stored.
///
/// # Errors
/// When it cannot be read, or work was stopped; what is wrong with it is in the answer.
pub async fn verify_object(
    destination: &Destination,
    key: &str,
    scratch: &Path,
    stop: &Stop,
    progress: &Progress,
) -> Result<CheckedFile, Error> {
    let unread = |error: StoreError| error.at(destination.name());
    let at = |error: SourceError| error.at(key);
    let bytes = destination.head(key).await.map_err(unread)?.bytes;
    let meter = progress.start(key, bytes);
    let mut chunks = destination.read(key, bytes).fuse();
    let mut next = async || {
        tokio::select! {
            chunk = chunks.next() => {
                let chunk = chunk.transpose().map_err(unread)?;
                meter.add(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64));
                Ok(chunk)
            }
            () = stop.wait() => Err(at(SourceError::stopped())),
        }
    };
    let mut head = BytesMut::new();
    while head.len() < HEAD
        && let Some(chunk) = next().await?
    {
        head.extend_from_slice(&chunk);
    }
    if let Some(tool) = sealed_by(&head) {
        return Ok(CheckedFile::of_sealed(tool));
    }
    let Some(format) = format_of(Path::new(key), &head) else {
        return Ok(CheckedFile::of_no_engine());
    };
    let mut sink = Sink::of(format, scratch).map_err(at)?;
    let mut chunk = Some(head.freeze());
    while let Some(bytes) = chunk {
        let taken = blocking(move || {
            sink.take(&bytes)?;
            Ok(sink)
        });
        sink = match taken.await {
            Ok(sink) => sink,
            Err(error) => return CheckedFile::judge(format, Err(error)).map_err(at),
        };
        chunk = next().await?;
    }
    let stop = stop.clone();
    let proved = blocking(move || sink.finish(format, &stop)).await;
    CheckedFile::judge(format, proved).map_err(at)
}

/// Where the bytes of an object go to be proved.
enum Sink {
    Verifier(Box<dyn Verifier>),
    /// For formats that cannot be proved in one forward pass.
    File(Scratch, File),
}

impl Sink {
    fn of(format: &dyn Format, parent: &Path) -> Result<Self, SourceError> {
        if let Some(verifier) = format.forward() {
            return Ok(Self::Verifier(verifier));
        }
        let failed = |error| SourceError::io(parent, &error);
        let scratch = Scratch::new(parent).map_err(failed)?;
        let file = File::create_new(scratch.path("plain")).map_err(failed)?;
        Ok(Self::File(scratch, file))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        match self {
            Self::Verifier(verifier) => verifier.update(bytes),
            Self::File(scratch, file) => file
                .write_all(bytes)
                .map_err(|error| SourceError::io(&scratch.path("plain"), &error)),
        }
    }

    fn finish(self, format: &dyn Format, stop: &Stop) -> Result<Proof, SourceError> {
        match self {
            Self::Verifier(verifier) => verifier.finish(),
            Self::File(scratch, _) => {
                let checks = format.verify_file(&scratch.path("plain"), &Facts::new(), stop)?;
                let facts = Facts::new();
                Ok(Proof { checks, facts })
            }
        }
    }
}

/// Verifies a file of plain data that anybody may have made.
///
/// # Errors
/// When it cannot be read, or work was stopped; what is wrong with it is in the answer.
pub async fn verify_file(path: &Path, stop: &Stop) -> Result<CheckedFile, Error> {
    let shown = path.display().to_string();
    let (owned, stop) = (path.to_owned(), stop.clone());
    blocking(move || prove_file(&owned, &stop))
        .await
        .map_err(|error| Error {
            why: error.why.replacen(&format!("{shown}: "), "", 1),
            ..error.at(&shown)
        })
}

fn prove_file(path: &Path, stop: &Stop) -> Result<CheckedFile, SourceError> {
    let at = |error| SourceError::io(path, &error);
    // Asked before it is opened: to open a pipe that nobody writes to takes for ever.
    let found = fs::metadata(path).map_err(|error| at(error).hint(WHAT))?;
    if !found.is_file() {
        let why = format!("{}: is not a file", path.display());
        return Err(SourceError::new(SourceErrorKind::Other, why).hint(WHAT));
    }
    let mut file = File::open(path).map_err(|error| at(error).hint(WHAT))?;
    let mut head = Vec::with_capacity(HEAD);
    (&mut file)
        .take(HEAD as u64)
        .read_to_end(&mut head)
        .map_err(at)?;
    if let Some(tool) = sealed_by(&head) {
        return Ok(CheckedFile::of_sealed(tool));
    }
    let Some(format) = format_of(path, &head) else {
        return Ok(CheckedFile::of_no_engine());
    };
    let proved = match format.forward() {
        None => format
            .verify_file(path, &Facts::new(), stop)
            .map(|checks| Proof {
                checks,
                facts: Facts::new(),
            }),
        Some(verifier) => prove(head.chain(file), path, verifier, stop),
    };
    CheckedFile::judge(format, proved)
}

impl CheckedFile {
    fn of_no_engine() -> Self {
        let known: Vec<&str> = source::FORMATS.iter().map(|format| format.name()).collect();
        let why = format!("it looks like none of {}", known.join(", "));
        Self {
            engine: None,
            outcome: Finding::Damaged,
            checks: vec![Check::failed("format", why)],
            facts: Facts::new(),
        }
    }

    fn of_sealed(tool: &str) -> Self {
        let why = format!("is sealed; open it with `{tool}` first, then verify what comes out");
        Self {
            engine: None,
            outcome: Finding::Unreadable,
            checks: vec![Check::failed("seal", why)],
            facts: Facts::new(),
        }
    }

    /// Damage is an answer; that it could not be looked for is an error.
    fn judge(format: &dyn Format, proved: Result<Proof, SourceError>) -> Result<Self, SourceError> {
        let (outcome, proof) = match proved {
            Ok(proof) => (Finding::Ok, proof),
            Err(error) if error.kind == SourceErrorKind::Damaged => {
                let checks = vec![Check::failed(format.name(), error.why)];
                let facts = Facts::new();
                (Finding::Damaged, Proof { checks, facts })
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            engine: Some(format.name()),
            outcome,
            checks: proof.checks,
            facts: proof.facts,
        })
    }
}

/// What opens a file whose first bytes are a seal's, so that it is no damaged one of an engine's.
fn sealed_by(head: &[u8]) -> Option<&'static str> {
    if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Some("zstd -d")
    } else if head.starts_with(b"age-encryption.org/") {
        Some("age -d")
    } else {
        None
    }
}

/// By its first bytes; one whose first bytes are damaged, by its name.
fn format_of(path: &Path, head: &[u8]) -> Option<&'static dyn Format> {
    let by_name = || {
        let extension = path.extension()?.to_str()?;
        let mut known = source::FORMATS.into_iter();
        known.find(|format| format.extension() == extension)
    };
    source::FORMATS
        .into_iter()
        .find(|format| format.recognises(head))
        .or_else(by_name)
}
