use std::sync::atomic::Ordering;
use std::time::Duration;

use super::error::Failure;
use super::upload::Upload;
use crate::destination::StoreError;

/// How often a removal is tried until it shows.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(100);

impl Upload {
    /// Removes what a failed upload has left, and gives the failure back with a warning where
    /// that could not be done.
    pub(super) async fn clean_up(&self, error: StoreError) -> StoreError {
        let removed = tokio::time::timeout(self.bucket.limits.clean_up, self.remove()).await;
        let why = match removed {
            Ok(Ok(())) => return error,
            Ok(Err(why)) => why,
            Err(_) => "the store does not answer in time".to_owned(),
        };
        tracing::warn!(key = %self.full, bucket = %self.bucket.name, %why, "an upload that failed could not be removed");
        match error.hint {
            Some(_) => error,
            None => error.hint(
                "parts of the upload may be left in the bucket; \
                 a lifecycle rule that aborts incomplete multipart uploads removes them",
            ),
        }
    }

    async fn remove(&self) -> Result<(), String> {
        if let Some(id) = self.id.get() {
            self.abort(id).await?;
        }
        if self.stray.load(Ordering::Relaxed) {
            self.remove_strays().await;
        }
        if self.committing.load(Ordering::Relaxed) {
            self.remove_object().await?;
        }
        Ok(())
    }

    /// Aborts a multipart upload until it is gone: parts that were still on their way when it was
    /// aborted may have kept it alive.
    async fn abort(&self, id: &str) -> Result<(), String> {
        let bucket = &self.bucket;
        let mut last = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(FIRST_WAIT * 3_u32.pow(attempt - 1)).await;
            }
            let abort = bucket.client.abort_multipart_upload();
            let abort = abort
                .bucket(&bucket.name)
                .key(&self.full)
                .upload_id(id)
                .send()
                .await;
            let accepted = match abort.map_err(Failure::from) {
                Ok(_) => true,
                Err(failure) if failure.is_no_upload() || failure.is_missing() => true,
                Err(failure) => {
                    let right = "s3:AbortMultipartUpload";
                    last = bucket
                        .explain("abort", &self.key, right, &failure)
                        .to_string();
                    false
                }
            };
            match self.knows(id).await {
                Ok(true) => "the store still knows the upload".clone_into(&mut last),
                Ok(false) => return Ok(()),
                // Not allowed to look: the store's word has to do.
                Err(failure) if failure.is_denied() && accepted => return Ok(()),
                Err(failure) => {
                    let right = "s3:ListMultipartUploadParts";
                    last = bucket
                        .explain("list parts of", &self.key, right, &failure)
                        .to_string();
                }
            }
        }
        Err(last)
    }

    /// Whether the store knows a multipart upload, by its parts or by its list of uploads: a store
    /// that lost one of both still holds data.
    async fn knows(&self, id: &str) -> Result<bool, Failure> {
        let list = self.bucket.client.list_parts();
        let list = list
            .bucket(&self.bucket.name)
            .key(&self.full)
            .upload_id(id)
            .send()
            .await;
        match list.map_err(Failure::from) {
            Ok(_) => return Ok(true),
            Err(failure) if failure.is_no_upload() || failure.is_missing() => {}
            Err(failure) => return Err(failure),
        }
        // Not every key may list uploads, and not every store can.
        let uploads = self.uploads().await.unwrap_or_default();
        Ok(uploads.iter().any(|upload| upload == id))
    }

    /// The ids of the unfinished uploads of this key.
    async fn uploads(&self) -> Result<Vec<String>, Failure> {
        let list = self.bucket.client.list_multipart_uploads();
        let list = list
            .bucket(&self.bucket.name)
            .prefix(&self.full)
            .send()
            .await?;
        let uploads = list.uploads.unwrap_or_default().into_iter();
        let of_this_key = uploads.filter(|upload| upload.key() == Some(&self.full));
        Ok(of_this_key.filter_map(|upload| upload.upload_id).collect())
    }

    /// Aborts multipart uploads of this key whose ids never reached us. Keys are unique, so that
    /// they can only be ours.
    pub(super) async fn remove_strays(&self) {
        let uploads = match self.uploads().await {
            Ok(uploads) => uploads,
            Err(failure) => {
                let right = "s3:ListBucketMultipartUploads";
                let why = self
                    .bucket
                    .explain("list uploads of", &self.key, right, &failure);
                tracing::warn!(bucket = %self.bucket.name, %why, "an upload may be left unfinished");
                return;
            }
        };
        for id in uploads.iter().filter(|&id| Some(id) != self.id.get()) {
            if let Err(why) = self.abort(id).await {
                let bucket = &self.bucket.name;
                tracing::warn!(key = %self.full, %bucket, %why, "an upload is left unfinished");
            }
        }
    }

    /// Removes the object that a put made after it was given up, if it did.
    async fn remove_object(&self) -> Result<(), String> {
        let bucket = &self.bucket;
        let explain = |action, right, failure: &Failure| {
            bucket
                .explain(action, &self.key, right, failure)
                .to_string()
        };
        match bucket.owner(&self.full).await {
            Ok(Some(owner)) if owner == self.token => {}
            Ok(_) => return Ok(()),
            Err(failure) => return Err(explain("look up", "s3:GetObject", &failure)),
        }
        let delete = bucket
            .client
            .delete_object()
            .bucket(&bucket.name)
            .key(&self.full);
        match delete.send().await.map_err(Failure::from) {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_missing() => Ok(()),
            Err(failure) => Err(explain("delete", "s3:DeleteObject", &failure)),
        }
    }
}
