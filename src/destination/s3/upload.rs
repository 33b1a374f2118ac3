use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use aws_sdk_s3::operation::create_multipart_upload::CreateMultipartUploadOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bucket::{Bucket, Extras, OWNER, Watch};
use super::error::Failure;
use super::parts::{self, Cutter, MOST_PARTS, Part};
use crate::destination::{Body, StoreError, StoreErrorKind, Stored};

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
    let cancelled = CancellationToken::new();
    let _cancel_when_dropped = cancelled.clone().drop_guard();
    let upload = Upload::new(bucket, key.clone());
    match UPLOADS.spawn(upload.run(body, cancelled)).await {
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
            id: OnceLock::new(),
            stray: AtomicBool::new(false),
            committing: AtomicBool::new(false),
        }
    }

    async fn run(self, body: Body, cancelled: CancellationToken) -> Result<Stored, StoreError> {
        let error = match cancelled.run_until_cancelled(self.transfer(body)).await {
            Some(Ok(stored)) => return Ok(stored),
            Some(Err(error)) => error,
            None => self.error(StoreErrorKind::BrokenOff, "the upload was cancelled"),
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
        let finished = self.send_parts(&mut cutter, first).await?;
        self.complete(finished).await
    }

    async fn cut(&self, cutter: &mut Cutter) -> Result<Part, StoreError> {
        cutter
            .next()
            .await
            .map_err(|why| self.error(StoreErrorKind::BrokenOff, why.0))
    }

    /// A small object, in one request.
    async fn put_whole(&self, bytes: Bytes) -> Result<Stored, StoreError> {
        let length = bytes.len() as u64;
        let mut extras = self.bucket.extras();
        let mut conflicts = 0;
        loop {
            if !extras.condition {
                self.refuse_taken_key().await?;
            }
            self.committing.store(true, Ordering::Relaxed);
            let Err(failure) = self.send_whole(bytes.clone(), extras).await else {
                self.bucket.learn(extras);
                return Ok(Stored { bytes: length });
            };
            if failure.is_conflict() && conflicts < CONFLICTS {
                conflicts += 1;
                tokio::time::sleep(self.bucket.limits.backoff * conflicts).await;
            } else if let Some(fewer) = self.bucket.extras_after(extras, &failure) {
                extras = fewer;
            } else {
                return self.committed_after_all(length, &failure).await;
            }
        }
    }

    async fn send_whole(&self, bytes: Bytes, extras: Extras) -> Result<(), Failure> {
        let bucket = &self.bucket;
        let request = bucket
            .client
            .put_object()
            .bucket(&bucket.name)
            .key(&self.full)
            .metadata(OWNER, &self.token)
            .set_if_none_match(extras.condition.then(|| "*".to_owned()))
            .set_checksum_crc32_c(extras.checksum.then(|| parts::checksum(&bytes)))
            .set_storage_class(bucket.storage_class.clone())
            .set_server_side_encryption(bucket.sse.clone())
            .set_ssekms_key_id(bucket.sse_kms_key_id.clone())
            .content_length(bytes.len().try_into().unwrap_or(i64::MAX));
        let limit = bucket.time_limit(bucket.limits.upload(bytes.len()));
        let request = request
            .body(ByteStream::from(bytes))
            .customize()
            .config_override(limit);
        let request = if extras.checksum {
            request.disable_payload_signing()
        } else {
            request
        };
        request.send().await.map(drop).map_err(Failure::from)
    }

    async fn create(&self) -> Result<(), StoreError> {
        let mut extras = self.bucket.extras();
        loop {
            let watch = Watch::default();
            // Until the id is here, an upload may exist that only a list can find.
            self.stray.store(true, Ordering::Relaxed);
            match self.send_create(extras, &watch).await {
                Ok(created) => {
                    let id = created.upload_id().filter(|id| !id.is_empty());
                    let Some(id) = id else {
                        let why = "the store gave no id for a multipart upload";
                        return Err(self.error(StoreErrorKind::Other, why));
                    };
                    // Each earlier attempt may have made one too.
                    self.stray.store(watch.attempts() > 1, Ordering::Relaxed);
                    let _ = self.id.set(id.to_owned());
                    return Ok(());
                }
                Err(failure) => match self.bucket.extras_after(extras, &failure) {
                    Some(fewer) => extras = fewer,
                    None => return Err(self.explain(&failure)),
                },
            }
        }
    }

    async fn send_create(
        &self,
        extras: Extras,
        watch: &Watch,
    ) -> Result<CreateMultipartUploadOutput, Failure> {
        let bucket = &self.bucket;
        bucket
            .client
            .create_multipart_upload()
            .bucket(&bucket.name)
            .key(&self.full)
            .metadata(OWNER, &self.token)
            .set_checksum_algorithm(extras.checksum.then_some(ChecksumAlgorithm::Crc32C))
            .set_storage_class(bucket.storage_class.clone())
            .set_server_side_encryption(bucket.sse.clone())
            .set_ssekms_key_id(bucket.sse_kms_key_id.clone())
            .customize()
            .interceptor(watch.clone())
            .send()
            .await
            .map_err(Failure::from)
    }

    async fn send_parts(&self, cutter: &mut Cutter, first: Part) -> Result<Finished, StoreError> {
        let mut finished = Finished::default();
        let mut in_flight = FuturesUnordered::new();
        let mut next = Some(first);
        let mut number = 0;
        let mut ended = false;
        loop {
            if let Some(part) = next.take() {
                number += 1;
                if number > MOST_PARTS {
                    return Err(self.too_long(part.bytes.len()));
                }
                ended = part.last;
                in_flight.push(self.send_part(number, part.bytes));
            }
            let full = in_flight.len() >= self.bucket.concurrency;
            tokio::select! {
                Some(done) = in_flight.next() => {
                    let (part, bytes) = done?;
                    finished.parts.push(part);
                    finished.bytes += bytes.len() as u64;
                    cutter.recycle(bytes);
                }
                part = self.cut(cutter), if !ended && !full => next = Some(part?),
                else => break,
            }
        }
        finished.parts.sort_by_key(CompletedPart::part_number);
        Ok(finished)
    }

    /// Sends one part and gives its buffer back.
    async fn send_part(
        &self,
        number: u64,
        bytes: Bytes,
    ) -> Result<(CompletedPart, Bytes), StoreError> {
        let mut extras = self.bucket.extras();
        loop {
            let failure = match self.try_part(number, bytes.clone(), extras.checksum).await {
                Ok(part) => {
                    self.bucket.learn(Extras {
                        condition: true,
                        ..extras
                    });
                    return Ok((part, bytes));
                }
                Err(failure) => failure,
            };
            // A part has no condition to do without.
            let only_checksum = Extras {
                condition: false,
                ..extras
            };
            match self.bucket.extras_after(only_checksum, &failure) {
                Some(fewer) => extras = fewer,
                None => return Err(self.explain(&failure)),
            }
        }
    }

    async fn try_part(
        &self,
        number: u64,
        bytes: Bytes,
        with_checksum: bool,
    ) -> Result<CompletedPart, Failure> {
        let bucket = &self.bucket;
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        let checksum = with_checksum.then(|| parts::checksum(&bytes));
        let limit = bucket.time_limit(bucket.limits.upload(bytes.len()));
        let request = bucket
            .client
            .upload_part()
            .bucket(&bucket.name)
            .key(&self.full)
            .set_upload_id(self.id.get().cloned())
            .part_number(number)
            .set_checksum_crc32_c(checksum.clone())
            .content_length(bytes.len().try_into().unwrap_or(i64::MAX))
            .body(ByteStream::from(bytes))
            .customize()
            .config_override(limit);
        let request = if with_checksum {
            request.disable_payload_signing()
        } else {
            request
        };
        let sent = request.send().await.map_err(Failure::from)?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .set_checksum_crc32_c(checksum)
            .build())
    }

    async fn complete(&self, finished: Finished) -> Result<Stored, StoreError> {
        let bytes = finished.bytes;
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(finished.parts))
            .build();
        let mut extras = self.bucket.extras();
        loop {
            if !extras.condition {
                self.refuse_taken_key().await?;
            }
            self.committing.store(true, Ordering::Relaxed);
            let sent = self
                .bucket
                .client
                .complete_multipart_upload()
                .bucket(&self.bucket.name)
                .key(&self.full)
                .set_upload_id(self.id.get().cloned())
                .set_if_none_match(extras.condition.then(|| "*".to_owned()))
                .multipart_upload(parts.clone())
                .customize()
                .config_override(self.bucket.time_limit(self.bucket.limits.complete))
                .send()
                .await;
            let Err(failure) = sent.map_err(Failure::from) else {
                self.bucket.learn(Extras {
                    checksum: true,
                    ..extras
                });
                if self.stray.load(Ordering::Relaxed) {
                    self.remove_strays().await;
                }
                return Ok(Stored { bytes });
            };
            // The checksums went with the parts; only the condition is left to do without.
            let only_condition = Extras {
                checksum: false,
                ..extras
            };
            match self.bucket.extras_after(only_condition, &failure) {
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
        if doubtful && self.is_ours().await {
            return Ok(Stored { bytes });
        }
        if !doubtful {
            self.committing.store(false, Ordering::Relaxed);
        }
        Err(self.explain(failure))
    }

    /// The object is whole where it is ours: stores make objects visible all at once.
    async fn is_ours(&self) -> bool {
        let owner = self.bucket.owner(&self.full).await;
        owner.is_ok_and(|owner| owner.as_ref() == Some(&self.token))
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
        let why = format!("is longer than {MOST_PARTS} parts of {} MiB", part >> 20);
        self.error(StoreErrorKind::Other, why)
            .hint("set a larger `part_size`")
    }

    fn explain(&self, failure: &Failure) -> StoreError {
        self.bucket
            .explain("write", &self.key, "s3:PutObject", failure)
    }

    fn error(&self, kind: StoreErrorKind, why: impl Into<String>) -> StoreError {
        StoreError::new(kind, "write", &self.key, why)
    }
}
