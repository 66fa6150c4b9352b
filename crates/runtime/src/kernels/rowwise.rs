//! What is done to rows and elements between the products: norms, rotations, activations.
//!
//! Every element of a result depends on its row alone, and nothing multiplies and adds in one step; so results
//! are the same at any number of threads and rows, with any instruction set.

use std::ops::AddAssign;

use super::exp::exp;
use super::isa::Isa;
use super::pool::Pool;
use super::simd::dispatch;

/// Elements that one thread works on at a time; with fewer of them one thread is quicker than two.
const CHUNK: usize = 1 << 14;

/// Partial sums of a row: as many as keep vector registers of any width busy.
const SUMS: usize = 32;

/// The least sum of squares to which the squares that are too small for `f32` add nothing that it could hold.
const LEAST_SUM: f32 = 1e-30;

/// Divides each row of `width` numbers by the root of the mean of its squares plus `epsilon`, and multiplies
/// it by `weight`. The squares are summed in 32 lanes of `f32`, or of `f64` where they leave the range of `f32`.
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
    assert!(x.len().is_multiple_of(width) && x.len() == out.len(), "whole rows, and as many results");
    assert!(weight.is_none_or(|w| w.len() == width), "a weight for each number of a row");
    let chunk = (CHUNK / width).max(1) * width;
    pool.for_each_chunk(out, chunk, &|i, out| {
        let x = &x[i * chunk..][..out.len()];
        dispatch(isa, || {
            for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                normalize(x, weight, epsilon, out);
            }
        });
    });
}

/// [`rms_norm`] of one row.
#[inline(always)]
fn normalize(x: &[f32], weight: Option<&[f32]>, epsilon: f32, out: &mut [f32]) {
    let root = root_mean_square(x, epsilon);
    if let Some(weight) = weight {
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x / root * weight;
        }
    } else {
        for (out, x) in out.iter_mut().zip(x) {
            *out = x / root;
        }
    }
}

/// The root of the mean of the squares plus `epsilon`.
#[inline(always)]
fn root_mean_square(x: &[f32], epsilon: f32) -> f32 {
    let sum = tree(squares(x, |x| x * x));
    if sum.is_finite() && sum >= LEAST_SUM {
        return (sum / x.len() as f32 + epsilon).sqrt();
    }
    // The square of a number beyond 2^64 is infinite in f32, and that of one below 2^-75 is zero.
    let sum = tree(squares(x, |x| f64::from(x) * f64::from(x)));
    (sum / x.len() as f64 + f64::from(epsilon)).sqrt() as f32
}

/// The squares of a row, which `square` takes, in lanes that are yet to be summed.
#[inline(always)]
fn squares<T: Copy + Default + AddAssign>(x: &[f32], square: impl Fn(f32) -> T) -> [T; SUMS] {
    let mut sums = [T::default(); SUMS];
    let (body, tail) = x.as_chunks::<SUMS>();
    for x in body {
        for i in 0..SUMS {
            sums[i] += square(x[i]);
        }
    }
    for (sum, x) in sums.iter_mut().zip(tail) {
        *sum += square(*x);
    }
    sums
}

/// The sum of the lanes, in a tree.
#[inline(always)]
fn tree<T: Copy + AddAssign>(mut sums: [T; SUMS]) -> T {
    let mut count = SUMS;
    while count > 1 {
        count /= 2;
        for i in 0..count {
            sums[i] += sums[i + count];
        }
    }
    sums[0]
}

/// Rotates each head of `cos.len()` numbers: `x · cos + concat(-x[d/2..], x[..d/2]) · sin`.
///
/// `x` is the heads of one token, one after the other. Runs on the thread of the caller.
///
/// # Panics
/// When a head has no numbers or an odd number of them, or lengths do not fit.
pub(crate) fn rotate(isa: Isa, x: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32]) {
    let dim = cos.len();
    assert!(dim.is_multiple_of(2) && dim == sin.len(), "as many sines as cosines, for two halves");
    assert!(x.len().is_multiple_of(dim) && x.len() == out.len(), "whole heads, and as many results");
    dispatch(isa, || {
        for (x, out) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
            rotate_head(x, cos, sin, out);
        }
    });
}

