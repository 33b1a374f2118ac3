use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::source::{Facts, SourceError, SourceErrorKind};

/// Bytes of `REDIS0011` or `VALKEY080`.
pub(in crate::source::redis) const HEADER: usize = 9;

/// How far into a dump the AUX fields are looked for. They take about 200 bytes.
pub(in crate::source::redis) const HEAD_LIMIT: usize = 64 * 1024;

/// The newest versions this program was made for: Redis 8.10 and Valkey 9.2.
const NEWEST_REDIS: u16 = 15;
const NEWEST_VALKEY: u16 = 81;

const AUX: u8 = 250;
const RESIZE_DB: u8 = 251;
const SELECT_DB: u8 = 254;
const FUNCTION: u8 = 245;
const END: u8 = 255;

/// Which family of servers wrote a dump. Opcodes and types mean different things in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source::redis) enum Magic {
    Redis,
    Valkey,
}

/// The first nine bytes of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source::redis) struct Header {
    pub magic: Magic,
    pub version: u16,
}

/// What stands before the first key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source::redis) struct Head {
    pub header: Header,
    /// Fields by name.
    pub aux: BTreeMap<String, Text>,
    /// Keys in database 0, where the dump says so before its first key.
    pub first_db_keys: Option<u64>,
}

/// A string as a dump stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source::redis) enum Text {
    Plain(String),
    /// Long values may be compressed; what they say is not read here.
    Compressed,
}

impl Magic {
    pub(in crate::source::redis) fn as_str(self) -> &'static str {
        match self {
            Magic::Redis => "REDIS",
            Magic::Valkey => "VALKEY",
        }
    }
}

impl Header {
    /// Reads the first bytes of a dump.
    pub(in crate::source::redis) fn parse(first: &[u8; HEADER]) -> Result<Self, SourceError> {
        let Some(header) = Self::recognise(first) else {
            return Err(not_an_rdb(first));
        };
        match (header.magic, header.version) {
            (Magic::Redis, 0..5) => Err(SourceError::new(
                SourceErrorKind::Other,
                format!(
                    "RDB version {} has no checksum and cannot be proved",
                    header.version
                ),
            )
            .hint("save it with Redis 2.6 or newer")),
            (Magic::Redis, 5..=99) | (Magic::Valkey, 80..) => Ok(header),
            (magic, version) => Err(SourceError::damaged(format!(
                "{} has no RDB version {version}",
                magic.as_str()
            ))),
        }
    }

    /// The magic and version in nine bytes, if that is what they are; any version.
    pub(in crate::source::redis) fn recognise(bytes: &[u8; HEADER]) -> Option<Self> {
        let (magic, digits) = if let Some(digits) = bytes.strip_prefix(b"REDIS") {
            (Magic::Redis, digits)
        } else {
            (Magic::Valkey, bytes.strip_prefix(b"VALKEY")?)
        };
        let mut version = 0;
        for digit in digits {
            version = version * 10 + u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        }
        Some(Self { magic, version })
    }

    /// A remark where the version is newer than any that was known here.
    pub(in crate::source::redis) fn remark(self) -> Option<String> {
        let newest = match self.magic {
            Magic::Redis => NEWEST_REDIS,
            Magic::Valkey => NEWEST_VALKEY,
        };
        (self.version > newest).then(|| {
            format!(
                "the dump's RDB version {} is newer than this Lifeboat: \
                 proved by header, end and checksum as any other",
                self.version
            )
        })
    }
}

fn not_an_rdb(first: &[u8; HEADER]) -> SourceError {
    // Valkey's compressed envelope, by its two names so far.
    if first.starts_with(b"VKCS") || first.starts_with(b"VCS") {
        return SourceError::new(
            SourceErrorKind::Other,
            "the dump is wrapped in Valkey's whole-file compression, which is not supported",
        )
        .hint("set `rdbcompression yes` on the server and let it save again");
    }
    SourceError::damaged(format!(
        "this is not an RDB file: it begins with \"{}\", not with REDIS or VALKEY",
        first.escape_ascii()
    ))
}

impl Head {
    /// The value of a field, if it is there to be read.
    pub(in crate::source::redis) fn text(&self, field: &str) -> Option<&str> {
        match self.aux.get(field)? {
            Text::Plain(text) => Some(text),
            Text::Compressed => None,
        }
    }

