use std::fmt;

use jiff::Timestamp;

use super::client::Clients;
use super::config::GcsConfig;
use super::error::Failure;
use super::limits::GcsLimits;
use super::rpc::{Call, DeleteObject, Found, GetObject};

/// Object metadata that tells the uploader its own object from another's.
pub(super) const OWNER: &str = "lifeboat-upload";

/// One bucket and the ways to it.
pub(super) struct Bucket {
    pub clients: Clients,
    pub name: String,
    /// Empty, or ending in a slash.
    pub prefix: String,
    pub place: String,
    pub limits: GcsLimits,
    pub storage_class: Option<String>,
    pub project: Option<String>,
    pub chunk: usize,
}

impl Bucket {
    pub fn new(config: &GcsConfig, limits: GcsLimits, clients: Clients) -> Self {
        let prefix = config.prefix.as_deref().unwrap_or_default();
        let prefix = prefix.trim_matches('/');
        Self {
            place: clients.place(),
            clients,
            name: config.bucket.clone(),
            prefix: if prefix.is_empty() {
                String::new()
            } else {
                format!("{prefix}/")
            },
            limits,
            storage_class: config.storage_class.clone(),
            project: config.project.clone(),
            chunk: config.chunk(),
        }
    }

    /// The object's name in the bucket.
    pub fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The bucket's name as the official client wants it.
    pub fn resource(&self) -> String {
        format!("projects/_/buckets/{}", self.name)
    }

    /// Makes a control call, as often as it takes.
    pub async fn ask<C: Call>(&self, call: C) -> Result<C::Answer, Failure> {
        self.retried(|| async {
            let headers = self.signed().await?;
            let control = self.clients.control().await?;
            control.send(call.clone(), headers).await
        })
        .await
    }

    /// What the store knows of an object.
    pub async fn look(&self, full: &str) -> Result<Found, Failure> {
        self.ask(GetObject {
            bucket: self.resource(),
            object: full.to_owned(),
        })
        .await
    }

    /// Removes an object: the one of `generation`, or whichever is there.
    pub async fn remove(&self, full: &str, generation: Option<i64>) -> Result<(), Failure> {
        let removed = self.ask(DeleteObject {
            bucket: self.resource(),
            object: full.to_owned(),
            if_generation_match: generation,
        });
        match removed.await {
            Err(failure) if !failure.is_missing() || failure.is_no_bucket() => Err(failure),
            _ => Ok(()),
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

/// When an object was written, in our time.
pub(super) fn written(object: &Found) -> Option<Timestamp> {
    let time = object.create_time.or(object.update_time)?;
    Timestamp::new(time.seconds, time.nanos).ok()
}
