//! Types of values and variables, to and from `ValueType`.

use crate::dtype::DataType;
use crate::types::{Dim, MAX_RANK, TensorType, Type};

use super::fault::{Decoded, Fault};
use super::messages as pb;

/// The numbers of `MIL.proto`'s `DataType`.
const DATA_TYPES: [(DataType, i32); 19] = [
    (DataType::Bool, 1),
    (DataType::String, 2),
    (DataType::Fp16, 10),
    (DataType::Fp32, 11),
    (DataType::Fp64, 12),
    (DataType::Int8, 21),
    (DataType::Int16, 22),
    (DataType::Int32, 23),
    (DataType::Int64, 24),
    (DataType::Int4, 25),
    (DataType::UInt8, 31),
    (DataType::UInt16, 32),
    (DataType::UInt32, 33),
    (DataType::UInt64, 34),
    (DataType::UInt4, 35),
    (DataType::UInt2, 36),
    (DataType::UInt1, 37),
    (DataType::UInt6, 38),
    (DataType::UInt3, 39),
];

/// How many types may make up one, which also bounds their nesting, as in the text form.
const MAX_MEMBERS: usize = 32;

/// Element types that `MIL.proto` has and the IR has not.
const OTHER_DATA_TYPES: [(&str, i32); 3] = [("bf16", 13), ("fp8e4m3fn", 40), ("fp8e5m2", 41)];

pub(super) fn encode(ty: &Type) -> pb::ValueType {
    let kind = match ty {
        Type::Tensor(t) => pb::TypeKind::Tensor(encode_tensor(t)),
        Type::State(t) => {
            let wrapped = pb::ValueType { kind: Some(pb::TypeKind::Tensor(encode_tensor(t))) };
            pb::TypeKind::State(Box::new(pb::StateType { wrapped_type: Some(wrapped) }))
        }
        Type::List(member, length) => {
            let length = length.map_or(Dim::Unknown, Dim::Known);
            let list = pb::ListType { ty: Some(encode(member)), length: Some(encode_dim(length)) };
            pb::TypeKind::List(Box::new(list))
        }
        Type::Tuple(members) => {
            pb::TypeKind::Tuple(pb::TupleType { types: members.iter().map(encode).collect() })
        }
        Type::Dict(key, value) => pb::TypeKind::Dictionary(Box::new(pb::DictionaryType {
            key_type: Some(encode(key)),
            value_type: Some(encode(value)),
        })),
    };
    pb::ValueType { kind: Some(kind) }
}

fn encode_tensor(t: &TensorType) -> pb::TensorType {
    let data_type = DATA_TYPES.iter().find(|(d, _)| *d == t.dtype).map_or(0, |(_, n)| *n);
    let dimensions = t.shape.iter().copied().map(encode_dim).collect();
    pb::TensorType { data_type, rank: t.shape.len() as i64, dimensions }
}

fn encode_dim(dim: Dim) -> pb::Dimension {
    let kind = match dim {
        Dim::Known(size) => pb::DimensionKind::Constant(pb::ConstantDimension { size }),
        Dim::Unknown => pb::DimensionKind::Unknown(pb::UnknownDimension { variadic: false }),
    };
    pb::Dimension { kind: Some(kind) }
}

/// `None` is a missing message.
pub(super) fn decode(ty: Option<pb::ValueType>) -> Decoded<Type> {
    decode_member(ty, &mut 0)
}

/// A type, of which `members` others were read before as parts of the same.
fn decode_member(ty: Option<pb::ValueType>, members: &mut usize) -> Decoded<Type> {
    *members += 1;
    if *members > MAX_MEMBERS {
        return Err(Fault::unsupported(format!("a type of more than {MAX_MEMBERS} types")));
    }
    let kind = ty.and_then(|t| t.kind).ok_or_else(|| Fault::malformed("the type is missing"))?;
    Ok(match kind {
        pb::TypeKind::Tensor(t) => Type::Tensor(decode_tensor(t)?),
        pb::TypeKind::State(state) => match decode_member(state.wrapped_type, members)? {
            Type::Tensor(t) => Type::State(t),
            other => {
                return Err(Fault::unsupported(format!("a state of type {other}, expected a tensor")));
            }
        },
        pb::TypeKind::List(list) => {
            let length = match list.length.map(decode_dim).transpose()? {
                Some(Dim::Known(n)) => Some(n),
                Some(Dim::Unknown) | None => None,
            };
            Type::List(Box::new(decode_member(list.ty, members)?), length)
        }
        pb::TypeKind::Tuple(tuple) => {
            let types = tuple.types.into_iter().map(|t| decode_member(Some(t), members));
            Type::Tuple(types.collect::<Decoded<_>>()?)
        }
        pb::TypeKind::Dictionary(d) => {
            let key = decode_member(d.key_type, members)?;
            Type::Dict(Box::new(key), Box::new(decode_member(d.value_type, members)?))
        }
    })
}

