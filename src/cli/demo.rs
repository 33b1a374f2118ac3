use std::fs;
use std::path::Path;

use rusqlite::Connection;

use super::session::Session;
use super::ui;
use crate::catalog::{self, Catalog};
use crate::config::{self, Config, JobConfig};
use crate::destination::{self, Destination};
use crate::error::{Error, io_reason};
use crate::exit::Exit;
use crate::manifest::Manifest;
use crate::pipeline::run::{run, survey};
use crate::pipeline::verify::{Finding, verify};
use crate::pipeline::{Job, Outcome, restore};
use crate::value::format_bytes;

const SERIES: &str = "shop";
const ROWS: u32 = 20_000;

/// The whole way on a scratch database, a sentence for each step.
pub(super) async fn demo(session: &Session) -> Result<Exit, Error> {
    session.stop_on_signals()?;
    let config = session.nothing();
    let folder = tempfile::Builder::new()
        .prefix("lifeboat-demo-")
        .tempdir()
        .map_err(|error| Error::failed("temporary folder", io_reason(&error)))?;
    let (database, store) = (folder.path().join("shop.db"), folder.path().join("backups"));
    fs::create_dir(&store).map_err(|error| at(&store, &error))?;

    step(
        1,
        "A SQLite database in write-ahead mode, with an open writer, as an application has it.",
    );
    let writer = make_database(&database)?;
    let before = count(&writer)?;
    say(format!(
        "{}: {before} orders, the newest only in the log",
        database.display()
    ));

    step(
        2,
        "Back it up: a consistent copy is taken beside the writer, proved, compressed, stored.",
    );
    let job = job(session, &config, &database, &store).await?;
    let report = run(
        &job,
        survey(&job).await,
        &[0],
        &session.stop,
        &session.progress,
    )
    .await;
    if let Outcome::Failed(error) = report.outcome {
        return Err(error);
    }
    let id = report
        .id
        .ok_or_else(|| Error::failed("demo", "no backup was recorded"))?;
    say(format!(
        "{id}: {} of data, {}, {} stored",
        format_bytes(report.plain_bytes.unwrap_or(0)),
        report.summary,
        format_bytes(report.stored_bytes.unwrap_or(0))
    ));

    step(
        3,
        "List what the store holds; a backup is there if and only if its manifest is.",
    );
    let destination = &job.destinations[0];
    let catalog = Catalog::load(destination, SERIES)
        .await
        .map_err(|e| e.at("demo"))?;
    for backup in &catalog.backups {
        say(format!(
            "{}  {}  {}",
            backup.id,
            format_bytes(backup.stored_bytes),
            backup.key
        ));
    }
    let manifest = catalog::manifest(destination, SERIES, &id)
        .await
        .map_err(|error| Error::failed("demo", error.to_string()))?;
    prove(session, destination, &manifest, folder.path(), Finding::Ok).await?;

    step(
        4,
        "Turn one bit in a copy of the stored data, and verify that copy.",
    );
    let damaged = damage(&store, &folder.path().join("damaged"), &manifest).await?;
    prove(
        session,
        &damaged,
        &manifest,
        folder.path(),
        Finding::Damaged,
    )
    .await?;

    lose_and_restore(session, destination, &manifest, &database, writer).await?;

    ui::line(format!(
        "\n{} Now your own:",
        ui::good("That is all there is to it.")
    ));
    ui::line("  lifeboat backup --source sqlite:///path/to/app.db --destination file:///backups");
    ui::line("  lifeboat restore app --to /path/to/app.db --destination file:///backups");
    Ok(Exit::Ok)
}

async fn lose_and_restore(
    session: &Session,
    destination: &Destination,
    manifest: &Manifest,
    database: &Path,
    writer: Connection,
) -> Result<(), Error> {
    let before = count(&writer)?;
    step(5, "Lose the database: every order is deleted by mistake.");
    writer
        .execute("DELETE FROM orders", [])
        .map_err(|error| sqlite(&error))?;
    say(format!("{} orders are left", count(&writer)?));
    drop(writer);

    step(
        6,
        "Restore: fetched, proved, then swapped in; what was there is kept.",
    );
    let restored = restore::restore(
        destination,
        manifest,
        database,
        false,
        &session.stop,
        &session.progress,
    )
    .await?;
    if let Some(kept) = &restored.replaced {
        say(format!(
            "restored {}; the old file is {}",
            database.display(),
            kept.display()
        ));
    }
    let reader = Connection::open(database).map_err(|error| sqlite(&error))?;
    let after = count(&reader)?;
    if after != before {
        return Err(Error::failed(
            "demo",
            format!("{after} orders came back instead of {before}"),
        ));
    }
    say(format!(
        "{after} orders are back, {}",
        restored.remark.unwrap_or_default()
    ));
    Ok(())
}

