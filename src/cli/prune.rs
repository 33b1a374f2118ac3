use jiff::tz::TimeZone;
use serde_json::json;

use super::args::{PruneArgs, Rules};
use super::places::Place;
use super::session::Session;
use super::{table, ui};
use crate::destination::Object;
use crate::error::Error;
use crate::exit::Exit;
use crate::pipeline::prune::{self as pipeline, Planned};
use crate::retention::Policy;
use crate::value::format_bytes;

struct Done {
    planned: Planned,
    orphans: Vec<Object>,
    applied: bool,
    removed: usize,
    error: Option<Error>,
}

pub(super) async fn prune(session: &Session, args: PruneArgs) -> Result<Exit, Error> {
    session.stop_on_signals()?;
    let flags = policy(&args.rules);
    if let Some(why) = flags.as_ref().and_then(Policy::problem) {
        return Err(Error::usage("retention", why));
    }
    let found = session.places(args.job.as_deref()).await?;
    let mut done = Vec::new();
    let mut failed: Vec<Error> = Vec::new();
    let mut ruled = false;
    for place in &found.places {
        let rules = flags
            .clone()
            .or_else(|| place.job.as_ref()?.retention.clone());
        let Some(policy) = rules else { continue };
        ruled = true;
        for (planned, destination) in plans(place, &policy).await {
            let planned = match planned {
                Ok(planned) => planned,
                Err(error) => {
                    failed.push(error.at(&destination));
                    continue;
                }
            };
            let orphans = match planned.orphans().await {
                Ok(orphans) => orphans,
                Err(error) => {
                    failed.push(error);
                    continue;
                }
            };
            let mut one = Done {
                planned,
                orphans,
                applied: false,
                removed: 0,
                error: None,
            };
            if args.apply {
                apply(&mut one).await;
            }
            done.push(one);
        }
    }
    if !ruled {
        return Err(match (&args.job, found.places.is_empty()) {
            (None, true) => Error::usage("prune", "there is nothing to prune"),
            _ => Error::usage("prune", "no retention is configured, so everything stays")
                .hint("write `retention` into the job, or give rules such as --keep-last 7"),
        });
    }
    if let (true, [error, ..]) = (done.is_empty(), failed.as_slice()) {
        return Err(error.clone());
    }
    if session.global.json {
        let plans: Vec<_> = done.iter().map(document).collect();
        ui::document(&json!({ "plans": plans }));
    } else {
        done.iter().for_each(tell);
        let removes = |one: &Done| !one.planned.plan.remove.is_empty() || !one.orphans.is_empty();
        if !args.apply && done.iter().any(removes) {
            ui::line("Nothing was removed. Run again with --apply.");
        }
    }
    for error in &failed {
        ui::warn(error);
    }
    let broken = done.iter().filter(|one| one.error.is_some()).count() + failed.len();
    Ok(match broken {
        0 => Exit::Ok,
        n if n == done.len() + failed.len() => Exit::Failed,
        _ => Exit::Partial,
    })
}

async fn apply(one: &mut Done) {
    match one.planned.execute().await {
        Ok(removed) => one.removed = removed,
        Err((removed, error)) => {
            (one.removed, one.error) = (removed, Some(error));
            return;
        }
    }
    match one.planned.sweep(&one.orphans).await {
        Ok(()) => one.applied = true,
        Err(error) => one.error = Some(error),
    }
}

async fn plans(
    place: &Place,
    policy: &Policy,
) -> Vec<(Result<Planned, crate::destination::StoreError>, String)> {
    let zone = place
        .job
        .as_ref()
        .map_or(TimeZone::UTC, |job| job.zone.clone());
    let mut plans = Vec::new();
    for destination in &place.destinations {
        let planned = pipeline::plan(destination, &place.series, policy, &zone).await;
        plans.push((planned, destination.name().to_owned()));
    }
    plans
}

fn policy(rules: &Rules) -> Option<Policy> {
    let policy = Policy {
        keep_last: rules.keep_last,
        keep_within: rules.keep_within.map(|within| within.0),
        daily: rules.daily,
        weekly: rules.weekly,
        monthly: rules.monthly,
        yearly: rules.yearly,
        keep_min: rules.keep_min,
    };
    (policy != Policy::default()).then_some(policy)
}

fn document(one: &Done) -> serde_json::Value {
    let plan = &one.planned.plan;
    let refused = plan
        .refused
        .clone()
        .or_else(|| one.error.as_ref().map(|e| e.why.clone()));
    json!({
        "destination": one.planned.destination.name(),
        "series": one.planned.series,
        "keep": plan.keep,
        "remove": plan.remove,
        "orphans": one.orphans.iter().map(|orphan| {
            json!({ "key": orphan.key, "bytes": orphan.bytes })
        }).collect::<Vec<_>>(),
        "refused": refused,
        "applied": one.applied,
    })
}

fn tell(one: &Done) {
    let plan = &one.planned.plan;
    let (stay, go) = (plan.keep.len(), plan.remove.len());
    ui::line(format!(
        "{} {}: {}, {stay} {}, {go} {}",
        one.planned.destination.name(),
        one.planned.series,
        plural(stay + go, "backup"),
        if stay == 1 { "stays" } else { "stay" },
        if go == 1 { "goes" } else { "go" },
    ));
    let mut rows: Vec<Vec<String>> = Vec::new();
    for kept in &plan.keep {
        rows.push(vec![
            "  stays".into(),
            kept.id.clone(),
            kept.reasons.join(", "),
        ]);
    }
    for removed in &plan.remove {
        rows.push(vec![
            format!("  {}", ui::doubt("goes")),
            removed.id.clone(),
            removed.reason.clone(),
        ]);
    }
    for orphan in &one.orphans {
        let bytes = format_bytes(orphan.bytes);
        rows.push(vec![
            format!("  {}", ui::doubt("goes")),
            orphan.key.clone(),
            format!("data of a run that died, {bytes}; no manifest names it"),
        ]);
    }
    for line in table::align(&rows) {
        ui::line(line);
    }
    if let Some(why) = &plan.refused {
        ui::line(format!("  {} {why}", ui::bad("refused:")));
    }
    match &one.error {
        Some(error) if plan.refused.is_none() => {
            let removed = one.removed;
            ui::line(format!(
                "  {} {} ({removed} removed before)",
                ui::bad("failed:"),
                error.why
            ));
            if let Some(hint) = &error.hint {
                ui::line(format!("  hint: {hint}"));
            }
        }
        _ if one.applied => ui::line(format!("  {} {}", ui::good("removed"), one.removed)),
        _ => {}
    }
}

pub(super) fn plural(count: usize, thing: &str) -> String {
    if count == 1 {
        format!("1 {thing}")
    } else {
        format!("{count} {thing}s")
    }
}
