use bytes::Bytes;

use super::args::ShowArgs;
use super::places::{Place, Shelf, wanted_id};
use super::session::Session;
use super::{table, ui};
use crate::catalog::{self, ReadError};
use crate::clock;
use crate::destination::StoreErrorKind;
use crate::error::{Error, Kind};
use crate::exit::Exit;
use crate::manifest::{Facts, Id, Manifest, ManifestError};
use crate::source::{self, one_a_row};
use crate::value::{format_age, format_bytes};

pub(super) async fn show(session: &Session, args: ShowArgs) -> Result<Exit, Error> {
    let found = session.places(Some(&args.job)).await?;
    let place = &found.places[0];
    let id = wanted_id(&args.id)?;
    let (shelves, _) = place.shelves().await?;
    let (shelf, id) = pick(place, &shelves, id.as_ref(), None)?;
    let (manifest, stored) = read_stored(shelf, &place.series, &id).await?;
    if session.global.json {
        ui::line(String::from_utf8_lossy(&stored).trim_end());
    } else {
        print(shelf.destination.address(), &manifest);
    }
    Ok(Exit::Ok)
}

/// The shelf and the id of the backup that is wanted: the newest, or the newest at or before `at`,
/// where no id is given.
pub(super) fn pick<'a>(
    place: &Place,
    shelves: &'a [Shelf],
    id: Option<&Id>,
    at: Option<jiff::Timestamp>,
) -> Result<(&'a Shelf, Id), Error> {
    let none = |why: String| {
        Error::new(Kind::NoBackup, &place.series, why).hint("`lifeboat list` shows what there is")
    };
    if let Some(id) = id {
        let holds = |shelf: &&Shelf| {
            shelf.catalog.backups.iter().any(|b| b.id == *id)
                || shelf.catalog.unreadable.iter().any(|u| u.id == *id)
        };
        let shelf = shelves.iter().find(holds);
        return shelf
            .map(|shelf| (shelf, id.clone()))
            .ok_or_else(|| none(format!("there is no backup {id}")));
    }
    let best = shelves
        .iter()
        .filter_map(|shelf| {
            let backup = shelf
                .catalog
                .backups
                .iter()
                .find(|b| at.is_none_or(|at| b.captured_at <= at))?;
            Some((shelf, backup))
        })
        // The first of equals: destinations are tried in the order people wrote them.
        .rev()
        .max_by_key(|(_, backup)| (backup.captured_at, backup.id.clone()));
    let lost = shelves
        .iter()
        .flat_map(|shelf| &shelf.catalog.unreadable)
        .filter(|lost| at.is_none_or(|at| lost.id.second() <= at))
        .max_by_key(|lost| lost.id.clone());
    if let Some(lost) = lost
        && best.as_ref().is_none_or(|(_, backup)| lost.id > backup.id)
    {
        let kind = match lost.why {
            ManifestError::Format(_) => Kind::Failed,
            _ => Kind::Damaged,
        };
        let why = format!("the manifest of the newest backup {} {}", lost.id, lost.why);
        return Err(Error::new(kind, &place.series, why)
            .hint("name an older backup by its id; `lifeboat list` shows them"));
    }
    match best {
        Some((shelf, backup)) => Ok((shelf, backup.id.clone())),
        None => Err(none(match at {
            Some(at) => format!("there is no backup from {at} or before"),
            None => "there is no backup".into(),
        })),
    }
}

/// Reads one manifest, in words when it fails.
pub(super) async fn read(shelf: &Shelf, series: &str, id: &Id) -> Result<Manifest, Error> {
    read_stored(shelf, series, id)
        .await
        .map(|(manifest, _)| manifest)
}

/// The same, with its bytes: a later version may have put more in than is understood here.
async fn read_stored(shelf: &Shelf, series: &str, id: &Id) -> Result<(Manifest, Bytes), Error> {
    let what = format!("{id} in {}", shelf.destination.name());
    match catalog::stored_manifest(&shelf.destination, series, id).await {
        Ok(both) => Ok(both),
        Err(ReadError::Manifest(why @ ManifestError::Format(_))) => {
            Err(Error::failed(what, format!("its manifest {why}"))
                .hint("use a newer version of Lifeboat"))
        }
        Err(ReadError::Manifest(why)) => {
            Err(
                Error::new(Kind::Damaged, what, format!("its manifest {why}"))
                    .hint("see `lifeboat list` for other backups"),
            )
        }
        Err(ReadError::Store(error)) if error.kind == StoreErrorKind::NotFound => {
            Err(Error::new(Kind::NoBackup, what, "is not there"))
        }
        Err(ReadError::Store(error)) => Err(error.at(shelf.destination.name())),
    }
}

fn print(address: &str, manifest: &Manifest) {
    let now = clock::now();
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut row = |name: &str, value: String| rows.push([name.to_owned(), value]);
    row("backup", manifest.id.to_string());
    row(
        "series",
        format!(
            "{} (job {} on {})",
            manifest.series, manifest.job, manifest.host
        ),
    );
    row(
        "captured",
        format!(
            "{}, {} ago",
            clock::local_minute(manifest.captured_at),
            format_age(clock::since(manifest.captured_at, now))
        ),
    );
    let version = manifest.engine.version.as_deref().unwrap_or("");
    row(
        "engine",
        format!("{} {version}", manifest.engine.name)
            .trim_end()
            .to_owned(),
    );
    let (before, after) = (manifest.role.before, manifest.role.after);
    row(
        "role",
        if before == after {
            before.as_str().to_owned()
        } else {
            format!("{} before, {} after", before.as_str(), after.as_str())
        },
    );
    row(
        "plain",
        format!(
            "{}, sha256 {}",
            format_bytes(manifest.plain.bytes),
            manifest.plain.sha256
        ),
    );
    row(
        "stored",
        format!(
            "{}, sha256 {}",
            format_bytes(manifest.stored.bytes),
            manifest.stored.sha256
        ),
    );
    row(
        "object",
        format!("{}/{}", address.trim_end_matches('/'), manifest.key),
    );
    let seal: Vec<&str> = manifest
        .seal
        .iter()
        .map(|step| step.name.as_str())
        .collect();
    row(
        "seal",
        if seal.is_empty() {
            "none".into()
        } else {
            seal.join(", ")
        },
    );
    for check in &manifest.verified.checks {
        let verdict = if check.ok { "" } else { "FAILED: " };
        row(
            "verified",
            format!("{}: {verdict}{}", check.name, check.detail),
        );
    }
    print_table(rows);
    tell_facts(&manifest.engine.name, &manifest.engine.facts);
    print_table(manifest.restore.iter().map(|line| ["by hand", line]));
}

fn print_table<S: Into<String>>(rows: impl IntoIterator<Item = [S; 2]>) {
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|row| row.map(Into::into).into())
        .collect();
    for line in table::align(&rows) {
        ui::line(line);
    }
}

/// What the engine knows of the data.
pub(super) fn tell_facts(engine: &str, facts: &Facts) {
    let format = source::format(engine);
    let tables = format.map_or_else(|| vec![one_a_row(facts)], |it| it.describe(facts));
    for rows in tables {
        // A file may come from anywhere.
        let quoted = |row: Vec<String>| row.iter().map(|cell| ui::quoted(cell)).collect();
        let rows: Vec<Vec<String>> = rows.into_iter().map(quoted).collect();
        for line in table::align(&rows) {
            ui::line(line);
        }
    }
}
