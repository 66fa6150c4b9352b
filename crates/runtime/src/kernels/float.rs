//! Products of fp16 weights with activations, in f32.
//!
//! An element of a result is summed in eight lanes: column `c` in lane `c % 8`, one column after the other,
//! and the lanes in a tree. Whether a multiplication is fused with its addition depends on the set of
//! instructions, and nothing else does: not the number of rows of activations, not that of threads.
#![allow(unsafe_code, reason = "kernels for one machine's instructions")]
#![allow(clippy::needless_range_loop, reason = "iterators over registers are not always inlined")]

use std::ops::Range;

use super::disjoint::Disjoint;
use super::fixed::{LANES, total};
use super::fp16::widened;
use super::isa::Isa;
use super::rows::{BLOCK, Rows};

/// Rows of weights that go by together.
const PANEL: usize = 4;

/// Rows of activations that go by together.
const TOKENS: usize = 64;

/// A block of a row of weights; aligned, for loads across two lines of the cache take twice as long.
#[repr(align(64))]
struct FloatBlock([f32; BLOCK]);

/// Rows of a matrix, to be multiplied with all rows of activations.
pub(super) struct Tile<'a> {
    /// The weights: little-endian fp16, row by row.
    pub(super) weight: &'a [u8],
    /// Which rows of the weights.
    pub(super) rows: Range<usize>,
    /// The activations.
    pub(super) x: &'a Rows,
    /// Where the results go: element `[token, row]` to `token * stride + row`.
    pub(super) out: Disjoint<'a, f32>,
    /// Rows of the whole matrix.
    pub(super) stride: usize,
}

/// Multiplies the rows of `tile` with all rows of activations.
///
/// # Safety
/// Nobody else accesses the results of these rows.
///
/// # Panics
/// When the machine does not have the set.
pub(super) unsafe fn multiply(isa: Isa, tile: &Tile<'_>) {
    assert!(isa.is_here(), "{isa:?} where there is none");
    // SAFETY: the machine has the set, and the results are the caller's.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::Avx512 => avx2::multiply(tile),
            Isa::Neon => multiply_with::<true, Plain>(tile),
            _ => multiply_with::<false, Plain>(tile),
        }
    }
}

/// How fp16 numbers are read.
///
/// # Safety
/// The functions may be called only where the instructions are there.
trait Read {
    /// The values of little-endian numbers.
    unsafe fn widen(bytes: &[u8], out: &mut [f32]);

    /// The values of as many as there are lanes.
    unsafe fn eight(bytes: &[u8; 2 * LANES]) -> [f32; LANES];

    /// Asks for the line of the cache at `address`, which may be anywhere.
    unsafe fn prefetch(address: *const u8);
}

/// Plain Rust.
struct Plain;

impl Read for Plain {
    unsafe fn widen(bytes: &[u8], out: &mut [f32]) {
        widen_plainly(bytes, out);
    }

    unsafe fn eight(bytes: &[u8; 2 * LANES]) -> [f32; LANES] {
        std::array::from_fn(|i| widened(u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]])))
    }

    unsafe fn prefetch(_: *const u8) {}
}

/// [`multiply`], with multiplications and additions fused or not.
#[inline(always)]
unsafe fn multiply_with<const FUSED: bool, R: Read>(tile: &Tile<'_>) {
    // SAFETY: the caller has the instructions and the results.
    unsafe {
        match tile.x.count() {
            1 => thin::<FUSED, R>(tile),
            _ => wide::<FUSED, R>(tile),
        }
    }
}

/// The product with one row of activations: weights are multiplied as soon as they are read.
#[inline(always)]
unsafe fn thin<const FUSED: bool, R: Read>(tile: &Tile<'_>) {
    let row_bytes = 2 * tile.x.columns();
    for first in tile.rows.clone().step_by(PANEL) {
        let rows = first..(first + PANEL).min(tile.rows.end);
        let weights: [&[u8]; PANEL] = std::array::from_fn(|i| {
            let row = (first + i).min(rows.end - 1);
            &tile.weight[row * row_bytes..][..row_bytes]
        });
        let mut sums = [[0f32; LANES]; PANEL];
        for block in 0..tile.x.blocks() {
            let weights = weights.map(|row| &row[2 * block * BLOCK..row.len().min(2 * (block + 1) * BLOCK)]);
            // SAFETY: the caller has the instructions.
            unsafe { add_block::<FUSED, R>(&mut sums, weights, tile.x.floats(block, 0), PANEL * row_bytes) };
        }
        for (row, lanes) in rows.zip(sums) {
            // SAFETY: the results of these rows are the caller's.
            unsafe { tile.out.set(row, total(lanes)) };
        }
    }
}

