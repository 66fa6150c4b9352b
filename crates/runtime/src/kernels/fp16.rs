//! Numbers to and from the bits of fp16; written without branches so that it vectorizes.

use super::isa::Isa;
use super::pool::Pool;
use super::simd::{Kernel, LANES, Simd, dispatch};

/// Elements of a chunk that one thread converts; with fewer of them one thread is quicker than two.
const CHUNK: usize = 1 << 14;

/// The bits of the nearest fp16 of each number, ties to even; 65520 and above become infinite, NaN stays NaN.
///
/// # Panics
/// When the lengths differ.
pub(crate) fn to_fp16(isa: Isa, pool: &Pool, x: &[f32], out: &mut [u16]) {
    assert_eq!(x.len(), out.len(), "as many results as numbers");
    pool.for_each_chunk(out, CHUNK, &|i, out| {
        dispatch(isa, Narrow { x: &x[i * CHUNK..][..out.len()], out });
    });
}

/// The numbers that bits of fp16 stand for.
///
/// # Panics
/// When the lengths differ.
pub(crate) fn from_fp16(isa: Isa, pool: &Pool, x: &[u16], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "as many results as numbers");
    pool.for_each_chunk(out, CHUNK, &|i, out| {
        dispatch(isa, Widen { x: &x[i * CHUNK..][..out.len()], out });
    });
}

struct Narrow<'a> {
    x: &'a [f32],
    out: &'a mut [u16],
}

impl Kernel for Narrow<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (x, x_tail) = self.x.as_chunks::<LANES>();
        let (out, out_tail) = self.out.as_chunks_mut::<LANES>();
        for (x, out) in x.iter().zip(out) {
            simd.store_fp16(simd.load(x), out);
        }
        for (x, out) in x_tail.iter().zip(out_tail) {
            *out = narrowed(*x);
        }
    }
}

struct Widen<'a> {
    x: &'a [u16],
    out: &'a mut [f32],
}

impl Kernel for Widen<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (x, x_tail) = self.x.as_chunks::<LANES>();
        let (out, out_tail) = self.out.as_chunks_mut::<LANES>();
        for (x, out) in x.iter().zip(out) {
            simd.store(simd.load_fp16(x), out);
        }
        for (x, out) in x_tail.iter().zip(out_tail) {
            *out = widened(*x);
        }
    }
}

/// Infinity of fp16.
const INFINITE: u32 = 0x7c00;

/// What the exponents of f32 are larger by than those of fp16, in place.
const BIAS: u32 = (127 - 15) << 23;

/// The bits of the nearest fp16, ties to even.
#[inline(always)]
pub(crate) fn narrowed(x: f32) -> u16 {
    let bits = x.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    // fp16 keeps 10 of the 23 fraction bits: add just under half of the last kept bit, plus it if odd.
    let normal = magnitude.wrapping_sub(BIAS).wrapping_add(0x0fff + ((magnitude >> 13) & 1)) >> 13;
    // Subnormal fp16 are multiples of 2^-24, which is the spacing of f32 between 0.5 and 1.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let nan = INFINITE | 0x200 | (magnitude >> 13 & 0x3ff);
    let finite = if magnitude < 0x3880_0000 { subnormal } else { normal };
    let number = if magnitude >= 0x477f_f000 { INFINITE } else { finite };
    let result = if magnitude > 0x7f80_0000 { nan } else { number };
    (bits >> 16 & 0x8000 | result) as u16
}

/// The number that bits of fp16 stand for.
#[inline(always)]
pub(crate) fn widened(x: u16) -> f32 {
    let magnitude = u32::from(x & 0x7fff);
    let sign = u32::from(x & 0x8000) << 16;
    let normal = (magnitude << 13) + BIAS;
    // The spacing of f32 between 0.5 and 1 is that of subnormal fp16.
    let subnormal = (f32::from_bits(0.5f32.to_bits() | magnitude) - 0.5).to_bits();
    // The largest exponent stands for infinity and NaN on both sides. NaN becomes quiet, as the processor does it.
    let quiet = if magnitude > INFINITE { 0x0040_0000 } else { 0 };
    let number = if magnitude < 0x400 { subnormal } else { normal };
    let result = if magnitude >= INFINITE { (normal + BIAS) | quiet } else { number };
    f32::from_bits(sign | result)
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    /// The numbers in bits, to compare NaN and the sign of 0 as well.
    fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn every_fp16_becomes_its_number() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        let expected: Vec<f32> = all.iter().map(|&b| f16::from_bits(b).to_f32()).collect();
        let pool = Pool::new(2);
        for isa in Isa::here() {
            for skip in [0, 1, 5, all.len() - 3, all.len()] {
                let mut out = vec![0.0; all.len() - skip];
                from_fp16(isa, &pool, &all[skip..], &mut out);
                assert_eq!(bits(&out), bits(&expected[skip..]), "{isa:?}");
            }
        }
    }

    #[test]
    fn numbers_around_every_fp16_become_the_nearest() {
        let mut numbers = vec![65519.996, 65520.0, 1e30, 2.98e-8, 1e-40, f32::MAX, f32::NAN];
        for b in 0..u16::MAX {
            let (x, next) = (f16::from_bits(b).to_f32(), f16::from_bits(b + 1).to_f32());
            let middle = (x + next) / 2.0;
            numbers.extend([x, middle, middle.next_up(), middle.next_down()]);
        }
        let expected: Vec<u16> = numbers.iter().map(|&x| f16::from_f32(x).to_bits()).collect();
        let pool = Pool::new(2);
        for isa in Isa::here() {
            for skip in [0, 3] {
                let mut out = vec![0; numbers.len() - skip];
                to_fp16(isa, &pool, &numbers[skip..], &mut out);
                let mut pairs = out.iter().zip(&expected[skip..]);
                assert!(pairs.all(|(a, b)| a == b), "{isa:?}");
            }
        }
    }
}
