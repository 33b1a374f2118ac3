use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::Job;
use super::report::RunReport;
use super::run::{Target, Work, why_nothing_was_stored};
use super::sealing::{self, Outlet, Passed};
use crate::destination::{Body, Destination, StoreError, StoreErrorKind, Stored};
use crate::error::Error;
use crate::manifest::{Id, Role, Sum, data_key};
use crate::seal::Seal;
use crate::source::{Capture, Probe, SourceError, SourceErrorKind, Verifier, blocking};

/// How long stores may take to forget a body that was broken off.
const ABORT_LIMIT: Duration = Duration::from_secs(8);

/// Data objects on their stores, without a manifest yet.
pub(super) struct Sent {
    pub key: String,
    pub seal: Seal,
    pub passed: Passed,
    pub role_after: Role,
    /// Each target's index, how its upload ended, and the seconds it took.
    pub puts: Vec<(usize, Result<Stored, StoreError>, f64)>,
}

/// One pass feeds every target; each succeeds or fails alone. The stores hear the end of the data
/// only after its last byte was verified and the engine confirmed the capture.
pub(super) async fn upload(
    work: Work<'_>,
    probe: &Probe,
    capture: &Arc<Capture>,
    id: &Id,
    targets: &[Target],
    report: &mut RunReport,
) -> Result<Sent, Error> {
    let Work {
        job,
        stop,
        progress,
    } = work;
    let at_job = |error: SourceError| error.at(&job.name);
    let seal = decide_seal(work, capture).await.map_err(at_job)?;
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
        let verifier = verifier(job, &capture);
        let (passed, outlets) = blocking({
            let capture = Arc::clone(&capture);
            move || {
                let (passed, outlets) = sealing::pass(
                    &capture.file,
                    capture.bytes,
                    verifier,
                    &seal,
                    outlets,
                    &stop,
                )?;
                unaltered(&capture, &passed.plain)?;
                Ok((passed, outlets))
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

/// The seal for this data, by its first block.
async fn decide_seal(work: Work<'_>, capture: &Arc<Capture>) -> Result<Seal, SourceError> {
    let (config, capture) = (work.job.seal.clone(), Arc::clone(capture));
    blocking(move || {
        let sample = sealing::sample(&capture.file, capture.bytes).map_err(|error| {
            SourceError::new(SourceErrorKind::Other, format!("cannot read: {error}"))
        })?;
        Ok(config.decide(&sample))
    })
    .await
}

/// The verifier that the pass over a capture feeds; none where the capture is proved already.
pub(super) fn verifier(job: &Job, capture: &Capture) -> Option<Box<dyn Verifier>> {
    match capture.proved {
        Some(_) => None,
        None => job.engine.format().forward(),
    }
}

/// Makes sure that the bytes read are those the engine proved.
pub(super) fn unaltered(capture: &Capture, read: &Sum) -> Result<(), SourceError> {
    match &capture.proved {
        Some(proved) if proved != read => Err(SourceError::new(
            SourceErrorKind::Changed,
            "the scratch copy is not what was captured: it was altered, or its disk fails",
        )),
        _ => Ok(()),
    }
}

/// The engine's word, after all bytes were read, that the capture still stands; and the role now.
pub(super) async fn confirm(job: &Job, capture: &Capture, probe: &Probe) -> Result<Role, Error> {
    let confirmed = job.engine.confirm(capture, probe).await;
    confirmed.map_err(|error| error.at(&job.name))
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
