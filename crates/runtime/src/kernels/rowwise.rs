//! What is done to rows and elements between the products: norms, rotations, activations.
//!
//! Every element of a result depends on its row alone, so neither the number of threads nor the number of
//! rows of a call changes anything.

use super::isa::Isa;
use super::pool::Pool;

/// Divides each row of `width` numbers by the root of the mean of its squares plus `epsilon`, and multiplies
/// it by `weight`. The squares are summed in eight `f32` lanes.
///
/// # Panics
/// When `width` is 0 or divides `x` with a rest, `weight` is not `width` long or `out` not as long as `x`.
pub(crate) fn rms_norm(
    isa: Isa,
    pool: &Pool,
    x: &[f32],
    width: usize,
    weight: Option<&[f32]>,
    epsilon: f32,
    out: &mut [f32],
) {
    let _ = (isa, pool);
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mean = x.iter().map(|x| x * x).sum::<f32>() / width as f32;
        let root = (mean + epsilon).sqrt();
        for (i, (x, out)) in x.iter().zip(out).enumerate() {
            *out = x / root * weight.map_or(1.0, |w| w[i]);
        }
    }
}

/// Rotates each head of `cos.len()` numbers: `x · cos + concat(-x[d/2..], x[..d/2]) · sin`.
///
/// `x` is the heads of one token, one after the other.
///
/// # Panics
/// When a head has no numbers or an odd number of them, or lengths do not fit.
pub(crate) fn rotate(isa: Isa, x: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32]) {
    let _ = isa;
    let dim = cos.len();
    for (x, out) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
        for i in 0..dim {
            let other = if i < dim / 2 { -x[i + dim / 2] } else { x[i - dim / 2] };
            out[i] = x[i] * cos[i] + other * sin[i];
        }
    }
}

/// `gate / (1 + exp(-gate)) · up`, element by element.
///
/// # Panics
/// When the lengths differ.
pub(crate) fn silu_mul(isa: Isa, pool: &Pool, gate: &[f32], up: &[f32], out: &mut [f32]) {
    let _ = (isa, pool);
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate / (1.0 + (-gate).exp()) * up;
    }
}

/// `a + b`, element by element.
///
/// # Panics
/// When the lengths differ.
pub(crate) fn add(isa: Isa, pool: &Pool, a: &[f32], b: &[f32], out: &mut [f32]) {
    let _ = (isa, pool);
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = a + b;
    }
}
