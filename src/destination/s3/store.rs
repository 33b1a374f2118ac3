use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream as SdkStream;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use super::bucket::Bucket;
use super::client::{self, NoClient};
use super::config::S3Config;
use super::error::Failure;
use super::limits::S3Limits;
use super::{list, upload};
use crate::destination::{
    Body, ByteStream, Depth, Listing, ManualFetch, Object, Store, StoreError, StoreErrorKind,
    Stored,
};
use crate::value::Env;

/// A bucket that speaks S3.
#[derive(Debug)]
pub struct S3Store {
    bucket: Arc<Bucket>,
}

impl S3Store {
    /// Opens the bucket. Connects to nothing yet, but where the region must be asked of the
    /// instance.
    ///
    /// # Errors
    /// When the settings contradict each other, or a secret or certificate cannot be read.
    pub async fn open(config: &S3Config, env: &Env) -> Result<Self, StoreError> {
        Self::open_with(config, env, S3Limits::default()).await
    }

    /// [`S3Store::open`] with other time limits.
    ///
    /// # Errors
    /// As [`S3Store::open`].
    pub async fn open_with(
        config: &S3Config,
        env: &Env,
        limits: S3Limits,
    ) -> Result<Self, StoreError> {
        let error = |why: String| StoreError::new(StoreErrorKind::Other, "open", "", why);
        if let Some((key, why)) = config.problems().into_iter().next() {
            return Err(error(format!("{key}: {why}")));
        }
        let connection = client::connect(config, env, &limits).await;
        let connection = connection.map_err(|NoClient { why, hint }| match hint {
            Some(hint) => error(why).hint(hint),
            None => error(why),
        })?;
        Ok(Self {
            bucket: Arc::new(Bucket::new(config, limits, connection)),
        })
    }

    /// Where it is, as a URL without secrets.
    pub fn address(&self) -> String {
        let address = format!("s3://{}/{}", self.bucket.name, self.bucket.prefix);
        address.trim_end_matches('/').to_owned()
    }

    /// `aws s3 cp`.
    pub fn manual_fetch(&self) -> ManualFetch {
        let bucket = &self.bucket;
        let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
        let mut options = format!("--region {}", quoted(&bucket.region));
        if let Some(endpoint) = &bucket.endpoint {
            options = format!("{options} --endpoint-url {}", quoted(endpoint));
        }
        let root = format!("s3://{}/{}", bucket.name, bucket.prefix);
        ManualFetch {
            command: "aws s3 cp".into(),
            root,
            options,
        }
    }
}

#[async_trait]
impl Store for S3Store {
    async fn put(&self, key: &str, body: Body) -> Result<Stored, StoreError> {
        upload::upload(self.bucket.clone(), key.to_owned(), body).await
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        if range.as_ref().is_some_and(Range::is_empty) {
            return Ok(stream::empty().boxed());
        }
        let bucket = &self.bucket;
        let wanted = range
            .as_ref()
            .map(|range| format!("bytes={}-{}", range.start, range.end - 1));
        let answer = bucket
            .client
            .get_object()
            .bucket(&bucket.name)
            .key(bucket.full(key))
            .set_range(wanted)
            .send()
            .await
            .map_err(|error| bucket.explain("read", key, "s3:GetObject", &Failure::from(error)))?;
        if let Some(range) = range {
            let given = answer.content_range().unwrap_or("the whole object");
            if parse_range(given) != Some((range.start, range.end - 1)) {
                let why = format!(
                    "asked for bytes {}-{}, {} sent {given}",
                    range.start,
                    range.end - 1,
                    bucket.place
                );
                return Err(StoreError::new(StoreErrorKind::Damaged, "read", key, why));
            }
        }
        let download = Download {
            body: answer.body,
            key: key.to_owned(),
            place: bucket.place.clone(),
            stall: bucket.limits.stall,
        };
        Ok(download.stream())
    }

    async fn head(&self, key: &str) -> Result<Object, StoreError> {
        let bucket = &self.bucket;
        let head = bucket
            .client
            .head_object()
            .bucket(&bucket.name)
            .key(bucket.full(key));
        let head = head.send().await.map_err(|error| {
            bucket.explain("look up", key, "s3:GetObject", &Failure::from(error))
        })?;
        let bytes = head
            .content_length()
            .and_then(|length| u64::try_from(length).ok());
        let bytes = bytes.ok_or_else(|| {
            let why = format!("{} gave no size", bucket.place);
            StoreError::new(StoreErrorKind::Damaged, "look up", key, why)
        })?;
        let modified = head.last_modified().and_then(timestamp);
        Ok(Object {
            key: key.to_owned(),
            bytes,
            modified,
        })
    }

    async fn list(&self, prefix: &str, depth: Depth) -> Result<Listing, StoreError> {
        list::list(&self.bucket, prefix, depth).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let bucket = &self.bucket;
        let delete = bucket
            .client
            .delete_object()
            .bucket(&bucket.name)
            .key(bucket.full(key));
        match delete.send().await.map_err(Failure::from) {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_missing() => Ok(()),
            Err(failure) => Err(bucket.explain("delete", key, "s3:DeleteObject", &failure)),
        }
    }
}

/// The store's time in ours.
pub(super) fn timestamp(time: &aws_sdk_s3::primitives::DateTime) -> Option<Timestamp> {
    Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

/// First and last byte in `bytes 0-99/1000`.
fn parse_range(given: &str) -> Option<(u64, u64)> {
    let (range, _total) = given.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// A body on its way down. One that is shorter than the store said ends in an error of the
/// connection.
struct Download {
    body: SdkStream,
    key: String,
    place: String,
    stall: Duration,
}

impl Download {
    fn stream(self) -> ByteStream {
        stream::unfold(Some(self), |state| async {
            let mut download = state?;
            let why = match tokio::time::timeout(download.stall, download.body.next()).await {
                Ok(Some(Ok(chunk))) => return Some((Ok(chunk), Some(download))),
                Ok(None) => return None,
                Ok(Some(Err(_))) => "the connection broke".to_owned(),
                Err(_) => format!("no bytes for {} s", download.stall.as_secs()),
            };
            let why = format!("{}: {why}", download.place);
            let kind = StoreErrorKind::Unreachable;
            Some((Err(StoreError::new(kind, "read", download.key, why)), None))
        })
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_to_the_letter() {
        assert_eq!(parse_range("bytes 0-99/1000"), Some((0, 99)));
        assert_eq!(parse_range("bytes 0-99/*"), Some((0, 99)));
        for wrong in ["", "bytes */1000", "bytes 0-99", "0-99/1000", "bytes a-b/c"] {
            assert_eq!(parse_range(wrong), None, "{wrong}");
        }
    }
}
