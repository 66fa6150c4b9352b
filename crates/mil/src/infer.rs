//! Output types of ops: one function a rule, named in the op table.
//!
//! A rule sees the types of the arguments and the values of the constant ones, and answers with the output
//! types or with a sentence that says what is wrong. Shapes must be fixed; programs with flexible shapes are
//! carried through with the types they declare.

mod along;
mod constexpr;
mod fill;
mod matrix;
mod recurrent;
mod shape;
mod slice;

use std::collections::BTreeMap;

use crate::dtype::DataType;
use crate::types::{TensorType, Type};
use crate::value::Value;

pub(crate) use along::{gather_along_axis, reduce_argmax};
pub(crate) use constexpr::{
    affine_dequantize, as_attributes, blockwise_shift_scale, constexpr_cast, lut_to_dense, lut_to_sparse,
    sparse_blockwise_shift_scale, sparse_to_dense,
};
pub(crate) use fill::{fill, pad, range_1d};
pub(crate) use matrix::{conv, linear, matmul};
pub(crate) use recurrent::lstm;
pub(crate) use shape::{
    band_part, concat, cumsum, expand_dims, gather, gather_nd, reduce, reshape, reverse, split, squeeze,
    stack, tile, transpose,
};
pub(crate) use slice::{slice_by_index, slice_by_size, slice_update};

/// The arguments of one op, as type inference sees them.
#[derive(Debug, Default)]
pub struct Call<'a> {
    /// Arguments by parameter name; a list parameter has any number.
    pub arguments: BTreeMap<&'a str, Vec<KnownArgument<'a>>>,
}

/// An argument: its type, and its value where that is known before the program runs.
#[derive(Clone, Copy, Debug)]
pub struct KnownArgument<'a> {
    /// The type.
    pub ty: &'a Type,
    /// The value, for literals and `const` ops.
    pub value: Option<&'a Value>,
    /// Whether it is known before the program runs; true as well for what `constexpr_*` ops decompress.
    pub constant: bool,
}

pub(crate) type Inferred = Result<Vec<Type>, String>;

impl<'a> Call<'a> {
    fn argument(&self, name: &str) -> Option<KnownArgument<'a>> {
        self.arguments.get(name).and_then(|a| a.first()).copied()
    }

    fn has(&self, name: &str) -> bool {
        self.argument(name).is_some()
    }

    fn tensor(&self, name: &str) -> Result<&'a TensorType, String> {
        let argument = self.argument(name).ok_or_else(|| format!("parameter `{name}` is missing"))?;
        argument.ty.as_tensor().ok_or_else(|| format!("`{name}` has type {}, expected a tensor", argument.ty))
    }

    fn shape(&self, name: &str) -> Result<Vec<u64>, String> {
        self.tensor(name)?
            .fixed_shape()
            .ok_or_else(|| format!("`{name}` has a flexible shape, expected a fixed one"))
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.argument(name).and_then(|a| a.value)
    }

    fn i32s(&self, name: &str) -> Result<Vec<i32>, String> {
        let value = self.value(name).ok_or_else(|| format!("`{name}` is not a constant"))?;
        value.as_i32s().ok_or_else(|| format!("`{name}` has type {}, expected immediate int32", value.ty))
    }

    fn i32_or(&self, name: &str, default: i32) -> Result<i32, String> {
        if !self.has(name) {
            return Ok(default);
        }
        match self.i32s(name)?.as_slice() {
            [v] => Ok(*v),
            other => Err(format!("`{name}` has {} elements, expected one", other.len())),
        }
    }

    fn bool_or(&self, name: &str, default: bool) -> Result<bool, String> {
        if !self.has(name) {
            return Ok(default);
        }
        let value = self.value(name).and_then(Value::as_bool);
        value.ok_or_else(|| format!("`{name}` is not a constant bool"))
    }

    /// The constant string `name`.
    fn str_or(&self, name: &str, default: &'static str) -> Result<&'a str, String> {
        if !self.has(name) {
            return Ok(default);
        }
        let value = self.value(name).and_then(Value::as_str);
        value.ok_or_else(|| format!("`{name}` is not a constant string"))
    }

    /// A mask of `rank` bools; all false when the parameter is left out.
    fn mask(&self, name: &str, rank: usize) -> Result<Vec<bool>, String> {
        if !self.has(name) {
            return Ok(vec![false; rank]);
        }
        let mask = self.value(name).and_then(Value::as_bools);
        let mask = mask.ok_or_else(|| format!("`{name}` is not a constant bool tensor"))?;
        expect_len(name, mask.len(), rank)?;
        Ok(mask)
    }
}

