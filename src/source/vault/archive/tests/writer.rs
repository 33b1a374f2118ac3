use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::super::sums::Hasher;

/// An archive in parts, so that a test can spoil one of them.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    /// Name and contents, in the order they are written.
    pub members: Vec<(String, Vec<u8>)>,
}

impl Parts {
    /// A sound archive of `state`, with sums and nothing sealed.
    pub(super) fn of(state: &[u8]) -> Self {
        Self::with_meta(&meta(state.len()), state)
    }

    /// A sound archive with sealed sums, too.
    pub(super) fn sealed(state: &[u8]) -> Self {
        let mut parts = Self::of(state);
        parts.add("SHA256SUMS.sealed", &[0x0a; 187]);
        parts
    }

    pub(super) fn with_meta(meta: &str, state: &[u8]) -> Self {
        let mut parts = Self {
            members: Vec::new(),
        };
        parts.add("meta.json", meta.as_bytes());
        parts.add("state.bin", state);
        parts.add("SHA256SUMS", sums(meta.as_bytes(), state).as_bytes());
        parts
    }

    pub(super) fn add(&mut self, name: &str, contents: &[u8]) {
        self.members.push((name.to_owned(), contents.to_vec()));
    }

    pub(super) fn get(&mut self, name: &str) -> &mut Vec<u8> {
        let found = self.members.iter_mut().find(|(member, _)| member == name);
        &mut found.expect("it has this member").1
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.members.retain(|(member, _)| member != name);
        self
    }

    pub(super) fn tar(&self) -> Vec<u8> {
        let mut tar = Vec::new();
        for (name, contents) in &self.members {
            tar.extend(header(name, b'0', &octal(contents.len())));
            tar.extend(padded(contents));
        }
        tar.extend([0; 1024]);
        tar
    }

    pub(super) fn deflated(&self) -> Vec<u8> {
        gzip(&self.tar(), 6)
    }

    pub(super) fn stored(&self) -> Vec<u8> {
        gzip(&self.tar(), 0)
    }
}

pub(super) fn meta(size: usize) -> String {
    format!(
        concat!(
            r#"{{"Version":1,"ID":"bolt-snapshot","Index":54,"Term":3,"Peers":null,"#,
            r#""Configuration":{{"Servers":[{{"Suffrage":0,"ID":"node-1","Address":"10.0.0.1:8201"}},"#,
            r#"{{"Suffrage":1,"ID":"node-2","Address":"10.0.0.2:8201"}}]}},"#,
            r#""ConfigurationIndex":7,"Size":{}}}"#,
            "\n"
        ),
        size
    )
}

pub(super) fn sums(meta: &[u8], state: &[u8]) -> String {
    let sum = |bytes: &[u8]| {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    };
    format!("{}  state.bin\n{}  meta.json\n", sum(state), sum(meta))
}

/// A storage entry with its length in front.
pub(super) fn entry(key: &str, value: &[u8]) -> Vec<u8> {
    framed(&[field(0x0a, key.as_bytes()), field(0x12, value)].concat())
}

pub(super) fn field(tag: u8, contents: &[u8]) -> Vec<u8> {
    [&[tag], &varint(contents.len())[..], contents].concat()
}

pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    [&varint(message.len())[..], message].concat()
}

pub(super) fn varint(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n > 0x7f {
        bytes.push(n.to_le_bytes()[0] | 0x80);
        n >>= 7;
    }
    bytes.push(n.to_le_bytes()[0]);
    bytes
}

/// A few entries as Vault writes them.
pub(super) fn entries() -> Vec<u8> {
    let wrapped = framed(
        &[
            field(0x0a, b"core/master"),
            field(0x12, &[7; 90]),
            vec![0x18, 1],
        ]
        .concat(),
    );
    [
        entry("core/audit", &[1; 40]),
        wrapped,
        entry("logical/65d67ce3/a/b", &[2; 300]),
        entry("logical/65d67ce3/c", &[]),
        entry("sys/policy/default", &[3; 20]),
    ]
    .concat()
}

/// The beginning of a state as Consul writes it.
pub(super) fn msgpack() -> Vec<u8> {
    [
        b"\x81\xa9LastIndex\x13\x00\x8b\xa2ID\xc4\x10".as_slice(),
        &[9; 600],
    ]
    .concat()
}

pub(super) fn octal(size: usize) -> [u8; 12] {
    let mut field = [0; 12];
    field[..11].copy_from_slice(format!("{size:011o}").as_bytes());
    field
}

pub(super) fn header(name: &str, kind: u8, size: &[u8; 12]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000600");
    header[124..136].copy_from_slice(size);
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    checked(header)
}

/// The header with its checksum set.
pub(super) fn checked(mut header: Vec<u8>) -> Vec<u8> {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}

pub(super) fn padded(contents: &[u8]) -> Vec<u8> {
    let mut padded = contents.to_vec();
    padded.resize(contents.len().next_multiple_of(512), 0);
    padded
}

/// As Go's gzip writes it, with this level of compression.
pub(super) fn gzip(plain: &[u8], level: u32) -> Vec<u8> {
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::new(level));
    deflate.write_all(plain).expect("a vector takes it");
    wrapped(&deflate.finish().expect("a vector takes it"), plain)
}

/// A gzip stream around DEFLATE blocks of `plain`.
pub(super) fn wrapped(blocks: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(plain);
    [
        &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255],
        blocks,
        &crc.sum().to_le_bytes(),
        &crc.amount().to_le_bytes(),
    ]
    .concat()
}
