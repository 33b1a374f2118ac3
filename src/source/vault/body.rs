//! Files on their way to a server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::stream;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

/// What is handed over at once; the unit in which progress is seen.
const PIECE: usize = 256 << 10;

/// A body of `bytes` bytes out of a file.
///
/// Nobody asks for the end of a body whose length was said, so the last byte is the end.
pub(super) fn of(file: tokio::fs::File, bytes: u64, progress: Arc<Progress>) -> reqwest::Body {
    let begin = (file, bytes, progress);
    let pieces = stream::unfold(begin, |(mut file, left, progress)| async move {
        progress.made();
        if left == 0 {
            return None;
        }
        let most = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        let mut piece = vec![0; most];
        match file.read(&mut piece).await {
            Ok(0) => {
                let cut = std::io::Error::other("the file is shorter than it was");
                Some((Err(cut), (file, 0, progress)))
            }
            Ok(read) => {
                piece.truncate(read);
                let left = left - read as u64;
                if left == 0 {
                    progress.end();
                }
                Some((Ok(piece), (file, left, progress)))
            }
            Err(error) => Some((Err(error), (file, 0, progress))),
        }
    });
    reqwest::Body::wrap_stream(pieces)
}

/// When a request's body last moved.
#[derive(Debug)]
pub(super) struct Progress {
    begin: Instant,
    last: AtomicU64,
    ended: OnceLock<Instant>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            begin: Instant::now(),
            last: AtomicU64::new(0),
            ended: OnceLock::new(),
        }
    }

    fn made(&self) {
        let at = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(at, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        let _ = self.ended.set(Instant::now());
    }

    /// Whether the body has gone in full.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get().is_some()
    }

    /// Resolves when the time is up: that for the answer, once the body has gone, else that for
    /// the next piece. Answers whether the body had gone.
    pub(super) async fn watch(&self, stall: Duration, answer: Duration) -> bool {
        loop {
            let (idle, limit) = match self.ended.get() {
                Some(ended) => (ended.elapsed(), answer),
                None => {
                    let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
                    (self.begin.elapsed().saturating_sub(last), stall)
                }
            };
            match limit.checked_sub(idle) {
                Some(left) if !left.is_zero() => {
                    // The end of the body may come before the time is up.
                    tokio::time::sleep(left.min(Duration::from_secs(1))).await;
                }
                _ => return self.has_ended(),
            }
        }
    }
}
