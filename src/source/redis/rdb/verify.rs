use std::sync::LazyLock;

use crc_fast::{CrcParams, Digest};
use memchr::memmem::Finder;

use super::head::{HEADER, Header};
use super::{HEAD_LIMIT, TAIL, parse_head, parse_tail};
use crate::source::{Check, Facts, Proof, SourceError, Verifier};

/// `REDIS` and `VALKEY` as they begin in every header, a version below 1000 included.
static MAGICS: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [Finder::new(b"REDIS0"), Finder::new(b"VALKEY")]);

/// Header, end-of-file mark and footer: no dump is shorter.
const SHORTEST: u64 = (HEADER + TAIL) as u64;

/// What is read through three times, twice for headers and once for the checksum, stays in the
/// processor's cache.
const PIECE: usize = 64 * 1024;

/// Proves an RDB file in one pass: its header, its CRC64, and that nothing is missing or added at
/// its end.
///
/// The checksum alone does not see what follows a whole dump: the CRC of a dump together with its
/// own footer is 0, which is also where it started, so that a second dump behind the first passes.
/// A header in the middle of the stream, where the running CRC is 0, is that second dump.
/// What it cannot see: up to eight zero bytes behind the footer, where the footer happens to have
/// the end-of-file mark in their place. Servers ignore what follows the footer.
#[derive(Debug)]
pub struct RdbVerifier {
    /// The first bytes, up to [`HEAD_LIMIT`], for the AUX fields.
    head: Vec<u8>,
    crc: Digest,
    /// The last bytes so far: perhaps the end-of-file mark and the footer, so not yet in `crc`.
    tail: [u8; TAIL],
    tail_len: usize,
    bytes: u64,
}

impl Default for RdbVerifier {
    fn default() -> Self {
        Self::new()
    }
}

impl RdbVerifier {
    /// A verifier that has seen nothing yet.
    pub fn new() -> Self {
        Self {
            head: Vec::new(),
            crc: Digest::new_with_params(crc64_redis()),
            tail: [0; TAIL],
            tail_len: 0,
            bytes: 0,
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        if self.head.len() < HEAD_LIMIT {
            self.keep_head(bytes)?;
        }
        self.bytes += bytes.len() as u64;
        // As many bytes as fit behind the tail push all of it into the checksum, and show every
        // header that begins there; the rest then stands on its own.
        let (few, rest) = bytes.split_at(bytes.len().min(TAIL));
        self.join(few)?;
        if rest.is_empty() {
            return Ok(());
        }
        // The tail is `few` now, so all of `bytes` up to the next tail is due.
        let (due, tail) = bytes.split_at(bytes.len() - TAIL);
        let headers = find_headers(bytes).into_iter().filter(|&at| at < due.len());
        self.digest(due, headers)?;
        self.tail.copy_from_slice(tail);
        Ok(())
    }

    fn keep_head(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        let had = self.head.len();
        let take = bytes.len().min(HEAD_LIMIT - had);
        self.head.extend_from_slice(&bytes[..take]);
        if had < HEADER
            && let Some(first) = self.head.first_chunk()
        {
            Header::parse(first)?;
        }
        Ok(())
    }

    /// Takes `bytes` into the checksum, after looking for a second dump at each of `headers`,
    /// offsets into `bytes` in rising order.
    fn digest(
        &mut self,
        bytes: &[u8],
        headers: impl Iterator<Item = usize>,
    ) -> Result<(), SourceError> {
        let mut done = 0;
        for header in headers {
            self.crc.update(&bytes[done..header]);
            done = header;
            if self.crc.finalize() == 0 && self.crc.get_amount() > 0 {
                return Err(SourceError::damaged(format!(
                    "a whole dump ends at byte {} and another one follows it",
                    self.crc.get_amount()
                )));
            }
        }
        self.crc.update(&bytes[done..]);
        Ok(())
    }

    /// Takes the held back tail and a few bytes behind it as one.
    fn join(&mut self, few: &[u8]) -> Result<(), SourceError> {
        let mut joined = [0; 2 * TAIL];
        let length = self.tail_len + few.len();
        joined[..self.tail_len].copy_from_slice(&self.tail[..self.tail_len]);
        joined[self.tail_len..length].copy_from_slice(few);
        let joined = &joined[..length];
        let done = length.saturating_sub(TAIL);
        // A header that begins at `done` is whole, and looked at when more bytes follow.
        let headers = (0..done).filter(|&at| is_header(joined, at));
        self.digest(&joined[..done], headers)?;
        self.tail_len = length - done;
        self.tail[..self.tail_len].copy_from_slice(&joined[done..]);
        Ok(())
    }
}

impl Verifier for RdbVerifier {
    fn update(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        bytes.chunks(PIECE).try_for_each(|piece| self.take(piece))
    }

    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        if self.bytes == 0 {
            return Err(SourceError::damaged("the dump is empty"));
        }
        if self.bytes < SHORTEST {
            return Err(SourceError::damaged(format!(
                "the dump is cut short: it has {} bytes",
                self.bytes
            )));
        }
        let recorded = parse_tail(self.tail)?;
        let mut crc = self.crc;
        crc.update(&self.tail[..1]);
        let found = crc.finalize();
        let head = parse_head(&self.head)?;
        let crc64 = if recorded == 0 {
            Check::failed(
                "crc64",
                "written with rdbchecksum no: damage would go unseen",
            )
        } else if recorded == found {
            Check::ok("crc64", format!("{found:016x}"))
        } else {
            return Err(SourceError::damaged(format!(
                "the checksum does not match: the dump records {recorded:016x}, its data gives {found:016x}"
            )));
        };
        let header = format!(
            "{}, RDB version {}",
            head.header.magic.as_str(),
            head.header.version
        );
        let mut facts: Facts = head.facts();
        facts.insert("crc64".into(), format!("{recorded:016x}").into());
        let checks = vec![
            Check::ok("header", header),
            crc64,
            Check::ok(
                "length",
                format!("{} bytes, end-of-file mark in place", self.bytes),
            ),
        ];
        Ok(Proof { checks, facts })
    }
}

pub(super) fn crc64_redis() -> CrcParams {
    CrcParams::new(
        "CRC-64/REDIS",
        64,
        0xad93_d235_94c9_35a9,
        0,
        true,
        0,
        0xe9c6_d914_c4b8_d9ca,
    )
}

fn is_header(bytes: &[u8], at: usize) -> bool {
    bytes[at..]
        .first_chunk()
        .is_some_and(|chunk| Header::recognise(chunk).is_some())
}

/// Where whole headers begin in `bytes`.
fn find_headers(bytes: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    for magic in &*MAGICS {
        found.extend(magic.find_iter(bytes).filter(|&at| is_header(bytes, at)));
    }
    found.sort_unstable();
    found
}
