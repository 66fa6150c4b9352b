//! Type inference of products and convolutions.

use super::{Call, Inferred, broadcast, one, same_dtype};
use crate::value::Value;

/// The product of the last two axes, batched over the others.
pub(crate) fn matmul(call: &Call<'_>) -> Inferred {
    let dtype = same_dtype(call, "x", "y")?;
    let (mut x, mut y) = (call.shape("x")?, call.shape("y")?);
    let (rank_x, rank_y) = (x.len(), y.len());
    if rank_x < 2 || rank_y < 2 {
        return Err(format!("ranks are {rank_x} and {rank_y}, expected at least 2"));
    }
    if call.bool_or("transpose_x", false)? {
        x.swap(rank_x - 1, rank_x - 2);
    }
    if call.bool_or("transpose_y", false)? {
        y.swap(rank_y - 1, rank_y - 2);
    }
    if x[rank_x - 1] != y[rank_y - 2] {
        return Err(format!("inner extents {} and {} differ", x[rank_x - 1], y[rank_y - 2]));
    }
    let mut shape = broadcast(&x[..rank_x - 2], &y[..rank_y - 2])?;
    shape.extend([x[rank_x - 2], y[rank_y - 1]]);
    one(dtype, &shape)
}

/// `x` times the transposed `weight` [out, in], plus `bias` [out].
pub(crate) fn linear(call: &Call<'_>) -> Inferred {
    let dtype = same_dtype(call, "x", "weight")?;
    let (mut shape, weight) = (call.shape("x")?, call.shape("weight")?);
    let [out, inner] = weight[..] else {
        return Err(format!("`weight` has {} dimensions, expected 2", weight.len()));
    };
    let last = shape.last_mut().ok_or("`x` is a scalar")?;
    if *last != inner {
        return Err(format!("`x` has {last} columns and `weight` takes {inner}"));
    }
    *last = out;
    expect_bias(call, out)?;
    one(dtype, &shape)
}

fn expect_bias(call: &Call<'_>, out: u64) -> Result<(), String> {
    if !call.has("bias") {
        return Ok(());
    }
    same_dtype(call, "weight", "bias")?;
    if call.shape("bias")? != [out] {
        return Err(format!("`bias` has shape {:?}, expected [{out}]", call.shape("bias")?));
    }
    Ok(())
}

/// A convolution of `x` [batch, channels, ...] with `weight` [out, channels / groups, ...].
pub(crate) fn conv(call: &Call<'_>) -> Inferred {
    let dtype = same_dtype(call, "x", "weight")?;
    let (x, weight) = (call.shape("x")?, call.shape("weight")?);
    if x.len() < 3 || x.len() != weight.len() {
        return Err(format!("weight has {} dimensions, expected {}, at least 3", weight.len(), x.len()));
    }
    let groups = u64::try_from(call.i32_or("groups", 1)?).unwrap_or(0);
    if Some(x[1]) != weight[1].checked_mul(groups) || !weight[0].is_multiple_of(groups) {
        return Err(format!(
            "`x` has {} channels, weight {weight:?} takes {} in {groups} groups",
            x[1], weight[1]
        ));
    }
    expect_bias(call, weight[0])?;
    let mut shape = vec![x[0], weight[0]];
    for i in 0..x.len() - 2 {
        shape.push(conv_extent(call, i, x[i + 2], weight[i + 2])?);
    }
    one(dtype, &shape)
}

/// The extent of spatial axis `i` of a convolution's result.
fn conv_extent(call: &Call<'_>, i: usize, extent: u64, kernel: u64) -> Result<u64, String> {
    let at = |name: &str, i: usize, default: u64| -> Result<u64, String> {
        if !call.has(name) {
            return Ok(default);
        }
        let v = call.i32s(name)?.get(i).copied();
        v.and_then(|v| u64::try_from(v).ok()).ok_or_else(|| format!("`{name}` lacks a valid entry {i}"))
    };
    let (stride, dilation) = (at("strides", i, 1)?, at("dilations", i, 1)?);
    let pad = match call.value("pad_type").and_then(Value::as_str) {
        None | Some("valid") => 0,
        Some("same" | "same_lower") if stride > 0 => return Ok(extent.div_ceil(stride)),
        Some("custom") => at("pad", 2 * i, 0)? + at("pad", 2 * i + 1, 0)?,
        Some(other) => {
            return Err(format!(
                "`pad_type` is \"{other}\" with stride {stride}, expected \"valid\", \"custom\" or \"same\""
            ));
        }
    };
    let span = kernel
        .checked_sub(1)
        .and_then(|k| k.checked_mul(dilation))
        .ok_or("the kernel is empty or too large")?;
    let span = span.checked_add(1).ok_or("the kernel is too large")?;
    let padded = extent.checked_add(pad).ok_or("the padded extent overflows")?;
    if stride == 0 || padded < span {
        return Err(format!(
            "axis {i}: a kernel of {span} by stride {stride} does not fit {extent} with padding {pad}"
        ));
    }
    Ok((padded - span) / stride + 1)
}
