//! Products of several weights with the same activations, shared out among threads.
#![allow(unsafe_code, reason = "threads write interleaved parts of a result")]

use std::ops::Range;

use super::disjoint::Disjoint;
use super::isa::Isa;
use super::matrix::{Form, Matrix};
use super::pool::Pool;
use super::rows::{Forms, Rows};
use super::{fixed, float};

/// Bytes of weights that one part of the work reads: enough to be worth a claim, few enough to share out.
const PART: usize = 64 << 10;

/// Rows of a part come in multiples of this.
const STEP: usize = 8;

/// A weight, and where its product with the activations goes.
#[derive(Debug)]
pub(crate) struct Product<'a> {
    /// The weight, `[rows, columns]`.
    pub(crate) weight: &'a Matrix,
    /// The result, `[count, rows]`: element `[t, r]` is the sum over k of weight `[r, k]` times x `[t, k]`.
    pub(crate) out: &'a mut [f32],
}

/// The forms in which products with `weights` need the activations.
pub(crate) fn forms_for<'a>(weights: impl IntoIterator<Item = &'a Matrix>) -> Forms {
    let mut forms = Forms { fixed: false, floats: false };
    for weight in weights {
        match weight.form() {
            Form::Palettized(_) => forms.fixed = true,
            Form::Fp16(_) => forms.floats = true,
        }
    }
    forms
}

/// Multiplies all weights with the activations `x`, on all threads of `pool`.
///
/// Palettized weights are multiplied in fixed point, as [`fixed`] says, others in f32.
///
/// # Panics
/// When extents do not match, or `x` was prepared for another set than `isa` or not in the forms that are needed.
pub(crate) fn multiply(isa: Isa, pool: &Pool, x: &Rows, products: &mut [Product<'_>]) {
    let (needed, forms) = (forms_for(products.iter().map(|product| product.weight)), x.forms());
    assert!(forms.fixed >= needed.fixed && forms.floats >= needed.floats, "{forms:?}, not {needed:?}");
    let mut parts: Vec<(&Matrix, Range<usize>, Disjoint<'_, f32>)> = Vec::new();
    for Product { weight, out } in products {
        let rows = weight.rows();
        assert!(
            weight.columns() == x.columns() && out.len() == rows * x.count(),
            "{} numbers for [{rows}, {}] times {} rows of {}",
            out.len(),
            weight.columns(),
            x.count(),
            x.columns()
        );
        let (out, step) = (Disjoint::new(out), rows_of_part(weight, x.count()));
        parts.extend((0..rows).step_by(step).map(|first| (*weight, first..(first + step).min(rows), out)));
    }
    pool.run(parts.len(), &|part| {
        let (weight, rows, out) = parts[part].clone();
        // SAFETY: each part has its own rows of its own result.
        unsafe {
            match weight.form() {
                Form::Palettized(palette) => {
                    fixed::multiply(isa, &fixed::Tile { palette, rows, x, out, stride: weight.rows() });
                }
                Form::Fp16(data) => {
                    float::multiply(isa, &float::Tile { weight: data, rows, x, out, stride: weight.rows() });
                }
            }
        }
    });
}

/// How many rows of `weight` one part of the work takes with `count` rows of activations.
fn rows_of_part(weight: &Matrix, count: usize) -> usize {
    let rows = PART / weight.row_bytes() / count.clamp(1, 4);
    rows.next_multiple_of(STEP).clamp(STEP, 32 * STEP)
}

#[cfg(test)]
mod tests;
