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
use super::record::{DataObject, Record};
use super::report::{DestinationOutcome, DestinationReport, Outcome, RunReport};
use super::sealing::{self, Outlet, Passed};
use super::{Job, Progress, RunOn, prune};
use crate::catalog::{self, Ids};
use crate::destination::{Body, Destination, StoreError, StoreErrorKind, Stored};
use crate::error::{Error, Kind};
use crate::manifest::{Id, Manifest, Role, Roles, Sum, data_key};
use crate::schedule::newest_credible;
use crate::seal::Seal;
use crate::source::{Capture, Probe, SourceError, SourceErrorKind, Stop};
use crate::value::format_bytes;

/// How long stores may take to forget a body that was broken off.
const ABORT_LIMIT: Duration = Duration::from_secs(8);

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
    let probe = match ask_role(job, report).await? {
        Ok(probe) => probe,
        Err(why) => return Ok(Outcome::Skipped(why)),
    };
    let captured = capture(job, &probe, &targets, stop, report).await?;
    let recorded = store(job, &probe, captured, targets, stop, progress, report).await?;
    if !recorded {
        return Err(why_nothing_was_stored(job, report));
    }
    retain(job, stop, report).await;
    Ok(Outcome::Completed)
}

/// A destination that can be listed, and what it holds.
struct Target {
    at: usize,
    ids: Ids,
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
async fn ask_role(job: &Job, report: &mut RunReport) -> Result<Result<Probe, String>, Error> {
    let probe = match job.engine.probe().await {
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
        Gate::Refuse(why) => Err(Error::failed(&job.name, why)),
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

/// Verify, seal, upload and record. Answers whether any destination gained a backup.
async fn store(
    job: &Job,
    probe: &Probe,
    capture: Capture,
    targets: Vec<Target>,
    stop: &Stop,
    progress: &Progress,
    report: &mut RunReport,
) -> Result<bool, Error> {
    let capture = Arc::new(capture);
    let same = find_unchanged(
        job,
        &capture,
        &targets,
        stop,
        progress,
        &mut report.warnings,
    )
    .await?;
    let (known, fresh): (Vec<Target>, Vec<Target>) = targets
        .into_iter()
        .partition(|target| same.iter().any(|(at, _)| *at == target.at));
    let format = job.engine.format();
    let id = Id::new(capture.captured_at);
    let mut record = Record {
        job,
        format,
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
        if let Some((_, earlier)) = same.first() {
            // Byte for byte the data that was proved then, and proved again just now.
            record.checks.clone_from(&earlier.verified.checks);
        }
    } else {
        let sent = upload(job, probe, &capture, &id, &fresh, stop, progress, report).await?;
        record.role.after = sent.role_after;
        record.checks.extend(sent.passed.checks.iter().cloned());
        record.facts.extend(sent.passed.facts.clone());
        report.stored_bytes = Some(sent.passed.stored.bytes);
        let data = DataObject {
            key: sent.key,
            plain: sent.passed.plain,
            stored: sent.passed.stored,
            seal: sent.seal.record(),
        };
        for (target, put, seconds) in sent.puts {
            let destination = &job.destinations[target];
            let line = &mut report.destinations[target];
            line.seconds = seconds;
            tracing::debug!(
                job = %job.name,
                destination = destination.name(),
                seconds,
                ok = put.is_ok(),
                "upload ended"
            );
            let recorded = match put {
                Ok(_) => record.stored(destination, &data).await,
                Err(error) => Err(error.at(destination.name())),
            };
            match recorded {
                Ok(()) => gained |= settle(line, DestinationOutcome::Stored, &data),
                Err(error) => line.fail(&error),
            }
        }
    }
    for target in known {
        let Some((_, earlier)) = same.iter().find(|(at, _)| *at == target.at) else {
            continue;
        };
        let destination = &job.destinations[target.at];
        let data = DataObject {
            key: earlier.key.clone(),
            plain: earlier.plain.clone(),
            stored: earlier.stored.clone(),
            seal: earlier.seal.clone(),
        };
        let line = &mut report.destinations[target.at];
        match record.unchanged(destination, earlier, &data).await {
            Ok(()) => gained |= settle(line, DestinationOutcome::Unchanged, &data),
            Err(error) => line.fail(&error),
        }
        report.stored_bytes.get_or_insert(data.stored.bytes);
    }
    if gained {
        report.id = Some(id);
        if !record.verified() {
            let doubts: Vec<&str> = record
                .checks
                .iter()
                .filter(|c| !c.ok)
                .map(|c| c.detail.as_str())
                .collect();
            report
                .warnings
                .push(format!("stored, but not verified: {}", doubts.join("; ")));
        }
    }
    Ok(gained)
}

fn settle(line: &mut DestinationReport, outcome: DestinationOutcome, data: &DataObject) -> bool {
    line.outcome = outcome;
    line.key = Some(data.key.clone());
    line.stored_bytes = data.stored.bytes;
    line.seal = data.seal.iter().map(|step| step.name.clone()).collect();
    true
}

/// The targets whose newest backup holds exactly this data. Cheap marks decide whether it is worth
/// a pass over the bytes; the digest of that pass decides.
async fn find_unchanged(
    job: &Job,
    capture: &Arc<Capture>,
    targets: &[Target],
    stop: &Stop,
    progress: &Progress,
    warnings: &mut Vec<String>,
) -> Result<Vec<(usize, Manifest)>, Error> {
    let mut candidates = Vec::new();
    for target in targets {
        let Some(newest) = target.ids.found.keys().next_back() else {
            continue;
        };
        let destination = &job.destinations[target.at];
        // A manifest that cannot be read now is no reason to fail: the data is stored anew.
        let Ok(manifest) = catalog::manifest(destination, &job.series, newest).await else {
            continue;
        };
        if capture.bytes < manifest.plain.bytes / 2 {
            let (was, is) = (
                format_bytes(manifest.plain.bytes),
                format_bytes(capture.bytes),
            );
            warnings.push(format!("the data shrank from {was} in {newest} to {is}"));
        }
        if looks_alike(job, capture, &manifest) {
            candidates.push((target.at, manifest));
        }
    }
    warnings.sort();
    warnings.dedup();
    if candidates.is_empty() {
        return Ok(candidates);
    }
    let sum = prove(job, capture, stop, progress).await?;
    let mut same = Vec::new();
    for (at, manifest) in candidates {
        let whole = manifest.plain == sum
            && job.destinations[at]
                .head(&manifest.key)
                .await
                .is_ok_and(|object| object.bytes == manifest.stored.bytes);
        if whole {
            same.push((at, manifest));
        }
    }
    Ok(same)
}

fn looks_alike(job: &Job, capture: &Capture, newest: &Manifest) -> bool {
    let marks_agree = capture.marks.as_ref().is_none_or(|marks| {
        marks
            .iter()
            .all(|(name, value)| newest.engine.facts.get(name) == Some(value))
    });
    newest.verified.ok
        && newest.engine.name == job.engine.format().name()
        && newest.plain.bytes == capture.bytes
        && marks_agree
}

async fn prove(
    job: &Job,
    capture: &Arc<Capture>,
    stop: &Stop,
    progress: &Progress,
) -> Result<Sum, Error> {
    let (capture, stop, verifier) = (
        Arc::clone(capture),
        stop.clone(),
        job.engine.format().forward(),
    );
    let meter = progress.start(format!("{} comparing", job.name), capture.bytes);
    blocking(move || {
        let sum = sealing::prove(&capture.file, capture.bytes, verifier, &stop);
        meter.add(capture.bytes);
        sum
    })
    .await
    .map_err(|error| error.at(&job.name))
}

async fn confirm(job: &Job, capture: &Capture, probe: &Probe) -> Result<Role, Error> {
    job.engine
        .confirm(capture, probe)
        .await
        .map_err(|error| error.at(&job.name))
}

/// Data objects on their stores, without a manifest yet.
struct Sent {
    key: String,
    seal: Seal,
    passed: Passed,
    role_after: Role,
    puts: Vec<(usize, Result<Stored, StoreError>, f64)>,
}

/// One pass feeds every target; each succeeds or fails alone. The stores hear the end of the data
/// only after its last byte was verified and the engine confirmed the capture.
#[allow(clippy::too_many_arguments)]
async fn upload(
    job: &Job,
    probe: &Probe,
    capture: &Arc<Capture>,
    id: &Id,
    targets: &[Target],
    stop: &Stop,
    progress: &Progress,
    report: &mut RunReport,
) -> Result<Sent, Error> {
    let at_job = |error: SourceError| error.at(&job.name);
    let sample = blocking({
        let capture = Arc::clone(capture);
        move || {
            sealing::sample(&capture.file).map_err(|error| {
                SourceError::new(SourceErrorKind::Other, format!("cannot read: {error}"))
            })
        }
    })
    .await
    .map_err(at_job)?;
    let seal = job.seal.decide(&sample);
    drop(sample);
    let extension = format!("{}{}", job.engine.format().extension(), seal.extension());
    let key = data_key(&job.series, id, &extension);

    let mut outlets = Vec::new();
    let mut puts = Vec::new();
    for target in targets {
        let destination = &job.destinations[target.at];
        // Incompressible data grows by a few bytes in each block.
        let expected = capture.bytes + capture.bytes / 256 + 4096;
        let (sender, body) = Body::channel(sealing::DEPTH, Some(expected));
        let meter = progress.start(destination.name(), capture.bytes);
        outlets.push(Outlet { sender, meter });
        puts.push(timed_put(target.at, destination, &key, body));
    }
    let pass = async {
        let (capture, seal, stop) = (Arc::clone(capture), seal.clone(), stop.clone());
        let verifier = job.engine.format().forward();
        let (passed, outlets) = blocking({
            let capture = Arc::clone(&capture);
            move || {
                sealing::pass(
                    &capture.file,
                    capture.bytes,
                    verifier,
                    &seal,
                    outlets,
                    &stop,
                )
            }
        })
        .await
        .map_err(at_job)?;
        // An error here drops the outlets, which breaks every body off.
        let role_after = confirm(job, &capture, probe).await?;
        for outlet in outlets {
            outlet.sender.finish(Ok(())).await;
        }
        Ok::<_, Error>((passed, role_after))
    };
    let given_up = async {
        stop.wait().await;
        tokio::time::sleep(ABORT_LIMIT).await;
    };
    let (passed, puts) = tokio::select! {
        both = async { tokio::join!(pass, join_all(puts)) } => both,
        () = given_up => return Err(at_job(SourceError::stopped())),
    };
    // When every store failed, their reasons say more than the pass that found nobody to write to.
    let all_failed = puts.iter().all(|(_, put, _)| {
        put.as_ref()
            .is_err_and(|error| error.kind != StoreErrorKind::BrokenOff)
    });
    let (passed, role_after) = match passed {
        Ok(passed) => passed,
        Err(error) => {
            for (at, put, _) in puts {
                if let Err(error) = put
                    && error.kind != StoreErrorKind::BrokenOff
                {
                    report.destinations[at].fail(&error.at(job.destinations[at].name()));
                }
            }
            let error = if all_failed {
                why_nothing_was_stored(job, report)
            } else {
                error
            };
            return Err(error);
        }
    };
    Ok(Sent {
        key,
        seal,
        passed,
        role_after,
        puts,
    })
}

async fn timed_put(
    at: usize,
    destination: &Destination,
    key: &str,
    body: Body,
) -> (usize, Result<Stored, StoreError>, f64) {
    let started = Instant::now();
    let put = destination.put(key, body).await;
    (at, put, started.elapsed().as_secs_f64())
}

fn why_nothing_was_stored(job: &Job, report: &RunReport) -> Error {
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

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(SourceError::new(SourceErrorKind::Other, error.to_string())))
}
