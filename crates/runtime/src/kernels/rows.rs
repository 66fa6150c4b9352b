//! Activations, prepared for products.
#![allow(unsafe_code, reason = "threads fill interleaved blocks")]

use super::disjoint::Disjoint;
use super::fixed::{self, MAX};
use super::isa::Isa;
use super::pool::Pool;

/// Columns of a block, which has one scale.
pub(super) const BLOCK: usize = 256;

/// Columns of a chunk, within which a layout orders the columns.
pub(super) const CHUNK: usize = 64;

/// Blocks below which one thread is quicker than two.
const PARALLEL: usize = 64;

/// Fixed-point numbers of a block, in the order of the instruction set that reads them.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct FixedBlock(pub(super) [i16; BLOCK]);

/// The numbers of a block.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct FloatBlock(pub(super) [f32; BLOCK]);

/// Activations: `count` rows of `columns` numbers, both in fixed point and as they are.
///
/// Blocks of [`BLOCK`] columns lie one after the other, each with all its rows, the last padded with zeros.
#[derive(Debug)]
pub(crate) struct Rows {
    isa: Isa,
    count: usize,
    columns: usize,
    fixed: Vec<FixedBlock>,
    scales: Vec<f32>,
    floats: Vec<FloatBlock>,
}

impl Rows {
    /// Prepares `x`, row-major `[count, columns]`, for kernels of `isa`.
    ///
    /// # Panics
    /// When `columns` is 0 or `x` is not a multiple of it long.
    pub(crate) fn new(isa: Isa, x: &[f32], columns: usize, pool: &Pool) -> Rows {
        let mut rows =
            Rows { isa, count: 0, columns, fixed: Vec::new(), scales: Vec::new(), floats: Vec::new() };
        rows.fill(isa, x, columns, pool);
        rows
    }

    /// As [`Rows::new`], in the memory of earlier rows.
    ///
    /// # Panics
    /// As [`Rows::new`] does.
    pub(crate) fn fill(&mut self, isa: Isa, x: &[f32], columns: usize, pool: &Pool) {
        assert!(isa.is_here(), "{isa:?} where there is none");
        assert!(columns > 0 && x.len().is_multiple_of(columns), "{} numbers in rows of {columns}", x.len());
        (self.isa, self.count, self.columns) = (isa, x.len() / columns, columns);
        let blocks = self.count * self.blocks();
        self.fixed.resize(blocks, FixedBlock([0; BLOCK]));
        self.scales.resize(blocks, 0.0);
        self.floats.resize(blocks, FloatBlock([0.0; BLOCK]));
        let (count, order) = (self.count, fixed::order(isa));
        let fixed = Disjoint::new(&mut self.fixed);
        let scales = Disjoint::new(&mut self.scales);
        let floats = Disjoint::new(&mut self.floats);
        let row = |token: usize| {
            for (block, x) in x[token * columns..][..columns].chunks(BLOCK).enumerate() {
                let at = block * count + token;
                // SAFETY: each pair of token and block has its own place, and each token one thread.
                let (fixed, floats) = unsafe { (fixed.part(at..at + 1), floats.part(at..at + 1)) };
                floats[0].0[..x.len()].copy_from_slice(x);
                floats[0].0[x.len()..].fill(0.0);
                let scale = quantize(isa, &floats[0].0, order, &mut fixed[0].0);
                // SAFETY: as above.
                unsafe { scales.set(at, scale) };
            }
        };
        if blocks < PARALLEL || count == 1 {
            (0..count).for_each(row);
        } else {
            pool.run(count, &row);
        }
    }

    /// Rows.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Numbers of a row.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The set that the fixed-point numbers are ordered for.
    pub(super) fn isa(&self) -> Isa {
        self.isa
    }

    /// Blocks of a row.
    pub(super) fn blocks(&self) -> usize {
        self.columns.div_ceil(BLOCK)
    }

    /// The chunks of block `block` in which there are columns.
    pub(super) fn chunks(&self, block: usize) -> usize {
        (self.columns - block * BLOCK).min(BLOCK).div_ceil(CHUNK)
    }

    /// Block `block` of row `token` in fixed point.
    #[inline(always)]
    pub(super) fn fixed(&self, block: usize, token: usize) -> &[i16; BLOCK] {
        &self.fixed[block * self.count + token].0
    }

    /// What one is worth in that block.
    #[inline(always)]
    pub(super) fn scale(&self, block: usize, token: usize) -> f32 {
        self.scales[block * self.count + token]
    }

    /// Block `block` of row `token`.
    #[inline(always)]
    pub(super) fn floats(&self, block: usize, token: usize) -> &[f32; BLOCK] {
        &self.floats[block * self.count + token].0
    }
}

/// Writes `x` as multiples of a scale, in the order of `order`, and returns the scale.
///
/// A block with an infinity or NaN has the scale NaN; one of numbers below the normal ones of f32 times
/// [`MAX`] counts as zeros, because its scale would lose bits.
#[inline(always)]
fn quantize(isa: Isa, x: &[f32; BLOCK], order: &[u8; CHUNK], out: &mut [i16; BLOCK]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if matches!(isa, Isa::Avx2 | Isa::Avx512) {
        // SAFETY: the rows have found that the machine has the set.
        return unsafe { quantize_avx2(x, order, out) };
    }
    quantize_plainly(x, order, out)
}

/// [`quantize`] in registers of eight lanes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn quantize_avx2(x: &[f32; BLOCK], order: &[u8; CHUNK], out: &mut [i16; BLOCK]) -> f32 {
    quantize_plainly(x, order, out)
}

/// [`quantize`] in plain Rust.
#[inline(always)]
fn quantize_plainly(x: &[f32; BLOCK], order: &[u8; CHUNK], out: &mut [i16; BLOCK]) -> f32 {
    // Compared as integers, magnitudes keep their order and NaN is above infinity.
    let largest = f32::from_bits(x.iter().fold(0, |max, v| (v.to_bits() & 0x7fff_ffff).max(max)));
    if !largest.is_finite() || largest < f32::MIN_POSITIVE * MAX {
        *out = [0; BLOCK];
        return if largest.is_finite() { 0.0 } else { f32::NAN };
    }
    let scale = largest / MAX;
    // Adding 1.5 * 2^23 rounds to an integer, ties to even, and leaves it in the low bits.
    let mut natural = [0i16; BLOCK];
    for (whole, x) in natural.iter_mut().zip(x) {
        *whole = (x / scale + 12_582_912.0).to_bits() as i16;
    }
    for (out, chunk) in out.as_chunks_mut::<CHUNK>().0.iter_mut().zip(natural.as_chunks::<CHUNK>().0) {
        for (out, column) in out.iter_mut().zip(order) {
            *out = chunk[usize::from(*column) % CHUNK];
        }
    }
    scale
}
