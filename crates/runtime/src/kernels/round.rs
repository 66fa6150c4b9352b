//! Rounding to fp16, kept in `f32`; written without branches so that it vectorizes.

use rayon::prelude::*;

/// Below this many elements one thread is quicker than two.
const PARALLEL: usize = 1 << 16;

/// Rounds each element to the nearest fp16 value, ties to even; 65520 and above become infinite.
pub(crate) fn round_to_fp16(x: &mut [f32]) {
    if x.len() < PARALLEL {
        x.iter_mut().for_each(|v| *v = rounded(*v));
    } else {
        x.par_chunks_mut(PARALLEL / 4).for_each(|c| c.iter_mut().for_each(|v| *v = rounded(*v)));
    }
}

fn rounded(x: f32) -> f32 {
    let bits = x.to_bits();
    let sign = bits & 0x8000_0000;
    let magnitude = bits & 0x7fff_ffff;
    // fp16 keeps 10 of the 23 fraction bits: add just under half of the last kept bit, plus it if odd.
    let normal = magnitude.wrapping_add(0x0fff + ((magnitude >> 13) & 1)) & !0x1fff;
    // Subnormal fp16 are multiples of 2^-24, which is the spacing of f32 between 0.5 and 1.
    let subnormal = (f32::from_bits(magnitude) + 0.5 - 0.5).to_bits();
    let finite = if magnitude < 0x3880_0000 { subnormal } else { normal };
    let result = if magnitude >= 0x477f_f000 { 0x7f80_0000 } else { finite };
    let result = if magnitude > 0x7f80_0000 { magnitude } else { result };
    f32::from_bits(sign | result)
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    fn agrees(x: f32) {
        let (mine, reference) = (rounded(x), f16::from_f32(x).to_f32());
        assert!(mine.to_bits() == reference.to_bits() || (mine.is_nan() && reference.is_nan()), "{x:e}");
    }

    #[test]
    fn agrees_with_conversion_around_every_fp16_value() {
        for bits in 0..=u16::MAX {
            let x = f16::from_bits(bits).to_f32();
            agrees(x);
            let next = f16::from_bits(bits.wrapping_add(1)).to_f32();
            let middle = (x + next) / 2.0;
            agrees(middle);
            agrees(f32::from_bits(middle.to_bits().wrapping_add(1)));
            agrees(f32::from_bits(middle.to_bits().wrapping_sub(1)));
        }
    }

    #[test]
    fn agrees_at_the_edges() {
        for x in [65519.996, 65520.0, 1e30, 3e-8, 2.98e-8, 1e-40, f32::MAX, f32::INFINITY, f32::NAN, -0.0] {
            agrees(x);
            agrees(-x);
        }
    }
}
