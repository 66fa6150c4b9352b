//! Type inference of `slice_by_index` and `slice_update`.

use super::{Call, Inferred, expect_len, one};
use crate::dtype::DataType;
use crate::types::{Dim, TensorType, Type};

/// What a slice takes of one axis. A bound is `None` when only the run time knows it.
struct Axis {
    extent: i64,
    begin: Option<i64>,
    end: Option<i64>,
    stride: i64,
    /// Exactly one position is taken, and the axis dropped; `end` does not matter.
    squeezed: bool,
}

impl Axis {
    /// The number of positions taken, `None` if the bounds are not known.
    fn count(&self) -> Result<Option<u64>, String> {
        let Axis { extent, stride, .. } = *self;
        if self.squeezed {
            return match self.begin {
                Some(at) if !(0..extent).contains(&at) => {
                    Err(format!("position {at} of extent {extent} does not exist"))
                }
                _ => Ok(Some(1)),
            };
        }
        let (Some(begin), Some(end)) = (self.begin, self.end) else { return Ok(None) };
        let lies_inside = match stride {
            0 => false,
            1.. => 0 <= begin && begin < end && end <= extent,
            _ => begin < extent && end < begin && -1 <= end,
        };
        if lies_inside {
            return Ok(Some(begin.abs_diff(end).div_ceil(stride.unsigned_abs())));
        }
        Err(format!("slice {begin}..{end} by {stride} of extent {extent} is empty or reaches beyond"))
    }
}

/// The constant parameters of a slice of `x`, one entry an axis.
struct Slice {
    begin: Option<Vec<i32>>,
    end: Option<Vec<i32>>,
    strides: Vec<i32>,
    begin_mask: Vec<bool>,
    end_mask: Vec<bool>,
    squeeze_mask: Vec<bool>,
}

impl Slice {
    fn of(call: &Call<'_>, rank: usize) -> Result<Slice, String> {
        let strides = if call.has("stride") { call.i32s("stride")? } else { vec![1; rank] };
        expect_len("stride", strides.len(), rank)?;
        Ok(Slice {
            begin: bounds(call, "begin", rank)?,
            end: bounds(call, "end", rank)?,
            strides,
            begin_mask: call.mask("begin_mask", rank)?,
            end_mask: call.mask("end_mask", rank)?,
            squeeze_mask: call.mask("squeeze_mask", rank)?,
        })
    }

    /// Axis `i`, with bounds that count from its start.
    fn axis(&self, i: usize, extent: u64) -> Result<Axis, String> {
        let extent = i64::try_from(extent).map_err(|_| "the extent is too large")?;
        let stride = i64::from(self.strides[i]);
        let from_start = |bounds: &Option<Vec<i32>>| {
            let v = i64::from(*bounds.as_ref()?.get(i)?);
            Some(if v < 0 { v + extent } else { v })
        };
        let (first, after_last) = if stride < 0 { (extent - 1, -1) } else { (0, extent) };
        Ok(Axis {
            extent,
            begin: if self.begin_mask[i] { Some(first) } else { from_start(&self.begin) },
            end: if self.end_mask[i] { Some(after_last) } else { from_start(&self.end) },
            stride,
            squeezed: self.squeeze_mask[i],
        })
    }

    /// The extents of the box without the squeezed axes, `None` where only the run time knows them.
    fn shape(&self, of: &[u64]) -> Result<Vec<Option<u64>>, String> {
        let mut shape = Vec::with_capacity(of.len());
        for (i, extent) in of.iter().enumerate() {
            let axis = self.axis(i, *extent)?;
            let count = axis.count().map_err(|problem| format!("axis {i}: {problem}"))?;
            if !axis.squeezed {
                shape.push(count);
            }
        }
        Ok(shape)
    }
}

fn bounds(call: &Call<'_>, name: &str, rank: usize) -> Result<Option<Vec<i32>>, String> {
    let t = call.tensor(name)?;
    if t.dtype != DataType::Int32 || t.fixed_shape() != Some(vec![rank as u64]) {
        return Err(format!("`{name}` has type {t}, expected tensor<int32, [{rank}]>"));
    }
    Ok(call.value(name).and_then(|v| v.as_i32s()))
}

/// A box cut out of `x`; its bounds must be constant.
pub(crate) fn slice_by_index(call: &Call<'_>) -> Inferred {
    let x = call.tensor("x")?;
    let shape = call.shape("x")?;
    let dims: Option<Vec<u64>> = Slice::of(call, shape.len())?.shape(&shape)?.into_iter().collect();
    one(x.dtype, &dims.ok_or("the bounds are computed at run time, so the shape is not known")?)
}

/// A box of `x` that begins at `begin` and has the extents `size`, where -1 takes what remains.
pub(crate) fn slice_by_size(call: &Call<'_>) -> Inferred {
    let x = call.tensor("x")?;
    let shape = call.shape("x")?;
    let (begin, size) = (bounds(call, "begin", shape.len())?, bounds(call, "size", shape.len())?);
    let extent = |i: usize| -> Result<Dim, String> {
        let begin = begin.as_ref().and_then(|b| b.get(i)).map(|b| i64::from(*b));
        let from = begin.map(|b| if b < 0 { b.saturating_add_unsigned(shape[i]) } else { b });
        let size = size.as_ref().and_then(|s| s.get(i)).copied();
        let bad =
            || format!("axis {i}: {size:?} from {begin:?} on do not lie within the extent {}", shape[i]);
        let room = match from.map(u64::try_from) {
            Some(Ok(from)) => Some(shape[i].checked_sub(from).ok_or_else(bad)?),
            Some(Err(_)) => return Err(bad()),
            None => None,
        };
        match (size, room) {
            (None, _) | (Some(-1), None) => Ok(Dim::Unknown),
            (Some(-1), Some(room)) => Ok(Dim::Known(room)),
            (Some(n), room) => match u64::try_from(n) {
                Ok(n) if n <= room.unwrap_or(shape[i]) => Ok(Dim::Known(n)),
                _ => Err(bad()),
            },
        }
    };
    let dims = (0..shape.len()).map(extent).collect::<Result<Vec<_>, _>>()?;
    Ok(vec![Type::Tensor(TensorType { dtype: x.dtype, shape: dims })])
}

/// `x` with a box of it replaced by `update`; the box may be placed at run time.
pub(crate) fn slice_update(call: &Call<'_>) -> Inferred {
    let (x, update) = (call.tensor("x")?, call.tensor("update")?);
    let (shape, new) = (call.shape("x")?, call.shape("update")?);
    if x.dtype != update.dtype {
        return Err(format!("`update` has type {}, expected {} as `x`", update.dtype, x.dtype));
    }
    if new.is_empty() {
        return Err("`update` is a scalar, which Core ML does not take; keep an axis of extent 1".to_owned());
    }
    let dims = Slice::of(call, shape.len())?.shape(&shape)?;
    let fits = dims.len() == new.len() && dims.iter().zip(&new).all(|(d, n)| d.is_none_or(|d| d == *n));
    if !fits {
        return Err(format!("`update` has shape {new:?}, which does not fit the slice of {x}"));
    }
    Ok(vec![Type::Tensor(x.clone())])
}
