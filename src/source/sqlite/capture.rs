use std::fs::{self, File};
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::super::{Capture, Facts, Scratch, SourceError, SourceErrorKind, Stop};
use super::SqliteConfig;
use super::config::CheckDepth;
use super::connection::{self, Header, Opened};
use super::integrity;
use crate::clock;
use crate::value::format_bytes;

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
    let captured_at = clock::now();
    let opened = connection::open(&config.path, config.busy_timeout.0, stop)?;
    let mut facts = describe(config, &opened, header)?;
    let mut copy = scratch.path("copy.db");
    let method = copy_into(config, &opened, &copy).map_err(|error| roomy(error, &copy, header))?;
    facts.insert("method".into(), method.into());
    opened.still_immutable()?;
    let wal_included = opened.wal_included;
    drop(opened);

    if config.sanitises() {
        let clean = scratch.path("clean.db");
        sanitise(config, &copy, &clean, stop).map_err(|error| roomy(error, &clean, header))?;
        fs::remove_file(&copy).map_err(|error| SourceError::io(&copy, &error))?;
        copy = clean;
        facts.insert("sanitised".into(), true.into());
    }

    let proved = connection::open_own(&copy, stop)?;
    let check = integrity::prove(&proved, &copy, config.check)
        .map_err(|error| in_source(error, &copy, &config.path))?;
    let pages: i64 = pragma(&proved, "page_count", &copy)?;
    facts.insert("page_count".into(), pages.into());
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
        scratch: Some(scratch),
    })
}

fn describe(config: &SqliteConfig, opened: &Opened, header: Header) -> Result<Facts, SourceError> {
    let source = &opened.connection;
    let path = &config.path;
    let mut facts = Facts::new();
    for name in ["page_size", "user_version", "application_id", "auto_vacuum"] {
        facts.insert(name.into(), pragma::<i64>(source, name, path)?.into());
    }
    facts.insert(
        "encoding".into(),
        pragma::<String>(source, "encoding", path)?.into(),
    );
    facts.insert("journal_mode".into(), header.journal_mode.into());
    facts.insert("wal_included".into(), opened.wal_included.into());
    if let Some(size) = config.page_size {
        facts.insert("page_size".into(), size.0.into());
    }
    Ok(facts)
}

fn pragma<T: rusqlite::types::FromSql>(
    connection: &Connection,
    name: &str,
    path: &Path,
) -> Result<T, SourceError> {
    connection
        .query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
        .map_err(|error| connection::failure(path, &error))
}

/// Answers with how it was done.
fn copy_into(
    config: &SqliteConfig,
    opened: &Opened,
    copy: &Path,
) -> Result<&'static str, SourceError> {
    match vacuum_into(
        &opened.connection,
        copy,
        config.page_size.map(|size| size.0),
    ) {
        Ok(()) => Ok("vacuum into"),
        Err(error) if integrity::missing_collation(&error).is_some() => {
            backup_pages(config, opened, copy).map(|()| "backup api")
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
        let _ = fs::remove_file(connection::beside(copy, "-journal"));
    }
    result.map(|_| ())
}

/// Copies page by page: needs no collation, and keeps free pages. All pages in one step, because
/// every commit of another process starts a stepwise backup anew.
fn backup_pages(config: &SqliteConfig, opened: &Opened, copy: &Path) -> Result<(), SourceError> {
    let fail = |error: &rusqlite::Error| connection::failure(&config.path, error);
    let mut target = Connection::open(copy).map_err(|error| fail(&error))?;
    target
        .pragma_update(None, "synchronous", "OFF")
        .map_err(|error| fail(&error))?;
    let backup = Backup::new(&opened.connection, &mut target).map_err(|error| fail(&error))?;
    let ended = std::time::Instant::now() + config.busy_timeout.0;
    loop {
        match backup.step(-1).map_err(|error| fail(&error))? {
            StepResult::Done => break,
            _ if std::time::Instant::now() < ended => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            _ => {
                return Err(SourceError::new(
                    SourceErrorKind::Other,
                    format!(
                        "{}: a writer held its lock longer than busy_timeout",
                        config.path.display()
                    ),
                ));
            }
        }
    }
    drop(backup);
    // The copied header still says "write-ahead log", which nobody should need to open the copy.
    target
        .query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))
        .map_err(|error| fail(&error))
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
        if failure.kind == SourceErrorKind::Stopped {
            return failure;
        }
        SourceError::new(SourceErrorKind::Other, format!("source.{key}: {error}"))
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
    match vacuum_into(&target, clean, None) {
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
    let find = "SELECT name FROM sqlite_schema \
                WHERE type = ?1 AND name GLOB ?2 AND name NOT GLOB 'sqlite_*' LIMIT 1";
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
