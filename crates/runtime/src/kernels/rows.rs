//! Activations, prepared for products.
#![allow(unsafe_code, reason = "threads fill interleaved blocks, which are read as arrays")]

use super::disjoint::Disjoint;
use super::fixed::{self, MAX};
use super::isa::Isa;
use super::pool::Pool;
use crate::tensor::stretch;

/// Columns of a block, which has one scale.
pub(super) const BLOCK: usize = 256;

/// Columns of a chunk, within which a layout orders the columns.
pub(super) const CHUNK: usize = 64;

/// Chunks of a block.
const CHUNKS: usize = BLOCK / CHUNK;

/// Blocks below which one thread is quicker than two.
const PARALLEL: usize = 64;

/// Fixed-point numbers of a chunk, in the order of the instruction set that reads them.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct FixedChunk([i16; CHUNK]);

/// The numbers of a chunk.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct FloatChunk([f32; CHUNK]);

/// In which forms activations are needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Forms {
    /// In fixed point, as palettized weights are multiplied.
    pub(crate) fixed: bool,
    /// As they are, for weights of fp16.
    pub(crate) floats: bool,
}

/// Activations: `count` rows of `columns` numbers, in fixed point, as they are, or both.
///
/// Blocks of [`BLOCK`] columns lie one after the other, each with all its rows; the last block is as many chunks wide
/// as it has columns for, filled up with zeros.
#[derive(Debug)]
pub(crate) struct Rows {
    isa: Isa,
    count: usize,
    columns: usize,
    forms: Forms,
    fixed: Vec<FixedChunk>,
    scales: Vec<f32>,
    floats: Vec<FloatChunk>,
}

impl Rows {
    /// No rows, to be filled.
    pub(crate) fn empty() -> Rows {
        Rows {
            isa: Isa::Generic,
            count: 0,
            columns: 0,
            forms: Forms { fixed: false, floats: false },
            fixed: Vec::new(),
            scales: Vec::new(),
            floats: Vec::new(),
        }
    }

    /// The bytes that `count` rows of `columns` numbers take in `forms`.
    pub(crate) fn bytes(count: usize, columns: usize, forms: Forms) -> u64 {
        let one = if forms.fixed { size_of::<FixedChunk>() } else { 0 }
            + if forms.floats { size_of::<FloatChunk>() } else { 0 };
        let row = columns.div_ceil(CHUNK) * one + columns.div_ceil(BLOCK) * size_of::<f32>();
        (count as u64).saturating_mul(row as u64).saturating_add((CHUNKS * one) as u64)
    }

    /// Prepares `x`, row-major `[count, columns]`, for kernels of `isa`, in the memory of earlier rows.
    ///
    /// # Errors
    /// Memory that cannot be had.
    ///
    /// # Panics
    /// When `columns` is 0, `x` is not a multiple of it long, or the machine does not have the set.
    pub(crate) fn fill(
        &mut self,
        isa: Isa,
        forms: Forms,
        x: &[f32],
        columns: usize,
        pool: &Pool,
    ) -> Result<(), String> {
        assert!(isa.is_here(), "{isa:?} where there is none");
        assert!(columns > 0 && x.len().is_multiple_of(columns), "{} numbers in rows of {columns}", x.len());
        (self.isa, self.count, self.columns, self.forms) = (isa, x.len() / columns, columns, forms);
        self.make_room()?;
        let (count, order) = (self.count, fixed::order(isa));
        let fixed = Disjoint::new(&mut self.fixed);
        let scales = Disjoint::new(&mut self.scales);
        let floats = Disjoint::new(&mut self.floats);
        let row = |token: usize| {
            let mut padded = [[0f32; CHUNK]; CHUNKS];
            for (block, x) in x[token * columns..][..columns].chunks(BLOCK).enumerate() {
                let x = in_chunks(x, &mut padded);
                let at = place(count, block, x.len(), token);
                if forms.floats {
                    // SAFETY: each pair of token and block has its own place, and each token one thread.
                    let floats = unsafe { floats.part(at..at + x.len()) };
                    floats.iter_mut().zip(x).for_each(|(chunk, x)| chunk.0 = *x);
                }
                if forms.fixed {
                    // SAFETY: as above.
                    let scale = quantize(isa, x, order, unsafe { fixed.part(at..at + x.len()) });
                    // SAFETY: as above.
                    unsafe { scales.set(block * count + token, scale) };
                }
            }
        };
        if count * columns.div_ceil(BLOCK) < PARALLEL || count == 1 {
            (0..count).for_each(row);
        } else {
            pool.run(count, &row);
        }
        Ok(())
    }

