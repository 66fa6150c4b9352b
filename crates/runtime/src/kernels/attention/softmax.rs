//! The weights of positions: softmax without its division, which is left for the sums of the values.

use crate::kernels::exp::exp;
use crate::kernels::simd::LANES;

/// Turns products of a query with keys into weights `exp(score - largest score)`, where a score is
/// `scale · product + mask`, and returns the sum of the weights.
///
/// Behind the mask the row gets zeros. No position, or none that is visible, gives NaN.
///
/// # Panics
/// When the row is shorter than the mask or no multiple of eight long.
#[inline(always)]
pub(super) fn weigh(row: &mut [f32], mask: &[f32], scale: f32) -> f32 {
    let (seen, padding) = row.split_at_mut(mask.len());
    for (score, mask) in seen.iter_mut().zip(mask) {
        *score = *score * scale + mask;
    }
    padding.fill(f32::NEG_INFINITY);
    let (row, rest) = row.as_chunks_mut::<LANES>();
    assert!(rest.is_empty(), "whole vectors");
    let top = largest(row);
    let mut sums = [0.0; LANES];
    for scores in row {
        for i in 0..LANES {
            scores[i] = exp(scores[i] - top);
            sums[i] += scores[i];
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}

/// The largest number; NaN is passed over.
#[inline(always)]
fn largest(row: &[[f32; LANES]]) -> f32 {
    let mut tops = [f32::NEG_INFINITY; LANES];
    for scores in row {
        for i in 0..LANES {
            tops[i] = if scores[i] > tops[i] { scores[i] } else { tops[i] };
        }
    }
    tops.into_iter().fold(f32::NEG_INFINITY, f32::max)
}
