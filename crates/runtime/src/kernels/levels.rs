//! Weights of 8 bits on a grid, for instructions that look up few bytes at a time.
//!
//! `vpshufb` finds one of 16 bytes, so that entries of 256 take so many lookups that a product waits for them
//! and not for memory. Rounded to a grid whose step follows the largest weight of each block of a row,
//!
//! ```text
//! weight [row, column] = scale [row, block] · level [row, column]
//! ```
//!
//! weights take 10 bits and no lookup at all. Of normal weights that adds a fifteenth to the noise that palettization
//! has left. Where a few weights are so large that the others lose more than [`TOLERANCE`], levels get 12 bits, which
//! suffice for any.
//!
//! # In memory
//!
//! A row is made of chunks of 64 columns, of which the even ones come first, then the odd ones. A chunk has a byte
//! for each column, the high bits of its level, and then the low ones, `extra` of each: those of the first `8 * extra`
//! columns are the highest bits of so many bytes, those of the next as many columns the bits below, and so on.
#![allow(unsafe_code, reason = "threads write interleaved rows")]

use super::disjoint::Disjoint;
use super::fixed;
use super::isa::Isa;
use super::matrix::Palette;
use super::pool::Pool;
use super::rows::{BLOCK, CHUNK};
use super::simd::dispatch;
use super::zeroed::Zeroed;

/// How much noise rounding to levels may add, as a part of the mean square of the weights of a block, which is at least
/// 1/256 of the largest square: a third of what 8 bits leave of normal weights.
const TOLERANCE: f64 = 1.0 / 65536.0;

/// Rows that a thread makes at a time.
const ROWS: usize = 16;

/// A weight matrix on a grid.
#[derive(Debug)]
pub(super) struct Levels {
    /// Bits of a level: 10 or 12.
    bits: u32,
    row_bytes: usize,
    bytes: Zeroed,
    /// Blocks of a row.
    blocks: usize,
    /// What one is worth in each block of each row, of numbers of 14 bits.
    scales: Vec<f32>,
}

impl Levels {
    /// The weights of `palette` with rows of `columns`, made with the instructions of `isa`. `None` when their memory is
    /// not to be had.
    ///
    /// # Panics
    /// When the machine does not have the set.
    pub(super) fn new(isa: Isa, pool: &Pool, palette: &Palette, columns: usize) -> Option<Levels> {
        let source = Source { isa, pool, palette, columns };
        let (levels, noise) = Levels::of::<2>(&source)?;
        if noise <= TOLERANCE {
            return Some(levels);
        }
        drop(levels);
        Levels::of::<4>(&source).map(|(levels, _)| levels)
    }

    /// The weights in levels of 8 bits and `EXTRA`, and the noise of that, as a part of the mean square.
    fn of<const EXTRA: usize>(source: &Source<'_>) -> Option<(Levels, f64)> {
        let Source { isa, pool, palette, columns } = *source;
        let rows = palette.indices.len() / palette.row_bytes;
        let (row_bytes, blocks) = (columns.div_ceil(CHUNK) * chunk_bytes(EXTRA), columns.div_ceil(BLOCK));
        let (mut bytes, mut scales, mut noise) =
            (Zeroed::new(rows.checked_mul(row_bytes)?)?, vec![0f32; rows * blocks], vec![0f64; rows]);
        let (all_bytes, all_scales, all_noise) =
            (Disjoint::new(&mut bytes), Disjoint::new(&mut scales), Disjoint::new(&mut noise));
        pool.run(rows.div_ceil(ROWS), &|part| {
            let rows = part * ROWS..rows.min((part + 1) * ROWS);
            let mut weights = vec![0f32; rows.len() * columns];
            fixed::unpack(isa, palette, columns, rows.start, &mut weights);
            for (row, weights) in rows.zip(weights.chunks_exact(columns)) {
                // SAFETY: each row has one thread, and its own part of all.
                unsafe {
                    let bytes = all_bytes.part(row * row_bytes..(row + 1) * row_bytes);
                    let scales = all_scales.part(row * blocks..(row + 1) * blocks);
                    let noise = all_noise.part(row..row + 1);
                    dispatch(isa, || noise[0] = pack_row::<EXTRA>(weights, bytes, scales));
                }
            }
        });
        // Added up row by row, so that the sum does not depend on the threads.
        let noise = noise.iter().sum::<f64>() / (rows * blocks) as f64;
        Some((Levels { bits: 8 + EXTRA as u32, row_bytes, bytes, blocks, scales }, noise))
    }

