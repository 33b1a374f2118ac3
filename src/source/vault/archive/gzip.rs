use crc_fast::{CrcAlgorithm, Digest};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY,
    TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{BlockBoundaryState, DecompressorOxide, decompress};

use crate::source::SourceError;

/// What Go's gzip writer begins with when it is told nothing but a level from 0 to 8, as all these
/// servers do: no name, no time, no extra flags, an unknown operating system (`compress/gzip`,
/// `gzip.go`).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// CRC-32 and length, both little-endian.
const TRAILER: usize = 8;

/// Inflated bytes that are kept, because later ones may repeat them: DEFLATE reaches back 32 KiB.
/// The decompressor wants a power of two.
const RING: usize = 64 * 1024;

/// What takes the inflated bytes.
pub(super) type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), SourceError> + 'a;

/// Undoes one gzip stream and proves it to the last bit.
///
/// A decompressor ignores the bits that fill up a byte before a stored block and at the end of the
/// stream. So it gets the compressed blocks only, one at a time and never as the last one, and
/// stops behind each; block headers, stored blocks and the filling bits are read here.
#[derive(Clone)]
pub(super) struct Gunzip {
    stage: Stage,
    /// Bits of the last byte that belong to the next block.
    bits: Bits,
    /// Whether the present block is the last one.
    last: bool,
    block: DecompressorOxide,
    ring: Vec<u8>,
    /// Where in the ring the next inflated byte goes.
    at: usize,
    /// Whether the whole ring holds inflated bytes.
    full: bool,
    crc: Digest,
    /// Inflated bytes.
    bytes: u64,
}

/// What a whole stream held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inflated {
    pub bytes: u64,
    pub crc: u32,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// So many bytes of the header were seen.
    Header(usize),
    BlockHead,
    Compressed,
    /// Length and its complement, of which so many bytes were seen.
    StoredLength([u8; 4], usize),
    /// So many bytes of a stored block are to come.
    Stored(usize),
    Trailer([u8; TRAILER], usize),
    Done,
}

/// Up to seven bits, the next one lowest; those above `count` are zero.
#[derive(Debug, Clone, Copy, Default)]
struct Bits {
    count: u8,
    value: u8,
}

