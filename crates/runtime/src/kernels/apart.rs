//! Indices of 6 bits, for instructions that look up few bytes at a time.
//!
//! `vpshufb` finds one of 16 bytes, so that an entry of 64 is chosen from the results of four lookups. Four bits of an
//! index are for the lookups, and two for the choice; where they lie apart, no step is needed to part them. The
//! bytes are as many, and the products the same to the bit.
#![allow(unsafe_code, reason = "threads write interleaved rows")]

use super::disjoint::Disjoint;
use super::fixed;
use super::matrix::Palette;
use super::pool::Pool;
use super::rows::CHUNK;
use super::zeroed::Piece;

/// Rows that a thread makes at a time.
const ROWS: usize = 16;

/// Bytes of a chunk, in the order that [`fixed`] gives them.
pub(super) const CHUNK_BYTES: usize = CHUNK / 8 * 6;

/// The indices of a matrix, taken apart.
#[derive(Debug)]
pub(super) struct Apart {
    row_bytes: usize,
    bytes: Piece,
}

/// Bytes of a row of `columns`.
pub(super) fn row_bytes(columns: usize) -> usize {
    columns.div_ceil(CHUNK) * CHUNK_BYTES
}

/// Writes the indices of `palette`, with rows of `columns`, into `bytes`, row by row.
///
/// # Panics
/// When the machine has no AVX2, or `bytes` is not as long as the rows are.
pub(super) fn write(pool: &Pool, palette: &Palette, columns: usize, bytes: &mut [u8]) {
    let (rows, row_bytes) = (palette.rows(), row_bytes(columns));
    assert_eq!(bytes.len(), rows * row_bytes);
    let all = Disjoint::new(bytes);
    pool.run(rows.div_ceil(ROWS), &|part| {
        let rows = part * ROWS..rows.min((part + 1) * ROWS);
        // SAFETY: each part has its own rows.
        let out = unsafe { all.part(rows.start * row_bytes..rows.end * row_bytes) };
        fixed::take_apart(palette, columns, rows.start, out);
    });
}

impl Apart {
    /// What [`write`] has written for rows of `columns`.
    pub(super) fn new(columns: usize, bytes: Piece) -> Apart {
        Apart { row_bytes: row_bytes(columns), bytes }
    }

    /// The chunks, row by row.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of a row.
    pub(super) fn row_bytes(&self) -> usize {
        self.row_bytes
    }
}
