use super::at_most;
use super::members::Members;
use crate::source::SourceError;

const BLOCK: usize = 512;

/// The record that says how large a member of 8 GiB or more is takes about 20 bytes.
const EXTENSION_LIMIT: u64 = 4096;

/// Takes a tar apart and hands its members on.
#[derive(Clone)]
pub(super) struct Tar {
    stage: Stage,
    /// The header that is being read, of which `filled` bytes are there.
    header: [u8; BLOCK],
    filled: usize,
    /// The extended header that is being read.
    extension: Vec<u8>,
    /// The size an extended header gave the next member.
    size: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Header,
    Extension {
        left: u64,
        padding: u64,
    },
    Member {
        left: u64,
        padding: u64,
    },
    Padding(u64),
    /// One of the two empty blocks at the end was seen.
    HalfEnded,
    Ended,
}

impl Tar {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Header,
            header: [0; BLOCK],
            filled: 0,
            extension: Vec::new(),
            size: None,
        }
    }

    pub(super) fn update(
        &mut self,
        bytes: &[u8],
        members: &mut Members,
    ) -> Result<(), SourceError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match self.stage {
                Stage::Header | Stage::HalfEnded => {
                    let taken = rest.len().min(BLOCK - self.filled);
                    self.header[self.filled..self.filled + taken].copy_from_slice(&rest[..taken]);
                    self.filled += taken;
                    if self.filled == BLOCK {
                        self.filled = 0;
                        self.read_header(members)?;
                    }
                    taken
                }
                Stage::Extension { left, padding } => {
                    let taken = at_most(rest, left);
                    self.extension.extend_from_slice(&rest[..taken]);
                    let left = left - taken as u64;
                    self.stage = Stage::Extension { left, padding };
                    if left == 0 {
                        self.size = read_extension(&self.extension)?;
                        self.stage = Stage::Padding(padding);
                    }
                    taken
                }
                Stage::Member { left, padding } => {
                    let taken = at_most(rest, left);
                    members.data(&rest[..taken])?;
                    let left = left - taken as u64;
                    self.stage = Stage::Member { left, padding };
                    if left == 0 {
                        self.end_member(padding, members)?;
                    }
                    taken
                }
                Stage::Padding(0) => {
                    self.stage = Stage::Header;
                    0
                }
                Stage::Padding(left) => {
                    let taken = at_most(rest, left);
                    zeros(&rest[..taken], "behind a member")?;
                    self.stage = Stage::Padding(left - taken as u64);
                    taken
                }
                Stage::Ended => {
                    zeros(rest, "behind its end")?;
                    rest.len()
                }
            };
            rest = &rest[taken..];
        }
        Ok(())
    }

    pub(super) fn finish(&self) -> Result<(), SourceError> {
        match self.stage {
            Stage::Ended => Ok(()),
            Stage::Member { .. } | Stage::Extension { .. } => Err(SourceError::damaged(
                "the tar inside is cut short: it ends in a member",
            )),
            _ => Err(SourceError::damaged(
                "the tar inside is cut short: its end mark is missing",
            )),
        }
    }

    fn read_header(&mut self, members: &mut Members) -> Result<(), SourceError> {
        if self.header.iter().all(|&byte| byte == 0) {
            if self.size.is_some() {
                return Err(damaged("an extended header stands before its end"));
            }
            self.stage = match self.stage {
                Stage::HalfEnded => Stage::Ended,
                _ => Stage::HalfEnded,
            };
            return Ok(());
        }
        if self.stage == Stage::HalfEnded {
            return Err(damaged("one empty block stands between its members"));
        }
        let header = Header(&self.header);
        header.check()?;
        let padding = |size: u64| (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        match header.kind() {
            b'0' | 0 => {
                let size = match self.size.take() {
                    Some(size) => size,
                    None => header.size()?,
                };
                members.begin(header.name()?, size)?;
                self.stage = Stage::Member {
                    left: size,
                    padding: padding(size),
                };
                if size == 0 {
                    self.end_member(0, members)?;
                }
                Ok(())
            }
            b'x' if self.size.is_none() => {
                let size = header.size()?;
                if !(1..=EXTENSION_LIMIT).contains(&size) {
                    return Err(damaged("an extended header has no sensible size"));
                }
                self.extension.clear();
                self.stage = Stage::Extension {
                    left: size,
                    padding: padding(size),
                };
                Ok(())
            }
            b'x' => Err(damaged("two extended headers stand before one member")),
            kind => Err(SourceError::damaged(format!(
                "the tar has an entry of type `{}`, and a snapshot has only files",
                kind.escape_ascii()
            ))),
        }
    }

    fn end_member(&mut self, padding: u64, members: &mut Members) -> Result<(), SourceError> {
        self.stage = Stage::Padding(padding);
        members.end()
    }
}