impl Gunzip {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Header(0),
            bits: Bits::default(),
            last: false,
            block: DecompressorOxide::new(),
            ring: vec![0; RING],
            at: 0,
            full: false,
            crc: Digest::new(CrcAlgorithm::Crc32IsoHdlc),
            bytes: 0,
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), SourceError> {
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            match self.stage {
                Stage::Header(seen) => {
                    header_byte(seen, first)?;
                    self.stage = match seen + 1 {
                        10 => Stage::BlockHead,
                        seen => Stage::Header(seen),
                    };
                    rest = &rest[1..];
                }
                Stage::BlockHead => {
                    if self.block_head(first, sink)? {
                        rest = &rest[1..];
                    }
                }
                Stage::Compressed => {
                    let taken = self.inflate(rest, sink)?;
                    rest = &rest[taken..];
                }
                Stage::StoredLength(mut length, seen) => {
                    length[seen] = first;
                    rest = &rest[1..];
                    self.stage = Stage::StoredLength(length, seen + 1);
                    if seen + 1 == length.len() {
                        self.stored_length(length)?;
                    }
                }
                Stage::Stored(left) => {
                    let room = RING - self.at;
                    let taken = rest.len().min(left).min(room);
                    self.ring[self.at..self.at + taken].copy_from_slice(&rest[..taken]);
                    self.emit(taken, sink)?;
                    rest = &rest[taken..];
                    self.stage = Stage::Stored(left - taken);
                    if left == taken {
                        self.block_end(Bits::default())?;
                    }
                }
                Stage::Trailer(mut trailer, seen) => {
                    trailer[seen] = first;
                    rest = &rest[1..];
                    self.stage = Stage::Trailer(trailer, seen + 1);
                    if seen + 1 == TRAILER {
                        self.trailer(trailer)?;
                    }
                }
                Stage::Done => {
                    return Err(SourceError::damaged("the snapshot has bytes after its end"));
                }
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Inflated, SourceError> {
        let missing = match self.stage {
            Stage::Done => {
                let crc = self.crc32();
                return Ok(Inflated {
                    bytes: self.bytes,
                    crc,
                });
            }
            Stage::Header(0) => return Err(SourceError::damaged("the snapshot is empty")),
            Stage::Header(_) => "it ends in the gzip header",
            Stage::Trailer(_, 0) => "the gzip trailer is missing",
            Stage::Trailer(..) => "it ends in the gzip trailer",
            _ => "it ends in the compressed data",
        };
        Err(SourceError::damaged(format!(
            "the snapshot is cut short: {missing}"
        )))
    }

    /// Reads the three bits every block begins with; answers whether it used `next` up.
    fn block_head(&mut self, next: u8, sink: &mut Sink<'_>) -> Result<bool, SourceError> {
        let Bits { count, value } = self.bits;
        let used = count < 3;
        let mut bits = u16::from(value);
        if used {
            bits |= u16::from(next) << count;
        }
        self.last = bits & 1 == 1;
        match (bits >> 1) & 3 {
            0 if bits >> 3 != 0 => {
                return Err(damaged("bits that must be zero before a block are not"));
            }
            0 => self.stage = Stage::StoredLength([0; 4], 0),
            1 | 2 => {
                // Behind its last block the decompressor would skip the filling bits, so that no
                // block is the last one to it.
                let not_last = |byte: u8| byte & !1;
                self.block = DecompressorOxide::from_block_boundary_state(&BlockBoundaryState {
                    num_bits: count,
                    bit_buf: not_last(value),
                    ..BlockBoundaryState::default()
                });
                self.stage = Stage::Compressed;
                if used {
                    let next = if count == 0 { not_last(next) } else { next };
                    self.inflate(&[next], sink)?;
                }
            }
            _ => return Err(damaged("a block is of no known type")),
        }
        Ok(used)
    }

    fn stored_length(&mut self, [a, b, c, d]: [u8; 4]) -> Result<(), SourceError> {
        let length = u16::from_le_bytes([a, b]);
        if length != !u16::from_le_bytes([c, d]) {
            return Err(damaged("the length of a stored block is not right"));
        }
        if length == 0 {
            return self.block_end(Bits::default());
        }
        self.stage = Stage::Stored(length.into());
        Ok(())
    }

    /// Takes what of `bytes` belongs to the present block, and answers how much that was.
    fn inflate(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Result<usize, SourceError> {
        let mut taken = 0;
        loop {
            let mut flags = TINFL_FLAG_HAS_MORE_INPUT | TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY;
            if !self.full {
                // Makes it an error to repeat what was before the first byte.
                flags |= TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
            }
            let (status, read, written) = decompress(
                &mut self.block,
                &bytes[taken..],
                &mut self.ring,
                self.at,
                flags,
            );
            taken += read;
            self.emit(written, sink)?;
            match status {
                TINFLStatus::HasMoreOutput => {}
                TINFLStatus::NeedsMoreInput => return Ok(taken),
                TINFLStatus::BlockBoundary => {
                    let state = self.block.block_boundary_state();
                    self.block_end(state.map_or_else(Bits::default, |state| Bits {
                        count: state.num_bits,
                        value: state.bit_buf,
                    }))?;
                    return Ok(taken);
                }
                _ => return Err(damaged("it cannot be inflated")),
            }
        }
    }

    fn block_end(&mut self, bits: Bits) -> Result<(), SourceError> {
        self.bits = bits;
        self.stage = Stage::BlockHead;
        if self.last {
            if bits.value != 0 {
                return Err(damaged("bits that must be zero at its end are not"));
            }
            self.stage = Stage::Trailer([0; TRAILER], 0);
        }
        Ok(())
    }

    fn emit(&mut self, length: usize, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        let inflated = &self.ring[self.at..self.at + length];
        self.crc.update(inflated);
        self.bytes += length as u64;
        self.at += length;
        if self.at == RING {
            self.at = 0;
            self.full = true;
        }
        sink(inflated)
    }

    fn trailer(&mut self, trailer: [u8; TRAILER]) -> Result<(), SourceError> {
        let [crc, length] = [0, 4].map(|at| {
            let word = [0, 1, 2, 3].map(|byte| trailer[at + byte]);
            u32::from_le_bytes(word)
        });
        let found = self.crc32();
        if crc != found {
            return Err(damaged(&format!(
                "its checksum is {crc:08x}, its contents give {found:08x}"
            )));
        }
        if u64::from(length) != self.bytes & u64::from(u32::MAX) {
            return Err(damaged("its length does not match its contents"));
        }
        self.stage = Stage::Done;
        Ok(())
    }

    fn crc32(&self) -> u32 {
        // A CRC of 32 bits comes in the lower half.
        u32::try_from(self.crc.finalize()).unwrap_or(u32::MAX)
    }
}

fn header_byte(at: usize, byte: u8) -> Result<(), SourceError> {
    if byte == HEADER[at] {
        return Ok(());
    }
    let why = match (at, byte) {
        (0, b'<') => "it begins like a web page",
        (0, b'{' | b'[') => "it begins like JSON",
        (0 | 1, _) => "it is not a gzip stream",
        _ => {
            return Err(SourceError::damaged(format!(
                "the gzip header is damaged, or another program packed this: \
                 byte {at} is {byte:02x}, not {:02x}",
                HEADER[at]
            )));
        }
    };
    Err(SourceError::damaged(format!(
        "this is not a snapshot archive: {why}"
    )))
}

fn damaged(why: &str) -> SourceError {
    SourceError::damaged(format!("the gzip stream is damaged: {why}"))
}