fn decode_tensor(t: pb::TensorType) -> Decoded<TensorType> {
    let dtype = decode_data_type(t.data_type)?;
    if t.rank < 0 {
        return Err(Fault::unsupported(format!("a tensor of unknown rank ({})", t.rank)));
    }
    if t.rank != t.dimensions.len() as i64 {
        let found = t.dimensions.len();
        return Err(Fault::malformed(format!("a tensor of rank {} has {found} dimensions", t.rank)));
    }
    if t.dimensions.len() > MAX_RANK {
        let found = t.dimensions.len();
        return Err(Fault::unsupported(format!("a tensor of {found} dimensions, expected up to {MAX_RANK}")));
    }
    let shape = t.dimensions.into_iter().map(decode_dim).collect::<Decoded<_>>()?;
    Ok(TensorType { dtype, shape })
}

fn decode_data_type(number: i32) -> Decoded<DataType> {
    if let Some((dtype, _)) = DATA_TYPES.iter().find(|(_, n)| *n == number) {
        return Ok(*dtype);
    }
    match OTHER_DATA_TYPES.iter().find(|(_, n)| *n == number) {
        Some((name, _)) => Err(Fault::unsupported(format!("element type {name}"))),
        None => Err(Fault::malformed(format!("element type number {number} does not exist"))),
    }
}

fn decode_dim(dim: pb::Dimension) -> Decoded<Dim> {
    match dim.kind {
        Some(pb::DimensionKind::Constant(c)) => Ok(Dim::Known(c.size)),
        Some(pb::DimensionKind::Unknown(u)) if !u.variadic => Ok(Dim::Unknown),
        Some(pb::DimensionKind::Unknown(_)) => Err(Fault::unsupported("a variadic dimension")),
        None => Err(Fault::malformed("a dimension is neither constant nor unknown")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_type_has_a_number_of_its_own() {
        for &dtype in DataType::ALL {
            let ty = Type::tensor(dtype, &[2, 0]);
            assert_eq!(decode(Some(encode(&ty))).ok(), Some(ty));
        }
    }

    /// Printing walks the dimensions and the members one inside the other: a hundred thousand would end the stack.
    #[test]
    fn types_beyond_those_of_the_text_form_are_refused() {
        let strings = || Type::scalar(DataType::String);
        let nested = |depth| (0..depth).fold(strings(), |t, _| Type::List(Box::new(t), Some(1)));
        let cases = [
            (Type::tensor(DataType::Fp16, &[1; 16]), true),
            (Type::tensor(DataType::Fp16, &[1; 17]), false),
            (Type::Tuple(vec![strings(); 31]), true),
            (Type::Tuple(vec![strings(); 32]), false),
            (nested(31), true),
            (nested(32), false),
        ];
        for (ty, fits) in cases {
            assert_eq!(decode(Some(encode(&ty))).is_ok(), fits, "{ty}");
        }
    }

    #[test]
    fn containers_and_states_come_back() {
        let strings = || Box::new(Type::scalar(DataType::String));
        let unknown = TensorType { dtype: DataType::Fp16, shape: vec![Dim::Unknown, Dim::Known(3)] };
        for ty in [
            Type::State(TensorType::new(DataType::Fp16, &[1, 8])),
            Type::List(strings(), Some(2)),
            Type::List(strings(), None),
            Type::Tuple(vec![Type::Tensor(unknown), Type::scalar(DataType::Bool)]),
            Type::Dict(strings(), strings()),
        ] {
            assert_eq!(decode(Some(encode(&ty))).ok(), Some(ty));
        }
    }
}
