//! What the figures mean in a line, and what to try.

use crate::column::Part;
use crate::noise::BlockFigures;
use crate::verify::Verification;

/// A grade, and the mean KL divergence in nats up to which it is given.
const GRADES: [(&str, f64); 4] = [("excellent", 0.005), ("good", 0.05), ("acceptable", 0.3), ("poor", 0.5)];

/// The grade of what is farther away.
const WORST: &str = "reject";

/// The grade of a mean KL divergence: `excellent` below 0.005 nats, `good` below 0.05, `acceptable` below 0.3, `poor`
/// up to 0.5, `reject` above.
pub fn grade(kl_mean: f64) -> &'static str {
    let fits = |(name, limit): &&(&str, f64)| kl_mean < *limit || *name == "poor" && kl_mean <= *limit;
    GRADES.iter().find(fits).map_or(WORST, |(name, _)| name)
}

/// What to try, in the order in which to try it; `None` where nothing is to be mended.
pub fn advice(verification: &Verification) -> Option<String> {
    if let Some(first) = &verification.saturation.first {
        let (block, op) = (first.block, &first.op);
        return Some(format!(
            "{block} leaves fp16 at token {}, in {op}: look there; no number of bits mends it",
            first.token
        ));
    }
    if !verification.agreement.agrees() {
        return Some("prefill and infer disagree: convert again; the two functions are not one model".into());
    }
    if let Some(drop) = verification.first_drop() {
        return Some(of_drop(drop));
    }
    if grade(verification.main().kl_mean) == GRADES[0].0 {
        return None;
    }
    Some(of_error(verification))
}

fn of_drop(drop: &BlockFigures) -> String {
    match drop.bits {
        Some(bits) => format!(
            "{} is worse than {bits} bits explain ({:.1} dB): convert again, and if that does not help give it more \
             bits or smaller groups",
            drop.block, drop.own
        ),
        None => format!(
            "{} is worse than fp16 explains ({:.1} dB): weights or config are not those of this checkpoint, or the \
             conversion is wrong there",
            drop.block, drop.own
        ),
    }
}

/// Where most of the error is from.
fn of_error(verification: &Verification) -> String {
    let kl = |part| verification.column(part).map(|figures| figures.kl_mean);
    let is_lut = match (kl(Part::Lut), kl(Part::Fp16)) {
        (Some(lut), Some(fp16)) => lut >= fp16,
        _ => verification.is_packed,
    };
    let worst = verification.blocks.iter().min_by(|x, y| x.own.total_cmp(&y.own));
    let worst = worst.map_or_else(String::new, |b| format!("; the weakest is {} ({:.1} dB)", b.block, b.own));
    match is_lut {
        true => format!(
            "the lookup tables are most of it: try more bits (--lut 6), or smaller groups (--lut 4,4){worst}"
        ),
        false => format!("rounding to fp16 is most of it; more bits will not help{worst}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grades_have_their_limits() {
        for (kl, expected) in [
            (0.0, "excellent"),
            (0.005, "good"),
            (0.05, "acceptable"),
            (0.3, "poor"),
            (0.5, "poor"),
            (0.51, "reject"),
            (f64::INFINITY, "reject"),
            (f64::NAN, "reject"),
        ] {
            assert_eq!(grade(kl), expected, "{kl}");
        }
    }
}
