//! Memory for what is made once and then read by every product.

use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

#[cfg(target_os = "linux")]
use memmap2::Advice;
use memmap2::MmapMut;

/// Zeros, to be overwritten: in large pages where the system has them, which take less time to come by and to
/// find again.
#[derive(Debug)]
pub(super) struct Zeroed(MmapMut);

impl Zeroed {
    /// `length` zeros. `None` when they are not to be had.
    pub(super) fn new(length: usize) -> Option<Zeroed> {
        let map = MmapMut::map_anon(length).ok()?;
        // Advice is not a promise.
        #[cfg(target_os = "linux")]
        let _ = map.advise(Advice::HugePage);
        Some(Zeroed(map))
    }
}

impl Deref for Zeroed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Zeroed {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// A part of such memory, which nobody writes to any more.
#[derive(Debug)]
pub(super) struct Piece {
    memory: Arc<Zeroed>,
    range: Range<usize>,
}

impl Piece {
    /// The bytes of `range`.
    ///
    /// # Panics
    /// When used, if the range ends behind the memory.
    pub(super) fn new(memory: &Arc<Zeroed>, range: Range<usize>) -> Piece {
        Piece { memory: Arc::clone(memory), range }
    }
}

impl Deref for Piece {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        &self.memory[self.range.clone()]
    }
}
