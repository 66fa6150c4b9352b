//! Constants in the forms in which they wait to be read.

use std::borrow::Cow;
use std::sync::Arc;

use half::f16;
use rayon::prelude::*;

use anelith_mil::{DataType, pack};

use super::sparse::{pick, scatter};
use crate::tensor::{Tensor, TensorData, room_for};

/// A constant: a literal as it stands in the program or its weight file, or the result of a constexpr op.
#[derive(Clone, Debug)]
pub(crate) struct Stored<'v> {
    /// Element type.
    pub(crate) dtype: DataType,
    /// Extents.
    pub(crate) shape: Vec<usize>,
    /// Elements in row-major order.
    pub(crate) elements: Elements<'v>,
}

/// The elements of a constant.
#[derive(Clone, Debug)]
pub(crate) enum Elements<'v> {
    /// Of a literal: little-endian, those of less than a byte packed from the lowest bit on.
    Packed(&'v [u8]),
    /// Unpacked integers of at most eight bits: one in the low bits of each byte.
    Bytes(Arc<[u8]>),
    /// Unpacked floating-point numbers.
    Floats(Arc<Tensor>),
    /// The word that a parameter is.
    Text,
}

impl Stored<'_> {
    /// Unpacked numbers of type `dtype`.
    ///
    /// # Errors
    /// Not as many of them as the shape asks for.
    pub(crate) fn floats(
        dtype: DataType,
        shape: Vec<usize>,
        numbers: Vec<f32>,
    ) -> Result<Stored<'static>, String> {
        let tensor = Arc::new(Tensor::made(shape.clone(), numbers)?);
        Ok(Stored { dtype, shape, elements: Elements::Floats(tensor) })
    }

    /// Unpacked integers of type `dtype`, which has at most eight bits.
    pub(crate) fn bytes_of(dtype: DataType, shape: Vec<usize>, bytes: Vec<u8>) -> Stored<'static> {
        Stored { dtype, shape, elements: Elements::Bytes(bytes.into()) }
    }

    /// The constant as ops read it.
    ///
    /// # Errors
    /// Types that the executor does not hold.
    pub(crate) fn tensor(&self) -> Result<Arc<Tensor>, String> {
        let data = match &self.elements {
            Elements::Floats(tensor) => return Ok(Arc::clone(tensor)),
            Elements::Bytes(bytes) => widened(bytes, self.dtype).into(),
            Elements::Packed(bytes) => decode(self.dtype, bytes, room_for(&self.shape)?)?,
            Elements::Text => return Err("it is a string, expected numbers".to_owned()),
        };
        Ok(Arc::new(Tensor::made(self.shape.clone(), data)?))
    }

    /// The elements as `f32`.
    pub(crate) fn numbers(&self) -> Result<Vec<f32>, String> {
        match &self.elements {
            Elements::Floats(tensor) => Ok(tensor.f32s()?.to_vec()),
            Elements::Packed(bytes) if self.dtype.is_float() => {
                match decode(self.dtype, bytes, room_for(&self.shape)?)? {
                    TensorData::F32(numbers) => Ok(numbers),
                    other => Err(format!("it holds {}, expected floating-point numbers", other.class())),
                }
            }
            _ => {
                let bytes = self.bytes()?;
                room_for(&self.shape)?;
                Ok(bytes
                    .par_iter()
                    .with_min_len(1 << 14)
                    .map(|b| f32::from(signed(*b, self.dtype)))
                    .collect())
            }
        }
    }

    /// The elements, which must be integers of at most eight bits, one in the low bits of each byte.
    pub(crate) fn bytes(&self) -> Result<Cow<'_, [u8]>, String> {
        match &self.elements {
            Elements::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
            Elements::Packed(bytes) if self.dtype.bits() == 8 && self.dtype.is_integer() => {
                Ok(Cow::Borrowed(*bytes))
            }
            Elements::Packed(bytes) if self.dtype.is_integer() => {
                let count = room_for(&self.shape)? as u64;
                let unpacked = pack::unpack(bytes, self.dtype.bits(), count);
                unpacked.map(Cow::Owned).ok_or_else(|| self.unfit("integers of at most eight bits"))
            }
            _ => Err(self.unfit("integers of at most eight bits")),
        }
    }

    /// The elements, which must be integers of at most eight bits, packed as in a weight file.
    pub(crate) fn packed(&self) -> Result<Cow<'_, [u8]>, String> {
        match (&self.elements, self.dtype.bits()) {
            (Elements::Packed(bytes), _) => Ok(Cow::Borrowed(*bytes)),
            (_, bits @ (1 | 2 | 3 | 4 | 6 | 8)) => Ok(Cow::Owned(pack::pack(&self.bytes()?, bits))),
            _ => Err(self.unfit("integers of at most eight bits")),
        }
    }

    /// The elements of a literal of int32.
    pub(crate) fn integers(&self) -> Result<Vec<i32>, String> {
        match (&self.elements, self.dtype) {
            (Elements::Packed(bytes), DataType::Int32) => Ok(words(bytes, i32::from_le_bytes)),
            _ => Err(self.unfit("int32")),
        }
    }

    /// The elements of a literal of int32 or uint32, which are extents.
    pub(crate) fn extents(&self) -> Result<Vec<i64>, String> {
        match (&self.elements, self.dtype) {
            (Elements::Packed(bytes), DataType::UInt32) => {
                Ok(words(bytes, |word| i64::from(u32::from_le_bytes(word))))
            }
            _ => Ok(self.integers()?.into_iter().map(i64::from).collect()),
        }
    }

    /// The dense tensor of `shape` whose elements, where `mask` is set, are these.
    ///
    /// # Errors
    /// A mask that has another number of bits set.
    pub(crate) fn scattered(&self, mask: &[u8], shape: Vec<usize>) -> Result<Stored<'static>, String> {
        room_for(&shape)?;
        if self.dtype.is_float() {
            return Stored::floats(self.dtype, shape, scatter(mask, &self.numbers()?)?);
        }
        Ok(Stored::bytes_of(self.dtype, shape, scatter(mask, &self.bytes()?)?))
    }

    /// The elements where `mask` is set.
    pub(crate) fn picked(&self, mask: &[u8]) -> Result<Stored<'static>, String> {
        if let Elements::Floats(tensor) = &self.elements {
            let numbers = pick(mask, tensor.f32s()?);
            return Stored::floats(self.dtype, vec![numbers.len()], numbers);
        }
        let bytes = pick(mask, &self.bytes()?);
        Ok(Stored::bytes_of(self.dtype, vec![bytes.len()], bytes))
    }

    fn unfit(&self, expected: &str) -> String {
        format!("a constant has type {}, expected {expected}", self.dtype)
    }
}

