//! Numbers to and from the bits of fp16.

use half::f16;

use super::isa::Isa;
use super::pool::Pool;

/// The bits of the nearest fp16 of each number, ties to even; 65520 and above become infinite, NaN stays NaN.
///
/// # Panics
/// When the lengths differ.
pub(crate) fn to_fp16(isa: Isa, pool: &Pool, x: &[f32], out: &mut [u16]) {
    let _ = (isa, pool);
    out.iter_mut().zip(x).for_each(|(out, &x)| *out = f16::from_f32(x).to_bits());
}

/// The numbers that bits of fp16 stand for.
///
/// # Panics
/// When the lengths differ.
pub(crate) fn from_fp16(isa: Isa, pool: &Pool, x: &[u16], out: &mut [f32]) {
    let _ = (isa, pool);
    out.iter_mut().zip(x).for_each(|(out, &x)| *out = f16::from_bits(x).to_f32());
}
