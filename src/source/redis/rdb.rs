//! The RDB file format, as far as a proof of wholeness needs it: the header, the AUX fields that
//! follow it, the end-of-file mark and the CRC64 footer. Keys and values are never decoded, so
//! that dumps of every version can be proved, also those of servers yet to come.

mod head;
mod verify;

pub(super) use head::{HEAD_LIMIT, Head, Text, parse_head};
pub use verify::RdbVerifier;

use super::super::SourceError;

/// The end-of-file mark and the footer: what every dump ends with.
pub(super) const TAIL: usize = 9;

const EOF_MARK: u8 = 0xFF;

/// The last nine bytes of a dump, taken apart: the checksum its footer records. Zero means that
/// the server wrote none (`rdbchecksum no`).
pub(super) fn parse_tail(tail: [u8; TAIL]) -> Result<u64, SourceError> {
    let [mark, footer @ ..] = tail;
    if mark != EOF_MARK {
        return Err(SourceError::damaged(
            "the dump has no end-of-file mark where it ends: it is cut short, or something follows it",
        ));
    }
    Ok(u64::from_le_bytes(footer))
}

#[cfg(test)]
use head::Header;

#[cfg(test)]
mod tests;
