use std::collections::BTreeMap;
use std::sync::Arc;

use super::Job;
use super::run::Work;
use super::sealing;
use super::upload::{unaltered, verifier};
use crate::error::Error;
use crate::manifest::{Manifest, Sum};
use crate::source::{Capture, blocking};
use crate::value::format_bytes;

/// The targets, by index, whose `newest` backup holds exactly this data. Cheap marks decide whether
/// it is worth a pass over the bytes; the digest of that pass decides.
pub(super) async fn find_unchanged(
    work: Work<'_>,
    capture: &Arc<Capture>,
    newest: BTreeMap<usize, Manifest>,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<usize, Manifest>, Error> {
    let job = work.job;
    let mut candidates = BTreeMap::new();
    for (at, manifest) in newest {
        if capture.bytes < manifest.plain.bytes / 2 {
            let (was, is) = (
                format_bytes(manifest.plain.bytes),
                format_bytes(capture.bytes),
            );
            let id = &manifest.id;
            warnings.push(format!("the data shrank from {was} in {id} to {is}"));
        }
        if looks_alike(job, capture, &manifest) {
            candidates.insert(at, manifest);
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
        verifier(job, capture),
    );
    let meter = work
        .progress
        .start(format!("{} comparing", job.name), capture.bytes);
    blocking(move || {
        let sum = sealing::prove(&capture.file, capture.bytes, verifier, &stop)?;
        meter.add(capture.bytes);
        unaltered(&capture, &sum)?;
        Ok(sum)
    })
    .await
    .map_err(|error| error.at(&job.name))
}
