use std::path::{Path, PathBuf};

use serde_json::json;
use url::Url;

use super::args::VerifyArgs;
use super::places::{Place, wanted_id};
use super::session::{Session, is_url, shown};
use super::{table, ui};
use crate::config::{DestinationEntry, scratch_dir};
use crate::error::{Error, Kind};
use crate::exit::Exit;
use crate::manifest::{Check, Id};
use crate::pipeline::verify::{self as pipeline, Checked, CheckedFile, Finding};
use crate::source::FORMATS;

pub(super) async fn verify(session: &Session, args: VerifyArgs) -> Result<Exit, Error> {
    session.stop_on_signals()?;
    if let Some(file) = named_file(session, &args) {
        return verify_file(session, &file).await;
    }
    if let Some(url) = args.job.as_deref().filter(|job| is_url(job)) {
        return verify_url(session, url).await;
    }
    let id = wanted_id(&args.id)?;
    let found = session.places(args.job.as_deref()).await?;
    let scratch = found.scratch_dir();
    let mut checked = Vec::new();
    let mut failed = Vec::new();
    for place in &found.places {
        let (shelves, unlisted) = match place.shelves().await {
            Ok(shelves) => shelves,
            Err(error) if found.places.len() == 1 => return Err(error),
            Err(error) => {
                ui::warn(&error);
                failed.push(error);
                continue;
            }
        };
        failed.extend(unlisted);
        for shelf in &shelves {
            let mut ids: Vec<Id> = shelf
                .catalog
                .backups
                .iter()
                .map(|b| b.id.clone())
                .chain(shelf.catalog.unreadable.iter().map(|u| u.id.clone()))
                .collect();
            ids.sort_by(|a, b| b.cmp(a));
            match &id {
                Some(id) => ids.retain(|found| found == id),
                None if args.all => {}
                None => ids.truncate(1),
            }
            for id in ids {
                let work = pipeline::verify(
                    &shelf.destination,
                    &place.series,
                    &id,
                    &scratch,
                    &session.stop,
                    &session.progress,
                );
                let quiet = session.global.quiet || session.global.json;
                let one = ui::with_progress(&session.progress, quiet, work).await?;
                if !session.global.json {
                    tell(&one);
                }
                checked.push(one);
            }
        }
    }
    if checked.is_empty() && args.job.is_some() {
        return Err(nothing(&found.places, id.as_ref()));
    }
    if session.global.json {
        ui::document(&json!({ "checked": checked }));
    } else if checked.is_empty() {
        ui::line("no backups");
    }
    Ok(exit_of_all(&checked, !failed.is_empty()))
}

/// The file that the command line names: a path, or a name that is no job's and looks like a
/// file's. With a destination or an id it is that of a series, whatever lies in the working
/// directory.
fn named_file(session: &Session, args: &VerifyArgs) -> Option<PathBuf> {
    let name = args.job.as_deref()?;
    if is_url(name) {
        return Url::parse(name).ok()?.to_file_path().ok();
    }
    let path = PathBuf::from(name);
    if name.contains('/') {
        return Some(path);
    }
    if !session.global.destination.is_empty() || args.id != "latest" || args.all {
        return None;
    }
    let is_job = || {
        let loaded = session.load();
        loaded.is_ok_and(|loaded| loaded.config.jobs.contains_key(name))
    };
    // In a destination of the command line, it may be a series.
    let looks_like_one = || {
        let extension = path.extension().and_then(|extension| extension.to_str());
        session.global.destination.is_empty()
            && FORMATS.iter().any(|it| Some(it.extension()) == extension)
    };
    ((path.is_file() || looks_like_one()) && !is_job()).then_some(path)
}

async fn verify_file(session: &Session, path: &Path) -> Result<Exit, Error> {
    let checked = pipeline::verify_file(path, &session.stop).await?;
    Ok(tell_file(session, &path.display().to_string(), &checked))
}

