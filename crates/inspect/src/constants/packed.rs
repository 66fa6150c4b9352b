//! Elements as they lie in a file or a program.

use anelith_mil::DataType;
use half::f16;

/// Packed elements of one type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed<'m> {
    bytes: &'m [u8],
    dtype: DataType,
}

impl<'m> Packed<'m> {
    /// # Errors
    /// Strings, which are no numbers.
    pub(super) fn new(bytes: &'m [u8], dtype: DataType) -> Result<Packed<'m>, String> {
        match dtype {
            DataType::String => Err("strings are no numbers".to_owned()),
            _ => Ok(Packed { bytes, dtype }),
        }
    }

    pub(super) fn read(&self, start: u64, out: &mut [f64]) {
        match self.dtype {
            DataType::Fp16 => self.each(start, out, |b| f16::from_le_bytes(b).to_f64()),
            DataType::Fp32 => self.each(start, out, |b| f64::from(f32::from_le_bytes(b))),
            DataType::Fp64 => self.each(start, out, f64::from_le_bytes),
            DataType::Int8 => self.each(start, out, |b| f64::from(i8::from_le_bytes(b))),
            DataType::Int16 => self.each(start, out, |b| f64::from(i16::from_le_bytes(b))),
            DataType::Int32 => self.each(start, out, |b| f64::from(i32::from_le_bytes(b))),
            DataType::Int64 => self.each(start, out, |b| i64::from_le_bytes(b) as f64),
            DataType::UInt8 | DataType::Bool => self.each(start, out, |b: [u8; 1]| f64::from(b[0])),
            DataType::UInt16 => self.each(start, out, |b| f64::from(u16::from_le_bytes(b))),
            DataType::UInt32 => self.each(start, out, |b| f64::from(u32::from_le_bytes(b))),
            DataType::UInt64 => self.each(start, out, |b| u64::from_le_bytes(b) as f64),
            DataType::Int4 => {
                self.bits(start, out, |v| if v < 8 { f64::from(v) } else { f64::from(v) - 16.0 });
            }
            DataType::UInt1 | DataType::UInt2 | DataType::UInt3 | DataType::UInt4 | DataType::UInt6 => {
                self.bits(start, out, f64::from);
            }
            DataType::String => out.fill(0.0),
        }
    }

    /// Elements of whole bytes.
    fn each<const N: usize>(&self, start: u64, out: &mut [f64], number: impl Fn([u8; N]) -> f64) {
        let from = usize::try_from(start).ok().and_then(|start| self.bytes.get(start.checked_mul(N)?..));
        let (elements, _) = from.unwrap_or_default().as_chunks::<N>();
        let read = elements.len().min(out.len());
        let (filled, beyond) = out.split_at_mut(read);
        filled.iter_mut().zip(elements).for_each(|(out, bytes)| *out = number(*bytes));
        beyond.fill(0.0);
    }

    /// Elements of a few bits, from the lowest bit on.
    fn bits(&self, start: u64, out: &mut [f64], number: impl Fn(u8) -> f64) {
        let bits = u64::from(self.dtype.bits());
        let byte = |at: u64| usize::try_from(at).ok().and_then(|at| self.bytes.get(at)).copied().unwrap_or(0);
        for (i, out) in out.iter_mut().enumerate() {
            let at = (start + i as u64) * bits;
            let pair = u16::from_le_bytes([byte(at / 8), byte(at / 8 + 1)]);
            *out = number((pair >> (at % 8)) as u8 & ((1u16 << bits) - 1) as u8);
        }
    }
}
