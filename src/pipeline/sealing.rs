use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;

use super::Meter;
use crate::block::{Block, Blocks};
use crate::destination::BodySender;
use crate::manifest::{Check, Facts, Sum};
use crate::seal::{Seal, Sha256, Sink};
use crate::source::{SourceError, SourceErrorKind, Stop, Verifier};

/// Bytes that travel together from the source to the stores.
pub(super) const BLOCK: usize = 1 << 20;
/// Blocks waiting between the pass and each store.
pub(super) const DEPTH: usize = 2;

/// What one pass over the captured bytes showed.
pub(super) struct Passed {
    pub plain: Sum,
    pub stored: Sum,
    pub checks: Vec<Check>,
    pub facts: Facts,
}

/// One store's end of the pass.
pub(super) struct Outlet {
    pub sender: BodySender,
    pub meter: Arc<Meter>,
}

/// The first block, for the decision whether to compress.
pub(super) fn sample(file: &File, bytes: u64) -> io::Result<Bytes> {
    let mut block = Blocks::of(block_size(bytes)).take()?;
    let got = block.read_at(file, 0, BLOCK)?;
    Ok(block.freeze(got))
}

/// Reads all of `file` once: verifies, digests, seals and hands the result to the outlets, which
/// are given back unfinished. An outlet whose store failed drops out; when none is left the pass
/// ends early with what [`SourceErrorKind::Stopped`] says. Blocking.
pub(super) fn pass(
    file: &File,
    bytes: u64,
    verifier: Option<Box<dyn Verifier>>,
    seal: &Seal,
    outlets: Vec<Outlet>,
    stop: &Stop,
) -> Result<(Passed, Vec<Outlet>), SourceError> {
    let fan = Fan {
        outlets,
        digest: Sha256::default(),
        blocks: Blocks::of(block_size(bytes)),
        filling: None,
    };
    if seal.0.is_empty() {
        plain_pass(file, bytes, verifier, fan, stop)
    } else {
        sealed_pass(file, bytes, verifier, seal, fan, stop)
    }
}

/// Verifies and digests only.
pub(super) fn prove(
    file: &File,
    bytes: u64,
    verifier: Option<Box<dyn Verifier>>,
    stop: &Stop,
) -> Result<Sum, SourceError> {
    let mut digest = Sha256::default();
    each_block(file, bytes, verifier, stop, |block| {
        digest.update(&block);
        Ok(())
    })?;
    Ok(digest.finish())
}

fn plain_pass(
    file: &File,
    bytes: u64,
    verifier: Option<Box<dyn Verifier>>,
    mut fan: Fan,
    stop: &Stop,
) -> Result<(Passed, Vec<Outlet>), SourceError> {
    let wanted = !fan.outlets.is_empty();
    let (checks, facts) = each_block(file, bytes, verifier, stop, |block| {
        fan.digest.update(&block);
        fan.send(&block);
        if wanted && fan.outlets.is_empty() {
            Err(no_store_left())
        } else {
            Ok(())
        }
    })?;
    let stored = fan.digest.finish();
    Ok((
        Passed {
            plain: stored.clone(),
            stored,
            checks,
            facts,
        },
        fan.outlets,
    ))
}

fn sealed_pass(
    file: &File,
    bytes: u64,
    verifier: Option<Box<dyn Verifier>>,
    seal: &Seal,
    fan: Fan,
    stop: &Stop,
) -> Result<(Passed, Vec<Outlet>), SourceError> {
    let fail = |error: io::Error| match error.kind() {
        io::ErrorKind::BrokenPipe => no_store_left(),
        _ => SourceError::new(SourceErrorKind::Other, format!("cannot seal: {error}")),
    };
    // The chain owns its last sink; what that sink has gathered comes back through this channel.
    let (give_back, returned) = std::sync::mpsc::channel();
    let end = Box::new(FanEnd {
        fan: Some(fan),
        give_back,
    });
    let mut chain = seal.writer(end, bytes).map_err(fail)?;
    let mut plain = Sha256::default();
    let (checks, facts) = each_block(file, bytes, verifier, stop, |block| {
        plain.update(&block);
        chain.write_all(&block).map_err(fail)
    })?;
    chain.finish().map_err(fail)?;
    let fan = returned.recv().map_err(|_| no_store_left())?;
    let stored = fan.digest.finish();
    Ok((
        Passed {
            plain: plain.finish(),
            stored,
            checks,
            facts,
        },
        fan.outlets,
    ))
}

