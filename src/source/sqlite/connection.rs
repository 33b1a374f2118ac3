use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use crate::draft::beside;

use super::super::{SourceError, SourceErrorKind, Stop};

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Virtual machine steps between two looks at the stop signal. So few because one of them may copy
/// a blob of many megabytes; a look costs next to nothing.
const STEPS: std::ffi::c_int = 50;
/// The longest wait for a lock inside SQLite, which does not look at the stop signal meanwhile.
const WAIT: Duration = Duration::from_millis(100);

/// What to do about a damaged source.
pub(super) const DAMAGED: &str = "do not overwrite older backups; look at the disk, then restore";

/// What the first page says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// Size of the main file.
    pub bytes: u64,
    /// `wal`, or `delete` for every rollback mode: those are a connection's business.
    pub journal_mode: &'static str,
}

/// An open source, and how it had to be opened.
pub(super) struct Opened {
    pub connection: Connection,
    /// There was a write-ahead log with content, and the connection reads through it.
    pub wal_included: bool,
    /// Opened with `immutable=1`: main file and log as they must still be afterwards.
    immutable: Option<(PathBuf, Fingerprint)>,
    patience: Patience,
}

/// How long to wait for a writer's lock, and what ends the wait.
#[derive(Debug, Clone)]
struct Patience {
    busy: Duration,
    stop: Stop,
}

type Fingerprint = (Option<FileMark>, Option<FileMark>);
type FileMark = (u64, u64, std::time::SystemTime);

/// Looks at the file without opening a database: SQLite would create a missing one, and calls an
/// empty one good.
pub(super) fn examine(path: &Path) -> Result<Header, SourceError> {
    let found = fs::metadata(path).map_err(|error| {
        let failure = SourceError::io(path, &error);
        match failure.kind {
            SourceErrorKind::Missing => {
                failure.hint("check the path, and that the volume is mounted here")
            }
            SourceErrorKind::Denied => failure.hint(uid_hint()),
            _ => failure,
        }
    })?;
    let refuse = |why: &str| SourceError::damaged(format!("{}: {why}", path.display()));
    if !found.is_file() {
        return Err(refuse("is not a file").hint("give the path of the database file itself"));
    }
    if found.len() == 0 {
        return Err(SourceError::new(
            SourceErrorKind::Missing,
            format!("{}: is empty, there is no database in it", path.display()),
        )
        .hint("check the path; a wrong one is often created empty by the application"));
    }
    let mut first = Vec::with_capacity(100);
    File::open(path)
        .and_then(|file| file.take(100).read_to_end(&mut first))
        .map_err(|error| SourceError::io(path, &error).hint(uid_hint()))?;
    if !first.starts_with(MAGIC) || first.len() < 100 {
        return Err(refuse("is not a SQLite database")
            .hint("an encrypted database (SQLCipher) looks the same and is not supported"));
    }
    Ok(Header {
        bytes: found.len(),
        journal_mode: if first[18] == 2 { "wal" } else { "delete" },
    })
}

fn uid_hint() -> String {
    format!(
        "this process runs as uid {}; let it run as the application's user",
        rustix::process::geteuid().as_raw()
    )
}

/// Opens the database for reading without ever changing it, write-ahead log included.
pub(super) fn open(
    path: &Path,
    header: Header,
    busy: Duration,
    stop: &Stop,
) -> Result<Opened, SourceError> {
    let wal = beside(path, "-wal");
    let patience = Patience {
        busy,
        stop: stop.clone(),
    };
    // Nobody has it open. To join would leave a log and a -shm file behind that are ours, and an
    // application that runs as another user could no longer open its own database.
    if header.journal_mode == "wal" && !wal.exists() && !beside(path, "-shm").exists() {
        return open_immutable(path, &wal, patience);
    }
    let wal_included = fs::metadata(&wal).is_ok_and(|found| found.len() > 0);
    let normal = Connection::open_with_flags(path, read_only())
        .and_then(|connection| settle(connection, &patience));
    let error = match normal {
        Ok(connection) => {
            return Ok(Opened {
                connection,
                wal_included,
                immutable: None,
                patience,
            });
        }
        Err(error) => error,
    };
    let needs_shm = matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)
    );
    if !needs_shm {
        return Err(failure(path, &error));
    }
    if wal_included {
        return Err(SourceError::new(
            SourceErrorKind::Denied,
            format!(
                "{}: has a write-ahead log with commits, and SQLite cannot make its -shm file here",
                path.display()
            ),
        )
        .hint("mount the folder writable, and run as the application's user"));
    }
    open_immutable(path, &wal, patience)
}

fn read_only() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// Without a log the main file is the whole database; nobody may open it for writing meanwhile,
/// which `still_immutable` checks afterwards.
fn open_immutable(path: &Path, wal: &Path, patience: Patience) -> Result<Opened, SourceError> {
    let mark = fingerprint(path, wal);
    let flags = read_only() | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(immutable_uri(path), flags)
        .and_then(|connection| settle(connection, &patience))
        .map_err(|error| failure(path, &error))?;
    Ok(Opened {
        connection,
        wal_included: false,
        immutable: Some((path.to_owned(), mark)),
        patience,
    })
}

/// A file of our own whose last page is cut: SQLite would take zeros for the rest of it.
pub(super) fn all_pages_are_there(
    connection: &Connection,
    path: &Path,
    header: Header,
) -> Result<(), SourceError> {
    let pragma = |name: &str| {
        let answer =
            connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
        answer.map_err(|error| failure(path, &error))
    };
    let wanted = pragma("page_size")? * pragma("page_count")?;
    if header.bytes >= u64::try_from(wanted).unwrap_or(0) {
        return Ok(());
    }
    Err(cut_short(path))
}