fn expect_len(name: &str, found: usize, expected: usize) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("`{name}` has {found} elements, expected {expected}, one for each dimension of `x`"))
}

/// The index of dimension `axis` (negative counts from the end) among `rank` dimensions.
fn normalize_axis(axis: i32, rank: usize) -> Result<usize, String> {
    let wrapped = if axis < 0 { i64::from(axis) + rank as i64 } else { i64::from(axis) };
    usize::try_from(wrapped)
        .ok()
        .filter(|a| *a < rank)
        .ok_or_else(|| format!("axis {axis} is out of range for rank {rank}"))
}

fn one(dtype: DataType, shape: &[u64]) -> Inferred {
    Ok(vec![Type::tensor(dtype, shape)])
}

/// The shape that `a` and `b` broadcast to, numpy's way.
fn broadcast(a: &[u64], b: &[u64]) -> Result<Vec<u64>, String> {
    let rank = a.len().max(b.len());
    let at = |s: &[u64], i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
    let dim = |i| match (at(a, i), at(b, i)) {
        (x, y) if x == y => Ok(x),
        (1, y) => Ok(y),
        (x, 1) => Ok(x),
        _ => Err(format!("shapes {a:?} and {b:?} do not broadcast")),
    };
    (0..rank).map(dim).collect()
}

/// The type of `x` and `y`, which the ops on pairs of numbers take.
fn numbers(call: &Call<'_>) -> Result<DataType, String> {
    let dtype = same_dtype(call, "x", "y")?;
    if dtype.is_float() || dtype.is_integer() {
        return Ok(dtype);
    }
    Err(format!("`x` and `y` have type {dtype}, expected numbers"))
}

fn same_dtype(call: &Call<'_>, a: &str, b: &str) -> Result<DataType, String> {
    let (x, y) = (call.tensor(a)?.dtype, call.tensor(b)?.dtype);
    if x != y {
        return Err(format!("`{a}` has type {x} and `{b}` has type {y}, expected equal types"));
    }
    Ok(x)
}

/// `const`: its type is that of `val`, which the validator compares; nothing to infer from arguments.
pub(crate) fn constant(_: &Call<'_>) -> Inferred {
    Err("a constant has no inferred type".to_owned())
}

/// The type of `x`.
pub(crate) fn same_as_x(call: &Call<'_>) -> Inferred {
    Ok(vec![Type::Tensor(call.tensor("x")?.clone())])
}

/// The type of `x`, which must be of floating-point numbers.
pub(crate) fn float(call: &Call<'_>) -> Inferred {
    let x = call.tensor("x")?;
    if !x.dtype.is_float() {
        return Err(format!("`x` has type {x}, expected floating-point numbers"));
    }
    same_as_x(call)
}

/// The type of `x`, which must be of numbers.
pub(crate) fn number(call: &Call<'_>) -> Inferred {
    let x = call.tensor("x")?;
    if !x.dtype.is_float() && !x.dtype.is_integer() {
        return Err(format!("`x` has type {x}, expected numbers"));
    }
    same_as_x(call)
}

/// The type of `x`; `mode` is one of the three approximations that MIL has.
pub(crate) fn gelu(call: &Call<'_>) -> Inferred {
    match call.str_or("mode", "EXACT")? {
        "EXACT" | "TANH_APPROXIMATION" | "SIGMOID_APPROXIMATION" => float(call),
        other => Err(format!(
            "`mode` is \"{other}\", expected \"EXACT\", \"TANH_APPROXIMATION\" or \"SIGMOID_APPROXIMATION\""
        )),
    }
}

/// The type of `x` [batch, channels, ...]; the other tensors have one number a channel.
pub(crate) fn channel_norm(call: &Call<'_>) -> Inferred {
    let x = call.shape("x")?;
    if x.len() < 3 {
        return Err(format!(
            "`x` has {} dimensions, expected batch, channels and at least one more",
            x.len()
        ));
    }
    for name in ["mean", "variance", "gamma", "beta"] {
        if call.has(name) && call.shape(name)? != x[1..2] {
            return Err(format!("`{name}` has shape {:?}, expected {:?}", call.shape(name)?, &x[1..2]));
        }
    }
    float(call)
}

