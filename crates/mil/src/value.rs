//! Literal values: what constants, attributes and inline arguments hold.

use half::f16;

use crate::dtype::DataType;
use crate::types::{Dim, TensorType, Type};

/// A typed literal.
#[derive(Clone, PartialEq, Debug)]
pub struct Value {
    /// The type of the literal; it says how `data` is read.
    pub ty: Type,
    /// The contents.
    pub data: Data,
}

/// The contents of a literal.
#[derive(Clone, PartialEq, Debug)]
pub enum Data {
    /// Elements of a tensor in row-major order, little-endian; sub-byte types packed from the lowest bit
    /// on, booleans as one byte 0 or 1.
    Bytes(Vec<u8>),
    /// Elements of a string tensor.
    Strings(Vec<String>),
    /// Elements that live in a weight file; never a member of a container.
    Blob(BlobRef),
    /// Members of a list.
    List(Vec<Value>),
    /// Members of a tuple.
    Tuple(Vec<Value>),
    /// Pairs of a dictionary, in the order of the source.
    Dict(Vec<(Value, Value)>),
}

/// Where a tensor lies in a weight file.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BlobRef {
    /// The file, with `@model_path` for the directory of the program, e.g. `@model_path/weights/weight.bin`.
    pub file: String,
    /// Byte offset of the blob's metadata record (not of its data).
    pub offset: u64,
}

impl Value {
    fn packed(dtype: DataType, shape: Option<usize>, bytes: Vec<u8>) -> Value {
        let shape = shape.map(|n| Dim::Known(n as u64)).into_iter().collect();
        Value { ty: Type::Tensor(TensorType { dtype, shape }), data: Data::Bytes(bytes) }
    }

    /// An int32 scalar.
    pub fn i32(v: i32) -> Value {
        Value::packed(DataType::Int32, None, v.to_le_bytes().to_vec())
    }

    /// An int32 vector.
    pub fn i32s(v: &[i32]) -> Value {
        let bytes = v.iter().flat_map(|x| x.to_le_bytes()).collect();
        Value::packed(DataType::Int32, Some(v.len()), bytes)
    }

    /// A bool scalar.
    pub fn bool(v: bool) -> Value {
        Value::packed(DataType::Bool, None, vec![u8::from(v)])
    }

    /// A bool vector.
    pub fn bools(v: &[bool]) -> Value {
        Value::packed(DataType::Bool, Some(v.len()), v.iter().map(|&b| u8::from(b)).collect())
    }

    /// An fp16 scalar.
    pub fn fp16(v: f16) -> Value {
        Value::packed(DataType::Fp16, None, v.to_le_bytes().to_vec())
    }

    /// An fp16 vector.
    pub fn fp16s(v: &[f16]) -> Value {
        let bytes = v.iter().flat_map(|x| x.to_le_bytes()).collect();
        Value::packed(DataType::Fp16, Some(v.len()), bytes)
    }

    /// A string scalar.
    pub fn string(v: impl Into<String>) -> Value {
        Value { ty: Type::scalar(DataType::String), data: Data::Strings(vec![v.into()]) }
    }

    /// A tensor of `dtype` and `shape` stored at `blob`.
    pub fn blob(dtype: DataType, shape: &[u64], blob: BlobRef) -> Value {
        Value { ty: Type::tensor(dtype, shape), data: Data::Blob(blob) }
    }

    /// The element type, if this is a tensor.
    pub fn dtype(&self) -> Option<DataType> {
        self.ty.as_tensor().map(|t| t.dtype)
    }

    /// The packed elements of an immediate tensor of type `dtype`.
    fn bytes_of(&self, dtype: DataType) -> Option<&[u8]> {
        match &self.data {
            Data::Bytes(b) if self.dtype() == Some(dtype) => Some(b),
            _ => None,
        }
    }

    /// Elements of an immediate int32 tensor of any rank, in row-major order.
    pub fn as_i32s(&self) -> Option<Vec<i32>> {
        let bytes = self.bytes_of(DataType::Int32)?;
        let (words, _) = bytes.as_chunks::<4>();
        Some(words.iter().map(|w| i32::from_le_bytes(*w)).collect())
    }

    /// The only element of an immediate int32 tensor.
    pub fn as_i32(&self) -> Option<i32> {
        match self.as_i32s()?.as_slice() {
            [v] => Some(*v),
            _ => None,
        }
    }

    /// Elements of an immediate bool tensor.
    pub fn as_bools(&self) -> Option<Vec<bool>> {
        Some(self.bytes_of(DataType::Bool)?.iter().map(|&b| b != 0).collect())
    }