/// [`rotate`] of one head.
#[inline(always)]
fn rotate_head(x: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32]) {
    let half = x.len() / 2;
    let (first, second) = x.split_at(half);
    let (out_first, out_second) = out.split_at_mut(half);
    let factors = cos[..half].iter().zip(&sin[..half]);
    for ((out, (a, b)), (cos, sin)) in out_first.iter_mut().zip(first.iter().zip(second)).zip(factors) {
        *out = a * cos - b * sin;
    }
    let factors = cos[half..].iter().zip(&sin[half..]);
    for ((out, (a, b)), (cos, sin)) in out_second.iter_mut().zip(first.iter().zip(second)).zip(factors) {
        *out = b * cos + a * sin;
    }
}

/// `gate / (1 + exp(-gate)) · up`, element by element.
///
/// # Panics
/// When the lengths differ.
pub(crate) fn silu_mul(isa: Isa, pool: &Pool, gate: &[f32], up: &[f32], out: &mut [f32]) {
    by_element(isa, pool, gate, up, out, |gate, up| gate / (1.0 + exp(-gate)) * up);
}

/// `a + b`, element by element.
///
/// # Panics
/// When the lengths differ.
pub(crate) fn add(isa: Isa, pool: &Pool, a: &[f32], b: &[f32], out: &mut [f32]) {
    by_element(isa, pool, a, b, out, |a, b| a + b);
}

