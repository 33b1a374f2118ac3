use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::RestoreArgs;
use super::live::{self, Refusal};
use super::places::{Place, Shelf, wanted_id};
use super::session::Session;
use super::{show, ui};
use crate::clock;
use crate::error::{Error, Kind};
use crate::exit::Exit;
use crate::manifest::{Check, Id, Manifest};
use crate::pipeline::restore::{self as pipeline, Restored};
use crate::source::{self, BackupFacts, Home};
use crate::value::{format_age, format_bytes};

pub(super) async fn restore(session: &Session, args: RestoreArgs) -> Result<Exit, Error> {
    session.stop_on_signals()?;
    let found = session.places(Some(&args.job)).await?;
    let place = &found.places[0];
    let id = wanted_id(&args.id)?;
    // Asked first: where there is data, a store that is away or a database in use is no failure.
    if args.if_empty
        && let Some(to) = filled_target(place, &args).await?
    {
        return Ok(left_alone(session, place, &to));
    }
    let (shelves, _) = place.shelves().await?;
    let (shelf, id) = show::pick(place, &shelves, id.as_ref(), args.at)?;
    let (mut manifest, mut problem) = match show::read(shelf, &place.series, &id).await {
        Ok(manifest) => (Some(manifest), None),
        Err(error) => (None, Some(error)),
    };
    let mut target = None;
    let quiet = session.global.quiet || session.global.json;
    let scratch = found.scratch_dir();
    // Another destination may hold a good copy of the same backup.
    for shelf in std::iter::once(shelf).chain(others(&shelves, shelf, &id)) {
        let read = match manifest.take() {
            Some(manifest) => Ok(manifest),
            None => show::read(shelf, &place.series, &id).await,
        };
        let attempt = match read {
            Err(error) => Err(error),
            Ok(manifest) => {
                let to = match &target {
                    Some(to) => PathBuf::clone(to),
                    None => match choose_target(place, &args, &manifest).await? {
                        Home::File(to) => target.insert(to).clone(),
                        Home::Live(store) => {
                            let found = (shelf, &manifest);
                            match live::restore(session, &args, &scratch, found, &*store).await {
                                Err(Refusal::Backup(error)) => {
                                    problem.get_or_insert(error);
                                    continue;
                                }
                                Err(Refusal::Store(error)) => return Err(error),
                                Ok(()) => return Ok(Exit::Ok),
                            }
                        }
                    },
                };
                let work = pipeline::restore(
                    &shelf.destination,
                    &manifest,
                    &to,
                    args.dry_run,
                    &session.stop,
                    &session.progress,
                );
                ui::with_progress(&session.progress, quiet, work)
                    .await
                    .map(|restored| (manifest, restored))
            }
        };
        match attempt {
            Ok((manifest, restored)) => {
                if let Some(problem) = &problem {
                    ui::warn(format!(
                        "{problem}; taken from {} instead",
                        shelf.destination.name()
                    ));
                }
                report(session, &args, shelf, &manifest, &restored);
                return Ok(Exit::Ok);
            }
            Err(error) if session.stop.requested() || error.kind == Kind::Usage => {
                return Err(error);
            }
            Err(error) => problem = Some(problem.unwrap_or(error)),
        }
    }
    Err(problem.unwrap_or_else(|| Error::new(Kind::NoBackup, &place.series, "there is no backup")))
}

fn others<'a>(
    shelves: &'a [Shelf],
    first: &'a Shelf,
    id: &'a Id,
) -> impl Iterator<Item = &'a Shelf> {
    shelves.iter().filter(move |shelf| {
        !std::ptr::eq(*shelf, first) && shelf.catalog.backups.iter().any(|b| b.id == *id)
    })
}

