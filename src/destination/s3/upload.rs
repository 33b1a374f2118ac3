use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::bucket::{Bucket, Watch};
use super::error::Failure;
use super::extras::Extras;
use super::parts::{self, Cutter, NoPart, Part};
use crate::destination::{Body, StoreError, StoreErrorKind, Stored};
use crate::error::io_reason;

/// How often a put is repeated that another one's conflict ended.
const CONFLICTS: u32 = 3;

/// The uploads of this process, including those that are being removed.
static UPLOADS: LazyLock<TaskTracker> = LazyLock::new(TaskTracker::new);

/// Waits until uploads that were dropped or failed have been removed from their stores. To be
/// called before the process ends; false when `limit` was not enough.
pub async fn settle(limit: Duration) -> bool {
    UPLOADS.close();
    tokio::time::timeout(limit, UPLOADS.wait()).await.is_ok()
}

/// Uploads `body` as `key`. The work is done in a task of its own: when this future is dropped,
/// the task removes what it has uploaded.
pub(super) async fn upload(
    bucket: Arc<Bucket>,
    key: String,
    body: Body,
) -> Result<Stored, StoreError> {
    let upload = Upload::new(bucket, key.clone());
    let _cancel_when_dropped = upload.cancelled.clone().drop_guard();
    match UPLOADS.spawn(upload.run(body).in_current_span()).await {
        Ok(outcome) => outcome,
        Err(end) => match end.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(StoreError::new(
                StoreErrorKind::Other,
                "write",
                key,
                "the program is ending",
            )),
        },
    }
}

/// One upload on its way, and what must be removed if it fails.
pub(super) struct Upload {
    pub(super) bucket: Arc<Bucket>,
    pub(super) key: String,
    pub(super) full: String,
    /// Goes into the object's metadata and proves that it is this upload's.
    pub(super) token: String,
    /// The caller is gone.
    cancelled: CancellationToken,
    /// The multipart upload, once it is known.
    pub(super) id: OnceLock<String>,
    /// A multipart upload may exist whose id is not known.
    pub(super) stray: AtomicBool,
    /// The object may exist: its put or its completion was sent.
    pub(super) committing: AtomicBool,
}

/// The finished parts of a multipart upload.
#[derive(Default)]
struct Finished {
    parts: Vec<CompletedPart>,
    bytes: u64,
}

impl Upload {
    fn new(bucket: Arc<Bucket>, key: String) -> Self {
        Self {
            full: bucket.full(&key),
            bucket,
            key,
            token: format!("{:032x}", rand::random::<u128>()),
            cancelled: CancellationToken::new(),
            id: OnceLock::new(),
            stray: AtomicBool::new(false),
            committing: AtomicBool::new(false),
        }
    }

    async fn run(self, body: Body) -> Result<Stored, StoreError> {
        let wind_down = async {
            self.cancelled.cancelled().await;
            tokio::time::sleep(self.bucket.limits.wind_down).await;
        };
        let outcome = tokio::select! {
            outcome = self.transfer(body) => outcome,
            () = wind_down => Err(self.was_cancelled()),
        };
        let error = match outcome {
            // Nobody would know of the object.
            Ok(_) if self.cancelled.is_cancelled() => self.was_cancelled(),
            Ok(stored) => return Ok(stored),
            Err(error) => error,
        };
        Err(self.clean_up(error).await)
    }

    async fn transfer(&self, body: Body) -> Result<Stored, StoreError> {
        let size = parts::part_size(self.bucket.part_size, body.expected());
        let mut cutter = Cutter::new(body, size);
        let first = self.cut(&mut cutter).await?;
        if first.last {
            return self.put_whole(first.bytes).await;
        }
        self.create().await?;
        let finished = self.send_parts(cutter, first).await?;
        self.complete(finished).await
    }

