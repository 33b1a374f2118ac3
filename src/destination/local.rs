//! A folder on a mounted file system: atomic, fsynced, readable by its owner only.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use url::Url;

use super::{
    Body, ByteStream, Depth, Listing, ManualFetch, Object, Store, StoreError, StoreErrorKind,
    Stored,
};
use crate::block::Blocks;
use crate::clock;
use crate::draft::{Draft, free_bytes, is_draft};
use crate::error::io_reason;

const READ_BLOCK: usize = 1 << 20;

/// Where a local destination is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalConfig {
    /// The folder. It must exist unless `create` is on: an unmounted volume is an error, not a new
    /// folder on the wrong disk.
    pub path: PathBuf,
    /// Make the folder with the first backup where it is not there.
    #[serde(default)]
    pub create: bool,
}

/// `file:///folder`, percent-decoded.
///
/// # Errors
/// When the URL names a host, or no path.
pub fn settings_from_url(url: &Url) -> Result<serde_json::Value, String> {
    let path = url
        .to_file_path()
        .map_err(|()| "names a host; write `file:///folder` with three slashes".to_owned())?;
    let mut settings = serde_json::Map::new();
    settings.insert("type".into(), "local".into());
    settings.insert("path".into(), path.to_string_lossy().into_owned().into());
    for (key, value) in url.query_pairs() {
        settings.insert(key.into_owned(), value.into_owned().into());
    }
    Ok(settings.into())
}

/// See the module.
#[derive(Debug, Clone)]
pub struct LocalStore {
    root: PathBuf,
    create: bool,
}

impl LocalStore {
    /// A store below `root`; nothing is touched yet.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            create: false,
        }
    }

    /// The same store; with `create`, a folder that is not there is an empty one, and is made by
    /// the first write.
    #[must_use]
    pub fn creating(self, create: bool) -> Self {
        Self { create, ..self }
    }

    /// Whether there is no folder and none may be made.
    fn is_missing(&self) -> bool {
        !self.create && !self.root.is_dir()
    }

    /// The folder as a URL.
    pub fn address(&self) -> String {
        format!("file://{}", self.root.display())
    }

    /// `cp`.
    pub fn manual_fetch(&self) -> ManualFetch {
        let root = format!("{}/", self.root.display());
        ManualFetch {
            command: "cp".into(),
            root,
            options: String::new(),
        }
    }

    fn path(&self, action: &'static str, key: &str) -> Result<PathBuf, StoreError> {
        let sound = !key.is_empty()
            && key.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && !key.contains('\0');
        if sound {
            Ok(self.root.join(key))
        } else {
            Err(StoreError::new(
                StoreErrorKind::Other,
                action,
                key,
                "is not a usable file name",
            ))
        }
    }

    fn failure(&self, action: &'static str, key: &str, error: &io::Error) -> StoreError {
        let kind = match error.kind() {
            ErrorKind::NotFound if self.is_missing() => {
                let why = format!("{}: no such folder", self.root.display());
                return StoreError::new(StoreErrorKind::NoDestination, action, key, why)
                    .hint("create the folder, or mount the volume that holds it");
            }
            ErrorKind::NotFound => StoreErrorKind::NotFound,
            ErrorKind::AlreadyExists => StoreErrorKind::AlreadyExists,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreErrorKind::Denied,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                StoreErrorKind::Full
            }
            _ => StoreErrorKind::Other,
        };
        let failure = StoreError::new(kind, action, key, io_reason(error));
        match kind {
            StoreErrorKind::Denied => failure.hint(format!(
                "this process runs as uid {}; chown the folder or set securityContext",
                rustix::process::geteuid().as_raw()
            )),
            StoreErrorKind::Full => {
                let free = free_bytes(&self.root).map_or_else(String::new, |free| {
                    format!("{} are free; ", crate::value::format_bytes(free))
                });
                failure.hint(format!(
                    "{free}make room, or let retention keep fewer backups"
                ))
            }
            _ => failure,
        }
    }
}

