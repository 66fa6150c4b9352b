//! The elements of an immediate tensor, one by one.

use half::f16;

use crate::dtype::DataType;
use crate::pack;
use crate::text::number::print_float;
use crate::types::{Dim, TensorType};
use crate::value::{Data, Value};

/// Empty brackets that a tensor without elements may print at most, e.g. 3 for shape `[3, 0]`.
const MAX_EMPTY_ROWS: usize = 1 << 16;

/// An immediate tensor whose elements were counted.
pub(super) struct Elements<'a> {
    /// Extents, all known; the product is the number of elements.
    pub(super) shape: Vec<usize>,
    source: Source<'a>,
}

enum Source<'a> {
    Strings(&'a [String]),
    Bytes(DataType, &'a [u8]),
    /// Sub-byte elements, one a byte.
    Unpacked(DataType, Vec<u8>),
}

impl<'a> Elements<'a> {
    /// The elements of `value`, or `None` if it is no immediate tensor or their number is not what its type
    /// says. One unknown extent, the outermost, takes as many as there are.
    pub(super) fn of(value: &'a Value) -> Option<Elements<'a>> {
        let t = value.ty.as_tensor()?;
        let (count, source) = match &value.data {
            Data::Strings(strings) if t.dtype == DataType::String => {
                (strings.len(), Source::Strings(strings))
            }
            Data::Bytes(bytes) => unpacked(t, bytes)?,
            _ => return None,
        };
        let shape = concrete(t, count)?;
        let empty_rows = shape.iter().try_fold(1usize, |n, d| n.checked_mul((*d).max(1)))?;
        (count > 0 || empty_rows <= MAX_EMPTY_ROWS).then_some(Elements { shape, source })
    }

    /// Appends element `index`.
    pub(super) fn print(&self, index: usize, out: &mut String) {
        match &self.source {
            Source::Strings(strings) => print_string(strings.get(index).map_or("", String::as_str), out),
            Source::Unpacked(dtype, values) => {
                let value = values.get(index).copied().unwrap_or_default();
                // A signed nibble is shifted to the top and back to extend its sign.
                let signed = i64::from(((value << 4) as i8) >> 4);
                let value = if *dtype == DataType::Int4 { signed } else { i64::from(value) };
                out.push_str(&value.to_string());
            }
            Source::Bytes(dtype, bytes) => {
                let size = dtype.bits() as usize / 8;
                let mut word = [0; 8];
                for (to, from) in word.iter_mut().zip(bytes.iter().skip(index * size).take(size)) {
                    *to = *from;
                }
                out.push_str(&number(*dtype, u64::from_le_bytes(word)));
            }
        }
    }
}

/// The number of elements in `bytes`, and how to get at them.
fn unpacked<'a>(t: &TensorType, bytes: &'a [u8]) -> Option<(usize, Source<'a>)> {
    match t.dtype.bits() as usize {
        0 => None,
        bits @ 1..8 => {
            let values = pack::unpack(bytes, bits as u32, t.element_count()?)?;
            Some((values.len(), Source::Unpacked(t.dtype, values)))
        }
        bits => {
            let size = bits / 8;
            let whole = bytes.len().is_multiple_of(size);
            whole.then_some((bytes.len() / size, Source::Bytes(t.dtype, bytes)))
        }
    }
}

/// The shape of `count` elements of type `t`.
fn concrete(t: &TensorType, count: usize) -> Option<Vec<usize>> {
    let mut shape = Vec::with_capacity(t.shape.len());
    for (i, dim) in t.shape.iter().enumerate() {
        shape.push(match dim {
            Dim::Known(n) => usize::try_from(*n).ok()?,
            Dim::Unknown if i == 0 => {
                let rest = TensorType { dtype: t.dtype, shape: t.shape.get(1..)?.to_vec() };
                count.checked_div(usize::try_from(rest.element_count()?).ok()?)?
            }
            Dim::Unknown => return None,
        });
    }
    let product = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
    (product == count).then_some(shape)
}

/// The literal of an element whose little-endian bytes are those of `word`.
fn number(dtype: DataType, word: u64) -> String {
    match dtype {
        DataType::Bool => (word != 0).to_string(),
        DataType::Fp16 => print_float(f16::from_bits(word as u16).to_f64()),
        DataType::Fp32 => print_float(f64::from(f32::from_bits(word as u32))),
        DataType::Fp64 => print_float(f64::from_bits(word)),
        DataType::Int8 => (word as i8).to_string(),
        DataType::Int16 => (word as i16).to_string(),
        DataType::Int32 => (word as i32).to_string(),
        DataType::Int64 => (word as i64).to_string(),
        _ => word.to_string(),
    }
}

/// Appends `text` in quotes.
pub(super) fn print_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            _ => out.push(c),
        }
    }
    out.push('"');
}
