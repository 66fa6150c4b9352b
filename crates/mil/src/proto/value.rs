//! Literals, to and from `Value`.
//!
//! Each element type has one wrapper in which it is written. Readers take the others that can mean only one
//! thing: raw bytes for any type of fixed size, and either integer wrapper for integers that fit.

use half::f16;

use crate::dtype::DataType;
use crate::types::{TensorType, Type};
use crate::value::{BlobRef, Data, Value};

use super::fault::{At, Decoded, Fault};
use super::{messages as pb, types};

/// The message, or what is wrong with the literal.
pub(super) fn encode(value: &Value) -> Result<pb::Value, String> {
    if !value.is_well_formed() {
        return Err(format!("the literal does not hold as many elements as its type {} takes", value.ty));
    }
    let kind = match &value.data {
        Data::Blob(blob) => {
            pb::ValueKind::BlobFile(pb::BlobFileValue { file_name: blob.file.clone(), offset: blob.offset })
        }
        immediate => {
            let kind = encode_immediate(&value.ty, immediate)?;
            pb::ValueKind::Immediate(pb::ImmediateValue { kind: Some(kind) })
        }
    };
    Ok(pb::Value { ty: Some(types::encode(&value.ty)), kind: Some(kind) })
}

fn encode_immediate(ty: &Type, data: &Data) -> Result<pb::ImmediateKind, String> {
    let all = |values: &[Value]| values.iter().map(encode).collect::<Result<Vec<_>, _>>();
    let elements = match data {
        Data::List(values) => return Ok(pb::ImmediateKind::List(pb::Values { values: all(values)? })),
        Data::Tuple(values) => return Ok(pb::ImmediateKind::Tuple(pb::Values { values: all(values)? })),
        Data::Dict(pairs) => {
            let pair = |(k, v): &(Value, Value)| {
                Ok(pb::KeyValuePair { key: Some(encode(k)?), value: Some(encode(v)?) })
            };
            let values = pairs.iter().map(pair).collect::<Result<_, String>>()?;
            return Ok(pb::ImmediateKind::Dictionary(pb::DictionaryValue { values }));
        }
        Data::Strings(values) => pb::Elements::Strings(pb::Strings { values: values.clone() }),
        Data::Bytes(bytes) => encode_elements(ty, bytes)?,
        Data::Blob(_) => return Err("a blob cannot be a member of another literal".into()),
    };
    Ok(pb::ImmediateKind::Tensor(pb::TensorValue { elements: Some(elements) }))
}

fn words<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|word| read(*word)).collect()
}

fn encode_elements(ty: &Type, bytes: &[u8]) -> Result<pb::Elements, String> {
    let dtype = ty.as_tensor().map(|t| t.dtype).ok_or_else(|| format!("a {ty} cannot hold elements"))?;
    let ints = |values| pb::Elements::Ints(pb::Ints { values });
    let long_ints = |values| pb::Elements::LongInts(pb::LongInts { values });
    Ok(match dtype {
        DataType::Bool => pb::Elements::Bools(pb::Bools { values: encode_bools(bytes)? }),
        DataType::Int16 => ints(words(bytes, |w| i16::from_le_bytes(w).into())),
        DataType::UInt16 => ints(words(bytes, |w| u16::from_le_bytes(w).into())),
        DataType::Int32 => ints(words(bytes, i32::from_le_bytes)),
        // The wrapper is signed: an uint64 is stored as the int64 of the same bits.
        DataType::Int64 | DataType::UInt64 => long_ints(words(bytes, i64::from_le_bytes)),
        DataType::Fp32 => pb::Elements::Floats(pb::Floats { values: words(bytes, f32::from_le_bytes) }),
        DataType::Fp64 => pb::Elements::Doubles(pb::Doubles { values: words(bytes, f64::from_le_bytes) }),
        _ => pb::Elements::Bytes(pb::Bytes { values: bytes.to_vec() }),
    })
}

fn encode_bools(bytes: &[u8]) -> Result<Vec<bool>, String> {
    let bool_of = |b: &u8| match b {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(format!("a bool is stored as {other}, expected 0 or 1")),
    };
    bytes.iter().map(bool_of).collect()
}

pub(super) fn decode(value: pb::Value) -> Decoded<Value> {
    let ty = types::decode(value.ty)?;
    let data = match value.kind {
        Some(pb::ValueKind::BlobFile(blob)) => {
            Data::Blob(BlobRef { file: blob.file_name, offset: blob.offset })
        }
        Some(pb::ValueKind::Immediate(immediate)) => decode_immediate(&ty, immediate)?,
        None => return Err(Fault::malformed("a value is neither immediate nor in a weight file")),
    };
    let value = Value { ty, data };
    check(&value)?;
    Ok(value)
}

