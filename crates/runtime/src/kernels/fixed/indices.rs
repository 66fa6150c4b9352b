//! The indices or levels of a row, chunk by chunk.

use super::{CHUNK, RowBytes, Vectors};

/// Rows of chunks, each with a chunk more than it has: what is behind its own are others, and as activations
/// are zero there, anything serves.
pub(super) struct Chunks<'a> {
    all: &'a [u8],
    row_bytes: usize,
    /// The bytes of a row up to the end of its last chunk, and of a chunk more.
    len: usize,
    /// A copy of a row that has not so much behind it.
    padded: Vec<u8>,
}

impl<'a> Chunks<'a> {
    #[inline(always)]
    pub(super) fn new<V: Vectors>((all, row_bytes): RowBytes<'a>, columns: usize) -> Chunks<'a> {
        let len = (columns.div_ceil(CHUNK) + 1) * chunk_bytes::<V>();
        Chunks { all, row_bytes, len, padded: Vec::new() }
    }

    /// The chunks of row `row`.
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

/// Bytes of a chunk.
#[inline(always)]
pub(super) const fn chunk_bytes<V: Vectors>() -> usize {
    CHUNK / 8 * V::BITS as usize
}