fn cut_short(path: &Path) -> SourceError {
    SourceError::damaged(format!(
        "{}: is truncated, its last page is not whole",
        path.display()
    ))
}

/// Opens a file of our own that nothing else has open.
pub(super) fn open_own(path: &Path, stop: &Stop) -> Result<Connection, SourceError> {
    let patience = Patience {
        busy: Duration::ZERO,
        stop: stop.clone(),
    };
    Connection::open_with_flags(
        immutable_uri(path),
        read_only() | OpenFlags::SQLITE_OPEN_URI,
    )
    .and_then(|connection| settle(connection, &patience))
    .map_err(|error| failure(path, &error))
}

impl Opened {
    /// Does `work`, again and again while a writer holds its lock, until patience ends.
    pub(super) fn patiently<T>(
        &self,
        work: impl FnMut(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.patience.with(&self.connection, work)
    }

    /// A file whose last page is cut: SQLite would take zeros for the rest of it.
    pub(super) fn last_page_is_whole(&self, path: &Path) -> Result<(), SourceError> {
        let wal = beside(path, "-wal");
        let short = || -> rusqlite::Result<bool> {
            let pragma = |name: &str| {
                self.patiently(|source| {
                    source.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0))
                })
            };
            let wanted = pragma("page_size")? * pragma("page_count")?;
            let found = fs::metadata(path).map_or(u64::MAX, |found| found.len());
            let logged = fs::metadata(&wal).is_ok_and(|found| found.len() > 0);
            Ok(!logged && found < u64::try_from(wanted).unwrap_or(0))
        };
        // Twice, because a writer may have changed the size between two of the questions.
        let twice = short().and_then(|once| Ok(once && short()?));
        if !twice.map_err(|error| failure(path, &error))? {
            return Ok(());
        }
        Err(cut_short(path).hint(DAMAGED))
    }

    /// After an immutable read: the files must be as they were.
    pub(super) fn still_immutable(&self) -> Result<(), SourceError> {
        let Some((path, mark)) = &self.immutable else {
            return Ok(());
        };
        if fingerprint(path, &beside(path, "-wal")) == *mark {
            return Ok(());
        }
        Err(SourceError::new(
            SourceErrorKind::Changed,
            format!(
                "{}: was opened for writing while it was read",
                path.display()
            ),
        )
        .hint("mount the folder writable, so that SQLite can take part in its locking"))
    }
}

/// Sets the limits, and reads the schema: a lazy open has not touched the file yet.
fn settle(mut connection: Connection, patience: &Patience) -> rusqlite::Result<Connection> {
    connection.busy_timeout(patience.busy.min(WAIT))?;
    interruptible(&mut connection, &patience.stop)?;
    patience.with(&connection, |connection| {
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
    })?;
    Ok(connection)
}

impl Patience {
    fn with<T>(
        &self,
        connection: &Connection,
        mut work: impl FnMut(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let started = Instant::now();
        loop {
            match work(connection) {
                Err(error) if is_busy(&error) => {
                    if self.stop.requested() {
                        let interrupted = ffi::Error::new(ffi::SQLITE_INTERRUPT);
                        return Err(rusqlite::Error::SqliteFailure(interrupted, None));
                    }
                    if started.elapsed() >= self.busy {
                        return Err(error);
                    }
                    // Some refusals come at once, without SQLite's own wait.
                    std::thread::sleep(Duration::from_millis(5));
                }
                other => return other,
            }
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// Makes every statement end soon after the stop signal.
pub(super) fn interruptible(connection: &mut Connection, stop: &Stop) -> rusqlite::Result<()> {
    let stop = stop.clone();
    connection.progress_handler(STEPS, Some(move || stop.requested()))
}

fn immutable_uri(path: &Path) -> String {
    use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
    const RESERVED: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#').add(b' ');
    let path = path.to_string_lossy();
    format!("file:{}?immutable=1", utf8_percent_encode(&path, RESERVED))
}

fn fingerprint(main: &Path, wal: &Path) -> Fingerprint {
    use std::os::unix::fs::MetadataExt;
    let mark = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.ino(), found.len(), found.modified().ok()?))
    };
    // An empty log and none are the same.
    (mark(main), mark(wal).filter(|(_, bytes, _)| *bytes > 0))
}

/// The network file system `path` lies on, if it is one.
pub(super) fn network_file_system(path: &Path) -> Option<&'static str> {
    match rustix::fs::statfs(path).ok()?.f_type {
        0x6969 => Some("NFS"),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => Some("SMB"),
        0x0102_1997 => Some("9P"),
        _ => None,
    }
}

/// SQLite's error in plain words, about `path`.
pub(super) fn failure(path: &Path, error: &rusqlite::Error) -> SourceError {
    let said = match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        other => other.to_string(),
    };
    let name = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            SourceError::damaged(format!("{name}: {said}")).hint(DAMAGED)
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => SourceError::new(
            SourceErrorKind::Other,
            format!("{name}: a writer held its lock longer than busy_timeout"),
        )
        .hint("raise busy_timeout, or switch the database to the write-ahead log"),
        Some(ErrorCode::DiskFull) => SourceError::new(
            SourceErrorKind::Full,
            format!("{name}: no space left on device"),
        ),
        Some(ErrorCode::OperationInterrupted) => SourceError::stopped(),
        Some(ErrorCode::PermissionDenied | ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
            SourceError::new(SourceErrorKind::Denied, format!("{name}: {said}")).hint(uid_hint())
        }
        _ => SourceError::new(SourceErrorKind::Other, format!("{name}: {said}")),
    }
}
