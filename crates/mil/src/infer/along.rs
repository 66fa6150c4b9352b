//! Type inference of ops whose indices are places along one axis.

use super::{Call, Inferred, normalize_axis, one};
use crate::dtype::DataType;
use crate::value::Value;

/// The place of the largest element along `axis`, as `output_dtype` says: int32 or uint16.
pub(crate) fn reduce_argmax(call: &Call<'_>) -> Inferred {
    let x = call.tensor("x")?;
    if !x.dtype.is_float() && !x.dtype.is_integer() {
        return Err(format!("`x` has type {x}, expected numbers"));
    }
    let mut shape = call.shape("x")?;
    let axis = normalize_axis(call.i32_or("axis", -1)?, shape.len())?;
    let dtype = output_dtype(call)?;
    if dtype == DataType::UInt16 && shape[axis] > 1 << 16 {
        return Err(format!("axis {axis} of {x} has more places than `output_dtype` uint16 can tell apart"));
    }
    match call.bool_or("keep_dims", false)? {
        true => shape[axis] = 1,
        false => drop(shape.remove(axis)),
    }
    one(dtype, &shape)
}

fn output_dtype(call: &Call<'_>) -> Result<DataType, String> {
    if !call.has("output_dtype") {
        return Ok(DataType::Int32);
    }
    let name = call.value("output_dtype").and_then(Value::as_str);
    let name = name.ok_or("`output_dtype` is not a constant string")?;
    let dtype = DataType::from_name(name).filter(|d| matches!(d, DataType::Int32 | DataType::UInt16));
    dtype.ok_or_else(|| format!("`output_dtype` is \"{name}\", expected int32 or uint16"))
}

/// For each index the element of `x` at that place along `axis`; elsewhere the places are the index's own.
pub(crate) fn gather_along_axis(call: &Call<'_>) -> Inferred {
    let (x, indices) = (call.tensor("x")?, call.tensor("indices")?);
    if !indices.dtype.is_integer() {
        return Err(format!("`indices` has type {indices}, expected integers"));
    }
    let (shape, picked) = (call.shape("x")?, call.shape("indices")?);
    let axis = normalize_axis(call.i32_or("axis", 0)?, shape.len())?;
    let is_alike =
        shape.len() == picked.len() && (0..shape.len()).all(|i| i == axis || shape[i] == picked[i]);
    if !is_alike {
        return Err(format!("`indices` has type {indices}, expected the shape of {x} but for axis {axis}"));
    }
    one(x.dtype, &picked)
}