/// Adds the products of one block of a panel of weights; what lies `ahead` bytes further is wanted next.
#[inline(always)]
unsafe fn add_block<const FUSED: bool, R: Read>(
    sums: &mut [[f32; LANES]; PANEL],
    weights: [&[u8]; PANEL],
    x: &[f32; BLOCK],
    ahead: usize,
) {
    let xs = x.as_chunks::<LANES>().0;
    let eights = weights.map(|row| row.as_chunks::<{ 2 * LANES }>());
    for k in 0..eights[0].0.len() {
        for row in 0..PANEL {
            // SAFETY: the caller has the instructions.
            unsafe {
                if k % 4 == 0 {
                    R::prefetch(weights[row].as_ptr().wrapping_add(2 * LANES * k + ahead));
                }
                add_products::<FUSED>(&mut sums[row], &R::eight(&eights[row].0[k]), &xs[k]);
            }
        }
    }
    for row in 0..PANEL {
        let (whole, rest) = eights[row];
        if !rest.is_empty() {
            let mut last = [0; 2 * LANES];
            last[..rest.len()].copy_from_slice(rest);
            // SAFETY: as above.
            add_products::<FUSED>(&mut sums[row], &unsafe { R::eight(&last) }, &xs[whole.len()]);
        }
    }
}

/// Adds a product to each lane.
#[inline(always)]
fn add_products<const FUSED: bool>(sums: &mut [f32; LANES], weights: &[f32; LANES], x: &[f32; LANES]) {
    for lane in 0..LANES {
        let (weight, x, sum) = (weights[lane], x[lane], &mut sums[lane]);
        *sum = if FUSED { weight.mul_add(x, *sum) } else { *sum + weight * x };
    }
}

/// The product with several rows of activations: a block of a panel of weights is read once for all.
#[inline(always)]
unsafe fn wide<const FUSED: bool, R: Read>(tile: &Tile<'_>) {
    let (columns, count) = (tile.x.columns(), tile.x.count());
    let mut panel = [const { FloatBlock([0.0; BLOCK]) }; PANEL];
    for first in tile.rows.clone().step_by(PANEL) {
        let rows = first..(first + PANEL).min(tile.rows.end);
        for token in (0..count).step_by(TOKENS) {
            let tokens = token..(token + TOKENS).min(count);
            let mut totals = [[[0f32; LANES]; PANEL]; TOKENS];
            for block in 0..tile.x.blocks() {
                let length = (columns - block * BLOCK).min(BLOCK);
                for (FloatBlock(weights), row) in panel.iter_mut().zip(rows.clone()) {
                    let at = row * columns + block * BLOCK;
                    // SAFETY: the caller has the instructions.
                    unsafe { R::widen(&tile.weight[at * 2..][..length * 2], &mut weights[..length]) };
                    weights[length..].fill(0.0);
                }
                // As far as `add_block` goes: one more product of zeros would make +0 of -0.
                let steps = length.div_ceil(LANES);
                let (pairs, last) = totals[..tokens.len()].as_chunks_mut::<2>();
                for (i, totals) in pairs.iter_mut().enumerate() {
                    let xs = floats(tile.x, block, token + 2 * i);
                    multiply_block::<FUSED, 2>(&panel, xs, steps, totals);
                }
                for totals in last.as_chunks_mut::<1>().0 {
                    multiply_block::<FUSED, 1>(&panel, floats(tile.x, block, tokens.end - 1), steps, totals);
                }
            }
            for (token, totals) in tokens.zip(&totals) {
                for (row, lanes) in rows.clone().zip(totals) {
                    // SAFETY: the results of these rows are the caller's.
                    unsafe { tile.out.set(token * tile.stride + row, total(*lanes)) };
                }
            }
        }
    }
}

