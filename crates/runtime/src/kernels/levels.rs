//! Weights of 8 bits on a grid, for instructions that look up few bytes at a time.
//!
//! `vpshufb` finds one of 16 bytes, so that entries of 256 take so many lookups that a product waits for them
//! and not for memory. Rounded to a grid whose step follows the largest weight of each block of a row,
//!
//! ```text
//! weight [row, column] = scale [row, block] · level [row, column]
//! ```
//!
//! weights take 12 bits and no lookup at all. The noise of that is less than 1/190,000 of the mean square of any weights,
//! and a two hundredth of what palettization has left of normal ones.
//!
//! # In memory
//!
//! A row is made of chunks of 64 columns, of which the even ones come first, then the odd ones. A chunk has a byte
//! for each column, the high bits of its level, and then 32 bytes with the low four, first of an even column, in the
//! high half, then of the odd one behind it.
#![allow(unsafe_code, reason = "threads write interleaved rows")]

use super::disjoint::Disjoint;
use super::fixed;
use super::isa::Isa;
use super::matrix::Palette;
use super::pool::Pool;
use super::rows::{BLOCK, CHUNK};
use super::simd::dispatch;
use super::zeroed::Piece;

/// Bits of a level.
pub(super) const LEVEL_BITS: u32 = 12;

/// The largest level.
const TOP: f32 = 2047.0;

/// Bytes of a chunk.
pub(super) const CHUNK_BYTES: usize = CHUNK + CHUNK / 2;

/// Rows that a thread makes at a time.
const ROWS: usize = 16;

/// A weight matrix on a grid.
#[derive(Debug)]
pub(super) struct Levels {
    row_bytes: usize,
    bytes: Piece,
    scales: Scales,
}

/// What one is worth in each block of each row, of numbers of 14 bits.
#[derive(Debug)]
pub(super) struct Scales {
    /// Blocks of a row.
    blocks: usize,
    values: Vec<f32>,
}

/// Bytes of a row of `columns`.
pub(super) fn row_bytes(columns: usize) -> usize {
    columns.div_ceil(CHUNK) * CHUNK_BYTES
}

/// Writes the levels of the weights of `palette`, with rows of `columns`, into `bytes`, which are zeros, row by row, with
/// the instructions of `isa`. Returns their scales.
///
/// # Panics
/// When the machine does not have the set, or `bytes` is not as long as the rows are.
pub(super) fn write(isa: Isa, pool: &Pool, palette: &Palette, columns: usize, bytes: &mut [u8]) -> Scales {
    let (rows, row_bytes, blocks) = (palette.rows(), row_bytes(columns), columns.div_ceil(BLOCK));
    assert_eq!(bytes.len(), rows * row_bytes);
    let mut values = vec![0f32; rows * blocks];
    let (all_bytes, all_scales) = (Disjoint::new(bytes), Disjoint::new(&mut values));
    pool.run(rows.div_ceil(ROWS), &|part| {
        let rows = part * ROWS..rows.min((part + 1) * ROWS);
        let mut weights = vec![0f32; rows.len() * columns];
        fixed::unpack(isa, palette, columns, rows.start, &mut weights);
        for (row, weights) in rows.zip(weights.chunks_exact(columns)) {
            // SAFETY: each row has one thread, and its own part of both.
            let (bytes, scales) = unsafe {
                let bytes = all_bytes.part(row * row_bytes..(row + 1) * row_bytes);
                (bytes, all_scales.part(row * blocks..(row + 1) * blocks))
            };
            dispatch(isa, || pack_row(weights, bytes, scales, fixed::pack_levels));
        }
    });
    Scales { blocks, values }
}

impl Levels {
    /// What [`write`] has written for rows of `columns`.
    pub(super) fn new(columns: usize, bytes: Piece, scales: Scales) -> Levels {
        Levels { row_bytes: row_bytes(columns), bytes, scales }
    }

    /// The chunks, row by row.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of a row.
    pub(super) fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// What one is worth in a block, whose levels are taken for numbers of 14 bits.
    #[inline(always)]
    pub(super) fn scale(&self, row: usize, block: usize) -> f32 {
        self.scales.values[row * self.scales.blocks + block]
    }

    /// The bytes that the levels take, and a product reads.
    pub(super) fn byte_len(&self) -> usize {
        self.bytes.len() + self.scales.values.len() * size_of::<f32>()
    }
}

/// Writes the chunks of a row, by `pack`, and the scale of each block.
#[inline(always)]
fn pack_row(
    weights: &[f32],
    bytes: &mut [u8],
    scales: &mut [f32],
    pack: impl Fn(&[f32; CHUNK], f32, &mut [u8; CHUNK_BYTES]),
) {
    let blocks = weights.chunks(BLOCK).zip(bytes.chunks_mut(BLOCK / CHUNK * CHUNK_BYTES));
    for ((weights, bytes), scale) in blocks.zip(scales) {
        let mut block = [0f32; BLOCK];
        block[..weights.len()].copy_from_slice(weights);
        // Compared as integers, magnitudes keep their order.
        let largest = block.iter().fold(0, |max, weight| (weight.to_bits() & 0x7fff_ffff).max(max));
        let largest = f32::from_bits(largest);
        if largest == 0.0 {
            // The bytes are zeros already, and so is the scale.
            continue;
        }
        // The smallest fp16 over TOP is a normal f32.
        let step = largest / TOP;
        for (bytes, weights) in bytes.as_chunks_mut().0.iter_mut().zip(block.as_chunks().0) {
            pack(weights, 1.0 / step, bytes);
        }
        // As numbers of 14 bits levels are four times as large.
        *scale = step / 4.0;
    }
}

/// Writes a chunk of levels.
pub(super) fn pack_plainly(weights: &[f32; CHUNK], per_step: f32, bytes: &mut [u8; CHUNK_BYTES]) {
    for (i, [even, odd]) in weights.as_chunks::<2>().0.iter().enumerate() {
        let (even, odd) = (nearest(even * per_step), nearest(odd * per_step));
        (bytes[i], bytes[CHUNK / 2 + i]) = ((even >> 4) as u8, (odd >> 4) as u8);
        bytes[CHUNK + i] = (even as u8) << 4 | odd as u8 & 0xf;
    }
}

/// The nearest integer, ties to even.
#[inline(always)]
fn nearest(x: f32) -> i16 {
    // Adding 1.5 * 2^23 rounds to an integer, and leaves it in the low bits.
    (x + 12_582_912.0).to_bits() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_the_same_with_all_instructions() {
        let mut state = 1u32;
        for _ in 0..200 {
            let weights = std::array::from_fn(|_| {
                state = state.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            });
            let (mut plain, mut fast) = ([0; CHUNK_BYTES], [0; CHUNK_BYTES]);
            pack_plainly(&weights, TOP, &mut plain);
            fixed::pack_levels(&weights, TOP, &mut fast);
            assert_eq!(plain, fast);
        }
    }
}
