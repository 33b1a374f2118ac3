use aws_lc_rs::digest::{Context, SHA256};

use super::members::Member;
use crate::source::SourceError;

/// A running SHA-256.
#[derive(Clone)]
pub(super) struct Hasher(Context);

impl Hasher {
    pub(super) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Lower-case hex.
    pub(super) fn finish(self) -> String {
        use std::fmt::Write as _;
        let digest = self.0.finish();
        digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// The two sums that `SHA256SUMS` lists, in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sums {
    pub meta: String,
    pub state: String,
}

impl Sums {
    /// Reads lines of a sum, two spaces and a name. They come in any order.
    pub(super) fn parse(text: &[u8]) -> Result<Self, SourceError> {
        let text = std::str::from_utf8(text).map_err(|_| damaged("it is not text"))?;
        let (mut meta, mut state) = (None, None);
        for line in text.lines() {
            let (sum, name) = line
                .split_once("  ")
                .filter(|(sum, _)| is_sha256(sum))
                .ok_or_else(|| damaged("a line is not a sum, two spaces and a name"))?;
            let listed = match Member::named(name.as_bytes()) {
                Some(Member::Meta) => &mut meta,
                Some(Member::State) => &mut state,
                _ => {
                    let name = name.escape_debug();
                    return Err(damaged(&format!("it lists `{name}`")));
                }
            };
            if listed.replace(sum.to_owned()).is_some() {
                return Err(damaged(&format!("it lists {name} twice")));
            }
        }
        Ok(Self {
            meta: meta.ok_or_else(|| damaged("it does not list meta.json"))?,
            state: state.ok_or_else(|| damaged("it does not list state.bin"))?,
        })
    }
}

fn is_sha256(text: &str) -> bool {
    let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    text.len() == 64 && text.bytes().all(hex)
}

fn damaged(why: &str) -> SourceError {
    SourceError::damaged(format!("SHA256SUMS is damaged: {why}"))
}
