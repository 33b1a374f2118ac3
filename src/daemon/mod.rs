//! The daemon: one task for each job, woken by what the destinations hold.
//!
//! A job sleeps until the first of its destinations is due, lists them anew, and runs for those
//! that are due then. Nothing is remembered across restarts: the storage knows when the last backup
//! was made. After a failed run the destinations concerned wait, longer each time and never longer
//! than one period; after a skipped one for a while that stays the same, so that a standby notices
//! when the leader did not save and it has become the leader.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::exit::Exit;
use crate::pipeline::run::{Survey, run, survey};
use crate::pipeline::{Job, Outcome, Progress, RunReport};
use crate::schedule::{retry_delay, standby_delay};
use crate::source::Stop;
use crate::telemetry;

/// Runs at the same time, whatever the number of jobs: each holds buffers for its uploads.
const RUNS_AT_ONCE: usize = 2;
/// The longest sleep before the wall clock is looked at again: it may have been set, or the machine
/// may have slept.
const NAP: Duration = Duration::from_secs(30);
/// The end of the grace period, kept for aborting what did not finish.
const ABORT_TIME: Duration = Duration::from_secs(8);

/// Runs all jobs until `closing` is cancelled, then drains within `grace`. `hurry` cuts the
/// draining short. Answers [`Exit::Ok`] when everything was finished or cleanly aborted in time.
pub async fn serve(
    jobs: Vec<Job>,
    grace: Duration,
    closing: CancellationToken,
    hurry: CancellationToken,
) -> Exit {
    let stop = Stop::default();
    let slots = Arc::new(Semaphore::new(RUNS_AT_ONCE));
    let mut tasks = JoinSet::new();
    for job in jobs {
        let (closing, stop, slots) = (closing.clone(), stop.clone(), Arc::clone(&slots));
        tasks.spawn(async move { watch(&job, &closing, &stop, &slots).await });
    }
    let mut broken = false;
    tokio::select! {
        // In this order: once closing, tasks may end.
        biased;
        () = closing.cancelled() => {}
        Some(ended) = tasks.join_next() => {
            // Better no daemon, which is noticed and started again, than one without this job.
            report(ended);
            broken = true;
            closing.cancel();
        }
    }
    tracing::info!(
        "stopping: no new runs; running ones have {} s",
        grace.as_secs()
    );
    let deadline = tokio::time::Instant::now() + grace;
    let finish_by = deadline
        .checked_sub(ABORT_TIME.min(grace / 2))
        .unwrap_or(deadline);
    tokio::select! {
        () = all(&mut tasks) => {}
        () = tokio::time::sleep_until(finish_by) => {}
        () = hurry.cancelled() => {}
    }
    stop.0.cancel();
    match tokio::time::timeout_at(deadline, all(&mut tasks)).await {
        Ok(()) => {
            tracing::info!("stopped");
            if broken { Exit::Failed } else { Exit::Ok }
        }
        Err(_) => {
            tracing::error!("stopped with a run that could not be aborted within the grace period");
            Exit::Failed
        }
    }
}

async fn all(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a job's task ended unexpectedly: {error}");
    }
}

/// One destination's patience after failures.
#[derive(Debug, Clone, Copy, Default)]
struct Patience {
    attempts: u32,
    /// Skipped runs in a row.
    looks: u32,
    not_before: Option<Timestamp>,
}

