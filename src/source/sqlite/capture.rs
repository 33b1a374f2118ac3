use std::fs::{self, File};
use std::path::Path;

use jiff::Timestamp;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::super::{Capture, Facts, Scratch, SourceError, SourceErrorKind, Stop};
use super::SqliteConfig;
use super::config::CheckDepth;
use super::connection::{self, Header, Opened};
use super::integrity;
use crate::clock;
use crate::draft::beside;
use crate::value::format_bytes;

/// Pages copied between two looks at the stop signal.
const PAGES: std::ffi::c_int = 1000;
/// How often a source that was opened by its application meanwhile is taken anew.
const ATTEMPTS: u32 = 3;

/// Copies, sanitises, proves. Blocking.
pub(super) fn capture(
    config: &SqliteConfig,
    scratch: &Path,
    stop: &Stop,
) -> Result<Capture, SourceError> {
    let header = connection::examine(&config.path)?;
    let scratch = Scratch::new(scratch).map_err(|error| {
        SourceError::io(scratch, &error).hint("set scratch_dir to a writable folder")
    })?;
    let mut copy = scratch.path("copy.db");
    let Taken {
        captured_at,
        mut facts,
        wal_included,
    } = take(config, header, &copy, stop)?;

    if config.sanitises() || lacks_page_size(config, &copy, stop)? {
        let clean = scratch.path("clean.db");
        sanitise(config, &copy, &clean, stop).map_err(|error| roomy(error, &clean, header))?;
        fs::remove_file(&copy).map_err(|error| SourceError::io(&copy, &error))?;
        copy = clean;
    }
    if config.sanitises() {
        facts.insert("sanitised".into(), true.into());
    }
    config.check.record(&mut facts);

    let proved = connection::open_own(&copy, stop)?;
    let check = integrity::prove(&proved, &copy, config.check)
        .map_err(|error| in_source(error, &copy, &config.path))?;
    for name in ["page_size", "page_count"] {
        let value: i64 =
            pragma(&proved, name).map_err(|error| connection::failure(&copy, &error))?;
        facts.insert(name.into(), value.into());
    }
    drop(proved);

    let file = File::open(&copy).map_err(|error| SourceError::io(&copy, &error))?;
    let bytes = file
        .metadata()
        .map_err(|error| SourceError::io(&copy, &error))?
        .len();
    let log = if wal_included {
        "write-ahead log included, "
    } else {
        ""
    };
    let proof = match config.check {
        CheckDepth::Full => "integrity ok",
        CheckDepth::Quick => "quick check ok",
    };
    let mut warnings = Vec::new();
    if let Some(kind) = connection::network_file_system(&config.path) {
        warnings.push(format!(
            "the database lies on {kind}, where SQLite's locks are not reliable"
        ));
    }
    Ok(Capture {
        file,
        bytes,
        captured_at,
        version: Some(rusqlite::version().to_owned()),
        facts,
        checks: vec![check],
        summary: format!("{log}{proof}"),
        warnings,
        marks: None,
        proved: None,
        scratch: Some(scratch),
    })
}

/// What is known of a copy when it was taken.
struct Taken {
    captured_at: Timestamp,
    facts: Facts,
    wal_included: bool,
}

/// Copies the source. A database that was closed when it was opened here, and opened by its
/// application while it was read, is taken anew beside it.
fn take(
    config: &SqliteConfig,
    header: Header,
    copy: &Path,
    stop: &Stop,
) -> Result<Taken, SourceError> {
    let mut attempts = 1;
    loop {
        match take_once(config, header, copy, stop) {
            Err(error) if error.kind == SourceErrorKind::Changed && attempts < ATTEMPTS => {
                attempts += 1;
                fs::remove_file(copy).map_err(|error| SourceError::io(copy, &error))?;
            }
            other => return other,
        }
    }
}

