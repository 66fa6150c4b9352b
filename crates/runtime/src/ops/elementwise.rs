//! Ops that treat each element by itself: arithmetic, comparison, `select`, `cast`.

use std::borrow::Cow;
use std::sync::Arc;

use anelith_mil::DataType;

use super::arguments::Arguments;
use super::{Operation, Problem, operands};
use crate::tensor::{Tensor, TensorData, room_for, strides};

/// An arithmetic op on two operands that broadcast.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Binary {
    /// `x + y`.
    Add,
    /// `x - y`.
    Sub,
    /// `x · y`.
    Mul,
    /// `x / y`, of floating-point numbers only.
    RealDiv,
}

/// A function of one operand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unary {
    /// `e^x`.
    Exp,
    /// `x / (1 + e^-x)`.
    Silu,
}

#[derive(Debug)]
struct Rsqrt {
    epsilon: f32,
}

#[derive(Debug)]
struct GreaterEqual;

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
fn broadcast<'a, T: Copy>(x: &'a [T], from: &[usize], to: &[usize]) -> Cow<'a, [T]> {
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
fn zip<T: Copy, U>(
    (x, x_shape): (&[T], &[usize]),
    (y, y_shape): (&[T], &[usize]),
    shape: &[usize],
    f: impl Fn(T, T) -> U,
) -> Vec<U> {
    let (x, y) = (broadcast(x, x_shape, shape), broadcast(y, y_shape, shape));
    x.iter().zip(y.iter()).map(|(a, b)| f(*a, *b)).collect()
}

fn result_shape(x: &Tensor, y: &Tensor) -> Result<Vec<usize>, String> {
    let shape = broadcast_shape(x.shape(), y.shape())?;
    room_for(&shape)?;
    Ok(shape)
}

/// Plans an arithmetic op.
pub(super) fn binary(args: &Arguments<'_>, op: Binary) -> Result<Box<dyn Operation>, Problem> {
    match op {
        Binary::RealDiv => args.expect_floats(&["x", "y"])?,
        Binary::Add | Binary::Sub | Binary::Mul => args.expect_numbers(&["x", "y"])?,
    }
    Ok(Box::new(op))
}

impl Operation for Binary {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x, y] = operands(inputs)?;
        let shape = result_shape(&x, &y)?;
        let data: TensorData = match (x.data(), y.data()) {
            (TensorData::F32(a), TensorData::F32(b)) => {
                let (a, b) = ((a.as_slice(), x.shape()), (b.as_slice(), y.shape()));
                match self {
                    Binary::Add => zip(a, b, &shape, |a, b| a + b),
                    Binary::Sub => zip(a, b, &shape, |a, b| a - b),
                    Binary::Mul => zip(a, b, &shape, |a, b| a * b),
                    Binary::RealDiv => zip(a, b, &shape, |a, b| a / b),
                }
                .into()
            }
            _ => {
                let (a, b) = ((x.i32s()?, x.shape()), (y.i32s()?, y.shape()));
                match self {
                    Binary::Add => zip(a, b, &shape, i32::wrapping_add),
                    Binary::Sub => zip(a, b, &shape, i32::wrapping_sub),
                    Binary::Mul => zip(a, b, &shape, i32::wrapping_mul),
                    Binary::RealDiv => return Err("cannot divide integers".to_owned()),
                }
                .into()
            }
        };
        Ok(vec![Tensor::made(shape, data)?])
    }
}

/// Plans a function of one operand.
pub(super) fn unary(args: &Arguments<'_>, op: Unary) -> Result<Box<dyn Operation>, Problem> {
    args.expect_floats(&["x"])?;
    Ok(Box::new(op))
}

/// `f` of each element, in place where nobody else holds them.
fn map(x: Arc<Tensor>, f: impl Fn(f32) -> f32) -> Result<Vec<Tensor>, String> {
    let mut x = Arc::unwrap_or_clone(x);
    match x.data_mut() {
        TensorData::F32(v) => v.iter_mut().for_each(|v| *v = f(*v)),
        other => return Err(format!("a tensor holds {}, expected floating-point numbers", other.class())),
    }
    Ok(vec![x])
}

impl Operation for Unary {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        match self {
            Unary::Exp => map(x, f32::exp),
            Unary::Silu => map(x, |v| v / (1.0 + (-v).exp())),
        }
    }
}