    /// Bits of a level: 10 or 12.
    pub(super) fn bits(&self) -> u32 {
        self.bits
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
        self.scales[row * self.blocks + block]
    }

    /// The bytes that the levels take, and a product reads.
    pub(super) fn byte_len(&self) -> usize {
        self.bytes.len() + self.scales.len() * size_of::<f32>()
    }
}

/// Bytes of a chunk.
const fn chunk_bytes(extra: usize) -> usize {
    CHUNK + 8 * extra
}

/// What levels are made of, and by.
struct Source<'a> {
    isa: Isa,
    pool: &'a Pool,
    palette: &'a Palette,
    columns: usize,
}

/// Writes the chunks of a row, and the scale of each block; the noise of the blocks, added up.
#[inline(always)]
fn pack_row<const EXTRA: usize>(weights: &[f32], bytes: &mut [u8], scales: &mut [f32]) -> f64 {
    let top = ((1 << (7 + EXTRA)) - 1) as f32;
    let mut noise = 0.0;
    let blocks = weights.chunks(BLOCK).zip(bytes.chunks_mut(BLOCK / CHUNK * chunk_bytes(EXTRA)));
    for ((weights, bytes), scale) in blocks.zip(scales) {
        let mut block = [0f32; BLOCK];
        block[..weights.len()].copy_from_slice(weights);
        let largest = block.iter().fold(0f32, |max, weight| max.max(weight.abs()));
        if largest == 0.0 {
            // The bytes are zeros already, and so is the scale.
            continue;
        }
        // The smallest fp16 over the top is a normal f32.
        let step = largest / top;
        let chunks = bytes.chunks_exact_mut(chunk_bytes(EXTRA)).zip(block.as_chunks::<CHUNK>().0);
        chunks.for_each(|(bytes, weights)| pack::<EXTRA>(weights, 1.0 / step, bytes));
        *scale = step / (1 << (6 - EXTRA)) as f32;
        let mean_square = sum_of_squares(&block) / weights.len() as f32;
        noise += f64::from(step).powi(2) / 12.0 / f64::from(mean_square);
    }
    noise
}

/// The sum of the squares, added up in lanes of a register.
#[inline(always)]
fn sum_of_squares(weights: &[f32; BLOCK]) -> f32 {
    let mut lanes = [0f32; 8];
    for weights in weights.as_chunks::<8>().0 {
        lanes.iter_mut().zip(weights).for_each(|(lane, weight)| *lane += weight * weight);
    }
    lanes.iter().sum()
}

/// Writes a chunk of levels.
#[inline(always)]
fn pack<const EXTRA: usize>(weights: &[f32; CHUNK], per_step: f32, bytes: &mut [u8]) {
    let mut levels = [0i16; CHUNK];
    for (i, pair) in weights.as_chunks::<2>().0.iter().enumerate() {
        (levels[i], levels[CHUNK / 2 + i]) = (nearest(pair[0] * per_step), nearest(pair[1] * per_step));
    }
    let (high, low) = bytes.split_at_mut(CHUNK);
    for (high, level) in high.iter_mut().zip(levels) {
        *high = (level >> EXTRA) as u8;
    }
    // New memory must not be read before it is written: the system would come by it twice.
    let mut bits = [0u8; CHUNK / 2];
    let bits = &mut bits[..low.len()];
    for (i, levels) in levels.chunks_exact(8 * EXTRA).enumerate() {
        for (bits, level) in bits.iter_mut().zip(levels) {
            *bits |= (*level as u8 & ((1 << EXTRA) - 1)) << (8 - EXTRA * (i + 1));
        }
    }
    low.copy_from_slice(bits);
}

/// The nearest integer, ties to even.
#[inline(always)]
fn nearest(x: f32) -> i16 {
    // Adding 1.5 * 2^23 rounds to an integer, and leaves it in the low bits.
    (x + 12_582_912.0).to_bits() as i16
}