/// Block `block` of `T` rows of activations from `first` on.
#[inline(always)]
fn floats<const T: usize>(x: &Rows, block: usize, first: usize) -> [&[f32; BLOCK]; T] {
    let mut floats = [x.floats(block, first); T];
    for token in 1..T {
        floats[token] = x.floats(block, first + token);
    }
    floats
}

/// Adds the products of `steps` times as many columns of one block as there are lanes, with `T` rows of activations.
#[inline(always)]
fn multiply_block<const FUSED: bool, const T: usize>(
    panel: &[FloatBlock; PANEL],
    xs: [&[f32; BLOCK]; T],
    steps: usize,
    totals: &mut [[[f32; LANES]; PANEL]; T],
) {
    let mut sums = *totals;
    // Were the number of steps known, all would be unrolled, and registers would not suffice.
    for k in 0..steps {
        for token in 0..T {
            let x = &xs[token][k * LANES..][..LANES];
            for row in 0..PANEL {
                let weights = &panel[row].0[k * LANES..][..LANES];
                for lane in 0..LANES {
                    let sum = &mut sums[token][row][lane];
                    let (weight, x) = (weights[lane], x[lane]);
                    *sum = if FUSED { weight.mul_add(x, *sum) } else { *sum + weight * x };
                }
            }
        }
    }
    *totals = sums;
}

/// The values of little-endian fp16 numbers.
///
/// # Panics
/// When the lengths do not match.
pub(super) fn widen(isa: Isa, bytes: &[u8], out: &mut [f32]) {
    assert!(isa.is_here(), "{isa:?} where there is none");
    #[cfg(target_arch = "x86_64")]
    if matches!(isa, Isa::Avx2 | Isa::Avx512) {
        // SAFETY: the machine has the set.
        return unsafe { avx2::widen(bytes, out) };
    }
    widen_plainly(bytes, out);
}

/// [`widen`] in plain Rust.
fn widen_plainly(bytes: &[u8], out: &mut [f32]) {
    let (pairs, rest) = bytes.as_chunks::<2>();
    assert!(rest.is_empty() && pairs.len() == out.len(), "{} bytes for {} numbers", bytes.len(), out.len());
    for (out, pair) in out.iter_mut().zip(pairs) {
        *out = widened(u16::from_le_bytes(*pair));
    }
}

/// AVX2 with FMA and F16C.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{LANES, Read, Tile, multiply_with, widen_plainly};

    struct F16c;

    impl Read for F16c {
        #[inline(always)]
        unsafe fn widen(bytes: &[u8], out: &mut [f32]) {
            // SAFETY: the caller has the instructions.
            unsafe { widen(bytes, out) }
        }

        #[inline(always)]
        unsafe fn eight(bytes: &[u8; 2 * LANES]) -> [f32; LANES] {
            let mut eight = [0.0; LANES];
            // SAFETY: the caller has F16C; eight numbers are a register, and half of one before.
            unsafe {
                let bits = _mm_loadu_si128(bytes.as_ptr().cast());
                _mm256_storeu_ps(eight.as_mut_ptr(), _mm256_cvtph_ps(bits));
            }
            eight
        }

        #[inline(always)]
        unsafe fn prefetch(address: *const u8) {
            // SAFETY: asking for memory does not access it.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn multiply(tile: &Tile<'_>) {
        // SAFETY: this function has the instructions; the results are the caller's.
        unsafe { multiply_with::<true, F16c>(tile) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn widen(bytes: &[u8], out: &mut [f32]) {
        let (eights, rest) = out.as_chunks_mut::<8>();
        let (body, tail) = bytes.split_at(16 * eights.len());
        for (out, bytes) in eights.iter_mut().zip(body.as_chunks::<16>().0) {
            // SAFETY: eight numbers are a register, and half of one before.
            unsafe {
                let eight = _mm_loadu_si128(bytes.as_ptr().cast());
                _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(eight));
            }
        }
        widen_plainly(tail, rest);
    }
}
