use std::fs::File;
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use rusqlite::Connection;

use super::super::{Check, Facts, Format, SourceError, SourceErrorKind, Stop, Verifier};
use super::config::CheckDepth;
use super::{connection, integrity};

/// SQLite's lock bytes start here (`os.h`, PENDING_BYTE) and end 511 bytes later.
const LOCK_BYTES: i64 = 0x4000_0000;
const LOCK_LENGTH: i64 = 512;
/// `F_WRLCK` and `SEEK_SET`, in the width that the query wants.
const WRITE_LOCK: i16 = 1;
const FROM_START: i16 = 0;

/// A SQLite database file at rest.
#[derive(Debug)]
pub struct SqliteFormat;

impl Format for SqliteFormat {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn extension(&self) -> &'static str {
        "db"
    }

    fn forward(&self) -> Option<Box<dyn Verifier>> {
        None
    }

    fn verify_file(
        &self,
        path: &Path,
        facts: &Facts,
        stop: &Stop,
    ) -> Result<Vec<Check>, SourceError> {
        // A source that is empty has no data; a backup that is empty has lost it.
        let header = connection::examine(path).map_err(|error| match error.kind {
            SourceErrorKind::Missing if path.exists() => SourceError::damaged(error.why),
            _ => error,
        })?;
        let connection = connection::open_own(path, stop)?;
        connection::all_pages_are_there(&connection, path, header)?;
        Ok(vec![integrity::prove(
            &connection,
            path,
            CheckDepth::recorded(facts),
        )?])
    }

    /// A connection in write-ahead mode holds a shared lock as long as it is open; in the rollback
    /// modes only a running transaction shows.
    fn in_use(&self, path: &Path) -> Result<Option<String>, SourceError> {
        let Ok(file) = File::options().read(true).write(true).open(path) else {
            // What is not there, or not ours to write, fails with its own message later.
            return Ok(None);
        };
        let mut query = nix::libc::flock {
            l_type: WRITE_LOCK,
            l_whence: FROM_START,
            l_start: LOCK_BYTES,
            l_len: LOCK_LENGTH,
            l_pid: 0,
        };
        fcntl(&file, FcntlArg::F_GETLK(&mut query))
            .map_err(|error| SourceError::io(path, &error.into()))?;
        if i32::from(query.l_type) == nix::libc::F_UNLCK {
            return Ok(None);
        }
        let by = match query.l_pid {
            pid if pid > 0 => format!("process {pid}"),
            _ => "another process".to_owned(),
        };
        Ok(Some(format!(
            "{} is in use: {by} holds a lock on it",
            path.display()
        )))
    }

    fn companions(&self) -> &'static [&'static str] {
        &["-wal", "-journal"]
    }

    fn leftovers(&self) -> &'static [&'static str] {
        &["-shm"]
    }

    /// `VACUUM INTO` loses the write-ahead mode.
    fn settle(&self, path: &Path, facts: &Facts) -> Result<Option<String>, SourceError> {
        let mode = facts
            .get("journal_mode")
            .and_then(serde_json::Value::as_str);
        if mode == Some("wal") {
            let connection =
                Connection::open(path).map_err(|error| connection::failure(path, &error))?;
            connection
                .query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))
                .map_err(|error| connection::failure(path, &error))?;
        }
        Ok(mode.map(|mode| format!("journal mode {mode}")))
    }

    fn recognises(&self, head: &[u8]) -> bool {
        head.starts_with(b"SQLite format 3\0")
    }

    fn manual_restore(&self, facts: &Facts) -> Vec<String> {
        let mut lines = vec![
            "# stop the application; remove its old database and the -wal, -shm and -journal beside it"
                .to_owned(),
            "mv plain restored.db".to_owned(),
        ];
        if facts
            .get("journal_mode")
            .and_then(serde_json::Value::as_str)
            == Some("wal")
        {
            lines.push("# then, once: sqlite3 restored.db 'PRAGMA journal_mode = WAL'".to_owned());
        }
        lines
    }
}