fn take_once(
    config: &SqliteConfig,
    header: Header,
    copy: &Path,
    stop: &Stop,
) -> Result<Taken, SourceError> {
    let captured_at = clock::now();
    let opened = connection::open(&config.path, header, config.busy_timeout.0, stop)?;
    let mut facts = describe(config, &opened, header)?;
    let method =
        copy_into(config, &opened, copy, stop).map_err(|error| roomy(error, copy, header))?;
    facts.insert("method".into(), method.into());
    opened.still_immutable()?;
    Ok(Taken {
        captured_at,
        facts,
        wal_included: opened.wal_included,
    })
}

fn describe(config: &SqliteConfig, opened: &Opened, header: Header) -> Result<Facts, SourceError> {
    let path = &config.path;
    let fail = |error: rusqlite::Error| connection::failure(path, &error);
    let mut facts = Facts::new();
    opened.last_page_is_whole(path)?;
    for name in ["user_version", "application_id", "auto_vacuum"] {
        let value: i64 = opened
            .patiently(|source| pragma(source, name))
            .map_err(fail)?;
        facts.insert(name.into(), value.into());
    }
    let encoding: String = opened
        .patiently(|source| pragma(source, "encoding"))
        .map_err(fail)?;
    facts.insert("encoding".into(), encoding.into());
    facts.insert("journal_mode".into(), header.journal_mode.into());
    facts.insert("wal_included".into(), opened.wal_included.into());
    Ok(facts)
}

fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<T> {
    connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
}

/// Answers with how it was done.
fn copy_into(
    config: &SqliteConfig,
    opened: &Opened,
    copy: &Path,
    stop: &Stop,
) -> Result<&'static str, SourceError> {
    let page_size = config.page_size.map(|size| size.0);
    match opened.patiently(|source| vacuum_into(source, copy, page_size)) {
        Ok(()) => Ok("vacuum into"),
        Err(error) if integrity::missing_collation(&error).is_some() => {
            backup_pages(config, opened, copy, stop).map(|()| "backup api")
        }
        Err(error) => Err(connection::failure(&config.path, &error)),
    }
}

fn vacuum_into(source: &Connection, copy: &Path, page_size: Option<u64>) -> rusqlite::Result<()> {
    // Scratch need not survive a power cut.
    source.pragma_update(None, "synchronous", "OFF")?;
    if let Some(size) = page_size {
        source.pragma_update(None, "page_size", i64::try_from(size).unwrap_or(4096))?;
    }
    let result = source.execute("VACUUM INTO ?1", [copy.to_string_lossy()]);
    if result.is_err() {
        // It does not clean up after itself.
        let _ = fs::remove_file(copy);
        let _ = fs::remove_file(beside(copy, "-journal"));
    }
    result.map(|_| ())
}

/// Copies page by page: needs no collation, and keeps free pages. The read transaction holds one
/// state of the source; without it every commit of another process would start the copy anew.
fn backup_pages(
    config: &SqliteConfig,
    opened: &Opened,
    copy: &Path,
    stop: &Stop,
) -> Result<(), SourceError> {
    let fail = |error: rusqlite::Error| connection::failure(&config.path, &error);
    let mut target = Connection::open(copy).map_err(fail)?;
    target
        .pragma_update(None, "synchronous", "OFF")
        .map_err(fail)?;
    let snapshot = opened.connection.unchecked_transaction().map_err(fail)?;
    opened
        .patiently(|source| source.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())))
        .map_err(fail)?;
    let backup = Backup::new(&snapshot, &mut target).map_err(fail)?;
    // Both ends are ours by now: it is never busy.
    while backup.step(PAGES).map_err(fail)? == StepResult::More {
        if stop.requested() {
            return Err(SourceError::stopped());
        }
    }
    drop(backup);
    // The copied header still says "write-ahead log", which nobody should need to open the copy.
    target
        .query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))
        .map_err(fail)
}

/// The backup API and an immutable source keep the source's page size, whatever was asked for.
fn lacks_page_size(config: &SqliteConfig, copy: &Path, stop: &Stop) -> Result<bool, SourceError> {
    let Some(wanted) = config.page_size else {
        return Ok(false);
    };
    let has: i64 = pragma(&connection::open_own(copy, stop)?, "page_size")
        .map_err(|error| connection::failure(copy, &error))?;
    Ok(u64::try_from(has) != Ok(wanted.0))
}