/// Where to, after making sure that nobody works there.
async fn choose_target(
    place: &Place,
    args: &RestoreArgs,
    manifest: &Manifest,
) -> Result<Home, Error> {
    let at_place = |error: source::SourceError| error.at(&place.series);
    let engine = place.job.as_ref().map(|job| &job.engine);
    let Some(to) = &args.to else {
        let Some(engine) = engine else {
            return Err(
                Error::usage("--into-source", "needs the job's configuration")
                    .hint("give --config FILE, or restore to a file with --to PATH"),
            );
        };
        if engine.format().name() != manifest.engine.name {
            let why = format!(
                "the backup is of {}, and the job's source is {}",
                manifest.engine.name,
                engine.format().name()
            );
            return Err(Error::usage("--into-source", why));
        }
        let backup = BackupFacts {
            version: manifest.engine.version.as_deref(),
            facts: &manifest.engine.facts,
        };
        return engine
            .home(&backup, args.force || args.dry_run)
            .await
            .map_err(at_place);
    };
    if args.force || args.dry_run {
        return Ok(Home::File(to.clone()));
    }
    let mut used = match engine {
        Some(engine) => engine.uses(to).await,
        None => None,
    };
    if used.is_none()
        && let Some(format) = source::format(&manifest.engine.name)
    {
        let to = to.clone();
        used = tokio::task::spawn_blocking(move || format.in_use(&to))
            .await
            .map_err(|error| Error::failed("restore", error.to_string()))?
            .map_err(at_place)?;
    }
    match used {
        None => Ok(Home::File(to.clone())),
        Some(why) => Err(Error::failed(to.display().to_string(), why)
            .hint("stop what uses it first, or add --force")),
    }
}

/// The target, where it holds data already.
async fn filled_target(place: &Place, args: &RestoreArgs) -> Result<Option<PathBuf>, Error> {
    let to = match (&args.to, &place.job) {
        (Some(to), _) => to.clone(),
        (None, None) => return Ok(None),
        (None, Some(job)) => {
            let any = BackupFacts {
                version: None,
                facts: &source::Facts::new(),
            };
            let home = job.engine.home(&any, true).await;
            match home.map_err(|error| error.at(&place.series))? {
                Home::File(to) => to,
                Home::Live(_) => {
                    let why = "is for files; a running server is never empty";
                    return Err(Error::usage("--if-empty", why));
                }
            }
        }
    };
    let filled = std::fs::metadata(&to).is_ok_and(|found| found.len() > 0);
    Ok(filled.then_some(to))
}

fn left_alone(session: &Session, place: &Place, to: &Path) -> Exit {
    let why = "there is data at the target already";
    if session.global.json {
        ui::document(&json!({
            "destination": null,
            "series": place.series,
            "id": null,
            "captured_at": null,
            "to": to,
            "bytes": 0,
            "verified": false,
            "replaced": null,
            "dry_run": false,
            "skipped": why,
        }));
    } else {
        ui::line(format!("{} {}: {why}", ui::doubt("skipped:"), to.display()));
    }
    Exit::Ok
}

/// Where it came from, and that it is whole.
pub(super) fn tell_origin(shelf: &Shelf, manifest: &Manifest, checks: &[Check]) {
    let age = format_age(clock::since(manifest.captured_at, clock::now()));
    ui::line(format!(
        "from      {}  {}, {age} old",
        shelf.destination.address(),
        manifest.id
    ));
    let proofs: Vec<String> = checks
        .iter()
        .map(|check| {
            format!(
                "{} {}",
                check.name,
                if check.ok { "ok" } else { "not proved" }
            )
        })
        .collect();
    ui::line(format!(
        "verified  {}, {}",
        format_bytes(manifest.stored.bytes),
        proofs.join(", ")
    ));
}

fn report(
    session: &Session,
    args: &RestoreArgs,
    shelf: &Shelf,
    manifest: &Manifest,
    restored: &Restored,
) {
    if session.global.json {
        ui::document(&json!({
            "destination": shelf.destination.name(),
            "series": manifest.series,
            "id": manifest.id,
            "captured_at": manifest.captured_at,
            "to": restored.to,
            "bytes": restored.bytes,
            "verified": restored.checks.iter().all(|check| check.ok),
            "replaced": restored.replaced,
            "dry_run": args.dry_run,
        }));
        return;
    }
    tell_origin(shelf, manifest, &restored.checks);
    if let Some(kept) = &restored.replaced {
        ui::line(format!(
            "replaced  {}; the old file is {}",
            restored.to.display(),
            kept.display()
        ));
    }
    let remark = restored
        .remark
        .as_ref()
        .map_or_else(String::new, |remark| format!(", {remark}"));
    let bytes = format_bytes(restored.bytes);
    if args.dry_run {
        ui::line(format!(
            "dry run   {bytes}{remark} would go to {}",
            restored.to.display()
        ));
    } else {
        ui::line(format!(
            "{}  {bytes}{remark}, to {}",
            ui::good("restored"),
            restored.to.display()
        ));
    }
}
