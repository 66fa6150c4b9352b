//! fp16 values as integers in units of 2^-24, the smallest subnormal.
//!
//! Every finite fp16 is such an integer below 2^40, so an `i64` holds any
//! value and an `i128` the sum of squares of any tensor, exactly.

use half::f16;

/// The size of one unit.
pub(super) const UNIT: f64 = 1.0 / (1u64 << 24) as f64;

/// Bits of an fp16 significand, the implicit one included.
const SIGNIFICAND: u32 = 11;

/// The number of units in a finite `value`; both zeros give 0.
pub(super) fn from_f16(value: f16) -> i64 {
    let bits = value.to_bits();
    let (exponent, fraction) = ((bits >> 10) & 31, i64::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction,
        _ => (1024 + fraction) << (exponent - 1),
    };
    if value.is_sign_negative() { -magnitude } else { magnitude }
}

/// The fp16 of `units`, which must be representable; zero is positive.
pub(super) fn to_f16(units: i64) -> f16 {
    let magnitude = units.unsigned_abs();
    let shift = step_bits(magnitude);
    // A normal number's leading one carries into the exponent field.
    let bits = ((shift as u16) << 10) + (magnitude >> shift) as u16;
    f16::from_bits(bits | if units < 0 { 0x8000 } else { 0 })
}

/// `sum / count` rounded to the nearest fp16, ties to the even significand.
///
/// `half`'s own conversion from `f64` rounds twice on some machines, so it
/// would make the table depend on the machine.
pub(super) fn mean(sum: i128, count: u64) -> i64 {
    let (magnitude, count) = (sum.unsigned_abs(), u128::from(count));
    let step = count << step_bits((magnitude / count) as u64);
    let (quotient, rest) = (magnitude / step, magnitude % step);
    let up = 2 * rest > step || (2 * rest == step && quotient % 2 == 1);
    let rounded = (quotient + u128::from(up)) * (step / count);
    if sum < 0 { -(rounded as i64) } else { rounded as i64 }
}

/// Sum and number of weights given as ascending distinct `values` and their `counts`.
pub(super) fn total(values: &[i64], counts: &[u64]) -> (i128, u64) {
    let count = counts.iter().sum();
    let weighted = || values.iter().zip(counts);
    let sum = match squares_fit(values, 0, count) {
        true => i128::from(weighted().map(|(&v, &c)| v * c as i64).sum::<i64>()),
        false => weighted().map(|(&v, &c)| i128::from(v) * i128::from(c)).sum(),
    };
    (sum, count)
}

/// Whether the squared differences of `count` of the ascending `values` from `centre` surely add up within 63 bits.
pub(super) fn squares_fit(values: &[i64], centre: i64, count: u64) -> bool {
    let ends = [values.first(), values.last()].into_iter().flatten();
    let farthest = ends.map(|value| value.abs_diff(centre)).max().unwrap_or_default();
    let bits = |number: u64| u64::BITS - number.leading_zeros();
    2 * bits(farthest) + bits(count) < u64::BITS
}

/// Base-two logarithm of the distance between fp16 values at `magnitude`.
fn step_bits(magnitude: u64) -> u32 {
    (u64::BITS - magnitude.leading_zeros()).saturating_sub(SIGNIFICAND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_value_survives() {
        for bits in 0..=u16::MAX {
            let value = f16::from_bits(bits);
            if value.is_finite() {
                let units = from_f16(value);
                assert_eq!(units as f64 * UNIT, value.to_f64(), "{bits:#06x}");
                assert_eq!(to_f16(units), value, "{bits:#06x}");
            }
        }
        assert_eq!(to_f16(from_f16(f16::NEG_ZERO)).to_bits(), 0);
    }

    /// Between each two neighbours: below, at and above the middle.
    #[test]
    fn means_round_to_nearest_even() {
        for bits in 0..0x7bff_u16 {
            let low = from_f16(f16::from_bits(bits));
            let high = from_f16(f16::from_bits(bits + 1));
            let even = if bits % 2 == 0 { low } else { high };
            let middle = 50 * i128::from(low + high);
            for sign in [1, -1] {
                let side = i64::try_from(sign).unwrap_or(1);
                assert_eq!(mean(sign * (middle - 1), 100), side * low, "{bits:#06x}");
                assert_eq!(mean(sign * middle, 100), side * even, "{bits:#06x}");
                assert_eq!(mean(sign * (middle + 1), 100), side * high, "{bits:#06x}");
            }
        }
    }
}
