//! Broadcasting, and the ops on elements of any type: `select` and `cast`.

use std::borrow::Cow;
use std::sync::Arc;

use anelith_mil::DataType;

use super::arguments::Arguments;
use super::{Function, Operation, Problem, operands};
use crate::tensor::{Tensor, TensorData, room_for, strides};

#[derive(Debug)]
struct Select;

#[derive(Debug)]
struct Cast {
    to: DataType,
}

/// The shape that `a` and `b` broadcast to, numpy's way.
pub(crate) fn broadcast_shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
    let dim = |i| match (at(a, i), at(b, i)) {
        (x, y) if x == y => Ok(x),
        (1, y) => Ok(y),
        (x, 1) => Ok(x),
        _ => Err(format!("shapes {a:?} and {b:?} do not broadcast")),
    };
    (0..rank).map(dim).collect()
}

/// The elements of `x` of shape `from`, repeated to fill `to`, which `from` must broadcast to.
pub(super) fn broadcast<'a, T: Copy>(x: &'a [T], from: &[usize], to: &[usize]) -> Cow<'a, [T]> {
    let count = to.iter().product();
    if x.len() == count {
        return Cow::Borrowed(x);
    }
    let missing = to.len() - from.len();
    let mut out = Vec::with_capacity(count);
    let steps = strides(from);
    fill(x, &mut out, to, &|axis| match axis.checked_sub(missing) {
        Some(i) if from[i] != 1 => steps[i],
        _ => 0,
    });
    Cow::Owned(out)
}

/// Appends the elements of the axes from the outermost of `to` on, where `step` gives the stride of an axis.
fn fill<T: Copy>(x: &[T], out: &mut Vec<T>, to: &[usize], step: &dyn Fn(usize) -> usize) {
    let Some((&extent, outer)) = to.split_last() else {
        out.extend(x.first());
        return;
    };
    let inner = step(outer.len());
    let mut index = vec![0usize; outer.len()];
    for _ in 0..outer.iter().product::<usize>() {
        let offset: usize = index.iter().enumerate().map(|(axis, i)| i * step(axis)).sum();
        match inner {
            0 => out.extend(std::iter::repeat_n(x[offset], extent)),
            1 => out.extend_from_slice(&x[offset..offset + extent]),
            _ => out.extend((0..extent).map(|i| x[offset + i * inner])),
        }
        advance(&mut index, outer);
    }
}

/// Steps `index` to the next position of `shape` in row-major order, from the last one back to the first.
pub(crate) fn advance(index: &mut [usize], shape: &[usize]) {
    for (i, extent) in index.iter_mut().zip(shape).rev() {
        *i += 1;
        if *i < *extent {
            return;
        }
        *i = 0;
    }
}

/// `f` of the elements of `x` and `y` that broadcasting brings together.
pub(super) fn zip<T: Copy, U>(
    (x, x_shape): (&[T], &[usize]),
    (y, y_shape): (&[T], &[usize]),
    shape: &[usize],
    f: impl Fn(T, T) -> U,
) -> Vec<U> {
    let (x, y) = (broadcast(x, x_shape, shape), broadcast(y, y_shape, shape));
    x.iter().zip(y.iter()).map(|(a, b)| f(*a, *b)).collect()
}

/// The shape that `x` and `y` broadcast to, for which there is room.
pub(super) fn result_shape(x: &Tensor, y: &Tensor) -> Result<Vec<usize>, String> {
    let shape = broadcast_shape(x.shape(), y.shape())?;
    room_for(&shape)?;
    Ok(shape)
}

/// Plans `select`.
pub(super) fn select(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    let cond = args.ty("cond")?.dtype;
    if cond != DataType::Bool {
        return Err(Problem::Malformed(format!("`cond` has type {cond}, expected bool")));
    }
    Ok(Box::new(Select))
}

impl Operation for Select {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [cond, a, b] = operands(inputs)?;
        let values = result_shape(&a, &b)?;
        let shape = broadcast_shape(cond.shape(), &values)?;
        room_for(&shape)?;
        let flags = broadcast(cond.bools()?, cond.shape(), &shape);
        let (x, y) = (a.shape(), b.shape());
        let data: TensorData = match (a.data(), b.data()) {
            (TensorData::F32(a), TensorData::F32(b)) => picked(&flags, (a, x), (b, y), &shape).into(),
            (TensorData::Bool(a), TensorData::Bool(b)) => picked(&flags, (a, x), (b, y), &shape).into(),
            _ => picked(&flags, (a.i32s()?, x), (b.i32s()?, y), &shape).into(),
        };
        Ok(vec![Tensor::made(shape, data)?])
    }

    fn function(&self) -> Option<Function> {
        Some(Function::Select)
    }
}

