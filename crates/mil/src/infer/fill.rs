//! Type inference of ops whose result is as large as a parameter says: it is known where the parameter is.

use super::{Call, Inferred};
use crate::dtype::DataType;
use crate::types::{Dim, MAX_RANK, TensorType, Type};
use crate::value::Value;

fn one_of(dtype: DataType, shape: Vec<Dim>) -> Inferred {
    Ok(vec![Type::Tensor(TensorType { dtype, shape })])
}

/// The number of elements of the int32 vector `name`.
fn vector_len(call: &Call<'_>, name: &str) -> Result<usize, String> {
    let ty = call.tensor(name)?;
    match ty.shape[..] {
        [Dim::Known(n)] if ty.dtype == DataType::Int32 => usize::try_from(n).map_err(|e| e.to_string()),
        _ => Err(format!("`{name}` has type {ty}, expected a vector of int32")),
    }
}

/// A tensor of `shape`, every element of which is `value`; fp32 zeros without one.
pub(crate) fn fill(call: &Call<'_>) -> Inferred {
    let dtype = if call.has("value") { call.tensor("value")?.dtype } else { DataType::Fp32 };
    let rank = vector_len(call, "shape")?;
    let Some(shape) = call.value("shape").and_then(Value::as_i32s) else {
        if rank > MAX_RANK {
            return Err(format!("`shape` has {rank} extents, expected at most {MAX_RANK}"));
        }
        return one_of(dtype, vec![Dim::Unknown; rank]);
    };
    let dims: Option<Vec<Dim>> = shape.iter().map(|d| u64::try_from(*d).ok().map(Dim::Known)).collect();
    one_of(dtype, dims.ok_or_else(|| format!("`shape` is {shape:?}, expected no negative extents"))?)
}

/// `x` with elements added before and after, two counts for each of its last axes.
pub(crate) fn pad(call: &Call<'_>) -> Inferred {
    let x = call.tensor("x")?;
    let mode = call.str_or("mode", "constant")?;
    if !matches!(mode, "constant" | "reflect" | "replicate") {
        return Err(format!("`mode` is \"{mode}\", expected \"constant\", \"reflect\" or \"replicate\""));
    }
    let count = vector_len(call, "pad")?;
    let Some(pads) = call.value("pad").and_then(Value::as_i32s) else {
        if Some(count) != x.rank().checked_mul(2) {
            return Err(format!("`pad` has {count} elements, expected two for each dimension of {x}"));
        }
        return one_of(x.dtype, vec![Dim::Unknown; x.rank()]);
    };
    if !count.is_multiple_of(2) || count / 2 > x.rank() || pads.iter().any(|p| *p < 0) {
        return Err(format!("`pad` is {pads:?}, expected two counts for each of the last dimensions of {x}"));
    }
    let mut shape = call.shape("x")?;
    let first = shape.len() - count / 2;
    for (extent, pad) in shape[first..].iter_mut().zip(pads.chunks_exact(2)) {
        let (before, after) = (u64::from(pad[0].unsigned_abs()), u64::from(pad[1].unsigned_abs()));
        if mode == "reflect" && before.max(after) > extent.saturating_sub(1) {
            return Err(format!("`pad` is {pads:?}; to reflect, it must be less than the extents of {x}"));
        }
        if mode == "replicate" && *extent == 0 && before.max(after) > 0 {
            return Err(format!("`pad` is {pads:?}, but {x} has no element to repeat"));
        }
        *extent = extent.checked_add(before + after).ok_or("the padded extent overflows")?;
    }
    one_of(x.dtype, shape.into_iter().map(Dim::Known).collect())
}

/// The numbers from `start` on, `step` apart, before `end`.
pub(crate) fn range_1d(call: &Call<'_>) -> Inferred {
    let dtype = super::same_dtype(call, "start", "end")?;
    super::same_dtype(call, "start", "step")?;
    if !dtype.is_float() && !dtype.is_integer() {
        return Err(format!("`start`, `end` and `step` have type {dtype}, expected numbers"));
    }
    let number = |name: &str| -> Result<Option<f64>, String> {
        let ty = call.tensor(name)?;
        if ty.element_count() != Some(1) {
            return Err(format!("`{name}` has type {ty}, expected one number"));
        }
        let Some(value) = call.value(name) else { return Ok(None) };
        let float = value.as_f32s().and_then(|v| v.first().map(|v| f64::from(*v)));
        Ok(float.or_else(|| value.as_i32().map(f64::from)))
    };
    let (Some(start), Some(end), Some(step)) = (number("start")?, number("end")?, number("step")?) else {
        return one_of(dtype, vec![Dim::Unknown]);
    };
    let count = ((end - start) / step).ceil();
    if step == 0.0 || !count.is_finite() || count > f64::from(i32::MAX) {
        return Err(format!("from {start} to {end} by {step} is no range that a tensor can hold"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^31")]
    let count = count.max(0.0) as u64;
    one_of(dtype, vec![Dim::Known(count)])
}
