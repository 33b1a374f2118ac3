use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use google_cloud_storage::model_ext::ReadRange;
use google_cloud_storage::read_object::ReadObjectResponse;

use super::bucket::{Bucket, written};
use super::client::Clients;
use super::config::GcsConfig;
use super::credentials::Login;
use super::error::{Cause, Failure};
use super::limits::GcsLimits;
use super::{list, upload};
use crate::destination::{
    Body, ByteStream, Depth, Listing, ManualFetch, Object, Store, StoreError, StoreErrorKind,
    Stored,
};
use crate::value::Env;

/// A bucket of Google Cloud Storage.
#[derive(Debug)]
pub struct GcsStore {
    bucket: Arc<Bucket>,
}

impl GcsStore {
    /// Opens the bucket. Connects to nothing yet.
    ///
    /// # Errors
    /// When the settings contradict each other, or the credentials' file cannot be read.
    pub fn open(config: &GcsConfig, env: &Env) -> Result<Self, StoreError> {
        Self::open_with(config, env, GcsLimits::default())
    }

    /// [`GcsStore::open`] with other time limits.
    ///
    /// # Errors
    /// As [`GcsStore::open`].
    pub fn open_with(config: &GcsConfig, env: &Env, limits: GcsLimits) -> Result<Self, StoreError> {
        let error = |why: String| StoreError::new(StoreErrorKind::Other, "open", "", why);
        if let Some((key, why)) = config.problems().into_iter().next() {
            return Err(error(format!("{key}: {why}")));
        }
        let login = Login::new(config, env, limits.credentials);
        login
            .check()
            .map_err(|why| error(format!("credentials: {why}")))?;
        let clients = Clients::new(config, login, limits);
        Ok(Self {
            bucket: Arc::new(Bucket::new(config, limits, clients)),
        })
    }

    /// Where it is, as a URL without secrets.
    pub fn address(&self) -> String {
        let address = format!("gs://{}/{}", self.bucket.name, self.bucket.prefix);
        address.trim_end_matches('/').to_owned()
    }

    /// `gcloud storage cp`.
    pub fn manual_fetch(&self) -> ManualFetch {
        let bucket = &self.bucket;
        let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
        let command = "gcloud storage cp";
        let command = match bucket.clients.named_endpoint() {
            Some(endpoint) => {
                let json = quoted(&format!("{endpoint}/storage/v1/"));
                format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE={json} {command}")
            }
            None => command.to_owned(),
        };
        let project = bucket.project.as_deref();
        ManualFetch {
            command,
            root: format!("gs://{}/{}", bucket.name, bucket.prefix),
            options: project.map_or_else(String::new, |project| {
                format!("--billing-project {}", quoted(project))
            }),
        }
    }
}

#[async_trait]
impl Store for GcsStore {
    async fn put(&self, key: &str, body: Body) -> Result<Stored, StoreError> {
        upload::upload(self.bucket.clone(), key.to_owned(), body).await
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        if range.as_ref().is_some_and(Range::is_empty) {
            return Ok(stream::empty().boxed());
        }
        let bucket = &self.bucket;
        let wanted = range.as_ref().map(|range| range.end - range.start);
        let answer = bucket.retried(|| async {
            let media = bucket.clients.media().await?;
            let request = media.read_object(bucket.resource(), bucket.full(key));
            let request = match &range {
                Some(range) => {
                    request.set_read_range(ReadRange::segment(range.start, range.end - range.start))
                }
                None => request,
            };
            let request = match &bucket.project {
                Some(project) => request.with_quota_project(project),
                None => request,
            };
            Ok(request.send().await?)
        });
        let answer = answer
            .await
            .map_err(|failure| bucket.explain("read", key, "storage.objects.get", &failure))?;
        let download = Download {
            answer,
            bucket: bucket.clone(),
            key: key.to_owned(),
            left: wanted,
            stall: bucket.limits.stall,
        };
        Ok(download.stream())
    }

    async fn head(&self, key: &str) -> Result<Object, StoreError> {
        let bucket = &self.bucket;
        let object = bucket.look(&bucket.full(key)).await;
        let object = object
            .map_err(|failure| bucket.explain("look up", key, "storage.objects.get", &failure))?;
        let bytes = u64::try_from(object.size).map_err(|_| {
            let why = format!("{} gave no size", bucket.place);
            StoreError::new(StoreErrorKind::Damaged, "look up", key, why)
        })?;
        Ok(Object {
            key: key.to_owned(),
            bytes,
            modified: written(&object),
        })
    }

    async fn list(&self, prefix: &str, depth: Depth) -> Result<Listing, StoreError> {
        list::list(&self.bucket, prefix, depth).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let bucket = &self.bucket;
        let removed = bucket.remove(&bucket.full(key), None).await;
        removed.map_err(|failure| bucket.explain("delete", key, "storage.objects.delete", &failure))
    }
}

/// A body on its way down. One that is shorter than the store said ends in an error of the
/// connection, and one that is longer than what was asked for is damage: the store may have sent
/// the whole object for a part of it.
struct Download {
    answer: ReadObjectResponse,
    bucket: Arc<Bucket>,
    key: String,
    left: Option<u64>,
    stall: Duration,
}

impl Download {
    fn stream(self) -> ByteStream {
        stream::unfold(Some(self), |state| async {
            let mut download = state?;
            match download.next().await? {
                Ok(chunk) => Some((Ok(chunk), Some(download))),
                Err(failure) => {
                    let (bucket, key) = (&download.bucket, &download.key);
                    let error = bucket.explain("read", key, "storage.objects.get", &failure);
                    Some((Err(error), None))
                }
            }
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Result<bytes::Bytes, Failure>> {
        let chunk = match tokio::time::timeout(self.stall, self.answer.next()).await {
            Ok(None) => return None,
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(error))) => return Some(Err(error.into())),
            Err(_) => {
                let why = format!("no bytes for {} s", self.stall.as_secs());
                return Some(Err(Failure::new(Cause::Timeout, why)));
            }
        };
        if let Some(left) = &mut self.left {
            match left.checked_sub(chunk.len() as u64) {
                Some(rest) => *left = rest,
                None => {
                    let why = format!("{} sent more than was asked for", self.bucket.place);
                    return Some(Err(Failure::new(Cause::Damaged, why)));
                }
            }
        }
        Some(Ok(chunk))
    }
}