/// [`pick`] of operands that broadcast to `shape`.
fn picked<T: Copy + Default>(
    flags: &[bool],
    (x, x_shape): (&[T], &[usize]),
    (y, y_shape): (&[T], &[usize]),
    shape: &[usize],
) -> Vec<T> {
    let mut out = vec![T::default(); flags.len()];
    pick(flags, |flag| flag, &broadcast(x, x_shape, shape), &broadcast(y, y_shape, shape), &mut out);
    out
}

/// Writes the element of `x` where the flag is set, else that of `y`; all are as long as `out`.
pub(super) fn pick<F: Copy, T: Copy>(
    flags: &[F],
    is_set: impl Fn(F) -> bool,
    x: &[T],
    y: &[T],
    out: &mut [T],
) {
    for (((out, flag), x), y) in out.iter_mut().zip(flags).zip(x).zip(y) {
        *out = if is_set(*flag) { *x } else { *y };
    }
}

/// Plans `cast`; the width of the result is applied to it as to the result of any op.
pub(super) fn cast(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    let name = args.text("dtype")?.ok_or_else(|| Problem::Malformed("`dtype` is missing".to_owned()))?;
    let to = DataType::from_name(name)
        .ok_or_else(|| Problem::Malformed(format!("`dtype` is \"{name}\", which is no type")))?;
    Ok(Box::new(Cast { to }))
}

impl Operation for Cast {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        let shape = x.shape().to_vec();
        let data = Arc::unwrap_or_clone(x).into_data();
        let data = match self.to {
            DataType::Bool => TensorData::Bool(to_bools(data)),
            to if to.is_float() => TensorData::F32(to_floats(data)),
            _ => TensorData::I32(to_integers(data)),
        };
        Ok(vec![Tensor::made(shape, data)?])
    }

    fn function(&self) -> Option<Function> {
        self.to.is_float().then_some(Function::Same)
    }
}

fn to_bools(data: TensorData) -> Vec<bool> {
    match data {
        TensorData::F32(v) => v.iter().map(|v| *v != 0.0).collect(),
        TensorData::I32(v) => v.iter().map(|v| *v != 0).collect(),
        TensorData::Bool(v) => v,
    }
}

fn to_floats(data: TensorData) -> Vec<f32> {
    match data {
        TensorData::F32(v) => v,
        TensorData::I32(v) => v.iter().map(|v| *v as f32).collect(),
        TensorData::Bool(v) => v.iter().map(|v| f32::from(u8::from(*v))).collect(),
    }
}

/// Fractions are cut off; what int32 cannot hold becomes its nearest value, NaN becomes 0.
fn to_integers(data: TensorData) -> Vec<i32> {
    match data {
        TensorData::F32(v) => v.iter().map(|v| *v as i32).collect(),
        TensorData::I32(v) => v,
        TensorData::Bool(v) => v.iter().map(|v| i32::from(*v)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(shape: &[usize], v: &[f32]) -> Arc<Tensor> {
        Arc::new(Tensor::new(shape, v.to_vec()).unwrap())
    }

    fn integers(shape: &[usize], v: &[i32]) -> Arc<Tensor> {
        Arc::new(Tensor::new(shape, v.to_vec()).unwrap())
    }

    #[test]
    fn a_middle_axis_broadcasts() {
        let x = broadcast(&[1, 2, 3, 4], &[2, 1, 2], &[2, 2, 2]);
        assert_eq!(x.as_ref(), [1, 2, 1, 2, 3, 4, 3, 4]);
        assert_eq!(broadcast(&[7], &[], &[2, 1]).as_ref(), [7, 7]);
    }

    #[test]
    fn select_broadcasts_its_condition() {
        let cond = Arc::new(Tensor::new(&[2, 1], vec![true, false]).unwrap());
        let out = Select.run(vec![cond, integers(&[2], &[1, 2]), integers(&[], &[-1])]).unwrap();
        assert_eq!(out[0].as_i32s().unwrap(), [1, 2, -1, -1]);
    }

    #[test]
    fn casts_cut_off_fractions() {
        let cast = |to, x| Cast { to }.run(vec![x]).unwrap().remove(0);
        let x = floats(&[4], &[1.9, -1.9, 0.0, f32::NAN]);
        assert_eq!(cast(DataType::Int32, x.clone()).as_i32s().unwrap(), [1, -1, 0, 0]);
        assert_eq!(cast(DataType::Bool, x).bools().unwrap(), [true, true, false, true]);
        assert_eq!(cast(DataType::Fp16, integers(&[1], &[3])).as_f32s().unwrap(), [3.0]);
    }
}
