use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_storage::model::Object;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::attempts::Attempts;
use super::bucket::{Bucket, OWNER};
use super::chunks::{Chunk, Cutter, NoChunk};
use super::error::Failure;
use super::rpc::Found;
use super::session::{Made, Pending, Session};
use crate::destination::{Body, StoreError, StoreErrorKind, Stored};
use crate::error::io_reason;

const RIGHT: &str = "storage.objects.create";

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
    let upload = Upload {
        full: bucket.full(&key),
        bucket,
        key: key.clone(),
        token: format!("{:032x}", rand::random::<u128>()),
        cancelled: CancellationToken::new(),
        session: OnceLock::new(),
        committing: AtomicBool::new(false),
    };
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
struct Upload {
    bucket: Arc<Bucket>,
    key: String,
    full: String,
    /// Goes into the object's metadata and proves that it is this upload's.
    token: String,
    /// The caller is gone.
    cancelled: CancellationToken,
    session: OnceLock<Session>,
    /// The object may exist: its last byte was sent.
    committing: AtomicBool,
}

/// What an object must be.
#[derive(Clone, Copy)]
struct Whole {
    bytes: u64,
    crc: u32,
}

impl Whole {
    fn is(&self, bytes: Option<u64>, crc: Option<u32>) -> bool {
        bytes == Some(self.bytes) && crc.is_none_or(|crc| crc == self.crc)
    }
}

