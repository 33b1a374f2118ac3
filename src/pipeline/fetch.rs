//! Brings a stored backup back as plain bytes, and proves on the way that it is what its manifest
//! says.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::Meter;
use crate::destination::{Destination, StoreError, StoreErrorKind};
use crate::draft::Draft;
use crate::error::io_reason;
use crate::manifest::{Check, Manifest, Sum};
use crate::seal::{self, DigestReader, Sha256};
use crate::source::{self, Facts, Format, Scratch, SourceError, SourceErrorKind, Stop, Verifier};
use crate::value::format_bytes;

const BLOCK: usize = 1 << 20;

/// Why a backup did not come back.
#[derive(Debug, Clone)]
pub enum FetchError {
    /// The manifest names a data object that is not there.
    Missing(String),
    /// The stored bytes are not what the manifest says, or do not prove themselves.
    Damaged(Vec<Check>),
    /// This version of Lifeboat cannot read it.
    Unreadable(String),
    /// The store did not answer.
    Store(StoreError),
    /// The target or the scratch folder did not take it, or work was stopped.
    Local(SourceError),
}

/// Where the plain bytes go.
#[derive(Debug, Clone, Copy)]
pub enum Into<'a> {
    /// Nowhere: only the proof is wanted. Formats that cannot be proved in one forward pass are
    /// written to a scratch folder below this one.
    Proof(&'a Path),
    /// A draft, from its beginning.
    File(&'a Draft),
}

/// Fetches, unseals and proves the backup of `manifest`. Answers with the proofs made.
///
/// # Errors
/// See [`FetchError`]. What a draft holds then is of no use.
pub async fn fetch(
    destination: &Destination,
    manifest: &Manifest,
    target: Into<'_>,
    stop: &Stop,
    meter: &Arc<Meter>,
) -> Result<Vec<Check>, FetchError> {
    let Some(format) = source::format(&manifest.engine.name) else {
        let why = format!("the engine `{}` is not known here", manifest.engine.name);
        return Err(FetchError::Unreadable(why));
    };
    present(destination, manifest).await?;

    let (sender, receiver) = mpsc::channel::<Result<Bytes, StoreError>>(4);
    let mut chunks = destination.read(&manifest.key, manifest.stored.bytes);
    let download = async {
        loop {
            let chunk = tokio::select! {
                chunk = chunks.next() => chunk,
                () = stop.wait() => None,
            };
            let Some(chunk) = chunk else { break };
            if let Ok(bytes) = &chunk {
                meter.add(bytes.len() as u64);
            }
            let failed = chunk.is_err();
            if sender.send(chunk).await.is_err() || failed {
                break;
            }
        }
        drop(sender);
    };
    let work = {
        let (manifest, stop) = (manifest.clone(), stop.clone());
        let output = Output::prepare(target, format).map_err(FetchError::Local)?;
        tokio::task::spawn_blocking(move || {
            unseal_and_prove(format, &manifest, receiver, output, &stop)
        })
    };
    let ((), made) = tokio::join!(download, work);
    made.unwrap_or_else(|error| {
        Err(FetchError::Local(SourceError::new(
            SourceErrorKind::Other,
            error.to_string(),
        )))
    })
}

/// Where a pass writes the plain bytes, if it does.
struct Output {
    path: PathBuf,
    file: File,
    /// The scratch folder around it, if it is only for the proof.
    _scratch: Option<Scratch>,
}

impl Output {
    fn prepare(target: Into<'_>, format: &dyn Format) -> Result<Option<Self>, SourceError> {
        match target {
            Into::File(draft) => {
                let path = draft.path().to_owned();
                let file = draft
                    .file()
                    .try_clone()
                    .map_err(|error| SourceError::io(&path, &error))?;
                Ok(Some(Self {
                    path,
                    file,
                    _scratch: None,
                }))
            }
            Into::Proof(_) if format.forward().is_some() => Ok(None),
            Into::Proof(parent) => {
                let scratch =
                    Scratch::new(parent).map_err(|error| SourceError::io(parent, &error))?;
                let path = scratch.path("plain");
                let file = create(&path)?;
                Ok(Some(Self {
                    path,
                    file,
                    _scratch: Some(scratch),
                }))
            }
        }
    }
}

/// The data object is there and has the recorded size: said before anything is moved.
async fn present(destination: &Destination, manifest: &Manifest) -> Result<(), FetchError> {
    match destination.head(&manifest.key).await {
        Ok(object) if object.bytes == manifest.stored.bytes => Ok(()),
        Ok(object) => Err(FetchError::Damaged(vec![Check::failed(
            "size",
            format!(
                "{} bytes are stored, {} were",
                object.bytes, manifest.stored.bytes
            ),
        )])),
        Err(error) if error.kind == StoreErrorKind::NotFound => Err(FetchError::Missing(format!(
            "its data object {} is not there",
            manifest.key
        ))),
        Err(error) => Err(FetchError::Store(error)),
    }
}

fn unseal_and_prove(
    format: &'static dyn Format,
    manifest: &Manifest,
    chunks: Chunks,
    output: Option<Output>,
    stop: &Stop,
) -> Result<Vec<Check>, FetchError> {
    let mut pass = Pass {
        digest: Sha256::default(),
        verifier: format.forward(),
        damage: None,
        output,
    };
    let mut checks = if manifest.seal.is_empty() {
        take_as_stored(chunks, &mut pass, stop)?;
        let plain = std::mem::take(&mut pass.digest).finish();
        vec![
            compare("stored sha256", &plain, &manifest.stored),
            compare("plain sha256", &plain, &manifest.plain),
        ]
    } else {
        let (stored, undone) = unseal(chunks, manifest, &mut pass, stop)?;
        let mut checks = vec![compare("stored sha256", &stored, &manifest.stored)];
        if let Err(error) = undone {
            let steps: Vec<&str> = manifest.seal.iter().map(|s| s.name.as_str()).collect();
            let why = format!("cannot be undone: {}", io_reason(&error));
            checks.push(Check::failed(steps.join(", "), why));
            return Err(FetchError::Damaged(checks));
        }
        let plain = std::mem::take(&mut pass.digest).finish();
        checks.push(compare("plain sha256", &plain, &manifest.plain));
        checks
    };
    if checks.iter().any(|check| !check.ok) {
        return Err(FetchError::Damaged(checks));
    }
    match pass.prove(format, &manifest.engine.facts, stop) {
        Ok(made) => {
            checks.extend(made);
            Ok(checks)
        }
        Err(error) if error.kind == SourceErrorKind::Damaged => {
            checks.push(Check::failed(format.name(), error.why));
            Err(FetchError::Damaged(checks))
        }
        Err(error) => Err(FetchError::Local(error)),
    }
}

/// What happens to the plain bytes.
struct Pass {
    digest: Sha256,
    verifier: Option<Box<dyn Verifier>>,
    /// What the verifier found. The digests are still wanted: they say whose fault it is.
    damage: Option<SourceError>,
    output: Option<Output>,
}

impl Pass {
    fn take(&mut self, block: &[u8], stop: &Stop) -> Result<(), FetchError> {
        if stop.requested() {
            return Err(FetchError::Local(SourceError::stopped()));
        }
        self.digest.update(block);
        if let Some(verifier) = &mut self.verifier
            && let Err(error) = verifier.update(block)
        {
            self.damage = Some(error);
            self.verifier = None;
        }
        if let Some(output) = &mut self.output {
            output.file.write_all(block).map_err(|error| {
                let failed = SourceError::io(&output.path, &error);
                FetchError::Local(failed.hint("make room, or restore to another folder"))
            })?;
        }
        Ok(())
    }

    fn prove(
        self,
        format: &dyn Format,
        facts: &Facts,
        stop: &Stop,
    ) -> Result<Vec<Check>, SourceError> {
        if let Some(Output { path, file, .. }) = &self.output {
            file.sync_all()
                .map_err(|error| SourceError::io(path, &error))?;
        }
        match (self.damage, self.verifier, &self.output) {
            (Some(error), _, _) => Err(error),
            (None, Some(verifier), _) => verifier.finish().map(|proof| proof.checks),
            (None, None, Some(output)) => format.verify_file(&output.path, facts, stop),
            (None, None, None) => Ok(Vec::new()),
        }
    }
}

/// Without a seal the stored bytes are the plain ones: one digest serves both.
fn take_as_stored(mut chunks: Chunks, pass: &mut Pass, stop: &Stop) -> Result<(), FetchError> {
    while let Some(chunk) = chunks.blocking_recv() {
        pass.take(&chunk.map_err(FetchError::Store)?, stop)?;
    }
    // The download ends early when it is told to stop.
    pass.take(&[], stop)
}

/// Undoes the seal. Answers with the sum of the stored bytes, all of them, and whether they could
/// be undone.
fn unseal(
    chunks: Chunks,
    manifest: &Manifest,
    pass: &mut Pass,
    stop: &Stop,
) -> Result<(Sum, io::Result<()>), FetchError> {
    let broken = Slot::default();
    let stored = Slot::default();
    let reader = Stored {
        inner: Some(DigestReader::new(ChunkReader {
            chunks,
            current: Bytes::new(),
            broken: Arc::clone(&broken),
        })),
        sum: Arc::clone(&stored),
    };
    let unreadable = |error: io::Error| FetchError::Unreadable(error.to_string());
    let mut reader = seal::unseal(&manifest.seal, Box::new(reader)).map_err(unreadable)?;
    let mut block = vec![0; BLOCK];
    let undone = loop {
        match fill(&mut reader, &mut block) {
            Ok(0) => break Ok(()),
            Ok(got) => pass.take(&block[..got], stop)?,
            Err(error) => break Err(error),
        }
    };
    // What the decoder did not want is stored all the same and must match the digest.
    drop(reader);
    pass.take(&[], stop)?;
    if let Some(error) = taken(&broken) {
        return Err(FetchError::Store(error));
    }
    let nothing = || Sha256::default().finish();
    Ok((taken(&stored).unwrap_or_else(nothing), undone))
}

fn compare(name: &str, found: &Sum, recorded: &Sum) -> Check {
    if found == recorded {
        Check::ok(name, format_bytes(found.bytes))
    } else if found.bytes == recorded.bytes {
        Check::failed(name, "does not match the manifest")
    } else {
        Check::failed(
            name,
            format!("{} bytes instead of {}", found.bytes, recorded.bytes),
        )
    }
}

fn create(path: &Path) -> Result<File, SourceError> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| SourceError::io(path.parent().unwrap_or(path), &error))
}

