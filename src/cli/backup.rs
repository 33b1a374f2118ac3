use serde_json::json;

use super::args::BackupArgs;
use super::session::{Session, ready};
use super::{table, ui};
use crate::config::{self, Config, JobConfig};
use crate::error::{Error, Kind};
use crate::exit::Exit;
use crate::pipeline::run::{run, survey};
use crate::pipeline::{DestinationOutcome, DestinationReport, Job, Outcome, RunReport};
use crate::value::format_bytes;

pub(super) async fn backup(session: &Session, args: BackupArgs) -> Result<Exit, Error> {
    session.stop_on_signals()?;
    let jobs = match &args.source {
        Some(url) => vec![from_url(session, url, args.name.as_deref()).await?],
        None => {
            let loaded = session.load()?;
            session.jobs(&loaded.config, &args.jobs).await?
        }
    };
    ready(&jobs)?;
    let quiet = session.global.quiet || session.global.json;
    let mut reports = Vec::new();
    let mut left_out = false;
    for job in jobs {
        if session.stop.requested() {
            left_out = true;
            break;
        }
        let every: Vec<usize> = (0..job.destinations.len()).collect();
        let work = async {
            let survey = survey(&job).await;
            run(&job, survey, &every, &session.stop, &session.progress).await
        };
        let report = ui::with_progress(&session.progress, quiet, work).await;
        if !session.global.json {
            tell(&job, &report);
        }
        reports.push(report);
    }
    if session.global.json {
        ui::document(&json!({ "runs": reports }));
    }
    Ok(exit_of_all(&reports, left_out))
}

/// One failed among others is partial; alone, or all of them, it is a failure. A signal that came
/// too late to stop anything changes nothing.
fn exit_of_all(reports: &[RunReport], left_out: bool) -> Exit {
    let exits: Vec<Exit> = reports.iter().map(RunReport::exit).collect();
    if left_out || exits.contains(&Exit::Interrupted) {
        return Exit::Interrupted;
    }
    match exits.as_slice() {
        [one] => *one,
        many if many.iter().all(|exit| *exit == Exit::Ok) => Exit::Ok,
        many if many.iter().all(|exit| *exit == Exit::Failed) => Exit::Failed,
        _ => Exit::Partial,
    }
}

/// A job for one run, without any configuration.
async fn from_url(session: &Session, url: &str, name: Option<&str>) -> Result<Job, Error> {
    let (source, stem) = config::source_from_url(url)?;
    let name = name.map_or(stem, str::to_owned);
    if !config::sound_name(&name) {
        return Err(Error::usage("series", format!("`{name}` is not a name"))
            .hint("give one of letters, digits, `-`, `_` and `.` with --name"));
    }
    let config = if session.only_urls() && session.global.config.is_none() {
        session.nothing()
    } else {
        session.load()?.config
    };
    let destinations = session.destinations(&config).await?;
    let settings = JobConfig::of(source);
    let config = Config {
        jobs: [(name.clone(), settings.clone())].into(),
        ..config
    };
    config::job(&config, &name, &settings, &destinations, &session.env)
}

fn tell(job: &Job, report: &RunReport) {
    let engine = report.engine;
    match &report.outcome {
        Outcome::Skipped(why) => {
            ui::line(format!("{}  {} {why}", job.name, ui::doubt("skipped:")));
            return;
        }
        Outcome::Failed(error) if report.plain_bytes.is_none() => {
            ui::line(format!("{}  {engine}  {}", job.name, ui::bad("failed")));
            warnings(report);
            said(error);
            return;
        }
        _ => {}
    }
    let mut captured = vec![format_bytes(report.plain_bytes.unwrap_or(0))];
    if !report.summary.is_empty() {
        captured.push(report.summary.clone());
    }
    captured.push(ui::seconds(report.capture_seconds));
    ui::line(format!("{}  {engine}  {}", job.name, captured.join(", ")));
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (destination, line) in job.destinations.iter().zip(&report.destinations) {
        let name = format!("  {}", destination.name());
        rows.push(vec![name, stored(line), retention(line)]);
    }
    for line in table::align(&rows) {
        ui::line(line);
    }
    warnings(report);
    match &report.outcome {
        Outcome::Failed(error) => said(error),
        _ => {
            let id = report
                .id
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            let failed = report
                .destinations
                .iter()
                .filter(|d| d.outcome == DestinationOutcome::Failed);
            match failed.clone().count() {
                0 => ui::line(format!("{}  {id}", ui::good("completed"))),
                n => {
                    for line in failed {
                        if let Some(hint) = &line.hint {
                            ui::line(format!("hint: {hint}"));
                        }
                    }
                    let all = report.destinations.len();
                    let partly = ui::doubt("partly completed:");
                    ui::line(format!("{partly} {n} of {all} destinations failed  {id}"));
                }
            }
        }
    }
}

fn said(error: &Error) {
    if error.kind == Kind::Interrupted {
        ui::line(ui::doubt("interrupted; nothing was recorded"));
    } else {
        ui::fail(error, false);
    }
}

fn stored(line: &DestinationReport) -> String {
    let sealed = match line.seal.as_slice() {
        [] => String::new(),
        steps => format!(" ({})", steps.join(", ")),
    };
    let size = format_bytes(line.stored_bytes);
    match line.outcome {
        DestinationOutcome::Stored => {
            format!("stored {size}{sealed}, {}", ui::seconds(line.seconds))
        }
        DestinationOutcome::Unchanged => format!("unchanged, {size}{sealed} stored already"),
        DestinationOutcome::Skipped => "nothing stored".into(),
        DestinationOutcome::Failed => {
            format!(
                "{} {}",
                ui::bad("failed:"),
                line.error.as_deref().unwrap_or_default()
            )
        }
    }
}

fn retention(line: &DestinationReport) -> String {
    match line.kept {
        Some(kept) => format!("kept {kept}, removed {}", line.pruned),
        None => String::new(),
    }
}

fn warnings(report: &RunReport) {
    for warning in &report.warnings {
        ui::warn(warning);
    }
    for line in &report.destinations {
        for warning in &line.warnings {
            ui::warn(format!("{}: {warning}", line.name));
        }
    }
}