async fn watch(job: &Job, closing: &CancellationToken, stop: &Stop, slots: &Semaphore) {
    let mut patience = vec![Patience::default(); job.destinations.len()];
    if pause(job.initial_delay, closing).await.is_err() {
        return;
    }
    loop {
        let survey = tokio::select! {
            survey = survey(job) => survey,
            // A store that does not answer must not hold the shutdown up.
            () = closing.cancelled() => return,
        };
        let now = clock::now();
        let due = due_times(job, &survey, now, &mut patience);
        let ready: Vec<usize> = due
            .iter()
            .enumerate()
            .filter(|(_, at)| **at <= now)
            .map(|(at, _)| at)
            .collect();
        let Some(next) = due.iter().min().copied() else {
            return;
        };
        if ready.is_empty() {
            tracing::debug!(job = %job.name, "next run at {next}");
            if sleep_until(next, closing).await.is_err() {
                return;
            }
            continue;
        }
        let Some(report) = run_in_turn(job, survey, &ready, closing, stop, slots).await else {
            return;
        };
        telemetry::run_ended(&report);
        reckon(job, &report, &ready, &mut patience);
        if closing.is_cancelled() {
            return;
        }
        if matches!(report.outcome, Outcome::Skipped(_)) {
            // Nothing was stored, so there is nothing new to read: standbys are many.
            let next = next_look(&due, &ready, &patience);
            if sleep_until(next, closing).await.is_err() {
                return;
            }
        }
    }
}

async fn run_in_turn(
    job: &Job,
    survey: Survey,
    ready: &[usize],
    closing: &CancellationToken,
    stop: &Stop,
    slots: &Semaphore,
) -> Option<RunReport> {
    let turn = tokio::select! {
        turn = slots.acquire() => turn.ok()?,
        () = closing.cancelled() => return None,
    };
    let report = run(job, survey, ready, stop, &Progress::default()).await;
    drop(turn);
    Some(report)
}

/// When each destination is due, patience included. A destination that cannot be listed is due at
/// once: the run says why it fails.
fn due_times(
    job: &Job,
    survey: &Survey,
    now: Timestamp,
    patience: &mut [Patience],
) -> Vec<Timestamp> {
    survey
        .newest(now)
        .into_iter()
        .zip(patience)
        .map(|(newest, patience)| {
            let due = match newest {
                Ok(newest) => job.schedule.due(newest, &job.series, now),
                Err(_) => now,
            };
            if due > now {
                // Somebody else has run meanwhile.
                *patience = Patience::default();
            }
            patience
                .not_before
                .map_or(due, |not_before| due.max(not_before))
        })
        .collect()
}

/// Draws the consequences of a run for each destination it was for.
fn reckon(job: &Job, report: &RunReport, ready: &[usize], patience: &mut [Patience]) {
    let now = clock::now();
    let period = job.schedule.period(now);
    for &at in ready {
        let gained = matches!(report.outcome, Outcome::Completed)
            && report.destinations[at].outcome.gained();
        let patience = &mut patience[at];
        let wait = if matches!(report.outcome, Outcome::Skipped(_)) {
            // Nothing failed here; whoever saves instead may still fail.
            patience.attempts = 0;
            patience.looks = patience.looks.saturating_add(1);
            standby_delay(period, patience.looks)
        } else {
            patience.looks = 0;
            patience.attempts = if gained {
                0
            } else {
                patience.attempts.saturating_add(1)
            };
            // Also after success: a store whose list lags behind must not make a tight loop.
            retry_delay(period, patience.attempts.max(1))
        };
        patience.not_before = now.checked_add(wait).ok();
    }
}

/// When to look again after a run that changed nothing: the first moment that any destination
/// waits for.
fn next_look(due: &[Timestamp], ready: &[usize], patience: &[Patience]) -> Timestamp {
    let wait = |at: usize| match patience[at].not_before {
        Some(not_before) if ready.contains(&at) => not_before,
        _ => due[at],
    };
    (0..due.len()).map(wait).min().unwrap_or(Timestamp::MAX)
}

/// The daemon is closing.
struct Closing;

async fn pause(wait: Duration, closing: &CancellationToken) -> Result<(), Closing> {
    tokio::select! {
        () = tokio::time::sleep(wait) => Ok(()),
        () = closing.cancelled() => Err(Closing),
    }
}

async fn sleep_until(moment: Timestamp, closing: &CancellationToken) -> Result<(), Closing> {
    loop {
        let left = clock::since(clock::now(), moment);
        if left.is_zero() {
            return Ok(());
        }
        pause(left.min(NAP), closing).await?;
    }
}
