//! The run: due, role, capture, verify, seal, upload, record, prune, report.
//!
//! Each step consumes what the one before it made, so that none can be left out: there is no
//! manifest without stored data, no stored data without a verified pass, no pass without a capture
//! and no capture without an open role gate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jiff::Timestamp;

use super::gate::{Gate, gate};
use super::position::{newest_backups, overtaken, refuse_stale};
use super::record::{DataObject, Record};
use super::report::{DestinationOutcome, DestinationReport, Outcome, RunReport};
use super::unchanged::find_unchanged;
use super::upload::{Sent, confirm, upload};
use super::{Job, Progress, RunOn, prune};
use crate::catalog::{self, Ids};
use crate::destination::{Destination, StoreError};
use crate::error::{Error, Kind};
use crate::manifest::{Id, Manifest, Role, Roles};
use crate::schedule::newest_credible;
use crate::source::{Capture, Probe, SourceError, SourceErrorKind, Stop};

/// What each destination of a job holds, by its index: the ground on which a run is due.
#[derive(Debug)]
pub struct Survey(Vec<Result<Ids, StoreError>>);

/// Lists each destination of `job` once.
pub async fn survey(job: &Job) -> Survey {
    let lists = job
        .destinations
        .iter()
        .map(|d| catalog::ids(d, &job.series));
    Survey(join_all(lists).await)
}

impl Survey {
    /// The second of the newest credible backup of each destination; a destination that could not
    /// be listed is an error.
    pub fn newest(&self, now: Timestamp) -> Vec<Result<Option<Timestamp>, &StoreError>> {
        let newest = |ids: &Ids| newest_credible(ids.found.keys().rev().map(Id::second), now);
        self.0
            .iter()
            .map(|listed| listed.as_ref().map(newest))
            .collect()
    }
}

/// Runs `job` once, for the destinations that `due` names (by index), and never panics or throws:
/// whatever happens is in the report.
pub async fn run(
    job: &Job,
    survey: Survey,
    due: &[usize],
    stop: &Stop,
    progress: &Progress,
) -> RunReport {
    let started = Instant::now();
    let mut report = RunReport {
        job: job.name.clone(),
        engine: job.engine.format().name(),
        outcome: Outcome::Completed,
        reason: None,
        role: Role::Unknown,
        id: None,
        plain_bytes: None,
        stored_bytes: None,
        seconds: 0.0,
        destinations: job
            .destinations
            .iter()
            .map(|d| DestinationReport::new(d.name()))
            .collect(),
        series: job.series.clone(),
        summary: String::new(),
        capture_seconds: 0.0,
        warnings: Vec::new(),
    };
    let limited = Stop(stop.0.child_token());
    let timer = tokio::spawn({
        let (limited, timeout) = (limited.clone(), job.timeout);
        async move {
            tokio::time::sleep(timeout).await;
            limited.0.cancel();
        }
    });
    let ended = steps(job, survey, due, &limited, progress, &mut report).await;
    timer.abort();
    report.outcome = match ended {
        Ok(outcome) => outcome,
        Err(error) if stop.requested() => Outcome::Failed(Error {
            kind: Kind::Interrupted,
            what: error.what,
            why: "interrupted before it was finished; nothing was recorded".into(),
            hint: None,
        }),
        Err(error) if limited.requested() => {
            let limit = crate::value::HumanDuration(job.timeout);
            Outcome::Failed(
                Error::failed(
                    error.what,
                    format!("took longer than its time limit of {limit}"),
                )
                .hint("raise `timeout` of the job, or find out what is slow"),
            )
        }
        Err(error) => Outcome::Failed(error),
    };
    report.reason = report.outcome.reason().map(str::to_owned);
    report.seconds = started.elapsed().as_secs_f64();
    report
}

