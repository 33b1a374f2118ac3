//! Restore: fetch and prove beside the target, swap last, keep what is replaced.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::Progress;
use super::fetch::{FetchError, Into, fetch};
use crate::clock;
use crate::destination::Destination;
use crate::draft::{Draft, beside};
use crate::error::{Error, Kind, io_reason};
use crate::manifest::{Check, Manifest};
use crate::source::{self, Format, Scratch, SourceError, Stop};

/// What a restore did, or would do.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The file that is there now.
    pub to: PathBuf,
    /// Size of the plain data, bytes.
    pub bytes: u64,
    /// Where the file that was in the way is kept.
    pub replaced: Option<PathBuf>,
    /// The proofs made before the swap.
    pub checks: Vec<Check>,
    /// A remark for people: `journal mode wal`.
    pub remark: Option<String>,
}

/// Fetches the backup of `manifest`, proves it, and puts it at `to`. With `dry_run` everything but
/// the swap.
///
/// # Errors
/// When it is damaged ([`Kind::Damaged`]), cannot be fetched, or the target cannot take it. Nothing
/// at the target has changed then.
pub async fn restore(
    destination: &Destination,
    manifest: &Manifest,
    to: &Path,
    dry_run: bool,
    stop: &Stop,
    progress: &Progress,
) -> Result<Restored, Error> {
    let format = source::format(&manifest.engine.name).ok_or_else(|| {
        let why = format!("the engine `{}` is not known here", manifest.engine.name);
        Error::failed(manifest.id.to_string(), why).hint("use a newer version of Lifeboat")
    })?;
    let folder = target_folder(to)?;
    require_room(&folder, manifest.plain.bytes)?;
    let draft = Draft::create(&folder).map_err(|error| {
        Error::failed(folder.display().to_string(), io_reason(&error))
            .hint("restore as a user who may write there, or to another folder")
    })?;
    let meter = progress.start(destination.name(), manifest.stored.bytes);
    let checks = fetch(destination, manifest, Into::File(&draft), stop, &meter)
        .await
        .map_err(|error| explain(destination, manifest, error))?;
    let (to, facts) = (to.to_owned(), manifest.engine.facts.clone());
    let (remark, replaced) = tokio::task::spawn_blocking({
        let to = to.clone();
        move || put_in_place(format, &draft, &to, &facts, dry_run)
    })
    .await
    .map_err(|error| Error::failed("restore", error.to_string()))??;
    Ok(Restored {
        to,
        bytes: manifest.plain.bytes,
        replaced,
        checks,
        remark,
    })
}

/// A backup brought into a scratch folder, and proved.
#[derive(Debug)]
pub struct Brought {
    /// The proofs made.
    pub checks: Vec<Check>,
    draft: Draft,
    // After the draft, which lies in it.
    _scratch: Scratch,
}

impl Brought {
    /// The plain data, for as long as this value lives.
    pub fn path(&self) -> &Path {
        self.draft.path()
    }
}

/// Fetches the backup of `manifest` into a scratch folder below `parent`, and proves it.
///
/// # Errors
/// When it is damaged ([`Kind::Damaged`]) or cannot be fetched, or there is no room.
pub async fn bring(
    destination: &Destination,
    manifest: &Manifest,
    parent: &Path,
    stop: &Stop,
    progress: &Progress,
) -> Result<Brought, Error> {
    let unusable = |error: io::Error| {
        Error::failed(parent.display().to_string(), io_reason(&error))
            .hint("set `scratch_dir` to a folder that can be written to")
    };
    let scratch = Scratch::new(parent).map_err(unusable)?;
    require_room(parent, manifest.plain.bytes)?;
    let folder = scratch.path("");
    let draft = Draft::create(&folder).map_err(unusable)?;
    let meter = progress.start(destination.name(), manifest.stored.bytes);
    let checks = fetch(destination, manifest, Into::File(&draft), stop, &meter)
        .await
        .map_err(|error| explain(destination, manifest, error))?;
    Ok(Brought {
        checks,
        draft,
        _scratch: scratch,
    })
}

fn target_folder(to: &Path) -> Result<PathBuf, Error> {
    let shown = to.display().to_string();
    if to.is_dir() {
        return Err(Error::failed(shown, "is a folder")
            .hint("give the file's name as well, such as --to FOLDER/restored"));
    }
    let folder = match to.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => return Err(Error::failed(shown, "is no file name")),
    };
    match fs::metadata(&folder) {
        Ok(found) if found.is_dir() => Ok(folder),
        Ok(_) => Err(
            Error::failed(folder.display().to_string(), "is not a folder")
                .hint("give a file in a folder that is there"),
        ),
        Err(error) => Err(
            Error::failed(folder.display().to_string(), io_reason(&error))
                .hint("create the folder, or mount the volume that holds it"),
        ),
    }
}

