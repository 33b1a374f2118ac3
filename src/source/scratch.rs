use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

const PREFIX: &str = "lifeboat-scratch-";
const LOCK: &str = "lock";

/// A private folder (0700) for one run's plain copy, removed when dropped. A killed process
/// leaves its folder behind; the next one finds its lock free and removes it.
#[derive(Debug)]
pub struct Scratch {
    dir: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Makes a folder below `parent`, after removing what killed processes left there.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        sweep(parent);
        let dir = parent.join(format!("{PREFIX}{:016x}", rand::random::<u64>()));
        fs::DirBuilder::new().mode(0o700).create(&dir)?;
        let lock = hold(&dir).inspect_err(|_| {
            let _ = fs::remove_dir_all(&dir);
        })?;
        Ok(Self { dir, _lock: lock })
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A folder that cannot be removed now is removed by the next run's sweep.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn hold(dir: &Path) -> io::Result<File> {
    let lock = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join(LOCK))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok(lock)
}

fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        // A folder without its lock file may be one that is being made right now.
        if ours && entry.path().join(LOCK).exists() && hold(&entry.path()).is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
