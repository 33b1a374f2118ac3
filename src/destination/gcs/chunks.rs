use std::io;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};

use crate::block::{Block, Blocks};
use crate::destination::{Body, BrokenOff};

/// Cuts a body into chunks, each in one buffer that is used again when the chunk was sent, and
/// keeps the checksum of all of them.
pub(super) struct Cutter {
    body: Body,
    size: usize,
    blocks: Blocks,
    filling: Option<(Block, usize)>,
    carry: Bytes,
    ended: bool,
    crc: Digest,
}

/// One chunk of a body.
pub(super) struct Chunk {
    pub bytes: Bytes,
    /// Whether the body ends with it.
    pub last: bool,
    /// The CRC32C of the body up to its end.
    pub crc: u32,
}

/// Why there is no next chunk.
#[derive(Debug)]
pub(super) enum NoChunk {
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
            crc: Digest::new(CrcAlgorithm::Crc32Iscsi),
        }
    }

    /// The next chunk. Whether it is the last is known only when the body went on or ended. May be
    /// dropped and called again.
    pub async fn next(&mut self) -> Result<Chunk, NoChunk> {
        loop {
            self.fill().map_err(NoChunk::NoMemory)?;
            if !self.carry.is_empty() || self.ended {
                break;
            }
            match self.body.next().await {
                Some(piece) => self.carry = piece.map_err(NoChunk::BrokenOff)?,
                None => self.ended = true,
            }
        }
        let filled = self.filling.take();
        let bytes = filled.map_or_else(Bytes::new, |(block, filled)| block.freeze(filled));
        self.crc.update(&bytes);
        Ok(Chunk {
            bytes,
            last: self.ended && self.carry.is_empty(),
            crc: u32::try_from(self.crc.finalize()).unwrap_or_default(),
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
        let piece = self
            .carry
            .split_to(self.carry.len().min(self.size - filled));
        let end = filled + piece.len();
        block.bytes_mut()[filled..end].copy_from_slice(&piece);
        self.filling = Some((block, end));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn chunks_are_equal_but_for_the_last_and_add_up(
            lengths in prop::collection::vec(0_usize..700, 0..20),
            size in 1_usize..300,
        ) {
            let whole: Vec<u8> = (0_u8..251).cycle().take(lengths.iter().sum()).collect();
            let mut rest = Bytes::from(whole.clone());
            let pieces: Vec<_> = lengths.iter().map(|&n| Ok(rest.split_to(n))).collect();
            let mut cutter = Cutter::new(Body::from_stream(stream::iter(pieces), None), size);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut chunks = Vec::new();
            let crc = loop {
                let chunk = runtime.block_on(cutter.next()).unwrap();
                chunks.push(chunk.bytes.to_vec());
                if chunk.last {
                    break chunk.crc;
                }
            };
            prop_assert_eq!(chunks.concat(), whole.clone());
            prop_assert_eq!(chunks.len(), whole.len().div_ceil(size).max(1));
            let (last, full) = chunks.split_last().unwrap();
            prop_assert!(full.iter().all(|chunk| chunk.len() == size));
            prop_assert!(last.len() <= size);
            let expected = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, &whole);
            prop_assert_eq!(u64::from(crc), expected);
        }
    }
}