async fn steps(
    job: &Job,
    survey: Survey,
    due: &[usize],
    stop: &Stop,
    progress: &Progress,
    report: &mut RunReport,
) -> Result<Outcome, Error> {
    let targets = targets(job, survey, due, &mut report.destinations)?;
    let probe = match ask_role(job, stop, report).await? {
        Ok(probe) => probe,
        Err(why) => return Ok(Outcome::Skipped(why)),
    };
    let captured = capture(job, &probe, &targets, stop, report).await?;
    let work = Work {
        job,
        stop,
        progress,
    };
    match store(work, &probe, captured, targets, report).await? {
        Stored::Gained => {
            retain(job, stop, report).await;
            Ok(Outcome::Completed)
        }
        Stored::Overtaken(why) => Ok(Outcome::Skipped(why)),
        Stored::Nothing => Err(why_nothing_was_stored(job, report)),
    }
}

/// A destination that can be listed, and what it holds.
pub(super) struct Target {
    /// Its place among the job's destinations.
    pub at: usize,
    pub ids: Ids,
}

/// What the steps of one run share.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub job: &'a Job,
    pub stop: &'a Stop,
    pub progress: &'a Progress,
}

/// The due destinations. One that cannot even be listed gets nothing; when that is all of them,
/// the source is left in peace.
fn targets(
    job: &Job,
    survey: Survey,
    due: &[usize],
    reports: &mut [DestinationReport],
) -> Result<Vec<Target>, Error> {
    let mut targets = Vec::new();
    let mut unlisted = Vec::new();
    for (at, listed) in survey
        .0
        .into_iter()
        .enumerate()
        .filter(|(at, _)| due.contains(at))
    {
        match listed {
            Ok(ids) => targets.push(Target { at, ids }),
            Err(error) => {
                let error = error.at(job.destinations[at].name());
                reports[at].fail(&error);
                unlisted.push(error);
            }
        }
    }
    if targets.is_empty() {
        Err(none_took_it(&job.name, &unlisted))
    } else {
        Ok(targets)
    }
}

/// The probe when the gate is open, the reason when it is not.
async fn ask_role(
    job: &Job,
    stop: &Stop,
    report: &mut RunReport,
) -> Result<Result<Probe, String>, Error> {
    let probed = tokio::select! {
        biased;
        () = stop.wait() => Err(SourceError::stopped()),
        probed = job.engine.probe() => probed,
    };
    let probe = match probed {
        Ok(probe) => probe,
        // On disk it is saved all the same.
        Err(error) if job.run_on == RunOn::Any && error.kind == SourceErrorKind::Unreachable => {
            report.warnings.push(error.why);
            Probe::of(Role::Unknown, "")
        }
        Err(error) => return Err(error.at(&job.name)),
    };
    report.role = probe.role;
    report.warnings.extend(probe.warnings.iter().cloned());
    match gate(job.run_on, &probe) {
        Gate::Open => Ok(Ok(probe)),
        Gate::Skip(why) => Ok(Err(why)),
        Gate::Refuse(why) => Err(Error::failed(&job.name, why).hint(
            "let the source's login read the role, or set `run_on: any` to save whatever it is",
        )),
    }
}

async fn capture(
    job: &Job,
    probe: &Probe,
    targets: &[Target],
    stop: &Stop,
    report: &mut RunReport,
) -> Result<Capture, Error> {
    leave_taken_second(targets).await;
    let started = Instant::now();
    let captured = job
        .engine
        .capture(probe, &job.scratch_dir, stop)
        .await
        .map_err(|error| error.at(&job.name))?;
    report.capture_seconds = started.elapsed().as_secs_f64();
    let seconds = report.capture_seconds;
    tracing::debug!(job = %job.name, bytes = captured.bytes, seconds, "captured");
    report.plain_bytes = Some(captured.bytes);
    report.summary.clone_from(&captured.summary);
    report.warnings.extend(captured.warnings.iter().cloned());
    Ok(captured)
}

/// Ids of one series never share a second, so that their order is the order of their names.
async fn leave_taken_second(targets: &[Target]) {
    let Some(newest) = targets
        .iter()
        .filter_map(|t| t.ids.found.keys().next_back())
        .map(Id::second)
        .max()
    else {
        return;
    };
    let now = Timestamp::now();
    if now.as_second() == newest.as_second() {
        let rest = 1_000_000_000 - u64::try_from(now.subsec_nanosecond()).unwrap_or(0);
        tokio::time::sleep(Duration::from_nanos(rest)).await;
    }
}

