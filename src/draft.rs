//! Files being written beside their final name: private, locked while their writer lives, removed
//! with it. What a killed writer leaves behind is found by its free lock.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

const PREFIX: &str = ".lifeboat-";
const SUFFIX: &str = ".partial";
/// Between the creation of a draft and its lock there is a moment: younger ones are left alone.
const YOUNG: Duration = Duration::from_secs(10);

/// A file that is not complete yet; removed when dropped.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    file: File,
}

impl Draft {
    /// Creates one in `folder`, readable by its owner only, after removing what killed writers
    /// left there.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(folder: &Path) -> io::Result<Self> {
        sweep(folder);
        let path = folder.join(format!("{PREFIX}{:016x}{SUFFIX}", rand::random::<u64>()));
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let draft = Self { path, file };
        // File systems without locks lose only the sweep.
        let _ = flock(&draft.file, FlockOperation::NonBlockingLockExclusive);
        Ok(draft)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file, for writing.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// `path` with `suffix` on its file name.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Whether a file of this name is a draft.
pub fn is_draft(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// Bytes that we may still write on the file system of `path`.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if is_draft(&entry.file_name().to_string_lossy()) && is_abandoned(&entry) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_abandoned(entry: &fs::DirEntry) -> bool {
    let age = entry
        .metadata()
        .and_then(|found| found.modified())
        .map(|at| at.elapsed());
    let old = age.is_ok_and(|age| age.is_ok_and(|age| age > YOUNG));
    old && File::open(entry.path())
        .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(path: &Path) {
        let then = std::time::SystemTime::now() - 2 * YOUNG;
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(then)
            .unwrap();
    }

    #[test]
    fn a_draft_goes_with_its_writer() {
        let folder = tempfile::tempdir().unwrap();
        let draft = Draft::create(folder.path()).unwrap();
        assert!(draft.path().exists());
        let path = draft.path().to_owned();
        drop(draft);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_writer_left_is_removed_and_a_living_ones_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let living = Draft::create(folder.path()).unwrap();
        age(living.path());
        let left = folder.path().join(".lifeboat-0123456789abcdef.partial");
        fs::write(&left, "half").unwrap();
        age(&left);
        let stranger = folder.path().join("notes.partial");
        fs::write(&stranger, "mine").unwrap();
        age(&stranger);
        let _next = Draft::create(folder.path()).unwrap();
        assert!(living.path().exists() && stranger.exists() && !left.exists());
    }
}
