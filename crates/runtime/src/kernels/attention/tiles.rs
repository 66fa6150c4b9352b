//! The two products of an attention, over a tile of positions: small enough for the nearest cache.
//!
//! Every sum goes over its terms in the order of the tile, whatever rows are taken together: the results of a
//! row do not depend on the other rows, and fp16 read in place gives what fp16 widened before does.

use crate::kernels::simd::{LANES, Simd};

/// Rows of queries that share what is read of keys and values.
pub(super) const ROWS: usize = 3;

/// Positions whose scores are computed together, and vectors of a value that are summed together. With
/// [`ROWS`] rows their sums, and what is multiplied, fit in sixteen registers.
const WIDE: usize = 4;

/// Numbers as they are stored.
pub(super) trait Stored: Copy {
    /// The vector of eight numbers.
    fn load<S: Simd>(simd: S, from: &[Self; LANES]) -> S::Vector;
}

impl Stored for f32 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[f32; LANES]) -> S::Vector {
        simd.load(from)
    }
}

impl Stored for u16 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[u16; LANES]) -> S::Vector {
        simd.load_fp16(from)
    }
}

/// Keys or values of some positions, `[positions, vectors]` of eight numbers.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a, E> {
    pub(super) data: &'a [[E; LANES]],
    pub(super) vectors: usize,
}

/// `scores[r][p] = queries[r] · keys[p]` for the positions `p` of a tile.
///
/// A row of `scores` is `width` long and has room for a multiple of four positions from `start` on, all of
/// which are written.
#[inline(always)]
pub(super) fn score<S: Simd, E: Stored>(
    simd: S,
    queries: &[[f32; LANES]],
    keys: Tile<'_, E>,
    scores: &mut [f32],
    width: usize,
    start: usize,
) {
    let vectors = keys.vectors;
    let rows = queries.chunks(ROWS * vectors).zip(scores.chunks_mut(ROWS * width));
    for (queries, scores) in rows {
        match queries.len() / vectors {
            3 => score_rows::<S, E, 3>(simd, queries, keys, scores, width, start),
            2 => score_rows::<S, E, 2>(simd, queries, keys, scores, width, start),
            _ => score_rows::<S, E, 1>(simd, queries, keys, scores, width, start),
        }
    }
}

#[inline(always)]
fn score_rows<S: Simd, E: Stored, const R: usize>(
    simd: S,
    queries: &[[f32; LANES]],
    keys: Tile<'_, E>,
    scores: &mut [f32],
    width: usize,
    start: usize,
) {
    let vectors = keys.vectors;
    let queries: [_; R] = std::array::from_fn(|r| &queries[r * vectors..][..vectors]);
    let positions = keys.data.len() / vectors;
    for first in (0..positions).step_by(WIDE) {
        // The last four may be fewer: the last position stands in for those that lack.
        let key = |i: usize| &keys.data[(first + i).min(positions - 1) * vectors..][..vectors];
        let products = products(simd, queries, [key(0), key(1), key(2), key(3)]);
        for (r, products) in products.iter().enumerate() {
            scores[r * width + start + first..][..WIDE].copy_from_slice(products);
        }
    }
}

/// The dot products of `R` rows with four.
#[inline(always)]
fn products<S: Simd, E: Stored, const R: usize>(
    simd: S,
    queries: [&[[f32; LANES]]; R],
    keys: [&[[E; LANES]]; WIDE],
) -> [[f32; WIDE]; R] {
    let mut sums = [[simd.splat(0.0); WIDE]; R];
    for i in 0..keys[0].len() {
        for p in 0..WIDE {
            let key = E::load(simd, &keys[p][i]);
            for r in 0..R {
                sums[r][p] = simd.mul_add(simd.load(&queries[r][i]), key, sums[r][p]);
            }
        }
    }
    let mut totals = [[0.0; WIDE]; R];
    for r in 0..R {
        totals[r] = simd.totals(sums[r]);
    }
    totals
}

/// `sums[r] += Σ_p weights[r][start + p] · values[p]` over the positions `p` of a tile, in their order.
///
/// A row of `weights` is `width` long.
#[inline(always)]
pub(super) fn accumulate<S: Simd, E: Stored>(
    simd: S,
    weights: &[f32],
    width: usize,
    start: usize,
    values: Tile<'_, E>,
    sums: &mut [[f32; LANES]],
) {
    let vectors = values.vectors;
    let rows = sums.chunks_mut(ROWS * vectors).zip(weights.chunks(ROWS * width));
    for (sums, weights) in rows {
        match sums.len() / vectors {
            3 => accumulate_rows::<S, E, 3>(simd, weights, width, start, values, sums),
            2 => accumulate_rows::<S, E, 2>(simd, weights, width, start, values, sums),
            _ => accumulate_rows::<S, E, 1>(simd, weights, width, start, values, sums),
        }
    }
}

#[inline(always)]
fn accumulate_rows<S: Simd, E: Stored, const R: usize>(
    simd: S,
    weights: &[f32],
    width: usize,
    start: usize,
    values: Tile<'_, E>,
    sums: &mut [[f32; LANES]],
) {
    let positions = values.data.len() / values.vectors;
    let weights: [_; R] = std::array::from_fn(|r| &weights[r * width + start..][..positions]);
    let mut first = 0;
    while first + WIDE <= values.vectors {
        accumulate_columns::<S, E, R, WIDE>(simd, weights, values, first, sums);
        first += WIDE;
    }
    for first in first..values.vectors {
        accumulate_columns::<S, E, R, 1>(simd, weights, values, first, sums);
    }
}

/// [`accumulate`] for `R` rows and the `C` vectors from `first` on of each value.
#[inline(always)]
fn accumulate_columns<S: Simd, E: Stored, const R: usize, const C: usize>(
    simd: S,
    weights: [&[f32]; R],
    values: Tile<'_, E>,
    first: usize,
    sums: &mut [[f32; LANES]],
) {
    let mut parts = [[simd.splat(0.0); C]; R];
    for r in 0..R {
        for c in 0..C {
            parts[r][c] = simd.load(&sums[r * values.vectors + first + c]);
        }
    }
    for (p, value) in values.data.chunks_exact(values.vectors).enumerate() {
        let value = &value[first..][..C];
        for c in 0..C {
            let value = E::load(simd, &value[c]);
            for r in 0..R {
                parts[r][c] = simd.mul_add(simd.splat(weights[r][p]), value, parts[r][c]);
            }
        }
    }
    for r in 0..R {
        for c in 0..C {
            simd.store(parts[r][c], &mut sums[r * values.vectors + first + c]);
        }
    }
}
