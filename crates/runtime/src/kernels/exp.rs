//! The exponential function, without branches so that it vectorizes.
//!
//! It multiplies and adds in separate steps, so that every instruction set computes the same bits.

/// Bits of ln 2 so few that their product with any exponent is exact, and the rest of it.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// `1.5 · 2^23`: f32 of this size are whole numbers, so adding it rounds to the nearest.
const WHOLE: f32 = 12_582_912.0;

/// `e^x` with a relative error below `2e-7`: 0 from -104 down, infinite from 88.73 up, NaN for NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Comparisons, unlike `clamp`, that keep NaN on any instruction set and cost one instruction each.
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    // e^x = 2^n · e^r with r in ± ln(2) / 2.
    let shifted = x * std::f32::consts::LOG2_E + WHOLE;
    let n = shifted - WHOLE;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let n = (shifted.to_bits() as i32).wrapping_sub(WHOLE.to_bits() as i32);
    // 2^n in two factors, since n goes beyond the exponents of normal numbers on both sides.
    let half = n >> 1;
    small(r) * power_of_2(half) * power_of_2(n.wrapping_sub(half))
}

/// `e^r` for `r` in ± ln(2) / 2: Taylor's first terms, of which the first that lacks is below `2^-27` of the sum.
#[inline(always)]
fn small(r: f32) -> f32 {
    let high = 1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0)));
    let tail = 0.5 + r * (1.0 / 6.0 + r * high);
    1.0 + (r + r * r * tail)
}

/// `2^n` for `n` from -126 to 127, something for others.
#[inline(always)]
fn power_of_2(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relative_error_is_below_2e_7() {
        let mut worst = 0f64;
        for i in 0..4_000_000 {
            let x = i as f32 / 4_000_000.0 * 175.9 - 87.2;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) / exact - 1.0).abs());
        }
        assert!(worst < 2e-7, "{worst}");
    }

    #[test]
    fn results_below_the_normal_numbers_are_as_near_as_can_be() {
        for i in 0..100_000 {
            let x = -87.0 - 17.0 * i as f32 / 100_000.0;
            let error = (f64::from(exp(x)) - f64::from(x).exp()).abs();
            assert!(error < f64::from(f32::from_bits(1)) + 2e-7 * f64::from(x).exp(), "{x}");
        }
    }

    #[test]
    fn the_edges_are_those_of_the_function() {
        for x in [f32::NEG_INFINITY, -1e30, -200.0, -104.0] {
            assert_eq!(exp(x).to_bits(), 0, "{x}");
        }
        for x in [88.73, 200.0, 1e30, f32::INFINITY] {
            assert_eq!(exp(x), f32::INFINITY, "{x}");
        }
        assert_eq!([exp(0.0), exp(-0.0), exp(1e-30)], [1.0; 3]);
        assert!(exp(88.72) < f32::INFINITY);
        assert!(exp(f32::NAN).is_nan() && exp(-f32::NAN).is_nan());
    }
}
