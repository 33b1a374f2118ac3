//! Brings a stored backup back as plain bytes, and proves on the way that it is what its manifest
//! says.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::Meter;
use crate::destination::{Destination, StoreError, StoreErrorKind};
use crate::draft::Draft;
use crate::error::io_reason;
use crate::manifest::{Check, Manifest, Sum};
use crate::seal::{self, DigestReader, Sha256};
use crate::source::{self, Format, Scratch, SourceError, SourceErrorKind, Stop};
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
    chunks: mpsc::Receiver<Result<Bytes, StoreError>>,
    mut output: Option<Output>,
    stop: &Stop,
) -> Result<Vec<Check>, FetchError> {
    let sealed = manifest
        .seal
        .iter()
        .map(|step| step.name.as_str())
        .collect::<Vec<_>>();
    let broken = Arc::new(std::sync::Mutex::new(None));
    let stored = Arc::new(std::sync::Mutex::new(None));
    let reader = Stored {
        inner: Some(DigestReader::new(ChunkReader {
            chunks,
            current: Bytes::new(),
            broken: Arc::clone(&broken),
        })),
        sum: Arc::clone(&stored),
    };
    let mut plain = Sha256::default();
    let mut verifier = format.forward();
    let mut engine_damage = None;

    let reader = if manifest.seal.is_empty() {
        Ok(Box::new(reader) as Box<dyn Read + Send>)
    } else {
        seal::unseal(&manifest.seal, Box::new(reader))
    };
    let mut reader = reader.map_err(|error| FetchError::Unreadable(error.to_string()))?;
    let mut block = vec![0; BLOCK];
    let read = loop {
        if stop.requested() {
            return Err(FetchError::Local(SourceError::stopped()));
        }
        let got = match fill(&mut reader, &mut block) {
            Ok(0) => break Ok(()),
            Ok(got) => got,
            Err(error) => break Err(error),
        };
        plain.update(&block[..got]);
        if let Some(checker) = &mut verifier
            && let Err(error) = checker.update(&block[..got])
        {
            engine_damage = Some(error);
            verifier = None;
        }
        if let Some(output) = &mut output {
            output.file.write_all(&block[..got]).map_err(|error| {
                let failed = SourceError::io(&output.path, &error);
                FetchError::Local(failed.hint("make room, or restore to another folder"))
            })?;
        }
    };
    // What the decoder did not want is stored all the same and must match the digest.
    let rest = read
        .as_ref()
        .map_or(Ok(0), |()| io::copy(&mut reader, &mut io::sink()));
    drop(reader);
    if stop.requested() {
        return Err(FetchError::Local(SourceError::stopped()));
    }
    if let Some(error) = take(&broken) {
        return Err(FetchError::Store(error));
    }
    let stored: Sum = take(&stored).unwrap_or(Sum {
        bytes: 0,
        sha256: String::new(),
    });
    let mut checks = vec![compare("stored sha256", &stored, &manifest.stored)];
    match read.and(rest) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            return Err(FetchError::Unreadable(error.to_string()));
        }
        Err(error) => {
            let name = sealed.join(", ");
            checks.push(Check::failed(
                name,
                format!("cannot be undone: {}", io_reason(&error)),
            ));
            return Err(FetchError::Damaged(checks));
        }
        Ok(_) => {}
    }
    checks.push(compare("plain sha256", &plain.finish(), &manifest.plain));
    if let Some(Output { path, file, .. }) = &output {
        file.sync_all()
            .map_err(|error| FetchError::Local(SourceError::io(path, &error)))?;
    }
    if checks.iter().any(|check| !check.ok) {
        return Err(FetchError::Damaged(checks));
    }
    let proved = match (engine_damage, verifier, &output) {
        (Some(error), _, _) => Err(error),
        (None, Some(verifier), _) => verifier.finish().map(|proof| proof.checks),
        (None, None, Some(output)) => format.verify_file(&output.path, stop),
        (None, None, None) => Ok(Vec::new()),
    };
    match proved {
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

fn take<T>(slot: &std::sync::Mutex<Option<T>>) -> Option<T> {
    slot.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .take()
}

/// The downloaded chunks as a blocking reader. A store's failure is kept aside: it is not damage.
struct ChunkReader {
    chunks: mpsc::Receiver<Result<Bytes, StoreError>>,
    current: Bytes,
    broken: Arc<std::sync::Mutex<Option<StoreError>>>,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                None => return Ok(0),
                Some(Ok(chunk)) => self.current = chunk,
                Some(Err(error)) => {
                    let why = error.to_string();
                    *self
                        .broken
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
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
    sum: Arc<std::sync::Mutex<Option<Sum>>>,
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
        *self
            .sum
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(sum);
    }
}
