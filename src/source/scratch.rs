use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

const PREFIX: &str = "lifeboat-scratch-";
/// What a folder is called until it is locked.
const NEW: &str = "lifeboat-new-";
/// A folder is new for an instant; one that is so for longer has lost its maker.
const INSTANT: Duration = Duration::from_mins(1);

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
        let random = rand::random::<u64>();
        // It gets its name when it is locked, so that a folder of that name without a lock has no
        // owner any more.
        let new = parent.join(format!("{NEW}{random:016x}"));
        let dir = parent.join(format!("{PREFIX}{random:016x}"));
        fs::DirBuilder::new().mode(0o700).create(&new)?;
        let named = hold(&new).and_then(|lock| fs::rename(&new, &dir).map(|()| lock));
        let lock = named.inspect_err(|_| {
            let _ = fs::remove_dir_all(&new);
        })?;
        Ok(Self { dir, _lock: lock })
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Removes the folder now, although files in it may still be open.
    pub fn remove(&self) {
        // What cannot be removed now is removed by the next run's sweep.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.remove();
    }
}

fn hold(dir: &Path) -> io::Result<File> {
    let lock = File::open(dir)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok(lock)
}

fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let old = || {
            let made = entry.metadata().and_then(|found| found.modified());
            made.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > INSTANT))
        };
        let ours = name.starts_with(PREFIX) || (name.starts_with(NEW) && old());
        if ours && hold(&entry.path()).is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
