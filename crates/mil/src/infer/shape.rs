//! Type inference of ops that rearrange, select or reduce.

use super::{Call, Inferred, expect_len, normalize_axis, number, one, same_as_x};
use crate::types::{Dim, Type};

/// `values` joined along `axis`.
pub(crate) fn concat(call: &Call<'_>) -> Inferred {
    let interleave = call.bool_or("interleave", false)?;
    let values = call.arguments.get("values").map_or(&[][..], Vec::as_slice);
    let first = values.first().and_then(|v| v.ty.as_tensor()).ok_or("`values` has no tensors")?;
    let mut shape = first.fixed_shape().ok_or("`values` has a flexible shape")?;
    if shape.is_empty() {
        // Scalars are joined as if each were a vector of one.
        shape.push(1);
    }
    let axis = normalize_axis(call.i32_or("axis", 0)?, shape.len())?;
    for (i, value) in values.iter().enumerate().skip(1) {
        let ty = value.ty.as_tensor().filter(|t| t.dtype == first.dtype && t.rank() == first.rank());
        let next = ty.and_then(|t| t.fixed_shape());
        let next =
            next.ok_or_else(|| format!("`values[{i}]` has type {}, the first has {first}", value.ty))?;
        let differs = |d: &usize| (*d != axis || interleave) && first.shape[*d] != Dim::Known(next[*d]);
        if (0..first.rank()).any(|d| differs(&d)) {
            let may = if interleave { "none".to_owned() } else { format!("only axis {axis}") };
            return Err(format!(
                "`values[{i}]` has type {}, the first has {first}; {may} may differ",
                value.ty
            ));
        }
        let extent = next.get(axis).copied().unwrap_or(1);
        shape[axis] = shape[axis].checked_add(extent).ok_or("the joined axis overflows")?;
    }
    one(first.dtype, &shape)
}

/// Extents of 1 inserted at `axes` of the result.
pub(crate) fn expand_dims(call: &Call<'_>) -> Inferred {
    let x = call.tensor("x")?;
    let mut shape = call.shape("x")?;
    let axes = call.i32s("axes")?;
    let rank = shape.len() + axes.len();
    let mut at = axes.iter().map(|a| normalize_axis(*a, rank)).collect::<Result<Vec<_>, _>>()?;
    at.sort_unstable();
    if at.windows(2).any(|w| w[0] == w[1]) {
        return Err(format!("`axes` {axes:?} names an axis twice"));
    }
    for axis in at {
        shape.insert(axis, 1);
    }
    one(x.dtype, &shape)
}

/// Extents of 1 removed at `axes`, or all of them.
pub(crate) fn squeeze(call: &Call<'_>) -> Inferred {
    let x = call.tensor("x")?;
    let shape = call.shape("x")?;
    let drop = if call.has("axes") {
        call.i32s("axes")?.iter().map(|a| normalize_axis(*a, shape.len())).collect::<Result<Vec<_>, _>>()?
    } else {
        (0..shape.len()).filter(|i| shape[*i] == 1).collect()
    };
    if let Some(bad) = drop.iter().find(|a| shape[**a] != 1) {
        return Err(format!("axis {bad} of {x} cannot be squeezed, its extent is not 1"));
    }
    let kept: Vec<u64> = (0..shape.len()).filter(|i| !drop.contains(i)).map(|i| shape[i]).collect();
    one(x.dtype, &kept)
}

/// `x` with the axes in the order `perm`.
pub(crate) fn transpose(call: &Call<'_>) -> Inferred {
    let x = call.tensor("x")?;
    let shape = call.shape("x")?;
    let perm = call.i32s("perm")?;
    expect_len("perm", perm.len(), shape.len())?;
    let axes = perm.iter().map(|p| normalize_axis(*p, shape.len())).collect::<Result<Vec<_>, _>>()?;
    if (0..shape.len()).any(|i| !axes.contains(&i)) {
        return Err(format!("`perm` {perm:?} is not a permutation"));
    }
    let permuted: Vec<u64> = axes.iter().map(|a| shape[*a]).collect();
    one(x.dtype, &permuted)
}

