//! Places that hold backups.
//!
//! [`Store`] is what an implementor must write, five methods and no more; [`Destination`] is what
//! the rest of the program calls. A store knows nothing of manifests, series or retention: it has
//! keys (`/` between parts, relative to the destination's prefix) and bytes.

mod body;
mod error;
mod open;
mod read;

pub mod gcs;
pub mod local;
pub mod s3;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use jiff::Timestamp;

pub use body::{Body, BodySender, BrokenOff};
pub use error::{StoreError, StoreErrorKind};
pub use open::{DestinationConfig, open, settings_from_url};

/// One stored object, as a list or a head answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Key below the destination's prefix.
    pub key: String,
    /// Size in bytes.
    pub bytes: u64,
    /// When the store says it was written.
    pub modified: Option<Timestamp>,
}

/// The answer to a list: complete, or the call is an error.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// The objects, in the order of their keys.
    pub objects: Vec<Object>,
    /// With [`Depth::Children`]: the next level's folders, each ending in `/`.
    pub folders: Vec<String>,
    /// The store's own clock when it answered.
    pub store_time: Option<Timestamp>,
}

/// How far a list goes below its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every object.
    All,
    /// The prefix' own objects, and the folders beside them.
    Children,
}

/// What a store says of an object it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Bytes written.
    pub bytes: u64,
}

/// Bytes on their way out of a store. An error ends the stream.
pub type ByteStream = BoxStream<'static, Result<Bytes, StoreError>>;

/// The implementor's minimum. Every method has time limits of its own, so that a dead peer cannot
/// hang a run, and may be dropped at any await: what is half-made then must be invisible to
/// `get`, `head` and `list`.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// Creates `key` from `body`, durably, and never replaces an object.
    ///
    /// When the body ends in [`BrokenOff`], or anything else fails, no object and no half-made
    /// upload stays behind.
    ///
    /// # Errors
    /// [`StoreErrorKind::AlreadyExists`] when the key is taken, [`StoreErrorKind::BrokenOff`] when
    /// the body was.
    async fn put(&self, key: &str, body: Body) -> Result<Stored, StoreError>;

    /// Reads `key`, or the part of it in `range`.
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, StoreError>;

    /// What is known of `key`.
    async fn head(&self, key: &str) -> Result<Object, StoreError>;

    /// Everything below `prefix` (empty, or ending in `/`), all pages of it. An absent folder is
    /// an empty list; an absent bucket, or a list that came back short, is an error.
    async fn list(&self, prefix: &str, depth: Depth) -> Result<Listing, StoreError>;

    /// Removes `key`; an absent one is no error.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;
}

/// How people fetch an object without Lifeboat: a shell command around its quoted key.
#[derive(Debug, Clone, Default)]
pub struct ManualFetch {
    /// The command up to the object's address, such as `aws s3 cp`.
    pub command: String,
    /// What stands before the key in the object's address, such as `s3://bucket/prefix/`.
    pub root: String,
    /// What follows the target file, such as `--endpoint-url …`.
    pub options: String,
}

impl ManualFetch {
    /// The line that puts the object at `key` into `./<file>`.
    pub fn line(&self, key: &str, file: &str) -> String {
        let address = format!("{}{key}", self.root).replace('\'', r"'\''");
        let line = format!("{} '{address}' {file} {}", self.command, self.options);
        line.trim_end().to_owned()
    }
}

/// A named, opened place for backups.
#[derive(Debug, Clone)]
pub struct Destination {
    name: String,
    address: String,
    manual: ManualFetch,
    store: Arc<dyn Store>,
}

impl Destination {
    /// A destination over any store; `address` is what people see, without secrets.
    pub fn new(
        name: impl Into<String>,
        address: impl Into<String>,
        manual: ManualFetch,
        store: Arc<dyn Store>,
    ) -> Self {
        Self {
            name: name.into(),
            address: address.into(),
            manual,
            store,
        }
    }

    /// How people fetch its objects without Lifeboat.
    pub fn manual(&self) -> &ManualFetch {
        &self.manual
    }

    /// Its name in the configuration, or its URL when it was given as one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is, as a URL without secrets.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// See [`Store::put`].
    pub async fn put(&self, key: &str, body: Body) -> Result<Stored, StoreError> {
        self.store.put(key, body).await
    }

    /// See [`Store::head`].
    pub async fn head(&self, key: &str) -> Result<Object, StoreError> {
        self.store.head(key).await
    }

    /// See [`Store::list`].
    pub async fn list(&self, prefix: &str, depth: Depth) -> Result<Listing, StoreError> {
        self.store.list(prefix, depth).await
    }

    /// See [`Store::delete`].
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.store.delete(key).await
    }

    /// Creates a small object in one piece.
    pub async fn put_small(
        &self,
        key: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<Stored, StoreError> {
        self.put(key, Body::from(bytes.into())).await
    }
}

/// Waits until the stores have removed what was uploaded before it was given up, at most `limit`.
/// To be called before the process ends.
pub async fn settled(limit: std::time::Duration) -> bool {
    let (gcs, s3) = tokio::join!(gcs::settle(limit), s3::settle(limit));
    gcs && s3
}