/// Says how a literal and its type disagree, if they do.
fn check(value: &Value) -> Decoded<()> {
    let ty = &value.ty;
    let found = match &value.data {
        Data::Bytes(b) => format!("{} bytes", b.len()),
        Data::Strings(s) => format!("{} strings", s.len()),
        Data::List(m) | Data::Tuple(m) => format!("{} members", m.len()),
        Data::Dict(p) => format!("{} pairs", p.len()),
        Data::Blob(_) => "a blob".to_owned(),
    };
    if value.is_well_formed() {
        return Ok(());
    }
    let expected = match ty.as_tensor().map(|t| (t.byte_len(), t.element_count())) {
        Some((Some(bytes), _)) => format!("{bytes} bytes"),
        Some((None, Some(strings))) => format!("{strings} strings"),
        Some((None, None)) => "a type of known size".to_owned(),
        None => "contents that fit the type".to_owned(),
    };
    Err(Fault::malformed(format!("a value of type {ty} holds {found}, expected {expected}")))
}

fn decode_immediate(ty: &Type, value: pb::ImmediateValue) -> Decoded<Data> {
    let all = |v: pb::Values| v.values.into_iter().map(decode).collect::<Decoded<Vec<_>>>();
    match (ty, value.kind) {
        (Type::Tensor(t), Some(pb::ImmediateKind::Tensor(v))) => decode_tensor(t, v.elements),
        (Type::List(..), Some(pb::ImmediateKind::List(v))) => Ok(Data::List(all(v)?)),
        (Type::Tuple(_), Some(pb::ImmediateKind::Tuple(v))) => Ok(Data::Tuple(all(v)?)),
        (Type::Dict(..), Some(pb::ImmediateKind::Dictionary(v))) => {
            Ok(Data::Dict(v.values.into_iter().map(decode_pair).collect::<Decoded<_>>()?))
        }
        (_, None) => Err(Fault::malformed(format!("the value of type {ty} is missing"))),
        (_, Some(_)) => Err(Fault::malformed(format!("the value is of another kind than its type {ty}"))),
    }
}

fn decode_pair(pair: pb::KeyValuePair) -> Decoded<(Value, Value)> {
    let member = |value: Option<pb::Value>, which: &'static str| {
        value.ok_or_else(|| Fault::malformed("it is missing")).and_then(decode).at(|| which.to_owned())
    };
    Ok((member(pair.key, "dictionary key")?, member(pair.value, "dictionary value")?))
}

fn decode_tensor(ty: &TensorType, elements: Option<pb::Elements>) -> Decoded<Data> {
    let wrong = |wrapper: &str| Fault::malformed(format!("elements of {} are stored as {wrapper}", ty.dtype));
    let bytes = match (ty.dtype, elements) {
        (DataType::String, Some(pb::Elements::Strings(s))) => return Ok(Data::Strings(s.values)),
        (DataType::String, None) => return Ok(Data::Strings(Vec::new())),
        (DataType::String, Some(_)) => return Err(wrong("numbers")),
        (_, None) => Vec::new(),
        (_, Some(pb::Elements::Strings(_))) => return Err(wrong("strings")),
        (DataType::Bool, Some(pb::Elements::Bytes(b))) => {
            encode_bools(&b.values).map_err(Fault::malformed)?;
            b.values
        }
        (_, Some(pb::Elements::Bytes(b))) => b.values,
        (DataType::Bool, Some(pb::Elements::Bools(b))) => b.values.into_iter().map(u8::from).collect(),
        (_, Some(pb::Elements::Bools(_))) => return Err(wrong("bools")),
        (dtype, Some(pb::Elements::Ints(i))) => integers(dtype, i.values.into_iter().map(i64::from))?,
        (dtype, Some(pb::Elements::LongInts(i))) => integers(dtype, i.values.into_iter())?,
        (DataType::Fp32, Some(pb::Elements::Floats(f))) => {
            f.values.into_iter().flat_map(f32::to_le_bytes).collect()
        }
        (DataType::Fp16, Some(pb::Elements::Floats(f))) => halves(&f.values)?,
        (_, Some(pb::Elements::Floats(_))) => return Err(wrong("floats")),
        (DataType::Fp64, Some(pb::Elements::Doubles(d))) => {
            d.values.into_iter().flat_map(f64::to_le_bytes).collect()
        }
        (_, Some(pb::Elements::Doubles(_))) => return Err(wrong("doubles")),
    };
    Ok(Data::Bytes(bytes))
}

fn halves(values: &[f32]) -> Decoded<Vec<u8>> {
    let mut bytes = Vec::with_capacity(2 * values.len());
    for &v in values {
        let half = f16::from_f32(v);
        if half.to_f32() != v && !v.is_nan() {
            return Err(Fault::malformed(format!("an fp16 is stored as the float {v}, which does not fit")));
        }
        bytes.extend(half.to_le_bytes());
    }
    Ok(bytes)
}

fn integers(dtype: DataType, values: impl Iterator<Item = i64>) -> Decoded<Vec<u8>> {
    let mut bytes = Vec::new();
    for v in values {
        let fits = push_integer(dtype, v, &mut bytes)
            .ok_or_else(|| Fault::malformed(format!("elements of {dtype} are stored as integers")))?;
        if !fits {
            return Err(Fault::malformed(format!("the integer {v} does not fit into {dtype}")));
        }
    }
    Ok(bytes)
}