/// `x` repeated `reps` times along each axis.
pub(crate) fn tile(call: &Call<'_>) -> Inferred {
    let x = call.tensor("x")?;
    let shape = call.shape("x")?;
    let reps = call.i32s("reps")?;
    expect_len("reps", reps.len(), shape.len())?;
    let repeat =
        |(d, r): (&u64, &i32)| u64::try_from(*r).ok().filter(|r| *r > 0).and_then(|r| d.checked_mul(r));
    let tiled: Option<Vec<u64>> = shape.iter().zip(&reps).map(repeat).collect();
    one(x.dtype, &tiled.ok_or_else(|| format!("`reps` {reps:?} must be positive"))?)
}

/// `x` as `shape`, where 0 keeps an extent and one -1 takes what remains.
pub(crate) fn reshape(call: &Call<'_>) -> Inferred {
    let x = call.tensor("x")?;
    let old = call.shape("x")?;
    let wanted = call.i32s("shape")?;
    let total = x.element_count().ok_or("`x` has too many elements")?;
    let bad = || format!("`shape` {wanted:?} does not hold the {total} elements of {x}");
    let mut shape = Vec::with_capacity(wanted.len());
    for (i, &d) in wanted.iter().enumerate() {
        shape.push(match d {
            -1 => 1,
            0 => *old.get(i).ok_or_else(bad)?,
            d => u64::try_from(d).map_err(|_| bad())?,
        });
    }
    let known = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).ok_or_else(bad)?;
    let mut free = wanted.iter().enumerate().filter(|(_, d)| **d == -1).map(|(i, _)| i);
    match (free.next(), free.next()) {
        (None, _) if known == total => {}
        (Some(i), None) if known > 0 && total.is_multiple_of(known) => shape[i] = total / known,
        _ => return Err(bad()),
    }
    one(x.dtype, &shape)
}

/// Rows of `x` along `axis`, picked by `indices`.
pub(crate) fn gather(call: &Call<'_>) -> Inferred {
    let (x, indices) = (call.tensor("x")?, call.tensor("indices")?);
    if !indices.dtype.is_integer() {
        return Err(format!("`indices` has type {}, expected integers", indices.dtype));
    }
    let (shape, picked) = (call.shape("x")?, call.shape("indices")?);
    let axis = normalize_axis(call.i32_or("axis", 0)?, shape.len())?;
    let batch = usize::try_from(call.i32_or("batch_dims", 0)?).unwrap_or(usize::MAX);
    if batch > axis || picked.get(..batch) != Some(&shape[..batch]) {
        return Err(format!(
            "`batch_dims` is {batch}, but {x} and {indices} do not have as many equal dimensions before axis {axis}"
        ));
    }
    one(x.dtype, &[&shape[..axis], &picked[batch..], &shape[axis + 1..]].concat())
}

/// Parts of `x`, each picked by a row of `indices`, which are the positions on its first axes.
pub(crate) fn gather_nd(call: &Call<'_>) -> Inferred {
    let (x, indices) = (call.tensor("x")?, call.tensor("indices")?);
    if !indices.dtype.is_integer() {
        return Err(format!("`indices` has type {}, expected integers", indices.dtype));
    }
    let (shape, picked) = (call.shape("x")?, call.shape("indices")?);
    let batch = usize::try_from(call.i32_or("batch_dims", 0)?).unwrap_or(usize::MAX);
    let (depth, rows) = picked.split_last().ok_or("`indices` is a scalar, expected rows of positions")?;
    if batch > rows.len() || shape.get(..batch) != Some(&rows[..batch]) {
        return Err(format!(
            "`batch_dims` is {batch}, but {x} and {indices} do not have as many equal dimensions"
        ));
    }
    let depth = usize::try_from(*depth).unwrap_or(usize::MAX);
    let rest = batch.checked_add(depth).and_then(|from| shape.get(from..)).ok_or_else(|| {
        format!("the rows of {indices} have {depth} positions, {x} has fewer dimensions after {batch}")
    })?;
    one(x.dtype, &[rows, rest].concat())
}