/// A header block; POSIX.1-1988, and the two later ways to write large numbers.
struct Header<'a>(&'a [u8; BLOCK]);

impl Header<'_> {
    fn check(&self) -> Result<(), SourceError> {
        let sum: u64 = self
            .0
            .iter()
            .enumerate()
            .map(|(at, &byte)| match at {
                148..156 => u64::from(b' '),
                _ => u64::from(byte),
            })
            .sum();
        if number(&self.0[148..156]) != Some(sum) {
            return Err(damaged("the checksum of a header does not match"));
        }
        match &self.0[257..265] {
            b"ustar\x0000" | b"ustar  \0" => Ok(()),
            _ => Err(damaged("a header is of no known kind")),
        }
    }

    fn kind(&self) -> u8 {
        self.0[156]
    }

    fn size(&self) -> Result<u64, SourceError> {
        number(&self.0[124..136]).ok_or_else(|| damaged("a header has a size that is no number"))
    }

    fn name(&self) -> Result<&[u8], SourceError> {
        let posix = self.0[262] == 0;
        if posix && self.0[345] != 0 {
            return Err(SourceError::damaged(
                "the tar has a member in a folder, and a snapshot has none",
            ));
        }
        Ok(until_nul(&self.0[..100]))
    }
}

/// Octal digits between spaces and NULs, or, where the first bit is set, a big-endian number.
fn number(field: &[u8]) -> Option<u64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // The second bit is the sign.
        if first & 0x40 != 0 {
            return None;
        }
        return rest.iter().try_fold(u64::from(first & 0x3f), |n, &byte| {
            Some(n.checked_mul(256)? | u64::from(byte))
        });
    }
    let digits = until_nul(field).trim_ascii();
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |n, &byte| match byte {
        b'0'..=b'7' => Some(n.checked_mul(8)? | u64::from(byte - b'0')),
        _ => None,
    })
}

/// Reads the records of an extended header, `<length> <key>=<value>\n` each, where the length is
/// that of the whole record: the size it gives, if any.
fn read_extension(records: &[u8]) -> Result<Option<u64>, SourceError> {
    let wrong = || damaged("an extended header cannot be read");
    let mut size = None;
    let mut rest = records;
    while !rest.is_empty() {
        let space = rest
            .iter()
            .position(|&byte| byte == b' ')
            .ok_or_else(wrong)?;
        let length = usize::try_from(decimal(&rest[..space]).ok_or_else(wrong)?);
        let (record, behind) = length
            .ok()
            .and_then(|length| rest.split_at_checked(length))
            .ok_or_else(wrong)?;
        let record = record.get(space + 1..).and_then(|r| r.strip_suffix(b"\n"));
        let record = record.ok_or_else(wrong)?;
        let equals = record
            .iter()
            .position(|&byte| byte == b'=')
            .ok_or_else(wrong)?;
        match (&record[..equals], &record[equals + 1..]) {
            (b"size", value) => size = Some(decimal(value).ok_or_else(wrong)?),
            (b"mtime" | b"atime" | b"ctime", _) => {}
            (key, _) => {
                return Err(damaged(&format!(
                    "an extended header sets `{}`",
                    key.escape_ascii()
                )));
            }
        }
        rest = behind;
    }
    Ok(size)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or(field)
}

fn zeros(bytes: &[u8], place: &str) -> Result<(), SourceError> {
    if bytes.iter().all(|&byte| byte == 0) {
        return Ok(());
    }
    Err(damaged(&format!("bytes {place} are not zero")))
}

fn damaged(why: &str) -> SourceError {
    SourceError::damaged(format!("the tar inside is damaged: {why}"))
}
