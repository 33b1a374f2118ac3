//! Large buffers that go back to the operating system when they are freed.
//!
//! A general allocator keeps freed megabytes for later, once for every thread that ever ran: in a
//! daemon that works for a second an hour, that would be most of its memory. These buffers are
//! mapped, used again while the work lasts, and unmapped after it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use memmap2::MmapMut;

/// Buffers of one size for one piece of work.
#[derive(Debug, Clone)]
pub struct Blocks {
    size: usize,
    free: Arc<Mutex<Vec<MmapMut>>>,
}

/// A buffer that is being filled.
#[derive(Debug)]
pub struct Block {
    map: MmapMut,
    home: Blocks,
}

struct Filled {
    map: Option<MmapMut>,
    bytes: usize,
    home: Blocks,
}

impl Blocks {
    /// Buffers of `size` bytes; none is made yet.
    pub fn of(size: usize) -> Self {
        Self {
            size: size.max(1),
            free: Arc::default(),
        }
    }

    /// A buffer, perhaps one that was used before; what is in it is of no meaning.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn take(&self) -> io::Result<Block> {
        let used = self.free().pop();
        let map = match used {
            Some(map) => map,
            None => MmapMut::map_anon(self.size)?,
        };
        Ok(Block {
            map,
            home: self.clone(),
        })
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<MmapMut>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Block {
    /// All of it.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }

    /// Fills it from `file`, beginning at byte `at`, with `most` bytes or what is left. Answers with
    /// the number of bytes read.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read_at(&mut self, file: &File, at: u64, most: usize) -> io::Result<usize> {
        let most = most.min(self.map.len());
        let room = &mut self.map[..most];
        let mut filled = 0;
        while filled < room.len() {
            match file.read_at(&mut room[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(got) => filled += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// The first `bytes` of it, for sharing; the buffer is used again when the last one is done.
    pub fn freeze(self, bytes: usize) -> Bytes {
        let bytes = bytes.min(self.map.len());
        Bytes::from_owner(Filled {
            map: Some(self.map),
            bytes,
            home: self.home,
        })
    }
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.map.as_deref().map_or(&[], |map| &map[..self.bytes])
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        if let Some(map) = self.map.take() {
            self.home.free().push(map);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_its_last_reader_is_done() {
        let blocks = Blocks::of(4096);
        let mut block = blocks.take().unwrap();
        block.bytes_mut()[..3].copy_from_slice(b"abc");
        let first = block.freeze(3);
        let second = first.clone();
        drop(first);
        assert!(blocks.free().is_empty());
        assert_eq!(&second[..], b"abc");
        drop(second);
        assert_eq!(blocks.free().len(), 1);
        drop(blocks.take().unwrap());
    }
}
