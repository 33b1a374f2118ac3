//! Snapshot archives as HashiCorp's raft services write them: a gzip of a tar of `meta.json`,
//! `state.bin`, `SHA256SUMS` and, from Vault and OpenBao, `SHA256SUMS.sealed`.
//!
//! The servers themselves take archives whose last bytes are missing, and restore them, because
//! they stop reading where the tar ends. Here everything is read up to the gzip trailer, and every
//! bit has to be as the writer left it, also those that a decompressor skips.
//!
//! Layout: `hashicorp/raft-snapshot`, `archive.go`.

mod census;
mod gzip;
mod members;
mod meta;
mod state;
mod sums;
mod tar;

use super::super::{Check, Facts, Proof, SourceError, Verifier};
use gzip::Gunzip;
use members::Members;
use tar::Tar;

/// Which members and state the archive must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The state decides: where it is made of storage entries the sealed sums must be there, and
    /// where it is not they must not.
    Any,
    /// Vault and OpenBao: storage entries and sealed sums.
    Sealed,
    /// Consul and Nomad: any state, no sealed sums.
    Unsealed,
}

/// Proves a snapshot archive in one pass.
///
/// What it cannot see: a flip in deflated data after which it inflates to the very same bytes (a
/// repetition copied from one place instead of another that holds the same), and what
/// `SHA256SUMS.sealed` says, which only the server's seal can read.
#[derive(Clone)]
pub struct ArchiveVerifier {
    gzip: Gunzip,
    tar: Tar,
    members: Members,
}

impl ArchiveVerifier {
    /// A verifier that has seen nothing yet.
    pub fn new(expect: Expect) -> Self {
        Self {
            gzip: Gunzip::new(),
            tar: Tar::new(),
            members: Members::new(expect),
        }
    }
}

impl Verifier for ArchiveVerifier {
    fn update(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        let Self { gzip, tar, members } = self;
        gzip.update(bytes, &mut |plain| tar.update(plain, members))
    }

    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        let gzip = self.gzip.finish()?;
        self.tar.finish()?;
        let contents = self.members.finish()?;
        let mut checks = vec![
            Check::ok(
                "gzip",
                format!("{} bytes, crc32 {:08x}", gzip.bytes, gzip.crc),
            ),
            Check::ok("tar", format!("{}, end in place", contents.names)),
        ];
        checks.extend(contents.checks);
        Ok(Proof {
            checks,
            facts: contents.facts,
        })
    }
}

/// How many of `bytes` there are up to a `limit`.
fn at_most(bytes: &[u8], limit: u64) -> usize {
    usize::try_from(limit).map_or(bytes.len(), |limit| bytes.len().min(limit))
}

#[cfg(test)]
mod tests;