#[async_trait]
impl Store for LocalStore {
    async fn put(&self, key: &str, mut body: Body) -> Result<Stored, StoreError> {
        let path = self.path("write", key)?;
        let fail = |error: &io::Error| self.failure("write", key, error);
        let (root, create) = (self.root.clone(), self.create);
        let (sender, receiver) = mpsc::channel::<Bytes>(2);
        // The blocking half ends with the channel: without the final word nothing becomes visible.
        let (commit, committed) = tokio::sync::oneshot::channel::<()>();
        let writer = tokio::task::spawn_blocking(move || {
            if create {
                make_root(&root)?;
            }
            write(&root, &path, receiver, committed)
        });
        while let Some(chunk) = body.next().await {
            match chunk {
                Ok(bytes) => {
                    if sender.send(bytes).await.is_err() {
                        break;
                    }
                }
                Err(broken) => {
                    drop(commit);
                    drop(sender);
                    // Its error is the consequence, the body's is the cause.
                    let _ = writer.await;
                    let why = broken.0;
                    return Err(StoreError::new(
                        StoreErrorKind::BrokenOff,
                        "write",
                        key,
                        why,
                    ));
                }
            }
        }
        let _ = commit.send(());
        drop(sender);
        let bytes = writer
            .await
            .map_err(|error| fail(&io::Error::other(error)))?
            .map_err(|error| fail(&error))?;
        Ok(Stored { bytes })
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        let path = self.path("read", key)?;
        let (store, key) = (self.clone(), key.to_owned());
        let download = blocking(move || {
            let open = || {
                let file = File::open(&path)?;
                let bytes = file.metadata()?.len();
                Ok((file, range.unwrap_or(0..bytes)))
            };
            let (file, range) = open().map_err(|error| store.failure("read", &key, &error))?;
            let size = usize::try_from(range.end - range.start.min(range.end));
            Ok(Download {
                blocks: Blocks::of(size.map_or(READ_BLOCK, |size| size.min(READ_BLOCK))),
                at: range.start,
                end: range.end,
                store,
                key,
                file,
            })
        })
        .await?;
        Ok(stream::unfold(Some(download), |download| async {
            let mut download = download?;
            let read = blocking(move || {
                let block = download.next()?;
                Ok((download, block))
            });
            match read.await {
                Ok((_, None)) => None,
                Ok((download, Some(block))) => Some((Ok(block), Some(download))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed())
    }

    async fn head(&self, key: &str) -> Result<Object, StoreError> {
        let path = self.path("look up", key)?;
        let (store, key) = (self.clone(), key.to_owned());
        blocking(move || {
            let found = fs::metadata(&path).map_err(|e| store.failure("look up", &key, &e))?;
            if !found.is_file() {
                let why = "is not a file";
                return Err(StoreError::new(
                    StoreErrorKind::NotFound,
                    "look up",
                    key,
                    why,
                ));
            }
            Ok(object(key, &found))
        })
        .await
    }

    async fn list(&self, prefix: &str, depth: Depth) -> Result<Listing, StoreError> {
        let (store, prefix) = (self.clone(), prefix.to_owned());
        blocking(move || {
            let mut listing = Listing {
                store_time: Some(clock::now()),
                ..Listing::default()
            };
            match fs::read_dir(&store.root) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound && store.create => {
                    return Ok(listing);
                }
                Err(error) => return Err(store.failure("list", &prefix, &error)),
            }
            walk(&store.root, &prefix, depth, &mut listing)
                .map_err(|error| store.failure("list", &prefix, &error))?;
            listing.objects.sort_by(|a, b| a.key.cmp(&b.key));
            listing.folders.sort();
            Ok(listing)
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let path = self.path("delete", key)?;
        let (store, key) = (self.clone(), key.to_owned());
        blocking(move || match fs::remove_file(&path) {
            Ok(()) => sync_folder(&path).map_err(|e| store.failure("delete", &key, &e)),
            Err(error) if error.kind() == ErrorKind::NotFound && !store.is_missing() => Ok(()),
            Err(error) => Err(store.failure("delete", &key, &error)),
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(StoreError::new(
                StoreErrorKind::Other,
                "reach",
                "",
                error.to_string(),
            ))
        })
}

/// Writes beside the final name, syncs, links without replacing, syncs the folder.
fn write(
    root: &Path,
    path: &Path,
    mut chunks: mpsc::Receiver<Bytes>,
    mut committed: tokio::sync::oneshot::Receiver<()>,
) -> io::Result<u64> {
    if path.exists() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    if !root.is_dir() {
        return Err(ErrorKind::NotFound.into());
    }
    let folder = path.parent().unwrap_or(root);
    make_folders(root, folder)?;
    let draft = Draft::create(folder)?;
    let mut file = draft.file();
    let mut bytes = 0;
    while let Some(chunk) = chunks.blocking_recv() {
        file.write_all(&chunk)?;
        bytes += chunk.len() as u64;
    }
    if committed.try_recv().is_err() {
        return Err(ErrorKind::Interrupted.into());
    }
    file.sync_all()?;
    // A hard link fails where the name is taken; a rename would replace.
    match fs::hard_link(draft.path(), path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(error),
        Err(_) => rename_noreplace(draft.path(), path)?,
    }
    drop(draft);
    sync_folder(path)?;
    Ok(bytes)
}

/// For file systems without hard links (exFAT, some network shares).
fn rename_noreplace(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            // Neither is to be had: reserve the name, then replace our own empty file.
            File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(to)?;
            fs::rename(from, to)
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes the folder itself, and those above it.
fn make_root(root: &Path) -> io::Result<()> {
    if root.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root)?;
    sync_folder(root)
}

fn make_folders(root: &Path, folder: &Path) -> io::Result<()> {
    if folder.is_dir() || folder == root {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        make_folders(root, parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => sync_folder(folder),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a new or removed name in `path`'s folder durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn walk(root: &Path, prefix: &str, depth: Depth, listing: &mut Listing) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(prefix)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if is_draft(&name) {
            continue;
        }
        let key = format!("{prefix}{name}");
        // Links are followed: a series may live on another disk.
        let found = match fs::metadata(entry.path()) {
            Ok(found) => found,
            // Removed meanwhile, or a link to nowhere.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if found.is_dir() {
            let folder = format!("{key}/");
            match depth {
                Depth::Children => listing.folders.push(folder),
                Depth::All => walk(root, &folder, depth, listing)?,
            }
        } else {
            listing.objects.push(object(key, &found));
        }
    }
    Ok(())
}

fn object(key: String, found: &fs::Metadata) -> Object {
    let modified = found
        .modified()
        .ok()
        .and_then(|at| Timestamp::try_from(at).ok());
    Object {
        key,
        bytes: found.len(),
        modified,
    }
}

/// A file on its way out.
struct Download {
    store: LocalStore,
    key: String,
    file: File,
    blocks: Blocks,
    at: u64,
    end: u64,
}

impl Download {
    fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let mut read = || {
            let mut block = self.blocks.take()?;
            let left = self.end.saturating_sub(self.at);
            let most = usize::try_from(left).unwrap_or(READ_BLOCK);
            let got = block.read_at(&self.file, self.at, most)?;
            self.at += got as u64;
            Ok((got > 0).then(|| block.freeze(got)))
        };
        read().map_err(|error| self.store.failure("read", &self.key, &error))
    }
}
