//! Sums, means and extremes over axes.

use std::sync::Arc;

use anelith_mil::Opcode;

use super::arguments::Arguments;
use super::shape::transposed;
use super::{Operation, Problem, operands};
use crate::tensor::{Tensor, TensorData};

/// What a row is reduced to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// The largest element; NaN if there is one.
    Max,
    /// The mean, of floating-point numbers only.
    Mean,
    /// The smallest element; NaN if there is one.
    Min,
    /// The sum.
    Sum,
}

#[derive(Debug)]
struct Reduce {
    kind: Kind,
    axes: Option<Vec<usize>>,
    keep_dims: bool,
}

/// Plans `reduce_max`, `reduce_mean`, `reduce_min` and `reduce_sum`.
pub(super) fn reduce(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    let kind = match args.opcode {
        Opcode::ReduceMax => Kind::Max,
        Opcode::ReduceMean => Kind::Mean,
        Opcode::ReduceMin => Kind::Min,
        _ => Kind::Sum,
    };
    match kind {
        Kind::Mean => args.expect_floats(&["x"])?,
        Kind::Max | Kind::Min | Kind::Sum => args.expect_numbers(&["x"])?,
    }
    let axes = args.axes("axes", args.rank("x")?)?;
    Ok(Box::new(Reduce { kind, axes, keep_dims: args.flag("keep_dims")? }))
}

impl Operation for Reduce {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        let old = x.shape().to_vec();
        let axes = self.axes.clone().unwrap_or_else(|| (0..old.len()).collect());
        let kept: Vec<usize> = (0..old.len()).filter(|i| !axes.contains(i)).collect();
        let row: usize = axes.iter().map(|a| old[*a]).product();
        if row == 0 {
            return Err(format!("there is nothing to reduce in shape {old:?} over axes {axes:?}"));
        }
        let rows = transposed(x, &[kept.as_slice(), &axes].concat())?.into_data();
        let data: TensorData = match rows {
            TensorData::F32(v) => {
                v.chunks_exact(row).map(|r| reduce_floats(self.kind, r)).collect::<Vec<_>>().into()
            }
            TensorData::I32(v) => {
                v.chunks_exact(row).map(|r| reduce_integers(self.kind, r)).collect::<Vec<_>>().into()
            }
            TensorData::Bool(_) => return Err("cannot reduce booleans".to_owned()),
        };
        let shape = match self.keep_dims {
            true => old.iter().enumerate().map(|(i, d)| if axes.contains(&i) { 1 } else { *d }).collect(),
            false => kept.iter().map(|i| old[*i]).collect(),
        };
        Ok(vec![Tensor::made(shape, data)?])
    }
}

fn reduce_floats(kind: Kind, row: &[f32]) -> f32 {
    match kind {
        Kind::Max => maximum(row),
        Kind::Mean => sum(row) / row.len() as f32,
        Kind::Min => row.iter().copied().fold(f32::INFINITY, |m, v| if m <= v || m.is_nan() { m } else { v }),
        Kind::Sum => sum(row),
    }
}

fn reduce_integers(kind: Kind, row: &[i32]) -> i32 {
    match kind {
        Kind::Max => row.iter().copied().fold(i32::MIN, i32::max),
        Kind::Min => row.iter().copied().fold(i32::MAX, i32::min),
        Kind::Mean | Kind::Sum => row.iter().copied().fold(0, i32::wrapping_add),
    }
}

/// The largest element, minus infinity for an empty row, NaN if there is one.
pub(super) fn maximum(row: &[f32]) -> f32 {
    row.iter().copied().fold(f32::NEG_INFINITY, |m, v| if m >= v || m.is_nan() { m } else { v })
}

/// The sum in halves, so that the error grows with the logarithm of the length.
pub(super) fn sum(row: &[f32]) -> f32 {
    const RUN: usize = 32;
    if row.len() <= RUN {
        return row.iter().sum();
    }
    let (a, b) = row.split_at(row.len() / 2);
    sum(a) + sum(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(kind: Kind, axes: Option<&[usize]>, keep_dims: bool) -> Tensor {
        let x = Tensor::new(&[2, 3], vec![1.0f32, 5.0, 3.0, -1.0, -5.0, -3.0]).unwrap();
        let op = Reduce { kind, axes: axes.map(<[usize]>::to_vec), keep_dims };
        op.run(vec![Arc::new(x)]).unwrap().remove(0)
    }

    #[test]
    fn each_kind_over_each_axis() {
        assert_eq!(run(Kind::Max, Some(&[0]), false), Tensor::new(&[3], vec![1.0, 5.0, 3.0]).unwrap());
        assert_eq!(run(Kind::Sum, Some(&[1]), true), Tensor::new(&[2, 1], vec![9.0, -9.0]).unwrap());
        assert_eq!(run(Kind::Mean, None, false), Tensor::new(&[], vec![0.0f32]).unwrap());
        assert_eq!(run(Kind::Max, None, true), Tensor::new(&[1, 1], vec![5.0f32]).unwrap());
        assert_eq!(run(Kind::Min, Some(&[1]), false), Tensor::new(&[2], vec![1.0, -5.0f32]).unwrap());
    }

    #[test]
    fn nan_wins_an_extreme() {
        assert!(reduce_floats(Kind::Min, &[1.0, f32::NAN, 2.0]).is_nan());
        assert!(maximum(&[1.0, f32::NAN, 2.0]).is_nan());
        assert_eq!(maximum(&[f32::NEG_INFINITY; 2]), f32::NEG_INFINITY);
    }

    #[test]
    fn long_sums_stay_accurate() {
        let row = vec![0.1f32; 1 << 20];
        assert!((f64::from(sum(&row)) - f64::from(0.1f32) * f64::from(1 << 20)).abs() < 0.1);
    }
}