fn step(number: u32, what: &str) {
    ui::line(format!("\n{number}. {what}"));
}

fn say(what: impl std::fmt::Display) {
    ui::line(format!("   {what}"));
}

fn make_database(path: &Path) -> Result<Connection, Error> {
    let fill = || -> rusqlite::Result<Connection> {
        let mut connection = Connection::open(path)?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        connection.execute_batch(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL, pence INTEGER NOT NULL);
             CREATE INDEX orders_by_item ON orders (item);",
        )?;
        let transaction = connection.transaction()?;
        for number in 0..ROWS {
            transaction.execute(
                "INSERT INTO orders (item, pence) VALUES (?1, ?2)",
                (
                    format!("lifebelt no. {}", number % 977),
                    number * 7 % 10_000,
                ),
            )?;
        }
        transaction.commit()?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        connection.execute(
            "INSERT INTO orders (item, pence) VALUES ('flare', 1999)",
            [],
        )?;
        Ok(connection)
    };
    fill().map_err(|error| sqlite(&error))
}

fn count(connection: &Connection) -> Result<i64, Error> {
    connection
        .query_row("SELECT count(*) FROM orders", [], |row| row.get(0))
        .map_err(|error| sqlite(&error))
}

async fn job(
    session: &Session,
    config: &Config,
    database: &Path,
    store: &Path,
) -> Result<Job, Error> {
    let (source, _) = config::source_from_url(&format!("sqlite://{}", database.display()))?;
    let settings = JobConfig::of(source);
    let opened = open(session, store).await?;
    config::job(
        config,
        SERIES,
        &settings,
        &[("backups".into(), opened)].into(),
        &session.env,
    )
}

async fn open(session: &Session, folder: &Path) -> Result<Destination, Error> {
    let settings = config::destination_from_url(&format!("file://{}", folder.display()))?;
    destination::open("backups", &settings, &session.env).await
}

/// Verifies, and insists on what must be found.
async fn prove(
    session: &Session,
    destination: &Destination,
    manifest: &Manifest,
    scratch: &Path,
    expected: Finding,
) -> Result<(), Error> {
    let checked = verify(
        destination,
        SERIES,
        &manifest.id,
        scratch,
        &session.stop,
        &session.progress,
    )
    .await?;
    let told: Vec<String> = checked
        .checks
        .iter()
        .filter(|check| check.ok == (expected == Finding::Ok))
        .map(|check| format!("{}: {}", check.name, check.detail))
        .collect();
    if checked.outcome != expected {
        let why = format!("verification said {:?}", checked.outcome);
        return Err(Error::failed("demo", why));
    }
    match expected {
        Finding::Ok => say(format!("{} {}", ui::good("verified"), told.join(", "))),
        _ => say(format!("{} {}", ui::bad("damage found:"), told.join(", "))),
    }
    Ok(())
}

async fn damage(store: &Path, copy: &Path, manifest: &Manifest) -> Result<Destination, Error> {
    for key in [manifest.key.clone(), manifest.manifest_key()] {
        let target = copy.join(&key);
        let folder = target.parent().unwrap_or(copy);
        fs::create_dir_all(folder).map_err(|error| at(folder, &error))?;
        fs::copy(store.join(&key), &target).map_err(|error| at(&target, &error))?;
    }
    let data = copy.join(&manifest.key);
    let mut bytes = fs::read(&data).map_err(|error| at(&data, &error))?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&data, bytes).map_err(|error| at(&data, &error))?;
    let settings = config::destination_from_url(&format!("file://{}", copy.display()))?;
    destination::open("damaged", &settings, &crate::value::Env::default()).await
}

fn at(path: &Path, error: &std::io::Error) -> Error {
    Error::failed(path.display().to_string(), io_reason(error))
}

fn sqlite(error: &rusqlite::Error) -> Error {
    Error::failed("demo", error.to_string())
}