    async fn cut(&self, cutter: &mut Cutter) -> Result<Part, StoreError> {
        match self.cancelled.run_until_cancelled(cutter.next()).await {
            Some(Ok(part)) => Ok(part),
            Some(Err(NoPart::BrokenOff(why))) => Err(self.error(StoreErrorKind::BrokenOff, why.0)),
            Some(Err(NoPart::NoMemory(error))) => {
                let why = format!("no memory for a part: {}", io_reason(&error));
                Err(self
                    .error(StoreErrorKind::Other, why)
                    .hint("set a smaller `part_size`"))
            }
            None => Err(self.was_cancelled()),
        }
    }

    /// A small object, in one request.
    async fn put_whole(&self, bytes: Bytes) -> Result<Stored, StoreError> {
        let length = bytes.len() as u64;
        let wanted = self.bucket.manners.extras();
        let mut extras = wanted;
        let mut conflicts = 0;
        loop {
            if !extras.condition {
                self.refuse_taken_key().await?;
            }
            self.committing.store(true, Ordering::Relaxed);
            let Err(failure) = self.send_whole(bytes.clone(), extras).await else {
                self.learn(wanted, extras);
                return Ok(Stored { bytes: length });
            };
            if failure.is_conflict() && conflicts < CONFLICTS {
                conflicts += 1;
                tokio::time::sleep(self.bucket.limits.backoff * conflicts).await;
            } else if let Some(fewer) = self.bucket.manners.fewer(extras, &failure) {
                extras = fewer;
            } else {
                return self.committed_after_all(length, &failure).await;
            }
        }
    }

    async fn create(&self) -> Result<(), StoreError> {
        let wanted = self.bucket.manners.extras().unconditional();
        let mut extras = wanted;
        loop {
            let watch = Watch::default();
            // Until the id is here, an upload may exist that only a list can find.
            self.stray.store(true, Ordering::Relaxed);
            let failure = match self.send_create(extras, &watch).await {
                Ok(id) => {
                    // Each earlier attempt may have made one too.
                    self.stray.store(watch.attempts() > 1, Ordering::Relaxed);
                    let _ = self.id.set(id);
                    self.learn(wanted, extras);
                    return Ok(());
                }
                Err(failure) => failure,
            };
            let made = failure.is_unclear() || watch.attempts() > 1;
            self.stray.store(made, Ordering::Relaxed);
            match self.bucket.manners.fewer(extras, &failure) {
                Some(fewer) => extras = fewer,
                None => return Err(self.explain(&failure)),
            }
        }
    }

    async fn send_parts(&self, mut cutter: Cutter, first: Part) -> Result<Finished, StoreError> {
        let mut in_flight = FuturesUnordered::new();
        let mut finished = Finished::default();
        let mut next = Some(first);
        let mut number = 0;
        let mut ended = false;
        let error = loop {
            if let Some(part) = next.take() {
                number += 1;
                if number > self.bucket.limits.parts {
                    break self.too_long(cutter.size());
                }
                ended = part.last;
                in_flight.push(self.send_part(number, part.bytes));
            }
            if ended && in_flight.is_empty() {
                finished.parts.sort_by_key(CompletedPart::part_number);
                return Ok(finished);
            }
            let full = in_flight.len() >= self.bucket.concurrency;
            tokio::select! {
                Some(sent) = in_flight.next() => match sent {
                    Ok((part, bytes)) => {
                        finished.parts.push(part);
                        finished.bytes += bytes;
                    }
                    Err(error) => break error,
                },
                part = self.cut(&mut cutter), if !ended && !full => match part {
                    Ok(part) => next = Some(part),
                    Err(error) => break error,
                },
                () = self.cancelled.cancelled() => break self.was_cancelled(),
            }
        };
        // The body's writer need not wait for what follows.
        drop(cutter);
        // A part that arrives after the upload was aborted may stay in the store.
        let rest = in_flight.for_each(|_| std::future::ready(()));
        let _ = tokio::time::timeout(self.bucket.limits.wind_down, rest).await;
        Err(error)
    }