fn fill(reader: &mut dyn Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match reader.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The chunks of a download.
type Chunks = mpsc::Receiver<Result<Bytes, StoreError>>;

/// What a reader leaves behind for whoever read from it.
type Slot<T> = Arc<Mutex<Option<T>>>;

fn taken<T>(slot: &Slot<T>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn leave<T>(slot: &Slot<T>, value: T) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
}

/// The downloaded chunks as a blocking reader. A store's failure is kept aside: it is not damage.
struct ChunkReader {
    chunks: Chunks,
    current: Bytes,
    broken: Slot<StoreError>,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                None => return Ok(0),
                Some(Ok(chunk)) => self.current = chunk,
                Some(Err(error)) => {
                    let why = error.to_string();
                    leave(&self.broken, error);
                    return Err(io::Error::other(why));
                }
            }
        }
        let taken = buffer.len().min(self.current.len());
        buffer[..taken].copy_from_slice(&self.current.split_to(taken));
        Ok(taken)
    }
}

/// Digests the stored bytes, reads them to their end however early the decoder stops, and leaves
/// the sum behind when dropped.
struct Stored {
    inner: Option<DigestReader<ChunkReader>>,
    sum: Slot<Sum>,
}

impl Read for Stored {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner
            .as_mut()
            .map_or(Ok(0), |inner| inner.read(buffer))
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        let Some(mut inner) = self.inner.take() else {
            return;
        };
        // A failing store has left its error aside already.
        let _ = io::copy(&mut inner, &mut io::sink());
        let (_, sum) = inner.into_parts();
        leave(&self.sum, sum);
    }
}