/// What became of a capture.
enum Stored {
    /// At least one destination gained a backup.
    Gained,
    /// Somebody else has stored as much meanwhile, in every destination; why.
    Overtaken(String),
    /// No destination took it.
    Nothing,
}

/// Verify, seal, upload and record.
async fn store(
    work: Work<'_>,
    probe: &Probe,
    capture: Capture,
    targets: Vec<Target>,
    report: &mut RunReport,
) -> Result<Stored, Error> {
    let job = work.job;
    let capture = Arc::new(capture);
    let _discard = Discard(Arc::clone(&capture));
    let newest = newest_backups(job, &targets).await;
    refuse_stale(job, &capture, &targets, &newest, &mut report.warnings).await?;
    let same = find_unchanged(work, &capture, newest, &mut report.warnings).await?;
    let (known, fresh): (Vec<Target>, Vec<Target>) = targets
        .into_iter()
        .partition(|target| same.contains_key(&target.at));
    let id = Id::new(capture.captured_at);
    let mut record = Record {
        job,
        format: job.engine.format(),
        id: id.clone(),
        role: Roles {
            before: probe.role,
            after: probe.role,
        },
        capture: &capture,
        checks: capture.checks.clone(),
        facts: capture.facts.clone(),
    };
    let mut gained = false;
    if fresh.is_empty() {
        record.role.after = confirm(job, &capture, probe).await?;
        if let Some(earlier) = same.values().next() {
            // Byte for byte the data that was proved then, and proved again just now.
            record.checks.clone_from(&earlier.verified.checks);
        }
    } else {
        let sent = upload(work, probe, &capture, &id, &fresh, report).await?;
        let role_now = tokio::select! {
            biased;
            role = job.engine.role_now(probe) => role,
            // What is stored is recorded, without waiting for a source that does not answer.
            () = work.stop.wait() => Some(Role::Unknown),
        };
        record.role.after = role_now.unwrap_or(sent.role_after);
        record.checks.extend(sent.passed.checks.iter().cloned());
        record.facts.extend(sent.passed.facts.clone());
        if record.role.after != probe.role {
            let (before, after) = (probe.role.as_str(), record.role.after.as_str());
            let warning = format!("the node was {before} when the run began, and is {after} now");
            report.warnings.push(warning);
        }
        gained |= record_stored(&record, sent, &fresh, report).await;
    }
    for target in known {
        gained |= record_unchanged(&record, &target, &same[&target.at], report).await;
    }
    if gained {
        report.id = Some(id);
        if !record.verified() {
            let doubts = record.checks.iter().filter(|check| !check.ok);
            let doubts: Vec<&str> = doubts.map(|check| check.detail.as_str()).collect();
            let warning = format!("stored, but not verified: {}", doubts.join("; "));
            report.warnings.push(warning);
        }
        return Ok(Stored::Gained);
    }
    let failed = report
        .destinations
        .iter()
        .any(|line| line.outcome == DestinationOutcome::Failed);
    let overtaken = report
        .destinations
        .iter()
        .find_map(|line| line.overtaken.clone());
    Ok(match overtaken {
        Some(why) if !failed => Stored::Overtaken(why),
        _ => Stored::Nothing,
    })
}

/// Removes a capture's scratch folder when the run is done with it, also while a pass that was told
/// to stop still holds the open file.
struct Discard(Arc<Capture>);

impl Drop for Discard {
    fn drop(&mut self) {
        if let Some(scratch) = &self.0.scratch {
            scratch.remove();
        }
    }
}

