//! A tensor that can be read in pieces, as fp16 or f32, from any thread.

use std::ops::Range;
use std::sync::Arc;

use anelith_report::Reported;
use half::bf16;
use half::f16;
use half::slice::HalfFloatSliceExt;

use super::round::{bf16_to_f16, first_not_finite};
use super::source::Source;
use crate::error::{Error, Result};

/// Elements per read: large enough that calls cost nothing, small enough that buffers do not matter.
const CHUNK: usize = 1 << 16;

/// An element type that weights may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of a single.
    Bf16,
}

impl Dtype {
    /// The accepted counterpart of a safetensors dtype, if there is one.
    pub(super) fn from_safetensors(dtype: safetensors::Dtype) -> Option<Self> {
        match dtype {
            safetensors::Dtype::F32 => Some(Self::F32),
            safetensors::Dtype::F16 => Some(Self::F16),
            safetensors::Dtype::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// A tensor of a checkpoint, not yet read. Cloning is cheap, and clones can be read from several threads at once.
#[derive(Debug, Clone)]
pub struct TensorRef {
    pub(super) name: Arc<str>,
    pub(super) dtype: Dtype,
    pub(super) shape: Arc<[usize]>,
    pub(super) source: Arc<Source>,
    /// Bytes into the data section of the file.
    pub(super) offset: u64,
    pub(super) elements: usize,
}

impl TensorRef {
    /// The full name: `model.layers.3.mlp.down_proj.weight`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The element type on disk.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The shape, outermost dimension first; data is row-major.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements: the product of the shape.
    pub fn element_count(&self) -> usize {
        self.elements
    }

    /// Replaces the contents of `out` with the elements of `range`, rounded to fp16 (to nearest, ties to even).
    ///
    /// An element that is not finite as fp16 (larger in magnitude than 65504 after rounding, infinite, or not a number)
    /// is an `Unsupported` error that names the tensor, the element and its value.
    pub fn read_f16(&self, range: Range<usize>, out: &mut Vec<f16>) -> Result<()> {
        let mut wide = Vec::new();
        out.clear();
        self.read_chunks(range, |first, bytes| {
            let start = out.len();
            match self.dtype {
                Dtype::F16 => out.extend(halves(bytes).map(f16::from_bits)),
                Dtype::Bf16 => out.extend(halves(bytes).map(bf16_to_f16)),
                Dtype::F32 => {
                    wide.clear();
                    self.extend_f32(bytes, &mut wide);
                    out.resize(start + wide.len(), f16::ZERO);
                    out[start..].convert_from_f32_slice(&wide);
                }
            }
            match first_not_finite(&out[start..]) {
                Some(i) => Err(self.not_finite(first + i, i, bytes)),
                None => Ok(()),
            }
        })
    }

    /// Replaces the contents of `out` with the elements of `range`, exactly; infinities and NaN are kept.
    pub fn read_f32(&self, range: Range<usize>, out: &mut Vec<f32>) -> Result<()> {
        out.clear();
        self.read_chunks(range, |_, bytes| {
            self.extend_f32(bytes, out);
            Ok(())
        })
    }

    fn extend_f32(&self, bytes: &[u8], out: &mut Vec<f32>) {
        match self.dtype {
            Dtype::F32 => out.extend(words(bytes).map(f32::from_bits)),
            Dtype::F16 => out.extend(halves(bytes).map(|bits| f16::from_bits(bits).to_f32())),
            Dtype::Bf16 => out.extend(halves(bytes).map(|bits| bf16::from_bits(bits).to_f32())),
        }
    }

    /// Calls `take` with the index of the first element and the raw bytes of each piece of `range`, in order.
    fn read_chunks(
        &self,
        range: Range<usize>,
        mut take: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        if range.start > range.end || range.end > self.elements {
            let what = format!("elements {range:?} of tensor `{}` do not exist", self.name);
            return Err(Error::caller(what)
                .at(self.source.path().display())
                .expecting(format!("a range within 0..{}", self.elements)));
        }
        let size = self.dtype.size();
        let mut buffer = vec![0; CHUNK.min(range.len()) * size];
        let mut first = range.start;
        while first < range.end {
            let count = CHUNK.min(range.end - first);
            let bytes = &mut buffer[..count * size];
            let offset = self.offset + first as u64 * size as u64;
            self.source.read_data(offset, bytes)?;
            take(first, bytes)?;
            first += count;
        }
        Ok(())
    }

    fn not_finite(&self, index: usize, index_in_chunk: usize, bytes: &[u8]) -> Error {
        let mut values = Vec::new();
        self.extend_f32(bytes, &mut values);
        let value = values.get(index_in_chunk).copied().unwrap_or(f32::NAN);
        let position = position(&self.shape, index);
        Error::unsupported(format!(
            "tensor `{}` has the value {value} at {position:?}, which is not finite in fp16",
            self.name
        ))
        .at(self.source.path().display())
        .expecting("a finite value, at most 65504 in magnitude")
        .finding(value)
        .mending("use a checkpoint whose weights fit fp16")
    }
}

/// The coordinates of a row-major element index.
fn position(shape: &[usize], mut index: usize) -> Vec<usize> {
    let mut coordinates: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&dim| {
            let dim = dim.max(1);
            let coordinate = index % dim;
            index /= dim;
            coordinate
        })
        .collect();
    coordinates.reverse();
    coordinates
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = u16> {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs.iter().map(|pair| u16::from_le_bytes(*pair))
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let (quads, _) = bytes.as_chunks::<4>();
    quads.iter().map(|quad| u32::from_le_bytes(*quad))
}