/// Verifies an object by its URL: its folder is the destination.
async fn verify_url(session: &Session, url: &str) -> Result<Exit, Error> {
    let name = shown(url);
    let bad = |why: &str| Error::usage(&name, why);
    let mut folder = Url::parse(url).map_err(|_| bad("is not a URL"))?;
    let path = folder.path().to_owned();
    let (above, key) = path.rsplit_once('/').unwrap_or(("", &path));
    let key = percent_encoding::percent_decode_str(key).decode_utf8_lossy();
    if key.is_empty() {
        return Err(bad("names no object; write `s3://bucket/folder/object`")
            .hint("all backups of a destination: `lifeboat verify --all --destination URL`"));
    }
    folder.set_path(above);
    let scratch = scratch_dir(&session.nothing());
    let entry = DestinationEntry::Url(folder.to_string());
    let destination = session.open(&shown(folder.as_str()), &entry).await?;
    let (stop, progress) = (&session.stop, &session.progress);
    let work = pipeline::verify_object(&destination, &key, &scratch, stop, progress);
    let quiet = session.global.quiet || session.global.json;
    let checked = ui::with_progress(progress, quiet, work).await?;
    Ok(tell_file(session, &name, &checked))
}

fn tell_file(session: &Session, name: &str, checked: &CheckedFile) -> Exit {
    let exit = match checked.outcome {
        Finding::Ok => Exit::Ok,
        Finding::Unreadable => Exit::Failed,
        Finding::Damaged | Finding::Missing => Exit::Damaged,
    };
    if session.global.json {
        ui::document(&json!({ "checked": [{
            "destination": null,
            "series": null,
            "id": null,
            "file": name,
            "engine": checked.engine,
            "outcome": checked.outcome,
            "checks": checked.checks,
            "facts": checked.facts,
        }] }));
        return exit;
    }
    let engine = checked.engine.unwrap_or("unknown");
    let word = verdict(checked.outcome);
    ui::line(format!("{word}  {engine}  {name}"));
    tell_checks(&checked.checks);
    super::show::tell_facts(engine, &checked.facts);
    exit
}

fn nothing(places: &[Place], id: Option<&Id>) -> Error {
    let series = places.first().map_or("", |place| place.series.as_str());
    let why = match id {
        Some(id) => format!("there is no backup {id}"),
        None => "there is no backup".into(),
    };
    Error::new(Kind::NoBackup, series, why).hint("`lifeboat list` shows what there is")
}

/// Damage outranks everything.
fn exit_of_all(checked: &[Checked], unlisted: bool) -> Exit {
    let any = |exit| checked.iter().any(|one| one.exit == exit);
    let good = any(Exit::Ok);
    if any(Exit::Damaged) {
        Exit::Damaged
    } else if any(Exit::Failed) || unlisted {
        if good { Exit::Partial } else { Exit::Failed }
    } else if checked.is_empty() || any(Exit::NoBackup) {
        Exit::NoBackup
    } else {
        Exit::Ok
    }
}

fn verdict(outcome: Finding) -> String {
    match outcome {
        Finding::Ok => ui::good("ok"),
        Finding::Damaged => ui::bad("DAMAGED"),
        Finding::Missing => ui::bad("MISSING"),
        Finding::Unreadable => ui::bad("unreadable"),
    }
}

fn tell(one: &Checked) {
    let word = verdict(one.outcome);
    ui::line(format!(
        "{word}  {} {} in {}",
        one.series, one.id, one.destination
    ));
    tell_checks(&one.checks);
}

fn tell_checks(checks: &[Check]) {
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| {
            let verdict = if check.ok {
                "ok".to_owned()
            } else {
                ui::bad("failed")
            };
            vec![format!("  {}", check.name), verdict, check.detail.clone()]
        })
        .collect();
    for line in table::align(&rows) {
        ui::line(line);
    }
}
