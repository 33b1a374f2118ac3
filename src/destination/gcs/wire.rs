//! Requests with a large body, which are given up when it stands still.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::error::{Cause, Failure};
use super::limits::GcsLimits;

/// What is handed to the socket at once; the unit in which progress is seen.
const FRAME: usize = 128 << 10;

/// Sends `request` with `pieces` as its body, once.
pub(super) async fn send(
    request: reqwest::RequestBuilder,
    pieces: VecDeque<Bytes>,
    limits: &GcsLimits,
) -> Result<reqwest::Response, Failure> {
    let left = pieces.iter().map(Bytes::len).sum();
    let limit = limits.upload(left);
    let progress = Arc::new(Progress::new());
    let body = Frames {
        pieces,
        left,
        progress: progress.clone(),
    };
    let sent = request.body(reqwest::Body::wrap(body)).send();
    tokio::select! {
        answer = sent => Ok(answer?),
        () = progress.stalled(limits.stall) => {
            let why = format!("no bytes went out for {} s", limits.stall.as_secs());
            Err(Failure::new(Cause::Timeout, why))
        }
        () = tokio::time::sleep(limit) => Err(Failure::timeout()),
    }
}

/// When a body last moved.
struct Progress {
    begin: Instant,
    last: AtomicU64,
    ended: AtomicBool,
}

impl Progress {
    fn new() -> Self {
        Self {
            begin: Instant::now(),
            last: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        }
    }

    fn made(&self) {
        let at = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(at, Ordering::Relaxed);
    }

    /// Resolves when nothing moved for `limit`. What the system has taken may still be on its way
    /// for long, so that a body that was handed over whole has only the request's time limit.
    async fn stalled(&self, limit: Duration) {
        loop {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let idle = self.begin.elapsed().saturating_sub(last);
            match limit.checked_sub(idle) {
                Some(left) if !left.is_zero() => tokio::time::sleep(left).await,
                _ if self.ended.load(Ordering::Relaxed) => std::future::pending().await,
                _ => return,
            }
        }
    }
}

/// A body in memory, handed out in frames.
struct Frames {
    pieces: VecDeque<Bytes>,
    left: usize,
    progress: Arc<Progress>,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.progress.made();
        let Some(mut piece) = self.pieces.pop_front() else {
            return Poll::Ready(None);
        };
        let frame = piece.split_to(piece.len().min(FRAME));
        if !piece.is_empty() {
            self.pieces.push_front(piece);
        }
        self.left -= frame.len();
        self.progress.ended.store(self.left == 0, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}