    /// When the server began to write the dump: the age of its data.
    pub(in crate::source::redis) fn ctime(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.text("ctime")?.parse().ok()?).ok()
    }

    /// What the head says, for the manifest.
    pub(in crate::source::redis) fn facts(&self) -> Facts {
        let mut facts = Facts::new();
        facts.insert("magic".into(), self.header.magic.as_str().into());
        facts.insert("rdb_version".into(), self.header.version.into());
        if let Some(ctime) = self.ctime() {
            facts.insert("ctime".into(), ctime.to_string().into());
        }
        for (fact, field) in [
            ("redis_ver", "redis-ver"),
            ("valkey_ver", "valkey-ver"),
            ("repl_id", "repl-id"),
        ] {
            if let Some(value) = self.text(field) {
                facts.insert(fact.into(), value.into());
            }
        }
        for (fact, field) in [
            ("repl_offset", "repl-offset"),
            ("used_mem", "used-mem"),
            ("aof_base", "aof-base"),
        ] {
            if let Some(number) = self.text(field).and_then(|value| value.parse::<i64>().ok()) {
                facts.insert(fact.into(), number.into());
            }
        }
        if let Some(keys) = self.first_db_keys {
            facts.insert("db0_keys".into(), keys.into());
        }
        facts
    }
}

/// Walks over the AUX fields in the first bytes of a dump, up to the first key or the end of
/// `bytes`. Fields that are not understood end the walk and are no damage: the checksum is what
/// tells.
pub(in crate::source::redis) fn parse_head(bytes: &[u8]) -> Result<Head, SourceError> {
    let Some((first, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(SourceError::damaged(format!(
            "the dump is cut short: it has {} bytes",
            bytes.len()
        )));
    };
    let mut head = Head {
        header: Header::parse(first)?,
        aux: BTreeMap::new(),
        first_db_keys: None,
    };
    let mut at = Cursor(rest);
    // `None` is the end of what can be walked here.
    let _: Option<()> = walk(&mut at, &mut head);
    Ok(head)
}

fn walk(at: &mut Cursor<'_>, head: &mut Head) -> Option<()> {
    loop {
        match at.byte()? {
            AUX => {
                let name = at.string()?;
                let value = at.string()?;
                if let Text::Plain(name) = name {
                    head.aux.insert(name, value);
                }
            }
            FUNCTION => {
                at.string()?;
            }
            SELECT_DB => {
                let database = at.length()?;
                if database == 0 && at.byte()? == RESIZE_DB {
                    head.first_db_keys = Some(at.length()?);
                }
                return None;
            }
            END => {
                head.first_db_keys = Some(0);
                return None;
            }
            _ => return None,
        }
    }
}

struct Cursor<'a>(&'a [u8]);

/// A length, or the form in which a string is packed instead.
enum Length {
    Plain(u64),
    Packed(u8),
}

impl Cursor<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, length: u64) -> Option<&[u8]> {
        let (first, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(first)
    }

    fn any_length(&mut self) -> Option<Length> {
        let first = self.byte()?;
        let low = first & 0x3F;
        Some(match first >> 6 {
            0 => Length::Plain(low.into()),
            1 => Length::Plain(u64::from(low) << 8 | u64::from(self.byte()?)),
            2 if first == 0x80 => Length::Plain(u32::from_be_bytes(self.array()?).into()),
            2 if first == 0x81 => Length::Plain(u64::from_be_bytes(self.array()?)),
            3 => Length::Packed(low),
            _ => return None,
        })
    }

    fn length(&mut self) -> Option<u64> {
        match self.any_length()? {
            Length::Plain(length) => Some(length),
            Length::Packed(_) => None,
        }
    }

    fn string(&mut self) -> Option<Text> {
        let number = match self.any_length()? {
            Length::Plain(length) => {
                let bytes = self.take(length)?;
                return Some(Text::Plain(String::from_utf8_lossy(bytes).into_owned()));
            }
            Length::Packed(0) => i8::from_le_bytes(self.array()?).into(),
            Length::Packed(1) => i16::from_le_bytes(self.array()?).into(),
            Length::Packed(2) => i32::from_le_bytes(self.array()?),
            Length::Packed(3) => {
                let compressed = self.length()?;
                self.length()?;
                self.take(compressed)?;
                return Some(Text::Compressed);
            }
            Length::Packed(_) => return None,
        };
        Some(Text::Plain(number.to_string()))
    }
}
