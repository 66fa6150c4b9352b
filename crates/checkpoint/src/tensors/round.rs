//! bf16 to fp16, eight elements in the time that a library takes for one: nearly every element of nearly every
//! checkpoint goes this way, and nothing else is done to those that are not palettized.

use half::f16;

/// The exponent of 2^-14, the smallest normal fp16, as bf16 has it, and of 2^16, the first power beyond fp16.
const SMALLEST_NORMAL: u32 = (127 - 14) << 7;
const BEYOND: u32 = (127 + 16) << 7;

/// The fp16 value nearest to the bf16 value with these bits, ties to even; infinite where that is beyond fp16, and for
/// what is not a number.
///
/// Without branches, so that compilers make it work on many elements at once.
pub(super) fn bf16_to_f16(bits: u16) -> f16 {
    let magnitude = u32::from(bits) & 0x7fff;
    // bf16 has the fewer digits: among normal numbers only the exponent has to be moved.
    let normal = (magnitude << 3).wrapping_sub((127 - 15) << 10);
    // The digits of 0.5 in f32 end at 2^-24, as those of subnormal fp16 values do: the sum is rounded there.
    let subnormal = (f32::from_bits(magnitude << 16) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let finite = if magnitude < SMALLEST_NORMAL { subnormal } else { normal };
    let rounded = if magnitude < BEYOND { finite } else { 0x7c00 };
    f16::from_bits(rounded as u16 | (bits & 0x8000))
}

/// Where the first value is that is infinite or not a number.
pub(super) fn first_not_finite(values: &[f16]) -> Option<usize> {
    // The largest is found many elements at a time; a search would go one by one.
    let magnitude = |value: &f16| value.to_bits() & 0x7fff;
    let largest = values.iter().map(magnitude).max().unwrap_or(0);
    if largest < 0x7c00 { None } else { values.iter().position(|value| !value.is_finite()) }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn every_value_rounds_as_the_library_says() {
        for bits in 0..=u16::MAX {
            let (value, found) = (bf16::from_bits(bits), bf16_to_f16(bits));
            let expected = f16::from_f32(value.to_f32());
            if value.is_nan() {
                assert!(!found.is_finite(), "{bits:#06x}");
            } else {
                assert_eq!(found.to_bits(), expected.to_bits(), "{bits:#06x}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_found() {
        let with = |value: f16, at: usize| {
            let mut values = vec![f16::MIN; 100];
            values[at] = value;
            first_not_finite(&values)
        };
        for value in [f16::INFINITY, f16::NEG_INFINITY, f16::NAN, -f16::NAN] {
            assert_eq!(with(value, 63), Some(63));
        }
        assert_eq!(with(f16::MAX, 63), None);
        assert_eq!(first_not_finite(&[]), None);
    }
}
