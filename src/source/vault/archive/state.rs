use super::at_most;
use super::census::{Census, Tally};
use crate::source::{Facts, SourceError};

/// The longest key of bolt, where these entries live (`bbolt`, `MaxKeySize`).
const LONGEST_KEY: u64 = 32_768;

/// The longest entry that `vault operator raft snapshot inspect` reads.
const LONGEST_ENTRY: u64 = i32::MAX as u64;

const KEY: u64 = 1;
const VALUE: u64 = 2;
const SEAL_WRAP: u64 = 3;

/// Walks through the state of Vault and OpenBao: storage entries, each a protobuf message with
/// its length in front. Values are passed over, so that memory holds one key at most.
///
/// The message is `StorageEntry { string key = 1; bytes value = 2; bool seal_wrap = 3; }`. Fields
/// that a later version may add are passed over too.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    at: At,
    varint: Varint,
    /// Length of the present entry, and what is left of it.
    length: u64,
    left: u64,
    /// One bit for each known field of the present entry that was seen.
    seen: u8,
    key: Vec<u8>,
    census: Census,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    EntryLength,
    Tag,
    KeyLength,
    Key(u64),
    Length,
    Skip(u64),
    Varint,
}

impl Walk {
    pub(super) fn new() -> Self {
        Self {
            at: At::EntryLength,
            varint: Varint::default(),
            length: 0,
            left: 0,
            seen: 0,
            key: Vec::new(),
            census: Census::default(),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            if self.at == At::EntryLength {
                if let Some(length) = self.varint(first)? {
                    self.begin(length)?;
                }
                rest = &rest[1..];
                continue;
            }
            let taken = self.step(&rest[..at_most(rest, self.left)])?;
            self.left -= taken as u64;
            rest = &rest[taken..];
            if self.left == 0 {
                self.end()?;
            }
        }
        Ok(())
    }

    /// Entries so far.
    pub(super) fn total(&self) -> Tally {
        self.census.total()
    }

    pub(super) fn finish(self) -> Result<Facts, SourceError> {
        if self.at != At::EntryLength || self.varint.bits != 0 {
            return Err(SourceError::damaged(
                "state.bin is cut short: it ends within an entry",
            ));
        }
        if self.total().count == 0 {
            return Err(SourceError::damaged("state.bin has no entries"));
        }
        Ok(self.census.facts())
    }

    fn begin(&mut self, length: u64) -> Result<(), SourceError> {
        match length {
            0 => Err(self.damaged("is empty")),
            1..=LONGEST_ENTRY => {
                self.length = length;
                self.left = length;
                self.seen = 0;
                self.at = At::Tag;
                Ok(())
            }
            _ => Err(self.damaged("is longer than 2 GiB")),
        }
    }

    /// Takes the next step through an entry, and answers how many bytes it took. `bytes` has one
    /// at least, and ends where the entry does.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, SourceError> {
        let after = self.left - 1;
        match self.at {
            At::Key(left) => {
                let taken = at_most(bytes, left);
                self.key.extend_from_slice(&bytes[..taken]);
                self.at = match left - taken as u64 {
                    0 => At::Tag,
                    left => At::Key(left),
                };
                return Ok(taken);
            }
            At::Skip(left) => {
                let taken = at_most(bytes, left);
                self.at = match left - taken as u64 {
                    0 => At::Tag,
                    left => At::Skip(left),
                };
                return Ok(taken);
            }
            _ => {}
        }
        let Some(number) = self.varint(bytes[0])? else {
            return Ok(1);
        };
        self.at = match self.at {
            At::Tag => match self.tag(number)? {
                At::Skip(length) if length > after => return Err(self.damaged("is too short")),
                at => at,
            },
            At::KeyLength if number == 0 => return Err(self.damaged("has an empty key")),
            At::KeyLength if number > LONGEST_KEY => {
                return Err(self.damaged(&format!("has a key of {number} bytes")));
            }
            At::KeyLength | At::Length if number > after => {
                return Err(self.damaged("has a field that reaches past its end"));
            }
            At::KeyLength => {
                self.key.clear();
                At::Key(number)
            }
            At::Length if number > 0 => At::Skip(number),
            _ => At::Tag,
        };
        Ok(1)
    }

    /// What follows a field's number and wire type.
    fn tag(&mut self, tag: u64) -> Result<At, SourceError> {
        let (field, wire) = (tag >> 3, tag & 7);
        if let KEY..=SEAL_WRAP = field {
            let bit = 1 << field;
            if self.seen & bit != 0 {
                return Err(self.damaged("has a field twice"));
            }
            self.seen |= bit;
        }
        // Every writer begins with the key, and a state of another kind hardly ever does.
        if self.seen & (1 << KEY) == 0 {
            return Err(self.damaged("does not begin with a key"));
        }
        match (field, wire) {
            (KEY, 2) => Ok(At::KeyLength),
            (VALUE, 2) => Ok(At::Length),
            (SEAL_WRAP, 0) => Ok(At::Varint),
            (0..=SEAL_WRAP, _) => Err(self.damaged("has a field of the wrong type")),
            (_, 0) => Ok(At::Varint),
            (_, 1) => Ok(At::Skip(8)),
            (_, 2) => Ok(At::Length),
            (_, 5) => Ok(At::Skip(4)),
            _ => Err(self.damaged("has a field of no known type")),
        }
    }

    fn end(&mut self) -> Result<(), SourceError> {
        if self.at != At::Tag || self.varint.bits != 0 {
            return Err(self.damaged("ends within a field"));
        }
        let Ok(key) = std::str::from_utf8(&self.key) else {
            return Err(self.damaged("has a key that is not text"));
        };
        self.census.add(key, self.length);
        self.at = At::EntryLength;
        Ok(())
    }

    fn varint(&mut self, byte: u8) -> Result<Option<u64>, SourceError> {
        self.varint
            .push(byte)
            .map_err(|()| self.damaged("has a number that is too large"))
    }

    fn damaged(&self, why: &str) -> SourceError {
        let entry = self.total().count + 1;
        SourceError::damaged(format!("state.bin is damaged: entry {entry} {why}"))
    }
}

/// A protobuf number that is being read: seven bits a byte, the lowest first.
#[derive(Debug, Clone, Copy, Default)]
struct Varint {
    value: u64,
    bits: u32,
}

impl Varint {
    /// Takes the next byte, and answers with the number when it was the last one.
    fn push(&mut self, byte: u8) -> Result<Option<u64>, ()> {
        // The tenth byte has room for one bit.
        if self.bits == 63 && byte > 1 {
            return Err(());
        }
        self.value |= u64::from(byte & 0x7f) << self.bits;
        if byte & 0x80 != 0 {
            self.bits += 7;
            return Ok(None);
        }
        Ok(Some(std::mem::take(self).value))
    }
}
