//! A store that fails on demand, around the real local one.

use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use lifeboat::destination::local::LocalStore;
use lifeboat::destination::{
    Body, BrokenOff, ByteStream, Depth, Listing, Object, Store, StoreError, StoreErrorKind, Stored,
};

/// A store method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Put,
    Get,
    Head,
    List,
    Delete,
}

/// When a method fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was done.
    Before,
    /// It was done, and the answer was lost.
    After,
    /// The body is cut after so many bytes.
    Cut(u64),
}

/// See the module.
#[derive(Debug)]
pub struct Faulty {
    inner: LocalStore,
    faults: Mutex<Vec<(Call, &'static str, Fault)>>,
    calls: Mutex<Vec<(Call, String)>>,
}

impl Faulty {
    pub fn new(root: &Path) -> Self {
        Self {
            inner: LocalStore::new(root),
            faults: Mutex::default(),
            calls: Mutex::default(),
        }
    }

    /// Makes every `call` fail whose key contains `part`.
    pub fn fail(&self, call: Call, part: &'static str, fault: Fault) {
        self.faults.lock().unwrap().push((call, part, fault));
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// The calls so far, and forgets them.
    pub fn take_calls(&self) -> Vec<(Call, String)> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    fn fault(&self, call: Call, key: &str) -> Option<Fault> {
        self.calls.lock().unwrap().push((call, key.to_owned()));
        let faults = self.faults.lock().unwrap();
        faults
            .iter()
            .find(|(c, part, _)| *c == call && key.contains(part))
            .map(|(_, _, f)| *f)
    }
}

fn broken(action: &'static str, key: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Other, action, key, "made to fail")
}

#[async_trait]
impl Store for Faulty {
    async fn put(&self, key: &str, body: Body) -> Result<Stored, StoreError> {
        match self.fault(Call::Put, key) {
            None => self.inner.put(key, body).await,
            Some(Fault::Before) => Err(broken("write", key)),
            Some(Fault::After) => {
                self.inner.put(key, body).await?;
                Err(broken("write", key))
            }
            Some(Fault::Cut(limit)) => {
                let cut =
                    futures_util::stream::unfold((body, limit), |(mut body, left)| async move {
                        let chunk: Result<Bytes, BrokenOff> = match body.next().await? {
                            Ok(chunk) if (chunk.len() as u64) > left => {
                                Err(BrokenOff("made to break".into()))
                            }
                            other => other,
                        };
                        let left =
                            left.saturating_sub(chunk.as_ref().map_or(0, |c| c.len() as u64));
                        Some((chunk, (body, left)))
                    });
                let _ = self.inner.put(key, Body::from_stream(cut, None)).await;
                Err(broken("write", key))
            }
        }
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        match self.fault(Call::Get, key) {
            None => self.inner.get(key, range).await,
            Some(_) => Err(broken("read", key)),
        }
    }

    async fn head(&self, key: &str) -> Result<Object, StoreError> {
        match self.fault(Call::Head, key) {
            None => self.inner.head(key).await,
            Some(_) => Err(broken("look up", key)),
        }
    }

    async fn list(&self, prefix: &str, depth: Depth) -> Result<Listing, StoreError> {
        match self.fault(Call::List, prefix) {
            None => self.inner.list(prefix, depth).await,
            Some(_) => Err(broken("list", prefix)),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self.fault(Call::Delete, key) {
            None => self.inner.delete(key).await,
            Some(Fault::Before | Fault::Cut(_)) => Err(broken("delete", key)),
            Some(Fault::After) => {
                self.inner.delete(key).await?;
                Err(broken("delete", key))
            }
        }
    }
}