/// `out = f(a, b)`, element by element.
#[inline(always)]
fn by_element(
    isa: Isa,
    pool: &Pool,
    a: &[f32],
    b: &[f32],
    out: &mut [f32],
    f: impl Fn(f32, f32) -> f32 + Sync,
) {
    assert!(a.len() == out.len() && b.len() == out.len(), "operands of one length");
    pool.for_each_chunk(out, CHUNK, &|i, out| {
        let (a, b) = (&a[i * CHUNK..][..out.len()], &b[i * CHUNK..][..out.len()]);
        dispatch(isa, || {
            for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                *out = f(*a, *b);
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random numbers in -8 to 8.
    fn random(count: usize, seed: u32) -> Vec<f32> {
        let mut s = seed.wrapping_mul(0x9e37_79b9) | 1;
        let mut next = || {
            s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (s >> 8) as f32 / (1u32 << 20) as f32 - 8.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// Asserts that `run` gives the same bits on all instruction sets and numbers of threads, near `expected`.
    fn assert_all(expected: &[f64], tolerance: f64, run: impl Fn(Isa, &Pool, &mut [f32])) {
        let mut first = None;
        for isa in Isa::here() {
            for threads in [1, 3] {
                let mut out = vec![f32::NAN; expected.len()];
                run(isa, &Pool::new(threads), &mut out);
                for (i, (out, expected)) in out.iter().zip(expected).enumerate() {
                    let near = (f64::from(*out) - expected).abs() <= tolerance * (1.0 + expected.abs());
                    assert!(near, "{isa:?}, {threads} threads: element {i} is {out} and not {expected}");
                }
                let bits: Vec<u32> = out.iter().map(|x| x.to_bits()).collect();
                assert_eq!(&bits, first.get_or_insert(bits.clone()), "{isa:?}, {threads} threads");
            }
        }
    }

    #[test]
    fn norm_is_that_of_each_row() {
        for (rows, width) in [(1, 1), (3, 7), (5, 32), (2, 77), (40, 1024), (0, 5)] {
            let (x, weight) = (random(rows * width, 1), random(width, 2));
            let norm = |i: usize| {
                let row = x[i / width * width..][..width].iter().map(|&x| f64::from(x));
                let mean = row.map(|x| x * x).sum::<f64>() / width as f64;
                f64::from(x[i]) / (mean + 1e-3).sqrt()
            };
            let bare: Vec<f64> = (0..x.len()).map(norm).collect();
            let weighted: Vec<f64> =
                bare.iter().enumerate().map(|(i, n)| n * f64::from(weight[i % width])).collect();
            assert_all(&bare, 1e-6, |isa, pool, out| rms_norm(isa, pool, &x, width, None, 1e-3, out));
            assert_all(&weighted, 1e-6, |isa, pool, out| {
                rms_norm(isa, pool, &x, width, Some(&weight), 1e-3, out);
            });
        }
    }

    #[test]
    fn norm_of_nan_and_of_nothing_is_nan() {
        let pool = Pool::new(1);
        let mut out = [0.0; 3];
        rms_norm(Isa::best(), &pool, &[1.0, f32::NAN, 2.0], 3, None, 1e-6, &mut out);
        assert!(out.iter().all(|x| x.is_nan()));
        rms_norm(Isa::best(), &pool, &[0.0; 3], 3, None, 0.0, &mut out);
        assert!(out.iter().all(|x| x.is_nan()));
        rms_norm(Isa::best(), &pool, &[1.0, f32::INFINITY, 2.0], 3, None, 1e-6, &mut out);
        assert!(out[0] == 0.0 && out[1].is_nan() && out[2] == 0.0);
    }

    #[test]
    fn norm_of_numbers_whose_squares_f32_does_not_hold() {
        for size in [1e20, -3e38, 1e-30, 1e-40] {
            for width in [1, 33, 1000] {
                let x: Vec<f32> = random(width, 8).iter().map(|x| x.signum() * size).collect();
                let expected: Vec<f64> = x.iter().map(|x| f64::from(x.signum())).collect();
                assert_all(&expected, 1e-6, |isa, pool, out| rms_norm(isa, pool, &x, width, None, 0.0, out));
            }
        }
    }

    #[test]
    fn rotation_turns_the_halves_of_each_head() {
        for (heads, dim) in [(1, 2), (3, 10), (4, 64), (2, 130)] {
            let (x, cos, sin) = (random(heads * dim, 3), random(dim, 4), random(dim, 5));
            let rotated = |i: usize| {
                let (d, half) = (i % dim, dim / 2);
                let other = if d < half { -x[i + half] } else { x[i - half] };
                f64::from(x[i]) * f64::from(cos[d]) + f64::from(other) * f64::from(sin[d])
            };
            let expected: Vec<f64> = (0..x.len()).map(rotated).collect();
            // Terms of up to 64 may cancel: their rounding is what remains.
            assert_all(&expected, 1e-5, |isa, _, out| rotate(isa, &x, &cos, &sin, out));
        }
    }

    #[test]
    fn elements_are_combined_in_chunks_and_tails() {
        for count in [0, 1, 9, 33, 2 * CHUNK + 5] {
            let (a, b) = (random(count, 6), random(count, 7));
            let pairs = || a.iter().zip(&b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
            let silu: Vec<f64> = pairs().map(|(a, b)| a / (1.0 + (-a).exp()) * b).collect();
            assert_all(&silu, 1e-6, |isa, pool, out| silu_mul(isa, pool, &a, &b, out));
            let sum: Vec<f64> = pairs().map(|(a, b)| f64::from((a + b) as f32)).collect();
            assert_all(&sum, 0.0, |isa, pool, out| add(isa, pool, &a, &b, out));
        }
    }

    #[test]
    fn silu_at_the_edges_is_what_its_formula_says() {
        let gate = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 200.0, -200.0, 0.0, -0.0, -88.0, 1.0];
        for isa in Isa::here() {
            let mut out = [7.0; 9];
            silu_mul(isa, &Pool::new(1), &gate, &[1.0; 9], &mut out);
            assert!(out[1].is_nan() && out[2].is_nan(), "{out:?}");
            assert_eq!([out[0], out[3], out[4], out[5], out[6]], [f32::INFINITY, 200.0, 0.0, 0.0, 0.0]);
            assert!(out[7] < 0.0 && out[7] > -1e-35);
        }
    }
}