    /// The only element of an immediate bool tensor.
    pub fn as_bool(&self) -> Option<bool> {
        match self.as_bools()?.as_slice() {
            [v] => Some(*v),
            _ => None,
        }
    }

    /// The only element of a string tensor.
    pub fn as_str(&self) -> Option<&str> {
        match &self.data {
            Data::Strings(s) if s.len() == 1 => s.first().map(String::as_str),
            _ => None,
        }
    }

    /// Elements of an immediate fp16 or fp32 tensor, widened to f32.
    pub fn as_f32s(&self) -> Option<Vec<f32>> {
        if let Some(bytes) = self.bytes_of(DataType::Fp16) {
            let (words, _) = bytes.as_chunks::<2>();
            return Some(words.iter().map(|w| f16::from_le_bytes(*w).to_f32()).collect());
        }
        let (words, _) = self.bytes_of(DataType::Fp32)?.as_chunks::<4>();
        Some(words.iter().map(|w| f32::from_le_bytes(*w)).collect())
    }

    /// Whether the contents are what the type asks for: as many elements or members, each of its type, and
    /// booleans 0 or 1. What a blob holds is checked when it is read.
    pub fn is_well_formed(&self) -> bool {
        match (&self.ty, &self.data) {
            (Type::Tensor(t), Data::Bytes(b)) => {
                let bits = if t.dtype == DataType::Bool { 1 } else { u8::MAX };
                t.byte_len() == Some(b.len() as u64) && b.iter().all(|b| *b <= bits)
            }
            (Type::Tensor(t), Data::Strings(s)) => {
                t.dtype == DataType::String && t.element_count() == Some(s.len() as u64)
            }
            (Type::Tensor(t), Data::Blob(_)) => t.byte_len().is_some(),
            (Type::List(ty, length), Data::List(vs)) => {
                length.is_none_or(|n| n == vs.len() as u64) && vs.iter().all(|v| v.is_member(ty))
            }
            (Type::Tuple(tys), Data::Tuple(vs)) => {
                tys.len() == vs.len() && tys.iter().zip(vs).all(|(t, v)| v.is_member(t))
            }
            (Type::Dict(k, v), Data::Dict(pairs)) => {
                pairs.iter().all(|(key, value)| key.is_member(k) && value.is_member(v))
            }
            _ => false,
        }
    }

    /// Whether the value may stand in a container whose members have type `ty`.
    fn is_member(&self, ty: &Type) -> bool {
        self.ty == *ty && !matches!(self.data, Data::Blob(_)) && self.is_well_formed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_and_vectors_read_back() {
        assert_eq!(Value::i32(-7).as_i32(), Some(-7));
        assert_eq!(Value::i32s(&[1, -1]).as_i32s(), Some(vec![1, -1]));
        assert_eq!(Value::i32s(&[1, -1]).as_i32(), None);
        assert_eq!(Value::bools(&[true, false]).as_bools(), Some(vec![true, false]));
        assert_eq!(Value::string("valid").as_str(), Some("valid"));
        assert_eq!(Value::fp16(f16::from_f32(-1.5)).as_f32s(), Some(vec![-1.5]));
        assert_eq!(Value::bool(true).as_i32(), None);
    }

    #[test]
    fn a_literal_with_too_few_bytes_is_not_well_formed() {
        let mut v = Value::i32s(&[1, 2, 3]);
        assert!(v.is_well_formed());
        v.data = Data::Bytes(vec![0; 11]);
        assert!(!v.is_well_formed());
    }

    #[test]
    fn members_are_counted_and_typed() {
        let strings = |length, members| Value {
            ty: Type::List(Box::new(Type::scalar(DataType::String)), length),
            data: Data::List(members),
        };
        assert!(strings(None, Vec::new()).is_well_formed());
        assert!(strings(Some(1), vec![Value::string("a")]).is_well_formed());
        assert!(!strings(Some(2), vec![Value::string("a")]).is_well_formed(), "one of two");
        assert!(!strings(Some(1), vec![Value::i32(1)]).is_well_formed(), "another type");
        let blob = BlobRef { file: "f".into(), offset: 64 };
        let blobs = Value {
            ty: Type::Tuple(vec![Type::tensor(DataType::Fp16, &[1])]),
            data: Data::Tuple(vec![Value::blob(DataType::Fp16, &[1], blob)]),
        };
        assert!(!blobs.is_well_formed(), "a blob as a member");
        let two = Value { data: Data::Bytes(vec![2]), ..Value::bool(true) };
        assert!(!two.is_well_formed(), "a bool of 2");
    }
}