async fn record_stored(
    record: &Record<'_>,
    sent: Sent,
    fresh: &[Target],
    report: &mut RunReport,
) -> bool {
    report.stored_bytes = Some(sent.passed.stored.bytes);
    let data = DataObject {
        key: sent.key,
        plain: sent.passed.plain,
        stored: sent.passed.stored,
        seal: sent.seal.record(),
    };
    let mut gained = false;
    for (at, put, seconds) in sent.puts {
        let destination = &record.job.destinations[at];
        let line = &mut report.destinations[at];
        line.seconds = seconds;
        let (job, ok) = (&record.job.name, put.is_ok());
        tracing::debug!(
            job,
            destination = destination.name(),
            seconds,
            ok,
            "upload ended"
        );
        if put.is_ok()
            && let Some(target) = fresh.iter().find(|target| target.at == at)
            && let Some(why) = yield_to_another(record, destination, target, &data).await
        {
            line.overtaken = Some(why);
            continue;
        }
        let recorded = match put {
            Ok(_) => record.stored(destination, &data).await,
            Err(error) => Err(error.at(destination.name())),
        };
        match recorded {
            Ok(()) => gained |= settle(line, DestinationOutcome::Stored, &data),
            Err(error) => line.fail(&error),
        }
    }
    gained
}

/// A last look at the store before the manifest: where another node has saved as much meanwhile,
/// this run's data goes again. Answers with the reason then.
async fn yield_to_another(
    record: &Record<'_>,
    destination: &Destination,
    target: &Target,
    data: &DataObject,
) -> Option<String> {
    let job = record.job;
    let ours = record.format.position(&record.facts)?;
    // Without an answer both are kept: one backup too many harms nobody.
    let other = overtaken(job, destination, &target.ids, &ours)
        .await
        .ok()??;
    let _ = destination.delete(&data.key).await;
    Some(format!(
        "another node has saved index {} or later meanwhile: backup {other}",
        ours.at
    ))
}

async fn record_unchanged(
    record: &Record<'_>,
    target: &Target,
    earlier: &Manifest,
    report: &mut RunReport,
) -> bool {
    let data = DataObject {
        key: earlier.key.clone(),
        plain: earlier.plain.clone(),
        stored: earlier.stored.clone(),
        seal: earlier.seal.clone(),
    };
    report.stored_bytes.get_or_insert(data.stored.bytes);
    let destination = &record.job.destinations[target.at];
    let line = &mut report.destinations[target.at];
    match record.unchanged(destination, earlier, &data).await {
        Ok(()) => settle(line, DestinationOutcome::Unchanged, &data),
        Err(error) => {
            line.fail(&error);
            false
        }
    }
}

fn settle(line: &mut DestinationReport, outcome: DestinationOutcome, data: &DataObject) -> bool {
    line.outcome = outcome;
    line.key = Some(data.key.clone());
    line.stored_bytes = data.stored.bytes;
    line.seal = data.seal.iter().map(|step| step.name.clone()).collect();
    true
}

pub(super) fn why_nothing_was_stored(job: &Job, report: &RunReport) -> Error {
    let failed: Vec<Error> = report
        .destinations
        .iter()
        .filter_map(|line| {
            let error = Error::failed(&line.name, line.error.as_deref()?);
            Some(Error {
                hint: line.hint.clone(),
                ..error
            })
        })
        .collect();
    none_took_it(&job.name, &failed)
}

/// One failure speaks for itself; several are told together.
fn none_took_it(job: &str, failed: &[Error]) -> Error {
    if let [one] = failed {
        return one.clone();
    }
    let reasons: Vec<String> = failed.iter().map(Error::to_string).collect();
    let why = format!("no destination took the backup: {}", reasons.join("; "));
    Error {
        hint: failed.iter().find_map(|e| e.hint.clone()),
        ..Error::failed(job, why)
    }
}

/// Retention, only where the run added a backup. What goes wrong here leaves the run completed.
async fn retain(job: &Job, stop: &Stop, report: &mut RunReport) {
    for (at, line) in report.destinations.iter_mut().enumerate() {
        if !line.outcome.gained() || stop.requested() {
            continue;
        }
        let after = prune::after_run(job, &job.destinations[at]).await;
        line.pruned = after.removed;
        line.kept = after.kept;
        line.warnings = after.warnings;
    }
}