/// Plans `rsqrt`.
pub(super) fn rsqrt(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    args.expect_floats(&["x"])?;
    Ok(Box::new(Rsqrt { epsilon: args.f32("epsilon")?.unwrap_or(1e-12) }))
}

impl Operation for Rsqrt {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        map(x, |v| 1.0 / (v + self.epsilon).sqrt())
    }
}

/// Plans `greater_equal`.
pub(super) fn greater_equal(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    args.expect_numbers(&["x", "y"])?;
    Ok(Box::new(GreaterEqual))
}

impl Operation for GreaterEqual {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x, y] = operands(inputs)?;
        let shape = result_shape(&x, &y)?;
        let data = match (x.data(), y.data()) {
            (TensorData::F32(a), TensorData::F32(b)) => {
                zip((a, x.shape()), (b, y.shape()), &shape, |a, b| a >= b)
            }
            _ => zip((x.i32s()?, x.shape()), (y.i32s()?, y.shape()), &shape, |a, b| a >= b),
        };
        Ok(vec![Tensor::made(shape, data)?])
    }
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
        let data: TensorData = match (a.data(), b.data()) {
            (TensorData::F32(x), TensorData::F32(y)) => {
                pick(&flags, (x, a.shape()), (y, b.shape()), &shape).into()
            }
            (TensorData::Bool(x), TensorData::Bool(y)) => {
                pick(&flags, (x, a.shape()), (y, b.shape()), &shape).into()
            }
            _ => pick(&flags, (a.i32s()?, a.shape()), (b.i32s()?, b.shape()), &shape).into(),
        };
        Ok(vec![Tensor::made(shape, data)?])
    }
}

/// The element of `x` where the flag is set, else that of `y`.
fn pick<T: Copy>(
    flags: &[bool],
    (x, x_shape): (&[T], &[usize]),
    (y, y_shape): (&[T], &[usize]),
    shape: &[usize],
) -> Vec<T> {
    let (x, y) = (broadcast(x, x_shape, shape), broadcast(y, y_shape, shape));
    flags.iter().zip(x.iter().zip(y.iter())).map(|(f, (x, y))| if *f { *x } else { *y }).collect()
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
    fn operands_broadcast_from_either_side() {
        let column = floats(&[2, 1], &[1.0, 2.0]);
        let row = floats(&[3], &[10.0, 20.0, 30.0]);
        let out = Binary::Add.run(vec![column.clone(), row.clone()]).unwrap();
        assert_eq!(out[0].shape(), [2, 3]);
        assert_eq!(out[0].as_f32s().unwrap(), [11.0, 21.0, 31.0, 12.0, 22.0, 32.0]);
        let out = Binary::Sub.run(vec![row, column]).unwrap();
        assert_eq!(out[0].as_f32s().unwrap(), [9.0, 19.0, 29.0, 8.0, 18.0, 28.0]);
        let clash = Binary::Mul.run(vec![floats(&[2], &[0.0; 2]), floats(&[3], &[0.0; 3])]);
        assert_eq!(clash.unwrap_err(), "shapes [2] and [3] do not broadcast");
    }

    #[test]
    fn a_middle_axis_broadcasts() {
        let x = broadcast(&[1, 2, 3, 4], &[2, 1, 2], &[2, 2, 2]);
        assert_eq!(x.as_ref(), [1, 2, 1, 2, 3, 4, 3, 4]);
        assert_eq!(broadcast(&[7], &[], &[2, 1]).as_ref(), [7, 7]);
    }

    #[test]
    fn integers_wrap() {
        let out = Binary::Add.run(vec![integers(&[1], &[i32::MAX]), integers(&[], &[1])]).unwrap();
        assert_eq!(out[0].as_i32s().unwrap(), [i32::MIN]);
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

    #[test]
    fn silu_and_exp_at_the_ends() {
        let x = floats(&[3], &[0.0, f32::NEG_INFINITY, 1.0]);
        let exp = Unary::Exp.run(vec![x.clone()]).unwrap();
        assert_eq!(exp[0].as_f32s().unwrap(), [1.0, 0.0, std::f32::consts::E]);
        let silu = Unary::Silu.run(vec![x]).unwrap();
        assert!((silu[0].as_f32s().unwrap()[2] - 0.731_058_6).abs() < 1e-6);
        assert!(silu[0].as_f32s().unwrap()[1].is_nan());
    }
}