/// `values`, all of one type, joined along a new axis.
pub(crate) fn stack(call: &Call<'_>) -> Inferred {
    let values = call.arguments.get("values").map_or(&[][..], Vec::as_slice);
    let first = values.first().and_then(|v| v.ty.as_tensor()).ok_or("`values` has no tensors")?;
    if let Some((i, other)) = values.iter().enumerate().find(|(_, v)| v.ty.as_tensor() != Some(first)) {
        return Err(format!(
            "`values[{i}]` has type {}, the first has {first}; expected equal types",
            other.ty
        ));
    }
    let mut shape = first.fixed_shape().ok_or("`values` has a flexible shape")?;
    let axis = normalize_axis(call.i32_or("axis", 0)?, shape.len() + 1)?;
    shape.insert(axis, values.len() as u64);
    one(first.dtype, &shape)
}

/// The type of `x`; its last two axes are those of matrices.
pub(crate) fn band_part(call: &Call<'_>) -> Inferred {
    if call.tensor("x")?.rank() < 2 {
        return Err(format!("`x` has type {}, expected at least 2 dimensions", call.tensor("x")?));
    }
    call.i32_or("lower", -1)?;
    call.i32_or("upper", -1)?;
    same_as_x(call)
}

/// The type of `x`, whose numbers are summed up along `axis`.
pub(crate) fn cumsum(call: &Call<'_>) -> Inferred {
    normalize_axis(call.i32_or("axis", 0)?, call.tensor("x")?.rank())?;
    number(call)
}

/// The type of `x`, backwards on `axes` or on all of them.
pub(crate) fn reverse(call: &Call<'_>) -> Inferred {
    if call.has("axes") {
        let rank = call.tensor("x")?.rank();
        call.i32s("axes")?.iter().try_for_each(|a| normalize_axis(*a, rank).map(|_| ()))?;
    }
    same_as_x(call)
}

/// `x` reduced over `axes`, or over all of them.
pub(crate) fn reduce(call: &Call<'_>) -> Inferred {
    let x = call.tensor("x")?;
    let shape = call.shape("x")?;
    let keep = call.bool_or("keep_dims", false)?;
    let axes = if call.has("axes") {
        call.i32s("axes")?.iter().map(|a| normalize_axis(*a, shape.len())).collect::<Result<Vec<_>, _>>()?
    } else {
        (0..shape.len()).collect()
    };
    let dim = |i: usize| match axes.contains(&i) {
        true => keep.then_some(1),
        false => Some(shape[i]),
    };
    let reduced: Vec<u64> = (0..shape.len()).filter_map(dim).collect();
    one(x.dtype, &reduced)
}

/// `x` cut into pieces along `axis`.
pub(crate) fn split(call: &Call<'_>) -> Inferred {
    let x = call.tensor("x")?;
    let shape = call.shape("x")?;
    let axis = normalize_axis(call.i32_or("axis", 0)?, shape.len())?;
    let sizes = split_sizes(call, shape[axis])?;
    let piece = |size: &u64| {
        let mut part = shape.clone();
        part[axis] = *size;
        Type::tensor(x.dtype, &part)
    };
    Ok(sizes.iter().map(piece).collect())
}

/// The most pieces an op may make; what `num_splits` asks for is made before it is compared with what is declared.
const MAX_PIECES: u64 = 1 << 16;

fn split_sizes(call: &Call<'_>, extent: u64) -> Result<Vec<u64>, String> {
    if !call.has("split_sizes") {
        let count = u64::try_from(call.i32_or("num_splits", 0)?).unwrap_or(0);
        if count == 0 || !extent.is_multiple_of(count) || count > extent.min(MAX_PIECES) {
            return Err(format!(
                "`num_splits` is {count}, expected up to {MAX_PIECES} pieces of the extent {extent}"
            ));
        }
        return Ok((0..count).map(|_| extent / count).collect());
    }
    let sizes = call.i32s("split_sizes")?;
    let sizes: Vec<u64> = sizes.iter().map(|s| u64::try_from(*s).unwrap_or(0)).collect();
    let sum = sizes.iter().try_fold(0u64, |n, s| n.checked_add(*s));
    if sizes.contains(&0) || sum != Some(extent) {
        return Err(format!("`split_sizes` {sizes:?} do not add up to the extent {extent}"));
    }
    let count = call.i32_or("num_splits", i32::try_from(sizes.len()).unwrap_or(i32::MAX))?;
    if usize::try_from(count) != Ok(sizes.len()) {
        return Err(format!("`num_splits` is {count}, but `split_sizes` has {} entries", sizes.len()));
    }
    Ok(sizes)
}
