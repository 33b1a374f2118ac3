use aws_smithy_types::base64;
use bytes::{Bytes, BytesMut};
use crc_fast::CrcAlgorithm;

use super::config::SMALLEST_PART;
use crate::destination::{Body, BrokenOff};

/// The most parts an upload may have.
pub(super) const MOST_PARTS: u64 = 10_000;
/// The parts that an upload of the expected size is cut into at most; the rest is a margin.
const PLANNED_PARTS: u64 = 9_000;
/// What a buffer begins with when nothing is known of the body's size.
const FIRST_ROOM: usize = 64 << 10;
const MIB: u64 = 1 << 20;

/// The part size for a body: the configured one, grown as far as the number of parts asks for.
pub(super) fn part_size(configured: Option<u64>, expected: Option<u64>) -> usize {
    let needed = expected
        .unwrap_or(0)
        .div_ceil(PLANNED_PARTS)
        .next_multiple_of(MIB);
    let size = configured.unwrap_or(SMALLEST_PART).max(needed);
    usize::try_from(size).unwrap_or(usize::MAX)
}

/// Cuts a body into parts, each in one buffer. Buffers come back and are used again, so that an
/// upload takes memory for its parts in flight and no more.
pub(super) struct Cutter {
    body: Body,
    size: usize,
    filling: BytesMut,
    carry: Bytes,
    ended: bool,
    spare: Vec<BytesMut>,
}

/// One part of a body.
pub(super) struct Part {
    pub bytes: Bytes,
    /// Whether the body ends with it.
    pub last: bool,
}

impl Cutter {
    pub fn new(body: Body, size: usize) -> Self {
        let expected = body
            .expected()
            .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let room = expected.unwrap_or(FIRST_ROOM).clamp(1, size);
        let filling = BytesMut::with_capacity(room);
        Self {
            body,
            size,
            filling,
            carry: Bytes::new(),
            ended: false,
            spare: Vec::new(),
        }
    }

    /// The next part. Whether it is the last is known only when the body went on or ended, so
    /// that no empty part follows. May be dropped and called again.
    pub async fn next(&mut self) -> Result<Part, BrokenOff> {
        loop {
            self.fill();
            if !self.carry.is_empty() || self.ended {
                break;
            }
            match self.body.next().await {
                Some(chunk) => self.carry = chunk?,
                None => self.ended = true,
            }
        }
        let last = self.ended && self.carry.is_empty();
        let bytes = std::mem::take(&mut self.filling).freeze();
        Ok(Part { bytes, last })
    }

    /// Gives a part's buffer back, once nobody else holds it.
    pub fn recycle(&mut self, bytes: Bytes) {
        if let Ok(mut buffer) = bytes.try_into_mut() {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    fn fill(&mut self) {
        let room = self.size - self.filling.len();
        let chunk = self.carry.split_to(room.min(self.carry.len()));
        let needed = self.filling.len() + chunk.len();
        if needed > self.filling.capacity() {
            self.grow(needed);
        }
        self.filling.extend_from_slice(&chunk);
    }

    /// Only the first buffer grows; all others have a part's size from the start.
    fn grow(&mut self, needed: usize) {
        let room = match self.filling.capacity() {
            0 => self.size,
            room => needed.max(2 * room).min(self.size),
        };
        let spare = self.spare.pop().filter(|buffer| buffer.capacity() >= room);
        let mut grown = spare.unwrap_or_else(|| BytesMut::with_capacity(room));
        grown.extend_from_slice(&self.filling);
        self.filling = grown;
    }
}

/// The value of `x-amz-checksum-crc32c`.
pub(super) fn checksum(bytes: &[u8]) -> String {
    let crc = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes);
    let crc = u32::try_from(crc).unwrap_or_default();
    base64::encode(crc.to_be_bytes())
}