/// Drops what shall not be saved and compacts what is left into `clean`.
fn sanitise(
    config: &SqliteConfig,
    copy: &Path,
    clean: &Path,
    stop: &Stop,
) -> Result<(), SourceError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(copy, flags)
        .map_err(|error| connection::failure(copy, &error))?;
    let prepare = |target: &mut Connection| -> rusqlite::Result<()> {
        connection::interruptible(target, stop)?;
        target.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        target.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        // On by default in this build; dropping a parent table would empty its children.
        target.pragma_update(None, "foreign_keys", "OFF")?;
        target.pragma_update(None, "synchronous", "OFF")
    };
    prepare(&mut target).map_err(|error| connection::failure(copy, &error))?;
    let change = |key: &str, error: &rusqlite::Error| {
        let failure = connection::failure(copy, error);
        if matches!(
            failure.kind,
            SourceErrorKind::Stopped | SourceErrorKind::Full
        ) {
            return failure;
        }
        SourceError::new(SourceErrorKind::Other, format!("source.{key}: {error}")).hint(
            "it runs on the copy, after drop_triggers and drop_tables; the source is as it was",
        )
    };
    let transaction = target
        .transaction()
        .map_err(|error| change("sql", &error))?;
    if config.drop_triggers {
        drop_all(&transaction, "trigger", "*").map_err(|error| change("drop_triggers", &error))?;
    }
    for glob in &config.drop_tables {
        drop_all(&transaction, "table", glob).map_err(|error| change("drop_tables", &error))?;
    }
    for (at, statement) in config.sql.iter().enumerate() {
        transaction
            .execute_batch(statement)
            .map_err(|error| change(&format!("sql[{at}]"), &error))?;
    }
    transaction
        .commit()
        .map_err(|error| change("sql", &error))?;
    match vacuum_into(&target, clean, config.page_size.map(|size| size.0)) {
        Ok(()) => Ok(()),
        // What cannot be compacted is sanitised all the same.
        Err(error) if integrity::missing_collation(&error).is_some() => {
            drop(target);
            fs::copy(copy, clean)
                .map(|_| ())
                .map_err(|error| SourceError::io(clean, &error))
        }
        Err(error) => Err(connection::failure(copy, &error)),
    }
}

/// One at a time, asked anew: dropping a virtual table takes its shadow tables along.
fn drop_all(connection: &Connection, kind: &str, glob: &str) -> rusqlite::Result<()> {
    // Virtual tables first (they have no root page): their shadow tables cannot be dropped alone.
    let find = "SELECT name FROM sqlite_schema \
                WHERE type = ?1 AND name GLOB ?2 AND name NOT GLOB 'sqlite_*' \
                ORDER BY rootpage > 0 LIMIT 1";
    loop {
        let name: String = match connection.query_row(find, [kind, glob], |row| row.get(0)) {
            Ok(name) => name,
            Err(rusqlite::Error::QueryReturnedNoRows) => return Ok(()),
            Err(error) => return Err(error),
        };
        connection.execute_batch(&format!("DROP {kind} \"{}\"", name.replace('"', "\"\"")))?;
    }
}

/// The file people know, instead of the scratch copy's name.
fn in_source(mut error: SourceError, copy: &Path, source: &Path) -> SourceError {
    error.why = error
        .why
        .replace(&copy.display().to_string(), &source.display().to_string());
    error
}

/// A full disk is the scratch folder's, not the database's.
fn roomy(error: SourceError, copy: &Path, header: Header) -> SourceError {
    if error.kind != SourceErrorKind::Full {
        return error;
    }
    let folder = copy.parent().and_then(Path::parent).unwrap_or(copy);
    let free = crate::draft::free_bytes(folder).map_or_else(|| "?".into(), format_bytes);
    SourceError::new(
        SourceErrorKind::Full,
        format!(
            "{}: no space left on device for the scratch copy (the database has {}, {free} are free)",
            folder.display(),
            format_bytes(header.bytes)
        ),
    )
    .hint("set scratch_dir to a larger volume")
}
