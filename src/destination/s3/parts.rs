use std::io;

use aws_smithy_types::base64;
use bytes::Bytes;
use crc_fast::CrcAlgorithm;

use super::config::SMALLEST_PART;
use crate::block::{Block, Blocks};
use crate::destination::{Body, BrokenOff};

/// The parts that an upload of the expected size is cut into at most. S3 allows 10,000; the rest
/// is a margin.
const PLANNED_PARTS: u64 = 9_000;
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

/// Cuts a body into parts, each in one buffer. A buffer is used again when its part was sent, so
/// that an upload takes memory for its parts in flight and no more.
pub(super) struct Cutter {
    body: Body,
    size: usize,
    blocks: Blocks,
    filling: Option<(Block, usize)>,
    carry: Bytes,
    ended: bool,
}

/// One part of a body.
pub(super) struct Part {
    pub bytes: Bytes,
    /// Whether the body ends with it.
    pub last: bool,
}

/// Why there is no next part.
#[derive(Debug)]
pub(super) enum NoPart {
    BrokenOff(BrokenOff),
    NoMemory(io::Error),
}

impl Cutter {
    pub fn new(body: Body, size: usize) -> Self {
        Self {
            body,
            size,
            blocks: Blocks::of(size),
            filling: None,
            carry: Bytes::new(),
            ended: false,
        }
    }

    /// The size of every part but the last.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The next part. Whether it is the last is known only when the body went on or ended, so
    /// that no empty part follows. May be dropped and called again.
    pub async fn next(&mut self) -> Result<Part, NoPart> {
        loop {
            self.fill().map_err(NoPart::NoMemory)?;
            if !self.carry.is_empty() || self.ended {
                break;
            }
            match self.body.next().await {
                Some(chunk) => self.carry = chunk.map_err(NoPart::BrokenOff)?,
                None => self.ended = true,
            }
        }
        let filled = self.filling.take();
        Ok(Part {
            bytes: filled.map_or_else(Bytes::new, |(block, filled)| block.freeze(filled)),
            last: self.ended && self.carry.is_empty(),
        })
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.carry.is_empty() {
            return Ok(());
        }
        let (mut block, filled) = match self.filling.take() {
            Some(filling) => filling,
            None => (self.blocks.take()?, 0),
        };
        let chunk = self
            .carry
            .split_to(self.carry.len().min(self.size - filled));
        let end = filled + chunk.len();
        block.bytes_mut()[filled..end].copy_from_slice(&chunk);
        self.filling = Some((block, end));
        Ok(())
    }
}

/// The value of `x-amz-checksum-crc32c`.
pub(super) fn checksum(bytes: &[u8]) -> String {
    let crc = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes);
    let crc = u32::try_from(crc).unwrap_or_default();
    base64::encode(crc.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn parts_grow_with_the_expected_size_and_stay_within_the_limit() {
        assert_eq!(part_size(None, None), 5 << 20);
        assert_eq!(part_size(None, Some(40 * GIB)), 5 << 20);
        assert_eq!(part_size(Some(64 << 20), Some(40 * GIB)), 64 << 20);
        assert_eq!(part_size(None, Some(0)), 5 << 20);
        for gib in [44, 100, 1000, 48_000] {
            let size = part_size(None, Some(gib * GIB)) as u64;
            assert!(
                (gib * GIB).div_ceil(size) <= PLANNED_PARTS,
                "{gib} GiB in {size}"
            );
            assert_eq!(size % MIB, 0);
        }
    }

    #[test]
    fn the_checksum_is_that_of_the_specification() {
        // CRC-32C of "123456789" is 0xe3069283.
        assert_eq!(checksum(b"123456789"), "4waSgw==");
    }

    async fn cut(chunks: Vec<Bytes>, expected: Option<u64>, size: usize) -> Vec<Bytes> {
        let body = Body::from_stream(stream::iter(chunks.into_iter().map(Ok)), expected);
        let mut cutter = Cutter::new(body, size);
        let mut parts = Vec::new();
        loop {
            let part = cutter.next().await.unwrap();
            let last = part.last;
            // What was sent is freed; its bytes must not be seen in later parts.
            parts.push(Bytes::copy_from_slice(&part.bytes));
            if last {
                return parts;
            }
        }
    }

    proptest! {
        #[test]
        fn parts_are_equal_but_for_the_last_and_add_up(
            lengths in prop::collection::vec(0_usize..700, 0..20),
            size in 1_usize..300,
            expected in prop::option::of(0_u64..10_000),
        ) {
            let whole: Vec<u8> = (0_u8..251).cycle().take(lengths.iter().sum()).collect();
            let mut rest = Bytes::from(whole.clone());
            let chunks = lengths.iter().map(|&length| rest.split_to(length)).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let parts = runtime.block_on(cut(chunks, expected, size));
            prop_assert_eq!(parts.concat(), whole.clone());
            prop_assert_eq!(parts.len(), whole.len().div_ceil(size).max(1));
            let (last, full) = parts.split_last().unwrap();
            prop_assert!(full.iter().all(|part| part.len() == size));
            prop_assert!(last.len() <= size);
        }
    }
}
