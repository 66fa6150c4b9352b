//! Products of fp16 and f32 weights with activations, in f32.
//!
//! An element of a result is summed in eight lanes: column `c` in lane `c % 8`, one column after the other,
//! and the lanes in a tree. Whether a multiplication is fused with its addition depends on the set of
//! instructions, and nothing else does: not the number of rows of activations, not that of threads.
#![allow(unsafe_code, reason = "kernels for one machine's instructions")]

use std::ops::Range;

use super::disjoint::Disjoint;
use super::fixed::{LANES, total};
use super::isa::Isa;
use super::matrix::Matrix;
use super::rows::{BLOCK, Rows};

/// Rows of weights that go by together.
const PANEL: usize = 4;

/// Rows of activations that go by together.
const TOKENS: usize = 64;

/// Rows of a matrix, to be multiplied with all rows of activations.
pub(super) struct Tile<'a> {
    /// The weights.
    pub(super) weight: &'a Matrix,
    /// Which rows of the weights.
    pub(super) rows: Range<usize>,
    /// The activations.
    pub(super) x: &'a Rows,
    /// Where the results go: element `[token, row]` to `token * rows of the matrix + row`.
    pub(super) out: Disjoint<'a, f32>,
}

/// Multiplies the rows of `tile` with all rows of activations.
///
/// # Safety
/// Nobody else accesses the results of these rows.
pub(super) unsafe fn multiply(isa: Isa, tile: &Tile<'_>) {
    // SAFETY: the results are the caller's.
    unsafe { multiply_with::<false>(isa, tile) }
}

/// [`multiply`], with multiplications and additions fused or not.
#[inline(always)]
unsafe fn multiply_with<const FUSED: bool>(isa: Isa, tile: &Tile<'_>) {
    let mut panel = [[0f32; BLOCK]; PANEL];
    for first in tile.rows.clone().step_by(PANEL) {
        let rows = first..(first + PANEL).min(tile.rows.end);
        for token in (0..tile.x.count()).step_by(TOKENS) {
            let tokens = token..(token + TOKENS).min(tile.x.count());
            let mut totals = [[[0f32; LANES]; PANEL]; TOKENS];
            for block in 0..tile.x.blocks() {
                for (weights, row) in panel.iter_mut().zip(rows.clone()) {
                    tile.weight.unpack_block(isa, row, block * BLOCK, weights);
                }
                for (token, totals) in tokens.clone().zip(&mut totals) {
                    multiply_block::<FUSED>(&panel, tile.x.floats(block, token), totals);
                }
            }
            for (token, totals) in tokens.zip(&totals) {
                for (row, lanes) in rows.clone().zip(totals) {
                    // SAFETY: the results of these rows are the caller's.
                    unsafe { tile.out.set(token * tile.weight.rows() + row, total(*lanes)) };
                }
            }
        }
    }
}

/// Adds the products of one block.
#[inline(always)]
fn multiply_block<const FUSED: bool>(
    panel: &[[f32; BLOCK]; PANEL],
    x: &[f32; BLOCK],
    totals: &mut [[f32; LANES]; PANEL],
) {
    let mut sums = *totals;
    for (k, x) in x.as_chunks::<LANES>().0.iter().enumerate() {
        for (sums, weights) in sums.iter_mut().zip(panel) {
            let weights = &weights.as_chunks::<LANES>().0[k];
            for lane in 0..LANES {
                sums[lane] = match FUSED {
                    true => weights[lane].mul_add(x[lane], sums[lane]),
                    false => sums[lane] + weights[lane] * x[lane],
                };
            }
        }
    }
    *totals = sums;
}

/// The values of little-endian fp16 numbers.
///
/// # Panics
/// When the lengths do not match.
pub(super) fn widen(_isa: Isa, bytes: &[u8], out: &mut [f32]) {
    let (pairs, rest) = bytes.as_chunks::<2>();
    assert!(rest.is_empty() && pairs.len() == out.len(), "{} bytes for {} numbers", bytes.len(), out.len());
    for (out, pair) in out.iter_mut().zip(pairs) {
        *out = value(u16::from_le_bytes(*pair));
    }
}

/// The value of the bits of an fp16 number, without branches so that loops over it vectorize.
#[inline(always)]
pub(super) fn value(bits: u16) -> f32 {
    // The exponent of fp16 is 112 less than that of f32; a multiplication mends it for subnormals as well.
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let finite = (f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23)).to_bits();
    let special = magnitude | 0x7f80_0000;
    let result = if bits & 0x7c00 == 0x7c00 { special } else { finite };
    f32::from_bits(result | u32::from(bits & 0x8000) << 16)
}
