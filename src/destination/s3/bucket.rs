use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::types::{ServerSideEncryption as Sse, StorageClass};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::client::Connection;
use super::config::{S3Config, ServerSideEncryption};
use super::error::Failure;
use super::extras::Manners;
use super::limits::S3Limits;

/// Object metadata that tells the uploader its own object from another's.
pub(super) const OWNER: &str = "lifeboat-upload";

/// One bucket and what we know of its store.
pub(super) struct Bucket {
    pub client: Client,
    pub name: String,
    /// Empty, or ending in a slash.
    pub prefix: String,
    pub place: String,
    pub region: String,
    pub endpoint: Option<String>,
    pub limits: S3Limits,
    pub storage_class: Option<StorageClass>,
    pub sse: Option<Sse>,
    pub sse_kms_key_id: Option<String>,
    pub part_size: Option<u64>,
    pub concurrency: usize,
    pub manners: Manners,
}

impl Bucket {
    pub fn new(config: &S3Config, limits: S3Limits, connection: Connection) -> Self {
        let Connection {
            client,
            place,
            region,
            endpoint,
        } = connection;
        let prefix = config
            .prefix
            .as_deref()
            .unwrap_or_default()
            .trim_matches('/');
        Self {
            client,
            name: config.bucket.clone(),
            prefix: if prefix.is_empty() {
                String::new()
            } else {
                format!("{prefix}/")
            },
            place,
            region,
            endpoint,
            limits,
            storage_class: config.storage_class.as_deref().map(StorageClass::from),
            sse: config.sse.map(|sse| match sse {
                ServerSideEncryption::Aes256 => Sse::Aes256,
                ServerSideEncryption::AwsKms => Sse::AwsKms,
            }),
            sse_kms_key_id: config.sse_kms_key_id.clone(),
            part_size: config.part_size.map(|size| size.0),
            concurrency: config.concurrency.max(1) as usize,
            manners: Manners::new(config.checksum),
        }
    }

    /// The object's name in the bucket.
    pub fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The token in the object's metadata; `None` when there is no object, or one of another's.
    pub async fn owner(&self, full: &str) -> Result<Option<String>, Failure> {
        let head = self
            .client
            .head_object()
            .bucket(&self.name)
            .key(full)
            .send()
            .await;
        match head.map_err(Failure::from) {
            Ok(head) => Ok(head
                .metadata
                .and_then(|mut metadata| metadata.remove(OWNER))),
            Err(failure) if failure.is_missing() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Whether there is an object at `full`, whoever made it.
    pub async fn exists(&self, full: &str) -> Result<bool, Failure> {
        let head = self
            .client
            .head_object()
            .bucket(&self.name)
            .key(full)
            .send()
            .await;
        match head.map_err(Failure::from) {
            Ok(_) => Ok(true),
            Err(failure) if failure.is_missing() => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("name", &self.name)
            .field("prefix", &self.prefix)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Sees what the SDK does not tell: how often it tried, and the store's clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Arc<Watched>);

#[derive(Debug, Default)]
struct Watched {
    attempts: AtomicU32,
    date: Mutex<Option<String>>,
}

impl Watch {
    pub fn attempts(&self) -> u32 {
        self.0.attempts.load(Ordering::Relaxed)
    }

    pub fn store_time(&self) -> Option<Timestamp> {
        let date = self.0.date.lock().unwrap_or_else(PoisonError::into_inner);
        rfc2822::parse(date.as_deref()?)
            .ok()
            .map(|date| date.timestamp())
    }
}

impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "Watch"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.attempts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").map(str::to_owned);
        *self.0.date.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}
