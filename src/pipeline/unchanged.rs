use std::collections::BTreeMap;
use std::sync::Arc;

use super::Job;
use super::run::{Target, Work};
use super::sealing;
use crate::catalog;
use crate::error::Error;
use crate::manifest::{Manifest, Sum};
use crate::source::{Capture, blocking};
use crate::value::format_bytes;

/// The targets, by index, whose newest backup holds exactly this data. Cheap marks decide whether
/// it is worth a pass over the bytes; the digest of that pass decides.
pub(super) async fn find_unchanged(
    work: Work<'_>,
    capture: &Arc<Capture>,
    targets: &[Target],
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<usize, Manifest>, Error> {
    let job = work.job;
    let mut candidates = BTreeMap::new();
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
            candidates.insert(target.at, manifest);
        }
    }
    warnings.sort();
    warnings.dedup();
    if candidates.is_empty() {
        return Ok(candidates);
    }
    let sum = prove(work, capture).await?;
    let mut same = BTreeMap::new();
    for (at, manifest) in candidates {
        let whole = manifest.plain == sum
            && job.destinations[at]
                .head(&manifest.key)
                .await
                .is_ok_and(|object| object.bytes == manifest.stored.bytes);
        if whole {
            same.insert(at, manifest);
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

async fn prove(work: Work<'_>, capture: &Arc<Capture>) -> Result<Sum, Error> {
    let job = work.job;
    let (capture, stop, verifier) = (
        Arc::clone(capture),
        work.stop.clone(),
        job.engine.format().forward(),
    );
    let meter = work
        .progress
        .start(format!("{} comparing", job.name), capture.bytes);
    blocking(move || {
        let sum = sealing::prove(&capture.file, capture.bytes, verifier, &stop);
        meter.add(capture.bytes);
        sum
    })
    .await
    .map_err(|error| error.at(&job.name))
}