/// The `count` elements of type `dtype` in `bytes`, which are little-endian and packed.
///
/// # Errors
/// Types that the executor does not hold.
fn decode(dtype: DataType, bytes: &[u8], count: usize) -> Result<TensorData, String> {
    Ok(match dtype {
        DataType::Bool => bytes.iter().map(|b| *b != 0).collect::<Vec<_>>().into(),
        DataType::Fp16 => words(bytes, |b| f16::from_le_bytes(b).to_f32()).into(),
        DataType::Fp32 => words(bytes, f32::from_le_bytes).into(),
        DataType::Int16 => words(bytes, |b| i32::from(i16::from_le_bytes(b))).into(),
        DataType::UInt16 => words(bytes, |b| i32::from(u16::from_le_bytes(b))).into(),
        DataType::Int32 => words(bytes, i32::from_le_bytes).into(),
        small if small.bits() <= 8 && small.is_integer() => {
            let unpacked = pack::unpack(bytes, small.bits(), count as u64);
            let unpacked =
                unpacked.ok_or_else(|| format!("{} bytes do not hold {count} {small}", bytes.len()))?;
            widened(&unpacked, small).into()
        }
        other => return Err(format!("tensors of type {other} are not supported")),
    })
}

fn words<T: Send, const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> T + Sync) -> Vec<T> {
    let (words, _) = bytes.as_chunks::<N>();
    words.par_iter().with_min_len(1 << 14).map(|w| f(*w)).collect()
}

fn widened(bytes: &[u8], dtype: DataType) -> Vec<i32> {
    bytes.par_iter().with_min_len(1 << 14).map(|b| i32::from(signed(*b, dtype))).collect()
}

/// The number in the low bits of `byte`, which is of type `dtype`.
fn signed(byte: u8, dtype: DataType) -> i16 {
    match dtype {
        DataType::Int8 => i16::from(byte.cast_signed()),
        DataType::Int4 => i16::from((byte << 4).cast_signed() >> 4),
        _ => i16::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_little_endian_and_signed() {
        let cases: [(DataType, &[u8], TensorData); 7] = [
            (DataType::Int16, &[0xff, 0xff], vec![-1].into()),
            (DataType::UInt16, &[0xff, 0xff], vec![65535].into()),
            (DataType::Fp16, &[0x00, 0x3c], vec![1.0f32].into()),
            (DataType::Int8, &[0x80], vec![-128].into()),
            (DataType::Int4, &[0x78, 0x0f], vec![-8, 7, -1].into()),
            (DataType::UInt3, &[0xd1, 0x58], vec![1, 2, 3, 4, 5].into()),
            (DataType::UInt1, &[0x0d, 0x01], vec![1, 0, 1, 1, 0, 0, 0, 0, 1].into()),
        ];
        for (dtype, bytes, expected) in cases {
            assert_eq!(decode(dtype, bytes, expected.len()).unwrap(), expected, "{dtype}");
        }
        assert!(decode(DataType::Int64, &[0; 8], 1).unwrap_err().contains("int64"));
    }
}
