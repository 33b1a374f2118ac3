use std::io::{IsTerminal, Write as _};
use std::path::Path;

use serde_json::json;

use super::args::RestoreArgs;
use super::places::Shelf;
use super::restore::tell_origin;
use super::session::Session;
use super::ui;
use crate::error::Error;
use crate::manifest::{Check, Manifest};
use crate::pipeline::restore::{Brought, bring};
use crate::source::{BackupFacts, LivePlan, LiveRestore, SourceError, Stop};

/// Whose fault it is that a restore did not happen.
pub(super) enum Refusal {
    /// The backup's, or its destination's: another copy may do.
    Backup(Error),
    /// The store's, or nobody agreed.
    Store(Error),
}

/// Gives a running store the backup: verify, say what will happen, ask, then do it.
pub(super) async fn restore(
    session: &Session,
    args: &RestoreArgs,
    scratch: &Path,
    (shelf, manifest): (&Shelf, &Manifest),
    store: &dyn LiveRestore,
) -> Result<(), Refusal> {
    let json = session.global.json;
    let ask = !args.force && !args.dry_run;
    if ask && (json || !std::io::stdin().is_terminal()) {
        let why = "replaces everything in a running server, and there is no terminal to ask at";
        return Err(Refusal::Store(
            Error::usage("--into-source", why)
                .hint("look first with --dry-run, then add --force to agree"),
        ));
    }
    let work = bring(
        &shelf.destination,
        manifest,
        scratch,
        &session.stop,
        &session.progress,
    );
    let quiet = session.global.quiet || json;
    let brought = ui::with_progress(&session.progress, quiet, work)
        .await
        .map_err(Refusal::Backup)?;
    let at_series = |error: SourceError| Refusal::Store(error.at(&manifest.series));
    let backup = BackupFacts {
        version: manifest.engine.version.as_deref(),
        facts: &manifest.engine.facts,
    };
    let plan = tokio::select! {
        plan = store.plan(&backup) => plan,
        () = session.stop.wait() => Err(SourceError::stopped()),
    };
    let plan = plan.map_err(at_series)?;
    if !json {
        tell_origin(shelf, manifest, &brought.checks);
        ui::line(format!("target    {}", plan.target));
        for line in &plan.lines {
            ui::line(format!("          {}", ui::quoted(line)));
        }
    }
    let mut state = Vec::new();
    if !args.dry_run {
        if ask {
            agreed(&manifest.series, &session.stop)
                .await
                .map_err(Refusal::Store)?;
        }
        let work = store.apply(&plan, brought.path(), &session.stop);
        state = work.await.map_err(at_series)?;
    }
    report(session, args, (shelf, manifest), (&brought, &plan), &state);
    Ok(())
}

async fn agreed(series: &str, stop: &Stop) -> Result<(), Error> {
    let read = tokio::task::spawn_blocking(|| {
        let _ = write!(anstream::stderr(), "Type `yes` to replace what is there: ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map(|_| answer)
    });
    let read = tokio::select! {
        read = read => read,
        () = stop.wait() => return Err(SourceError::stopped().at(series)),
    };
    match read {
        Ok(Ok(answer)) if answer.trim() == "yes" => Ok(()),
        _ => Err(Error::failed(
            series,
            "was not agreed to; nothing has changed",
        )),
    }
}

fn report(
    session: &Session,
    args: &RestoreArgs,
    (shelf, manifest): (&Shelf, &Manifest),
    (brought, plan): (&Brought, &LivePlan),
    state: &[String],
) {
    if session.global.json {
        ui::document(&json!({
            "destination": shelf.destination.name(),
            "series": manifest.series,
            "id": manifest.id,
            "captured_at": manifest.captured_at,
            "to": plan.target,
            "bytes": manifest.plain.bytes,
            "verified": brought.checks.iter().all(|check: &Check| check.ok),
            "replaced": null,
            "dry_run": args.dry_run,
            "plan": plan.lines,
            "state": state,
        }));
        return;
    }
    if args.dry_run {
        ui::line("dry run   nothing was sent");
        return;
    }
    ui::line(format!("{}  to {}", ui::good("restored"), plan.target));
    for line in state {
        ui::line(format!("          {line}"));
    }
}
