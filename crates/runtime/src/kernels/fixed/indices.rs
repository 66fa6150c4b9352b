//! The indices of a row, chunk by chunk.

use super::{CHUNK, Palette, Vectors};

/// Rows of indices, each with a chunk more than it has: what is behind its own are others, and as activations
/// are zero there, an index of any entry serves.
pub(super) struct Indices<'a> {
    all: &'a [u8],
    row_bytes: usize,
    /// The bytes of a row up to the end of its last chunk, and of a chunk more.
    len: usize,
    /// A copy of a row that has not so much behind it.
    padded: Vec<u8>,
}

impl<'a> Indices<'a> {
    #[inline(always)]
    pub(super) fn new<V: Vectors>(palette: &'a Palette, columns: usize) -> Indices<'a> {
        let len = (columns.div_ceil(CHUNK) + 1) * chunk_bytes::<V>();
        Indices { all: &palette.indices, row_bytes: palette.row_bytes, len, padded: Vec::new() }
    }

    /// The indices of row `row`.
    #[inline(always)]
    pub(super) fn row(&mut self, row: usize) -> &[u8] {
        let rest = &self.all[row * self.row_bytes..];
        if let Some(row) = rest.get(..self.len) {
            return row;
        }
        self.padded.clear();
        self.padded.extend_from_slice(&rest[..self.row_bytes]);
        self.padded.resize(self.len, 0);
        &self.padded
    }
}

/// Bytes of the indices of a chunk.
#[inline(always)]
pub(super) const fn chunk_bytes<V: Vectors>() -> usize {
    CHUNK / 8 * V::BITS as usize
}