fn require_room(folder: &Path, bytes: u64) -> Result<(), Error> {
    match crate::draft::free_bytes(folder) {
        Some(free) if free < bytes => Err(Error::failed(
            folder.display().to_string(),
            format!(
                "no space left on device (needs {}, has {})",
                crate::value::format_bytes(bytes),
                crate::value::format_bytes(free)
            ),
        )
        .hint("make room, or restore to another folder with --to")),
        _ => Ok(()),
    }
}

/// What went wrong with a backup that was to be restored.
pub fn explain(destination: &Destination, manifest: &Manifest, error: FetchError) -> Error {
    let what = format!("{} in {}", manifest.id, destination.name());
    let other = "see `lifeboat list` for other backups, and name one by its id";
    match error {
        FetchError::Missing(why) => Error::new(Kind::Damaged, what, why).hint(other),
        FetchError::Damaged(checks) => {
            let failed: Vec<String> = checks
                .iter()
                .filter(|check| !check.ok)
                .map(|check| format!("{} {}", check.name, check.detail))
                .collect();
            Error::new(
                Kind::Damaged,
                what,
                format!("is damaged: {}", failed.join("; ")),
            )
            .hint(other)
        }
        FetchError::Unreadable(why) => {
            Error::failed(what, why).hint("use a newer version of Lifeboat")
        }
        FetchError::Store(error) => error.at(destination.name()),
        FetchError::Local(error) => error.at("restore"),
    }
}

fn put_in_place(
    format: &'static dyn Format,
    draft: &Draft,
    to: &Path,
    facts: &source::Facts,
    dry_run: bool,
) -> Result<(Option<String>, Option<PathBuf>), Error> {
    let fail = |error: SourceError| error.at(&to.display().to_string());
    let remark = format.settle(draft.path(), facts).map_err(fail)?;
    if dry_run {
        return Ok((remark, None));
    }
    let at = |error: io::Error| Error::failed(to.display().to_string(), io_reason(&error));
    like_the_old_one(draft.path(), to).map_err(at)?;
    File::open(draft.path())
        .and_then(|file| file.sync_all())
        .map_err(at)?;
    let replaced = swap(format, draft.path(), to, clock::now()).map_err(at)?;
    Ok((remark, replaced))
}

/// Owner and mode of the file in the way, or of its folder's owner where there is none.
fn like_the_old_one(draft: &Path, to: &Path) -> io::Result<()> {
    let (owner, mode) = match fs::metadata(to) {
        Ok(old) => (old, None),
        Err(_) => (fs::metadata(draft.parent().unwrap_or(draft))?, Some(0o600)),
    };
    let mode = mode.unwrap_or(owner.mode() & 0o7777);
    fs::set_permissions(draft, fs::Permissions::from_mode(mode))?;
    let new = fs::metadata(draft)?;
    if (new.uid(), new.gid()) != (owner.uid(), owner.gid()) {
        // Only root may give files away; for anyone else the file stays theirs.
        match std::os::unix::fs::chown(draft, Some(owner.uid()), Some(owner.gid())) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The old file gets a second name before the new one takes its place, so that at every moment
/// there is a file at `to`; its companions follow it, for a stale log would be replayed into the
/// new file.
fn swap(
    format: &dyn Format,
    draft: &Path,
    to: &Path,
    now: Timestamp,
) -> io::Result<Option<PathBuf>> {
    let aside = free_name(to, now);
    let replaced = to.symlink_metadata().is_ok();
    if replaced {
        fs::hard_link(to, &aside).or_else(|_| fs::rename(to, &aside))?;
    }
    for suffix in format.companions() {
        let companion = beside(to, suffix);
        match fs::metadata(&companion) {
            Ok(found) if found.len() > 0 => {
                fs::rename(&companion, beside(&aside, suffix))?;
            }
            Ok(_) => fs::remove_file(&companion)?,
            Err(_) => {}
        }
    }
    for suffix in format.leftovers() {
        let _ = fs::remove_file(beside(to, suffix));
    }
    fs::rename(draft, to)?;
    if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(replaced.then_some(aside))
}

fn free_name(to: &Path, now: Timestamp) -> PathBuf {
    let base = beside(to, &format!(".before-{}", clock::compact(now)));
    let free = |path: &PathBuf| path.symlink_metadata().is_err();
    let numbered = (2..u32::MAX).map(|n| beside(&base, &format!("-{n}")));
    std::iter::once(base.clone())
        .chain(numbered)
        .find(free)
        .unwrap_or(base)
}