    /// Sends one part; answers with its length too.
    async fn send_part(
        &self,
        number: u64,
        bytes: Bytes,
    ) -> Result<(CompletedPart, u64), StoreError> {
        let wanted = self.bucket.manners.extras().unconditional();
        let mut extras = wanted;
        loop {
            let failure = match self.try_part(number, bytes.clone(), extras).await {
                Ok(part) => {
                    self.learn(wanted, extras);
                    return Ok((part, bytes.len() as u64));
                }
                Err(failure) => failure,
            };
            match self.bucket.manners.fewer(extras, &failure) {
                Some(fewer) => extras = fewer,
                None => return Err(self.explain(&failure)),
            }
        }
    }

    async fn complete(&self, finished: Finished) -> Result<Stored, StoreError> {
        let bytes = finished.bytes;
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(finished.parts))
            .build();
        // The checksums went with the parts; only the condition is left to do without.
        let wanted = Extras {
            condition: self.bucket.manners.extras().condition,
            checksum: false,
            unsigned: false,
        };
        let mut extras = wanted;
        loop {
            if !extras.condition {
                self.refuse_taken_key().await?;
            }
            self.committing.store(true, Ordering::Relaxed);
            let Err(failure) = self.send_complete(parts.clone(), extras).await else {
                self.learn(wanted, extras);
                if self.stray.load(Ordering::Relaxed) {
                    self.remove_strays().await;
                }
                return Ok(Stored { bytes });
            };
            match self.bucket.manners.fewer(extras, &failure) {
                Some(fewer) => extras = fewer,
                None => return self.committed_after_all(bytes, &failure).await,
            }
        }
    }

    /// The outcome of a commit that seems to have failed. An answer that was lost, or a repeated
    /// request that met its own effect, leaves our object behind all the same.
    async fn committed_after_all(
        &self,
        bytes: u64,
        failure: &Failure,
    ) -> Result<Stored, StoreError> {
        let doubtful = failure.is_unclear() || failure.is_precondition() || failure.is_no_upload();
        let ours = if doubtful {
            self.is_ours().await
        } else {
            Some(false)
        };
        if ours == Some(true) {
            return Ok(Stored { bytes });
        }
        // An unclear request may still take effect.
        let certain = ours.is_some() && !failure.is_unclear();
        self.committing.store(!certain, Ordering::Relaxed);
        Err(self.explain(failure))
    }

    /// Whether the object is ours, if that can be told. It is whole then: stores make objects
    /// visible all at once.
    async fn is_ours(&self) -> Option<bool> {
        let owner = self.bucket.owner(&self.full);
        let owner = tokio::time::timeout(self.bucket.limits.request, owner).await;
        Some(owner.ok()?.ok()?.as_ref() == Some(&self.token))
    }

    /// What the condition would have done, for stores that do not know it. Two processes may both
    /// pass; keys hold a random part so that they never meet.
    async fn refuse_taken_key(&self) -> Result<(), StoreError> {
        match self.bucket.exists(&self.full).await {
            Ok(false) => Ok(()),
            Ok(true) => Err(self.error(StoreErrorKind::AlreadyExists, "the key is taken")),
            Err(failure) => {
                Err(self
                    .bucket
                    .explain("look up", &self.key, "s3:GetObject", &failure))
            }
        }
    }

    fn too_long(&self, part: usize) -> StoreError {
        let most = self.bucket.limits.parts;
        let why = format!("is longer than {most} parts of {} MiB", part >> 20);
        self.error(StoreErrorKind::Other, why)
            .hint("set a larger `part_size`")
    }

    fn learn(&self, wanted: Extras, used: Extras) {
        self.bucket.manners.learn(wanted, used, &self.bucket.name);
    }

    fn explain(&self, failure: &Failure) -> StoreError {
        let error = self
            .bucket
            .explain("write", &self.key, "s3:PutObject", failure);
        if self.bucket.manners.insists_in_vain(failure) {
            return error.hint("this store may not take checksums: set `checksum: auto`");
        }
        error
    }

    fn was_cancelled(&self) -> StoreError {
        self.error(StoreErrorKind::BrokenOff, "the upload was cancelled")
    }

    fn error(&self, kind: StoreErrorKind, why: impl Into<String>) -> StoreError {
        StoreError::new(kind, "write", &self.key, why)
    }
}
