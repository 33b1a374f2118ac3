use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::OFlags;
use rustix::process::geteuid;

use super::rdb::{HEAD_LIMIT, Head, TAIL, parse_head, parse_tail};
use crate::clock;
use crate::source::{SourceError, SourceErrorKind};

const SAVE_HINT: &str = "set save points (`save 300 1`) or schedule BGSAVE; \
                         `data_dir` and `dump_filename` must be the server's `dir` and `dbfilename`";

/// The dump, open: the server replaces it by rename, so that this handle keeps its bytes for as
/// long as it is read.
#[derive(Debug)]
pub(super) struct Dump {
    /// At its first byte.
    pub file: File,
    pub bytes: u64,
    pub modified: Timestamp,
    pub head: Head,
    /// What its footer records; zero where the server wrote none.
    pub crc64: u64,
    /// When it was opened.
    pub opened_at: Timestamp,
}

impl Dump {
    /// Opens the dump and reads its head and its end. Blocking.
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let opened_at = clock::now();
        let file = OpenOptions::new()
            .read(true)
            // A pipe under this name must not hold the run up.
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)
            .map_err(|error| not_opened(path, &error))?;
        let metadata = file
            .metadata()
            .map_err(|error| SourceError::io(path, &error))?;
        if !metadata.is_file() {
            let kind = if metadata.is_dir() {
                "a folder"
            } else {
                "not a regular file"
            };
            let why = format!("{} is {kind}", path.display());
            return Err(SourceError::new(SourceErrorKind::Other, why)
                .hint("`dump_filename` is the dump's name below `data_dir`"));
        }
        let bytes = metadata.len();
        if bytes == 0 {
            let why = format!("{} is empty (0 bytes)", path.display());
            return Err(SourceError::damaged(why).hint(SAVE_HINT));
        }
        let (head, crc64) = read_ends(&file, bytes).map_err(|error| match error {
            End::Io(error) => SourceError::io(path, &error),
            End::Damage(error) => at(path, error),
        })?;
        Ok(Self {
            file,
            bytes,
            modified: modified(&metadata),
            head,
            crc64,
            opened_at,
        })
    }

    /// When its data was current: when the server began to write it, or else when it ended.
    pub(super) fn dated(&self) -> Timestamp {
        self.head.ctime().unwrap_or(self.modified)
    }

    /// How old its data was when it was opened.
    pub(super) fn age(&self) -> Duration {
        clock::since(self.dated(), self.opened_at)
    }
}

/// When the file behind `metadata` was last written.
pub(super) fn modified(metadata: &Metadata) -> Timestamp {
    let nanoseconds = i32::try_from(metadata.mtime_nsec()).unwrap_or(0);
    Timestamp::new(metadata.mtime(), nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Files that a save left behind when it was killed: those that look like one and that nobody
/// has written to for a while. Blocking.
pub(super) fn leftovers(data_dir: &Path) -> Vec<(PathBuf, u64)> {
    const QUIET: Duration = Duration::from_mins(10);
    let Ok(entries) = fs::read_dir(data_dir) else {
        return Vec::new();
    };
    let now = clock::now();
    let mut found: Vec<_> = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("temp-") && name.ends_with(".rdb")
        })
        .filter_map(|entry| {
            let metadata = entry.metadata().ok().filter(Metadata::is_file)?;
            let quiet = clock::since(modified(&metadata), now) > QUIET;
            quiet.then(|| (entry.path(), metadata.len()))
        })
        .collect();
    found.sort();
    found
}

enum End {
    Io(io::Error),
    Damage(SourceError),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        End::Io(error)
    }
}

/// Reads by position, so that the handle stays at its first byte.
fn read_ends(file: &File, bytes: u64) -> Result<(Head, u64), End> {
    let length = usize::try_from(bytes).unwrap_or(usize::MAX).min(HEAD_LIMIT);
    let mut first = vec![0; length];
    file.read_exact_at(&mut first, 0)?;
    let head = parse_head(&first).map_err(End::Damage)?;
    // A header is as long as a tail: what has the one is not too short for the other.
    let mut tail = [0; TAIL];
    file.read_exact_at(&mut tail, bytes - TAIL as u64)?;
    Ok((head, parse_tail(tail).map_err(End::Damage)?))
}

/// Damage with the file it was found in.
fn at(path: &Path, error: SourceError) -> SourceError {
    SourceError {
        why: format!("{}: {}", path.display(), error.why),
        ..error
    }
}

fn not_opened(path: &Path, error: &io::Error) -> SourceError {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let plain = SourceError::io(path, error);
    match error.kind() {
        io::ErrorKind::NotFound if !folder.exists() => {
            SourceError::io(folder, error).hint("mount the server's data folder at `data_dir`")
        }
        io::ErrorKind::NotFound => plain.hint(SAVE_HINT),
        io::ErrorKind::PermissionDenied => {
            let us = geteuid().as_raw();
            match fs::metadata(path) {
                Ok(metadata) => {
                    let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
                    let why = format!("{} (owned by uid {uid}, mode {mode:04o})", plain.why);
                    SourceError { why, ..plain }.hint(format!(
                        "this process runs as uid {us}: run it as the server's uid (runAsUser: {uid}); \
                         a chmod lasts until the next save"
                    ))
                }
                Err(_) => plain.hint(format!(
                    "this process runs as uid {us} and may not look into {}",
                    folder.display()
                )),
            }
        }
        _ => plain,
    }
}

#[cfg(test)]
mod tests;
