use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};

use super::{ByteStream, Destination, StoreError, StoreErrorKind};

/// How often a download that broke is taken up again where it stopped, without any progress
/// between two breaks.
const RESUMES: u32 = 4;

struct Download {
    destination: Destination,
    key: String,
    bytes: u64,
    at: u64,
    open: Option<ByteStream>,
    resumes_left: u32,
}

impl Destination {
    /// Reads all `bytes` of `key`; a connection that breaks on the way is taken up again by range.
    pub fn read(&self, key: &str, bytes: u64) -> ByteStream {
        let download = Download {
            destination: self.clone(),
            key: key.to_owned(),
            bytes,
            at: 0,
            open: None,
            resumes_left: RESUMES,
        };
        stream::unfold(Some(download), |state| async {
            let mut download = state?;
            match download.next().await {
                Some(Ok(chunk)) => Some((Ok(chunk), Some(download))),
                Some(Err(error)) => Some((Err(error), None)),
                None => None,
            }
        })
        .boxed()
    }

    /// Reads a small object whole.
    ///
    /// # Errors
    /// [`StoreErrorKind::Damaged`] when it is longer than `limit` bytes.
    pub async fn read_small(&self, key: &str, limit: usize) -> Result<Bytes, StoreError> {
        let mut attempt = 0;
        loop {
            match self.read_once(key, limit).await {
                Err(error) if error.kind == StoreErrorKind::Unreachable && attempt < RESUMES => {
                    attempt += 1;
                    pause(attempt).await;
                }
                other => return other,
            }
        }
    }

    async fn read_once(&self, key: &str, limit: usize) -> Result<Bytes, StoreError> {
        let mut chunks = self.store.get(key, None).await?;
        let mut whole = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            whole.extend_from_slice(&chunk?);
            if whole.len() > limit {
                let why = format!("is longer than the {limit} bytes expected of it");
                return Err(StoreError::new(StoreErrorKind::Damaged, "read", key, why));
            }
        }
        Ok(whole.freeze())
    }
}

impl Download {
    async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        loop {
            if self.open.is_none() {
                if self.at >= self.bytes {
                    return None;
                }
                let range = (self.at > 0).then_some(self.at..self.bytes);
                match self.destination.store.get(&self.key, range).await {
                    Ok(chunks) => self.open = Some(chunks),
                    Err(error) => match self.give_up(error).await {
                        Some(error) => return Some(Err(error)),
                        None => continue,
                    },
                }
            }
            match self.open.as_mut()?.next().await {
                Some(Ok(chunk)) => {
                    self.at += chunk.len() as u64;
                    self.resumes_left = RESUMES;
                    return Some(Ok(chunk));
                }
                Some(Err(error)) => {
                    self.open = None;
                    if let Some(error) = self.give_up(error).await {
                        return Some(Err(error));
                    }
                }
                // Short or long, the digest check that follows says so in better words.
                None => return None,
            }
        }
    }

    /// The error, when it is final; otherwise waits for the next attempt.
    async fn give_up(&mut self, error: StoreError) -> Option<StoreError> {
        if error.kind != StoreErrorKind::Unreachable || self.resumes_left == 0 {
            return Some(error);
        }
        self.resumes_left -= 1;
        pause(RESUMES - self.resumes_left).await;
        None
    }
}

async fn pause(attempt: u32) {
    let wait = std::time::Duration::from_millis(100) * 3_u32.saturating_pow(attempt);
    tokio::time::sleep(wait).await;
}
