//! `FlexibleShapeInformation`: the function attribute that tells the runtime which shapes inputs may take.

use crate::dtype::DataType;
use crate::error::{Error, Result};
use crate::model::{Feature, Flexibility, Interface};
use crate::types::{Dim, TensorType, Type};
use crate::value::{Data, Value};

/// The name of the attribute.
pub(super) const ATTRIBUTE: &str = "FlexibleShapeInformation";

/// The attribute's value for a function of that interface; `None` when all inputs have fixed shapes.
///
/// # Errors
/// `Unsupported` for enumerated shapes, whose text has identifiers that nobody knows how to make, and for
/// extents that an int32 does not hold.
pub(super) fn information(interface: &Interface) -> Result<Option<Value>> {
    let mut inputs: Vec<&Feature> = interface.inputs.iter().collect();
    inputs.sort_by(|a, b| a.name.cmp(&b.name));
    let (mut defaults, mut ranges) = (Vec::new(), Vec::new());
    for input in inputs {
        let place = || format!("function `{}`: input `{}`", interface.name, input.name);
        let bounds = match &input.flexibility {
            None => continue,
            Some(Flexibility::Range(bounds)) => bounds,
            Some(Flexibility::Enumerated(_)) => {
                let problem = "enumerated shapes in a compiled model, expected fixed shapes or ranges";
                return Err(Error::unsupported(place(), problem));
            }
        };
        let too_large = || Error::unsupported(place(), "an extent of 2^31 or more in a compiled model");
        defaults.push((input, default_shape(input).ok_or_else(too_large)?));
        ranges.push((input, bounds_list(bounds).ok_or_else(too_large)?));
    }
    if defaults.is_empty() {
        return Ok(None);
    }
    let members = [("DefaultShapes", dict(defaults)), ("RangeDims", dict(ranges))];
    Ok(Some(tuple(members.map(|(name, dict)| tuple([Value::string(name), dict])))))
}

/// `tensor<int32, [?]>` with the default extents.
fn default_shape(input: &Feature) -> Option<Value> {
    let shape: Vec<i32> = input.shape.iter().map(|n| i32::try_from(*n).ok()).collect::<Option<_>>()?;
    Some(Value { ty: unknown_length(), ..Value::i32s(&shape) })
}

/// `list<tensor<int32, [2]>, ?>` with the lower and upper bound of each extent.
fn bounds_list(bounds: &[(u64, i64)]) -> Option<Value> {
    let pair = |(low, high): &(u64, i64)| {
        Some(Value::i32s(&[i32::try_from(*low).ok()?, i32::try_from(*high).ok()?]))
    };
    let pairs = bounds.iter().map(pair).collect::<Option<_>>()?;
    let ty = Type::List(Box::new(Type::tensor(DataType::Int32, &[2])), None);
    Some(Value { ty, data: Data::List(pairs) })
}

fn unknown_length() -> Type {
    Type::Tensor(TensorType { dtype: DataType::Int32, shape: vec![Dim::Unknown] })
}

/// Values of one type by the names of their inputs; there is at least one.
fn dict(entries: Vec<(&Feature, Value)>) -> Value {
    let value_type = entries.first().map_or_else(unknown_length, |(_, v)| v.ty.clone());
    let ty = Type::Dict(Box::new(Type::scalar(DataType::String)), Box::new(value_type));
    let pairs = entries.into_iter().map(|(input, v)| (Value::string(&input.name), v)).collect();
    Value { ty, data: Data::Dict(pairs) }
}

fn tuple(members: [Value; 2]) -> Value {
    let ty = Type::Tuple(members.iter().map(|m| m.ty.clone()).collect());
    Value { ty, data: Data::Tuple(members.into()) }
}