/// The type of `x`, scaled to sum to one along `axis`.
pub(crate) fn softmax(call: &Call<'_>) -> Inferred {
    normalize_axis(call.i32_or("axis", -1)?, call.tensor("x")?.rank())?;
    float(call)
}

/// The type of `x`; `gamma` and `beta` have the extents of `axes`.
pub(crate) fn layer_norm(call: &Call<'_>) -> Inferred {
    let shape = call.shape("x")?;
    let mut axes: Vec<usize> = (0..shape.len()).collect();
    if call.has("axes") {
        let named = call.i32s("axes")?;
        axes = named.iter().map(|a| normalize_axis(*a, shape.len())).collect::<Result<_, _>>()?;
        axes.sort_unstable();
    }
    let normalized: Vec<u64> = axes.iter().map(|a| shape[*a]).collect();
    for name in ["gamma", "beta"] {
        if call.has(name) && call.shape(name)? != normalized {
            return Err(format!("`{name}` has shape {:?}, expected {normalized:?}", call.shape(name)?));
        }
    }
    float(call)
}

/// Arithmetic on two tensors that broadcast.
pub(crate) fn elementwise(call: &Call<'_>) -> Inferred {
    let dtype = numbers(call)?;
    one(dtype, &broadcast(&call.shape("x")?, &call.shape("y")?)?)
}

/// A comparison of two tensors that broadcast.
pub(crate) fn comparison(call: &Call<'_>) -> Inferred {
    numbers(call)?;
    one(DataType::Bool, &broadcast(&call.shape("x")?, &call.shape("y")?)?)
}

/// Whether the elements of two tensors that broadcast are equal.
pub(crate) fn equality(call: &Call<'_>) -> Inferred {
    same_dtype(call, "x", "y")?;
    one(DataType::Bool, &broadcast(&call.shape("x")?, &call.shape("y")?)?)
}

fn expect_bool(call: &Call<'_>, name: &str) -> Result<(), String> {
    let ty = call.tensor(name)?;
    if ty.dtype == DataType::Bool {
        Ok(())
    } else {
        Err(format!("`{name}` has type {ty}, expected booleans"))
    }
}

/// A logical op on two tensors of booleans that broadcast.
pub(crate) fn logical(call: &Call<'_>) -> Inferred {
    expect_bool(call, "x")?;
    expect_bool(call, "y")?;
    one(DataType::Bool, &broadcast(&call.shape("x")?, &call.shape("y")?)?)
}

/// The type of `x`, which must be of booleans.
pub(crate) fn logical_not(call: &Call<'_>) -> Inferred {
    expect_bool(call, "x")?;
    same_as_x(call)
}

/// `a` where `cond`, else `b`.
pub(crate) fn select(call: &Call<'_>) -> Inferred {
    if call.tensor("cond")?.dtype != DataType::Bool {
        return Err(format!("`cond` has type {}, expected bool", call.tensor("cond")?.dtype));
    }
    let dtype = same_dtype(call, "a", "b")?;
    let values = broadcast(&call.shape("a")?, &call.shape("b")?)?;
    one(dtype, &broadcast(&call.shape("cond")?, &values)?)
}

/// `x` converted to the type that `dtype` names.
pub(crate) fn cast(call: &Call<'_>) -> Inferred {
    let name = call.value("dtype").and_then(Value::as_str).ok_or("`dtype` is not a constant string")?;
    let dtype = DataType::from_name(name).filter(|dtype| dtype.bits() >= 8);
    let dtype =
        dtype.ok_or_else(|| format!("`dtype` is \"{name}\", expected bool or a number of whole bytes"))?;
    Ok(vec![Type::Tensor(TensorType { dtype, shape: call.tensor("x")?.shape.clone() })])
}

fn state<'a>(call: &Call<'a>) -> Result<&'a TensorType, String> {
    match call.argument("input").map(|a| a.ty) {
        Some(Type::State(t)) => Ok(t),
        Some(other) => Err(format!("`input` has type {other}, expected a state")),
        None => Err("parameter `input` is missing".to_owned()),
    }
}

/// The tensor in a state.
pub(crate) fn read_state(call: &Call<'_>) -> Inferred {
    Ok(vec![Type::Tensor(state(call)?.clone())])
}

/// Nothing; `data` must have the state's type.
pub(crate) fn write_state(call: &Call<'_>) -> Inferred {
    let (state, data) = (state(call)?, call.tensor("data")?);
    if state != data {
        return Err(format!("`data` has type {data}, expected {state} as the state"));
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests;