    /// Makes the memory as large as the rows need it, and so much larger that the last can be read as a whole block.
    fn make_room(&mut self) -> Result<(), String> {
        let chunks = self.count * self.columns.div_ceil(CHUNK) + CHUNKS - 1;
        let blocks = self.count * self.blocks();
        if self.forms.fixed {
            stretch(&mut self.fixed, chunks, FixedChunk([0; CHUNK]))?;
            stretch(&mut self.scales, blocks, 0.0)?;
        }
        if self.forms.floats {
            stretch(&mut self.floats, chunks, FloatChunk([0.0; CHUNK]))?;
        }
        Ok(())
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

    /// The forms that the rows were filled in.
    pub(super) fn forms(&self) -> Forms {
        self.forms
    }

    /// The first chunk of block `block` of row `token`.
    #[inline(always)]
    fn place(&self, block: usize, token: usize) -> usize {
        place(self.count, block, self.chunks(block), token)
    }

    /// Block `block` of row `token` in fixed point. What is behind the chunks in which there are columns belongs to
    /// other rows and means nothing.
    #[inline(always)]
    pub(super) fn fixed(&self, block: usize, token: usize) -> &[i16; BLOCK] {
        let chunks = &self.fixed[self.place(block, token)..][..CHUNKS];
        // SAFETY: as many chunks as a block has, each an array without padding.
        unsafe { &*chunks.as_ptr().cast::<[i16; BLOCK]>() }
    }

    /// What one is worth in that block.
    #[inline(always)]
    pub(super) fn scale(&self, block: usize, token: usize) -> f32 {
        self.scales[block * self.count + token]
    }

    /// Block `block` of row `token`, as [`Rows::fixed`] gives it.
    #[inline(always)]
    pub(super) fn floats(&self, block: usize, token: usize) -> &[f32; BLOCK] {
        let chunks = &self.floats[self.place(block, token)..][..CHUNKS];
        // SAFETY: as many chunks as a block has, each an array without padding.
        unsafe { &*chunks.as_ptr().cast::<[f32; BLOCK]>() }
    }
}

/// Where the chunks of row `token` in block `block` begin, which has `chunks` a row, among `count` rows.
#[inline(always)]
fn place(count: usize, block: usize, chunks: usize, token: usize) -> usize {
    block * count * CHUNKS + token * chunks
}

/// The chunks of a block; where the last is not full, in `padded`, with zeros behind it.
#[inline(always)]
fn in_chunks<'a>(x: &'a [f32], padded: &'a mut [[f32; CHUNK]; CHUNKS]) -> &'a [[f32; CHUNK]] {
    let (whole, rest) = x.as_chunks::<CHUNK>();
    if rest.is_empty() {
        return whole;
    }
    let numbers = padded.as_flattened_mut();
    numbers[..x.len()].copy_from_slice(x);
    numbers[x.len()..].fill(0.0);
    &padded[..x.len().div_ceil(CHUNK)]
}

/// Writes `x`, chunks of one block, as multiples of a scale, in the order of `order`, and returns the scale.
///
/// A block with an infinity or NaN has the scale NaN; one of numbers below the normal ones of f32 times
/// [`MAX`] counts as zeros, because its scale would lose bits.
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "there is one way only"))]
#[inline(always)]
fn quantize(isa: Isa, x: &[[f32; CHUNK]], order: &[u8; CHUNK], out: &mut [FixedChunk]) -> f32 {
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
fn quantize_avx2(x: &[[f32; CHUNK]], order: &[u8; CHUNK], out: &mut [FixedChunk]) -> f32 {
    quantize_plainly(x, order, out)
}

/// [`quantize`] in plain Rust.
#[inline(always)]
fn quantize_plainly(x: &[[f32; CHUNK]], order: &[u8; CHUNK], out: &mut [FixedChunk]) -> f32 {
    // Compared as integers, magnitudes keep their order and NaN is above infinity.
    let largest = x.as_flattened().iter().fold(0, |max, v| (v.to_bits() & 0x7fff_ffff).max(max));
    let largest = f32::from_bits(largest);
    if !largest.is_finite() || largest < f32::MIN_POSITIVE * MAX {
        out.iter_mut().for_each(|chunk| chunk.0 = [0; CHUNK]);
        return if largest.is_finite() { 0.0 } else { f32::NAN };
    }
    let scale = largest / MAX;
    for (out, x) in out.iter_mut().zip(x) {
        // Adding 1.5 * 2^23 rounds to an integer, ties to even, and leaves it in the low bits.
        let mut natural = [0i16; CHUNK];
        for (whole, x) in natural.iter_mut().zip(x) {
            *whole = (x / scale + 12_582_912.0).to_bits() as i16;
        }
        for (out, column) in out.0.iter_mut().zip(order) {
            *out = natural[usize::from(*column) % CHUNK];
        }
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_few_columns_take_little() {
        let (count, pool) = (1000, Pool::new(2));
        let x = vec![1.0; count * 4];
        for (fixed, floats) in [(true, false), (false, true)] {
            let (forms, mut rows) = (Forms { fixed, floats }, Rows::empty());
            rows.fill(Isa::best(), forms, &x, 4, &pool).unwrap();
            let taken = rows.fixed.capacity() * size_of::<FixedChunk>()
                + rows.floats.capacity() * size_of::<FloatChunk>()
                + rows.scales.capacity() * size_of::<f32>();
            assert!(taken as u64 <= Rows::bytes(count, 4, forms), "{taken} bytes");
            // A chunk of either form and a scale, not a block of both.
            assert!(taken <= (count + CHUNKS) * (CHUNK * 4 + 4), "{taken} bytes");
            assert_eq!((rows.fixed.is_empty(), rows.floats.is_empty()), (!fixed, !floats));
            let place = (rows.fixed.as_ptr(), rows.floats.as_ptr());
            rows.fill(Isa::best(), forms, &x[..60 * 60], 60, &pool).unwrap();
            assert_eq!((rows.fixed.as_ptr(), rows.floats.as_ptr()), place, "the memory is used again");
        }
    }
}
