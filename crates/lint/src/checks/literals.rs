//! Numbers in literals: infinities, and the ends of fp16.

use std::collections::HashMap;

use anelith_mil::blob::WeightStore;
use anelith_mil::{BlobRef, Data, DataType, Op, Opcode, Type, Value};
use half::f16;

use crate::finding::Findings;
use crate::rule;
use crate::view::View;

/// Something in a literal that a rule is against; the worse one where it holds several.
#[derive(Clone, Copy)]
pub(super) enum Oddity {
    /// An infinity or NaN.
    NonFinite(f32),
    /// Beyond fp16, or its most negative number.
    Extreme(f32),
}

/// The largest number of fp16.
const LARGEST: f32 = 65_504.0;

/// The contents of weight files, each blob looked at once.
pub(super) struct Contents<'m> {
    pub(super) files: Option<&'m WeightStore>,
    pub(super) known: HashMap<&'m BlobRef, Option<Oddity>>,
}

pub(super) fn check<'m>(view: &View<'m>, contents: &mut Contents<'m>, findings: &mut Findings) {
    for op in &view.function.ops {
        for (parameter, value) in op.literals().filter(|(parameter, _)| !is_bound(view, op, parameter)) {
            let Some(oddity) = contents.oddity(value) else { continue };
            let (rule, expected, number) = match oddity {
                Oddity::NonFinite(number) => (&rule::NON_FINITE, "finite numbers", number),
                Oddity::Extreme(number) => (&rule::MASK_MIN, "numbers within -65504 and 65504", number),
            };
            let found = format!("{parameter} of type {} holds {number}", value.ty);
            findings.at_op(rule, view.function, op, expected, found);
        }
    }
}

/// Whether what `op` brings as `parameter` is a bound of `clip` and nothing else, which may be infinite.
fn is_bound(view: &View<'_>, op: &Op, parameter: &str) -> bool {
    let clips = |op: &Op| op.kind.is(Opcode::Clip);
    let mut read = op.outputs.iter().flat_map(|id| view.readers(*id)).peekable();
    match op.kind.is(Opcode::Const) {
        true => read.peek().is_some() && read.all(|(reader, _)| clips(reader)),
        false => clips(op) && parameter != "x",
    }
}

impl<'m> Contents<'m> {
    fn oddity(&mut self, value: &'m Value) -> Option<Oddity> {
        let Type::Tensor(ty) = &value.ty else { return None };
        match &value.data {
            Data::Bytes(bytes) => oddity(ty.dtype, bytes),
            Data::Blob(blob) if matches!(ty.dtype, DataType::Fp16 | DataType::Fp32) => {
                let files = self.files?;
                // A blob that the files do not have is the reader's to report.
                let look = || oddity(ty.dtype, files.bytes(blob, ty).ok()?);
                *self.known.entry(blob).or_insert_with(look)
            }
            _ => None,
        }
    }
}

/// The worst oddity of packed elements.
fn oddity(dtype: DataType, bytes: &[u8]) -> Option<Oddity> {
    match dtype {
        DataType::Fp16 => {
            let (words, _) = bytes.as_chunks::<2>();
            // The exponent of infinities and NaN has all its bits.
            let is_odd = |word: &&[u8; 2]| {
                let bits = u16::from_le_bytes(**word);
                bits & 0x7c00 == 0x7c00 || bits == 0xfbff
            };
            worst(words.iter().filter(is_odd).map(|word| f16::from_le_bytes(*word).to_f32()))
        }
        DataType::Fp32 => {
            let (words, _) = bytes.as_chunks::<4>();
            worst(words.iter().map(|word| f32::from_le_bytes(*word)))
        }
        _ => None,
    }
}

fn worst(numbers: impl Iterator<Item = f32>) -> Option<Oddity> {
    let mut extreme = None;
    for number in numbers {
        if !number.is_finite() {
            return Some(Oddity::NonFinite(number));
        }
        if number.abs() > LARGEST || number == -LARGEST {
            extreme = extreme.or(Some(Oddity::Extreme(number)));
        }
    }
    extreme
}
