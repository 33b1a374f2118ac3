//! The seal: what happens to the plain bytes before they are stored, and how it is undone.
//!
//! A seal is a chain of steps, each a writer into the next. Compression is the only one so far;
//! encryption joins behind it as another [`Step`]. Both directions stream and hold a constant
//! amount of memory.

mod compress;
mod digest;

use std::io::{self, Read, Write};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use compress::{gains, threads};
pub use digest::{DigestReader, DigestWriter, Sha256};

use crate::manifest::SealStep;

/// How backups are sealed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SealConfig {
    /// How to compress: `zstd`, `gzip`, `none`, or `auto`, which is zstd unless a sample of the
    /// data shows that compression gains nothing.
    #[serde(default)]
    pub compression: Compression,
    /// Compression level: 1 to 19 for zstd, 1 to 9 for gzip; higher is smaller and slower.
    #[serde(default = "default_level")]
    pub level: Level,
}

/// A compression level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Level(#[schemars(range(min = 1, max = 19))] pub u8);

impl Default for Level {
    fn default() -> Self {
        default_level()
    }
}

fn default_level() -> Level {
    Level(3)
}

/// The compression of a job, as configured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// zstd, or none where a sample gains less than 5 %.
    #[default]
    Auto,
    /// Always zstd.
    Zstd,
    /// Always gzip.
    Gzip,
    /// Stored as it is.
    None,
}

/// One step of a seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// zstd at this level.
    Zstd(u8),
    /// gzip at this level.
    Gzip(u8),
}

/// The steps a run decided on, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seal(pub Vec<Step>);

impl SealConfig {
    /// Decides the steps for data that begins with `sample`.
    pub fn decide(&self, sample: &[u8]) -> Seal {
        let level = self.level.0;
        Seal(match self.compression {
            Compression::Auto if gains(sample) => vec![Step::Zstd(level)],
            Compression::Zstd => vec![Step::Zstd(level)],
            Compression::Gzip => vec![Step::Gzip(level.min(9))],
            Compression::Auto | Compression::None => Vec::new(),
        })
    }

    /// A mistake that the single values do not show.
    pub fn problem(&self) -> Option<String> {
        (self.compression == Compression::Gzip && self.level.0 > 9)
            .then(|| format!("gzip has the levels 1 to 9, not {}", self.level.0))
    }
}

/// A chain of writers that can be ended, so that every step writes its last words.
pub trait Sink: Write + Send {
    /// Ends this step and all behind it.
    ///
    /// # Errors
    /// When the last words could not be written.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

impl Seal {
    /// What the steps add to the engine's extension: `.zst`.
    pub fn extension(&self) -> String {
        self.0
            .iter()
            .map(|step| match step {
                Step::Zstd(_) => ".zst",
                Step::Gzip(_) => ".gz",
            })
            .collect()
    }

    /// The steps as the manifest names them.
    pub fn record(&self) -> Vec<SealStep> {
        self.0
            .iter()
            .map(|step| SealStep {
                name: step.name().into(),
                recipients: Vec::new(),
            })
            .collect()
    }

    /// A chain that seals what is written into it and writes the result to `sink`. `expected` is
    /// the number of bytes to come.
    ///
    /// # Errors
    /// When a compressor cannot be set up.
    pub fn writer(&self, sink: Box<dyn Sink>, expected: u64) -> io::Result<Box<dyn Sink>> {
        self.0
            .iter()
            .rev()
            .try_fold(sink, |sink, step| compress::writer(*step, sink, expected))
    }
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Zstd(_) => "zstd",
            Step::Gzip(_) => "gzip",
        }
    }
}

/// Whether `text` is what [`Seal::extension`] can answer.
pub fn is_extension(text: &str) -> bool {
    matches!(text, "" | ".zst" | ".gz")
}

/// Undoes the recorded steps: what is read is the plain data.
///
/// # Errors
/// With [`io::ErrorKind::Unsupported`] when a step is not known here.
pub fn unseal<'a>(
    steps: &[SealStep],
    sealed: Box<dyn Read + Send + 'a>,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    steps
        .iter()
        .rev()
        .try_fold(sealed, |reader, step| compress::reader(&step.name, reader))
}

/// Shell lines that turn `./<file>` into `./plain`, last step first.
pub fn manual_unseal(steps: &[SealStep], file: &str) -> Vec<String> {
    let Some(step) = steps.last() else {
        return vec![format!("mv {file} plain")];
    };
    vec![match step.name.as_str() {
        "gzip" => format!("gzip -dc {file} > plain"),
        _ => format!("zstd -dqc {file} > plain"),
    }]
}

#[cfg(test)]
mod tests;
