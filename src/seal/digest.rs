use std::io::{self, Read, Write};

use aws_lc_rs::digest::{Context, SHA256};

use super::Sink;
use crate::manifest::Sum;

/// A running SHA-256 with the number of bytes it has seen.
#[derive(Clone)]
pub struct Sha256 {
    context: Context,
    bytes: u64,
}

impl Default for Sha256 {
    fn default() -> Self {
        Self {
            context: Context::new(&SHA256),
            bytes: 0,
        }
    }
}

impl Sha256 {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Length and digest of all bytes so far.
    pub fn finish(self) -> Sum {
        let digest = self.context.finish();
        let sha256 = digest
            .as_ref()
            .iter()
            .fold(String::with_capacity(64), |mut hex, byte| {
                use std::fmt::Write as _;
                // Writing to a String cannot fail.
                let _ = write!(hex, "{byte:02x}");
                hex
            });
        Sum {
            bytes: self.bytes,
            sha256,
        }
    }
}

/// A writer that digests what passes through it.
pub struct DigestWriter<W> {
    inner: W,
    digest: Sha256,
}

impl<W> DigestWriter<W> {
    /// Digests on the way to `inner`.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            digest: Sha256::default(),
        }
    }

    /// The inner writer, and the sum of what it got.
    pub fn into_parts(self) -> (W, Sum) {
        (self.inner, self.digest.finish())
    }
}

impl<W: Write> Write for DigestWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.inner.write(bytes)?;
        self.digest.update(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W: Sink> Sink for DigestWriter<W> {
    fn finish(self: Box<Self>) -> io::Result<()> {
        Box::new(self.inner).finish()
    }
}

/// A reader that digests what passes through it.
pub struct DigestReader<R> {
    inner: R,
    digest: Sha256,
}

impl<R> DigestReader<R> {
    /// Digests what is read from `inner`.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            digest: Sha256::default(),
        }
    }

    /// The inner reader, and the sum of what was read.
    pub fn into_parts(self) -> (R, Sum) {
        (self.inner, self.digest.finish())
    }
}

impl<R: Read> Read for DigestReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.digest.update(&buffer[..got]);
        Ok(got)
    }
}