impl Upload {
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
        self.clean_up().await;
        Err(error)
    }

    async fn transfer(&self, body: Body) -> Result<Stored, StoreError> {
        let mut cutter = Cutter::new(body, self.bucket.chunk);
        let first = self.cut(&mut cutter).await?;
        if first.last {
            return self.put_whole(first).await;
        }
        let session = Session::begin(self.bucket.clone(), &self.full, &self.token);
        let session = session.await.map_err(|failure| self.explain(&failure))?;
        let session = self.session.get_or_init(|| session);
        let mut chunk = first;
        let mut pending = Pending::default();
        while !chunk.last {
            pending.push(chunk.bytes);
            let send = async {
                let sent = session.send_all(&mut pending, None).await;
                sent.map_err(|failure| self.explain(&failure))
            };
            (_, chunk) = tokio::try_join!(send, self.cut(&mut cutter))?;
        }
        drop(cutter);
        pending.push(chunk.bytes);
        let whole = Whole {
            bytes: pending.end(),
            crc: chunk.crc,
        };
        self.committing.store(true, Ordering::Relaxed);
        match session.send_all(&mut pending, Some(whole.crc)).await {
            Ok(made) => self.proved(whole, made.as_ref()),
            Err(failure) => self.made_after_all(whole, &failure).await,
        }
    }

    async fn cut(&self, cutter: &mut Cutter) -> Result<Chunk, StoreError> {
        match self.cancelled.run_until_cancelled(cutter.next()).await {
            Some(Ok(chunk)) => Ok(chunk),
            Some(Err(NoChunk::BrokenOff(why))) => Err(self.error(StoreErrorKind::BrokenOff, why.0)),
            Some(Err(NoChunk::NoMemory(error))) => {
                let why = format!("no memory for a chunk: {}", io_reason(&error));
                Err(self
                    .error(StoreErrorKind::Other, why)
                    .hint("set a smaller `chunk_size`"))
            }
            None => Err(self.was_cancelled()),
        }
    }

    /// A small object, in one request.
    async fn put_whole(&self, chunk: Chunk) -> Result<Stored, StoreError> {
        let whole = Whole {
            bytes: chunk.bytes.len() as u64,
            crc: chunk.crc,
        };
        let mut attempts = Attempts::new(&self.bucket);
        // An attempt without an answer may be the one that a later one meets.
        let mut unclear = false;
        self.committing.store(true, Ordering::Relaxed);
        loop {
            let limit = self.bucket.limits.upload(chunk.bytes.len());
            let sent = self.send_whole(chunk.bytes.clone(), whole.crc);
            let failure = match tokio::time::timeout(limit, sent).await {
                Ok(Ok(made)) => return self.proved(whole, Some(&made)),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::timeout(),
            };
            unclear |= failure.is_unclear();
            if let Err(failure) = attempts.after(failure).await {
                if !unclear && failure.is_precondition() {
                    self.committing.store(false, Ordering::Relaxed);
                    return Err(self.explain(&failure));
                }
                return self.made_after_all(whole, &failure).await;
            }
        }
    }

    async fn send_whole(&self, bytes: Bytes, crc: u32) -> Result<Made, Failure> {
        let bucket = &self.bucket;
        let media = bucket.clients.media().await?;
        let request = media
            .write_object(bucket.resource(), &self.full, bytes)
            .set_if_generation_match(0)
            .set_metadata([(OWNER, &self.token)])
            .set_content_type("application/octet-stream")
            .with_known_crc32c(crc)
            .with_resumable_upload_threshold(usize::MAX)
            .with_retry_policy(NeverRetry)
            .with_idempotency(true);
        let request = match &bucket.storage_class {
            Some(class) => request.set_storage_class(class),
            None => request,
        };
        let request = match &bucket.project {
            Some(project) => request.with_quota_project(project),
            None => request,
        };
        Ok(Box::pin(request.send_buffered()).await?.into())
    }

    /// An object that the store says it made.
    fn proved(&self, whole: Whole, made: Option<&Made>) -> Result<Stored, StoreError> {
        if made.is_some_and(|made| whole.is(Some(made.bytes), made.crc)) {
            return Ok(Stored { bytes: whole.bytes });
        }
        let generation = made.and_then(|made| made.generation);
        tracing::debug!(key = %self.full, ?generation, "the store made another object");
        let why = format!("the bytes arrived damaged at {}", self.bucket.place);
        Err(self.error(StoreErrorKind::Damaged, why))
    }

    /// The outcome of a commit that seems to have failed. An answer that was lost, or a repeated
    /// request that met its own effect, leaves our object behind all the same.
    async fn made_after_all(&self, whole: Whole, failure: &Failure) -> Result<Stored, StoreError> {
        if !failure.is_unclear() && !failure.is_precondition() {
            return Err(self.explain(failure));
        }
        match self.ours().await {
            Ok(Some(object)) => self.proved(whole, Some(&object.into())),
            Ok(None) if failure.is_precondition() => {
                self.committing.store(false, Ordering::Relaxed);
                Err(self.explain(failure))
            }
            _ => Err(self.explain(failure)),
        }
    }

    /// The object under our key, if it is ours.
    async fn ours(&self) -> Result<Option<Found>, Failure> {
        match self.bucket.look(&self.full).await {
            Ok(object) if object.metadata.get(OWNER) == Some(&self.token) => Ok(Some(object)),
            Ok(_) => Ok(None),
            Err(failure) if failure.is_missing() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Removes what a failed upload has left.
    async fn clean_up(&self) {
        let removed = tokio::time::timeout(self.bucket.limits.clean_up, self.remove()).await;
        let why = match removed {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => self.explain(&failure).why,
            Err(_) => "the store does not answer in time".to_owned(),
        };
        tracing::warn!(key = %self.full, bucket = %self.bucket.name, %why, "an upload that failed could not be removed");
    }

    async fn remove(&self) -> Result<(), Failure> {
        let cancelled = match self.session.get() {
            Some(session) => session.cancel().await,
            None => Ok(()),
        };
        if self.committing.load(Ordering::Relaxed)
            && let Some(object) = self.ours().await?
        {
            let generation = Some(object.generation);
            return self.bucket.remove(&self.full, generation).await;
        }
        cancelled
    }

    fn explain(&self, failure: &Failure) -> StoreError {
        self.bucket.explain("write", &self.key, RIGHT, failure)
    }

    fn was_cancelled(&self) -> StoreError {
        self.error(StoreErrorKind::BrokenOff, "the upload was cancelled")
    }

    fn error(&self, kind: StoreErrorKind, why: impl Into<String>) -> StoreError {
        StoreError::new(kind, "write", &self.key, why)
    }
}

impl From<Object> for Made {
    fn from(object: Object) -> Self {
        Self {
            bytes: u64::try_from(object.size).unwrap_or_default(),
            crc: object.checksums.and_then(|checksums| checksums.crc32c),
            generation: Some(object.generation),
        }
    }
}

impl From<Found> for Made {
    fn from(object: Found) -> Self {
        Self {
            bytes: u64::try_from(object.size).unwrap_or_default(),
            crc: object.checksums.and_then(|checksums| checksums.crc32c),
            generation: Some(object.generation),
        }
    }
}