fn each_block(
    file: &File,
    bytes: u64,
    mut verifier: Option<Box<dyn Verifier>>,
    stop: &Stop,
    mut take: impl FnMut(Bytes) -> Result<(), SourceError>,
) -> Result<(Vec<Check>, Facts), SourceError> {
    let blocks = Blocks::of(block_size(bytes));
    let mut at = 0;
    loop {
        if stop.requested() {
            return Err(SourceError::stopped());
        }
        let (block, got) = blocks
            .take()
            .and_then(|mut block| {
                let got = block.read_at(file, at, BLOCK)?;
                Ok((block, got))
            })
            .map_err(|e| SourceError::new(SourceErrorKind::Other, format!("cannot read: {e}")))?;
        if got == 0 {
            break;
        }
        let block = block.freeze(got);
        at += got as u64;
        if let Some(verifier) = &mut verifier {
            verifier.update(&block)?;
        }
        take(block)?;
    }
    if at != bytes {
        let why = format!("had {bytes} bytes when it was opened, and {at} when it was read");
        return Err(SourceError::new(SourceErrorKind::Changed, why));
    }
    Ok(match verifier {
        Some(verifier) => {
            let proof = verifier.finish()?;
            (proof.checks, proof.facts)
        }
        None => Default::default(),
    })
}

/// No more than the data needs.
fn block_size(bytes: u64) -> usize {
    usize::try_from(bytes).map_or(BLOCK, |bytes| bytes.clamp(1, BLOCK))
}

fn no_store_left() -> SourceError {
    SourceError::new(
        SourceErrorKind::Stopped,
        "no destination is left to write to",
    )
}

/// Every store gets the same blocks, at the pace of the slowest.
struct Fan {
    outlets: Vec<Outlet>,
    digest: Sha256,
    blocks: Blocks,
    /// The block that gathers what the seal writes, and how full it is.
    filling: Option<(Block, usize)>,
}

impl Fan {
    fn send(&mut self, block: &Bytes) {
        self.outlets.retain(|outlet| {
            let sent = outlet.sender.blocking_send(block.clone()).is_ok();
            if sent {
                outlet.meter.add(block.len() as u64);
            }
            sent
        });
    }

    /// Takes what fits into the block that is being filled.
    fn gather(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (mut block, full) = match self.filling.take() {
            Some(filling) => filling,
            None => (self.blocks.take()?, 0),
        };
        let room = &mut block.bytes_mut()[full..];
        let taken = bytes.len().min(room.len());
        room[..taken].copy_from_slice(&bytes[..taken]);
        let done = taken == room.len();
        self.filling = Some((block, full + taken));
        if done {
            self.send_filled()?;
        }
        Ok(taken)
    }

    fn send_filled(&mut self) -> io::Result<()> {
        let Some((block, full)) = self.filling.take() else {
            return Ok(());
        };
        let block = block.freeze(full);
        self.digest.update(&block);
        self.send(&block);
        if self.outlets.is_empty() {
            Err(io::ErrorKind::BrokenPipe.into())
        } else {
            Ok(())
        }
    }
}

/// The last sink of a seal's chain: gathers blocks and fans them out.
struct FanEnd {
    fan: Option<Fan>,
    give_back: std::sync::mpsc::Sender<Fan>,
}

impl FanEnd {
    fn fan(&mut self) -> io::Result<&mut Fan> {
        self.fan
            .as_mut()
            .ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for FanEnd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.fan()?.gather(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for FanEnd {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        let mut fan = self.fan.take().ok_or(io::ErrorKind::BrokenPipe)?;
        fan.send_filled()?;
        // Whoever runs the pass waits for it.
        let _ = self.give_back.send(fan);
        Ok(())
    }
}
