use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::mpsc;

/// The writer gave up: what was written so far must not become an object.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct BrokenOff(pub String);

/// Bytes on their way into a store. The end of the stream means "complete"; [`BrokenOff`] means
/// "forget it". A stream that just stops, because its sender vanished, is broken off too.
pub struct Body {
    chunks: Pin<Box<dyn Stream<Item = Result<Bytes, BrokenOff>> + Send>>,
    expected: Option<u64>,
}

enum Message {
    Chunk(Bytes),
    End(Result<(), BrokenOff>),
}

/// The writing end of a [`Body`]. Dropping it without [`BodySender::finish`] breaks the body off.
#[derive(Debug, Clone)]
pub struct BodySender(mpsc::Sender<Message>);

/// The reader of the body is gone: its store has failed.
#[derive(Debug)]
pub struct ReaderGone;

impl Body {
    /// A body and its writing end, with room for `depth` chunks between them. `expected` is the
    /// likely size in bytes, an upper bound if anything; stores size their parts by it.
    pub fn channel(depth: usize, expected: Option<u64>) -> (BodySender, Self) {
        let (sender, receiver) = mpsc::channel(depth);
        let chunks = stream::unfold(Some(receiver), |state| async {
            let mut receiver = state?;
            match receiver.recv().await {
                Some(Message::Chunk(bytes)) => Some((Ok(bytes), Some(receiver))),
                Some(Message::End(Ok(()))) => None,
                Some(Message::End(Err(why))) => Some((Err(why), None)),
                None => Some((Err(BrokenOff("the writer stopped".into())), None)),
            }
        });
        (
            BodySender(sender),
            Self {
                chunks: Box::pin(chunks),
                expected,
            },
        )
    }

    /// A body over any stream of chunks.
    pub fn from_stream(
        chunks: impl Stream<Item = Result<Bytes, BrokenOff>> + Send + 'static,
        expected: Option<u64>,
    ) -> Self {
        Self {
            chunks: Box::pin(chunks),
            expected,
        }
    }

    /// The likely size in bytes, if the writer knows it.
    pub fn expected(&self) -> Option<u64> {
        self.expected
    }

    /// The next chunk, `None` at the proper end.
    pub async fn next(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        self.chunks.next().await
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        let expected = Some(bytes.len() as u64);
        Self::from_stream(stream::iter([Ok(bytes)]), expected)
    }
}

impl Stream for Body {
    type Item = Result<Bytes, BrokenOff>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.chunks.as_mut().poll_next(cx)
    }
}

impl BodySender {
    /// Hands over a chunk from a blocking thread, waiting for room.
    ///
    /// # Errors
    /// When the store that reads the body has failed.
    pub fn blocking_send(&self, chunk: Bytes) -> Result<(), ReaderGone> {
        self.0
            .blocking_send(Message::Chunk(chunk))
            .map_err(|_| ReaderGone)
    }

    /// Hands over a chunk, waiting for room.
    ///
    /// # Errors
    /// When the store that reads the body has failed.
    pub async fn send(&self, chunk: Bytes) -> Result<(), ReaderGone> {
        self.0
            .send(Message::Chunk(chunk))
            .await
            .map_err(|_| ReaderGone)
    }

    /// Ends the body: `Ok` makes the object, `Err` forgets it.
    pub async fn finish(self, end: Result<(), BrokenOff>) {
        // A reader that is gone has failed already and says so itself.
        let _ = self.0.send(Message::End(end)).await;
    }
}
