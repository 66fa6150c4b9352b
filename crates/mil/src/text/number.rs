//! Floating-point literals: printed as the shortest C hex float, read from hex, decimal, `inf` and `nan`.

/// `value` as the shortest C hex float, normalised also where the value is subnormal.
pub(super) fn print_float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if value.is_infinite() {
        return format!("{sign}inf");
    }
    if value == 0.0 {
        return format!("{sign}0x0p+0");
    }
    let (mantissa, exponent) = normalise(value);
    let digits = format!("{mantissa:013x}");
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    format!("{sign}0x1{point}{digits}p{exponent:+}")
}

/// The 52 bits after the leading one, and the exponent, of a finite value other than 0.
fn normalise(value: f64) -> (u64, i64) {
    const FRACTION: u64 = (1 << 52) - 1;
    let bits = value.to_bits();
    let (biased, fraction) = ((bits >> 52) & 0x7ff, bits & FRACTION);
    if biased != 0 {
        return (fraction, biased as i64 - 1023);
    }
    let shift = fraction.leading_zeros() - 11;
    ((fraction << shift) & FRACTION, -1022 - i64::from(shift))
}

/// The value of a literal without spaces; `None` when it is not a number or too large.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let magnitude = match digits {
        "inf" => f64::INFINITY,
        "nan" => f64::NAN,
        _ if digits.starts_with("0x") => parse_hex(digits.get(2..)?)?,
        _ if digits.starts_with(|c: char| c.is_ascii_digit()) => finite(digits.parse().ok()?)?,
        _ => return None,
    };
    Some(if negative { -magnitude } else { magnitude })
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// `1.8p-3` and the like, after the `0x`.
///
/// At most 16 significant digits are taken: a double has no use for more, and so none is dropped silently.
fn parse_hex(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once('p')?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let value = u64::from_str_radix(&digits, 16).ok()?;
    let fraction_bits = i32::try_from(fraction.len()).ok()?.checked_mul(4)?;
    scale(value, exponent.checked_sub(fraction_bits)?)
}

/// `value * 2^exponent`, if a double holds it exactly.
fn scale(value: u64, exponent: i32) -> Option<f64> {
    if value == 0 {
        return Some(0.0);
    }
    let shift = value.trailing_zeros();
    let (odd, exponent) = (value >> shift, exponent.checked_add(shift as i32)?);
    if odd >> 53 != 0 || !(-1074..=1023).contains(&exponent) {
        return None;
    }
    // In two factors: 2^exponent alone may be subnormal, the product of both steps is exact.
    let half = exponent / 2;
    finite(odd as f64 * 2f64.powi(half) * 2f64.powi(exponent - half))
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    #[test]
    fn prints_as_the_compiler_does() {
        let cases = [
            (1.0, "0x1p+0"),
            (-0.5, "-0x1p-1"),
            (0.0, "0x0p+0"),
            (-0.0, "-0x0p+0"),
            (f64::from(f16::from_bits(1).to_f32()), "0x1p-24"),
            (f64::from(f16::from_bits(0x0540).to_f32()), "0x1.5p-14"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::from_bits(1), "0x1p-1074"),
            (f64::MAX, "0x1.fffffffffffffp+1023"),
        ];
        for (value, text) in cases {
            assert_eq!(print_float(value), text);
            assert_eq!(parse_float(text).map(f64::to_bits), Some(value.to_bits()), "{text}");
        }
    }

    #[test]
    fn every_fp16_comes_back() {
        for bits in 0..=u16::MAX {
            let value = f16::from_bits(bits).to_f64();
            let again = parse_float(&print_float(value)).map(f16::from_f64);
            assert!(
                again.is_some_and(|a| a.to_bits() == bits || (a.is_nan() && value.is_nan())),
                "{bits:#x}"
            );
        }
    }

    #[test]
    fn reads_decimals_and_refuses_what_is_no_number() {
        assert_eq!(parse_float("1e-5"), Some(1e-5));
        assert_eq!(parse_float("-12"), Some(-12.0));
        assert_eq!(parse_float("0x1.8p1"), Some(3.0));
        for bad in
            ["", "-", "infer", "0x", "0x1", "0xp0", "0x1p", "0x+1p0", "1e999", "0x1p+9999", "+1", "--1"]
        {
            assert_eq!(parse_float(bad), None, "{bad}");
        }
        assert_eq!(parse_float("0x1p-9999999999"), None);
        assert_eq!(parse_float("0x1.00000000000000001p0"), None);
    }
}