/// Appends `v`; `Some(false)` if it does not fit, `None` if the type is not an integer of whole bytes.
fn push_integer(dtype: DataType, v: i64, bytes: &mut Vec<u8>) -> Option<bool> {
    macro_rules! push {
        ($t:ty) => {
            <$t>::try_from(v).map(|n| bytes.extend(n.to_le_bytes())).is_ok()
        };
    }
    Some(match dtype {
        DataType::Int8 => push!(i8),
        DataType::Int16 => push!(i16),
        DataType::Int32 => push!(i32),
        DataType::UInt8 => push!(u8),
        DataType::UInt16 => push!(u16),
        DataType::UInt32 => push!(u32),
        // As in `encode_elements`: the same bits.
        DataType::Int64 | DataType::UInt64 => push!(i64),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(ty: &Type, elements: pb::Elements) -> pb::Value {
        let tensor = pb::ImmediateKind::Tensor(pb::TensorValue { elements: Some(elements) });
        let immediate = pb::ImmediateValue { kind: Some(tensor) };
        pb::Value { ty: Some(types::encode(ty)), kind: Some(pb::ValueKind::Immediate(immediate)) }
    }

    fn elements(value: &Value) -> Option<pb::Elements> {
        match encode(value).ok()?.kind? {
            pb::ValueKind::Immediate(pb::ImmediateValue { kind: Some(pb::ImmediateKind::Tensor(t)) }) => {
                t.elements
            }
            _ => None,
        }
    }

    #[test]
    fn each_element_type_is_written_in_the_wrapper_that_core_ml_reads() {
        let value =
            |dtype, bytes: &[u8]| Value { ty: Type::tensor(dtype, &[2]), data: Data::Bytes(bytes.to_vec()) };
        let ints = |v: &[i32]| pb::Elements::Ints(pb::Ints { values: v.to_vec() });
        let raw = |v: &[u8]| pb::Elements::Bytes(pb::Bytes { values: v.to_vec() });
        let cases = [
            (value(DataType::Bool, &[1, 0]), pb::Elements::Bools(pb::Bools { values: vec![true, false] })),
            (value(DataType::Int16, &[255, 255, 1, 0]), ints(&[-1, 1])),
            (value(DataType::UInt16, &[255, 255, 1, 0]), ints(&[65535, 1])),
            (Value::i32s(&[-7, 9]), ints(&[-7, 9])),
            (value(DataType::UInt8, &[3, 200]), raw(&[3, 200])),
            (value(DataType::UInt32, &[1, 0, 0, 0, 2, 0, 0, 0]), raw(&[1, 0, 0, 0, 2, 0, 0, 0])),
            (value(DataType::UInt4, &[0x21]), raw(&[0x21])),
            (Value::fp16s(&[f16::ONE]), raw(&[0x00, 0x3c])),
            (Value::i32s(&[]), ints(&[])),
        ];
        for (value, expected) in cases {
            assert_eq!(elements(&value), Some(expected.clone()), "{}", value.ty);
            assert_eq!(decode(stored(&value.ty, expected)).ok(), Some(value));
        }
    }

    #[test]
    fn other_wrappers_are_read_when_they_fit() {
        let ints = |values: &[i32]| pb::Elements::Ints(pb::Ints { values: values.to_vec() });
        let cases = [
            (DataType::UInt8, ints(&[1, 255]), Some(vec![1, 255])),
            (DataType::UInt8, ints(&[1, 256]), None),
            (DataType::UInt32, ints(&[-1, 0]), None),
            (DataType::UInt4, ints(&[1, 2]), None),
            (
                DataType::Fp16,
                pb::Elements::Floats(pb::Floats { values: vec![1.0, -2.0] }),
                Some(vec![0, 0x3c, 0, 0xc0]),
            ),
            (DataType::Fp16, pb::Elements::Floats(pb::Floats { values: vec![1.0, 0.1] }), None),
            (DataType::Fp32, pb::Elements::Bytes(pb::Bytes { values: vec![0; 8] }), Some(vec![0; 8])),
            (DataType::Fp32, pb::Elements::Bytes(pb::Bytes { values: vec![0; 7] }), None),
            (DataType::Bool, pb::Elements::Bytes(pb::Bytes { values: vec![0, 2] }), None),
        ];
        for (dtype, elements, bytes) in cases {
            let decoded = decode(stored(&Type::tensor(dtype, &[2]), elements));
            assert_eq!(decoded.ok().map(|v| v.data), bytes.map(Data::Bytes), "{dtype}");
        }
    }

    #[test]
    fn a_count_that_differs_from_the_type_is_reported_with_both_numbers() {
        let value =
            stored(&Type::tensor(DataType::Int32, &[3]), pb::Elements::Ints(pb::Ints { values: vec![1] }));
        let error = decode(value).err().map(|f| f.into_error("m").to_string());
        assert_eq!(
            error.as_deref(),
            Some("m is malformed: a value of type tensor<int32, [3]> holds 4 bytes, expected 12 bytes")
        );
    }
}
