//! `matmul` and `linear`.

use std::sync::Arc;

use rayon::prelude::*;

use super::arguments::Arguments;
use super::elementwise::{advance, broadcast_shape};
use super::shape::transposed;
use super::weights::{Channels, Projection};
use super::{Operation, Planned, Problem, operands};
use crate::kernels;
use crate::tensor::{Tensor, room_for, strides};

#[derive(Debug)]
struct Matmul {
    transpose_x: bool,
    transpose_y: bool,
}

#[derive(Debug)]
struct Linear {
    weight: Arc<Tensor>,
    bias: Option<Arc<Tensor>>,
}

/// Plans `matmul`.
pub(super) fn matmul(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    args.expect_floats(&["x", "y"])?;
    if args.rank("x")? < 2 || args.rank("y")? < 2 {
        return Err(Problem::Unsupported("an operand has fewer than 2 dimensions".to_owned()));
    }
    Ok(Box::new(Matmul { transpose_x: args.flag("transpose_x")?, transpose_y: args.flag("transpose_y")? }))
}

/// `x` with its last two axes exchanged.
fn flipped(x: Arc<Tensor>) -> Result<Arc<Tensor>, String> {
    let rank = x.shape().len();
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    transposed(x, &perm).map(Arc::new)
}

/// For each matrix of a product of batch shape `to`, which matrix it takes of an operand of batch shape `from`.
fn batch_positions(from: &[usize], to: &[usize]) -> Vec<usize> {
    let missing = to.len() - from.len();
    let steps = strides(from);
    let mut index = vec![0usize; to.len()];
    let mut out = Vec::with_capacity(to.iter().product());
    for _ in 0..to.iter().product::<usize>() {
        let at = |(i, step): (usize, &usize)| if from[i] == 1 { 0 } else { index[i + missing] * step };
        out.push(steps.iter().enumerate().map(at).sum());
        advance(&mut index, to);
    }
    out
}

impl Operation for Matmul {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x, y] = operands(inputs)?;
        let x = if self.transpose_x { flipped(x)? } else { x };
        let (x_batch, [m, k]) = matrix_shape(&x)?;
        let (y_batch, y_matrix) = matrix_shape(&y)?;
        let [inner, n] = if self.transpose_y { [y_matrix[1], y_matrix[0]] } else { y_matrix };
        if inner != k {
            return Err(format!("inner extents {k} and {inner} differ"));
        }
        let batch = broadcast_shape(x_batch, y_batch)?;
        let shape = [batch.as_slice(), &[m, n]].concat();
        let mut out = vec![0f32; room_for(&shape)?];
        if k > 0 && !out.is_empty() {
            let kernel = if self.transpose_y { kernels::matmul_transposed } else { kernels::matmul };
            let (a, b) = (x.f32s()?, y.f32s()?);
            let (at, bt) = (batch_positions(x_batch, &batch), batch_positions(y_batch, &batch));
            out.par_chunks_exact_mut(m * n).enumerate().for_each(|(i, out)| {
                let a = &a[at[i] * m * k..(at[i] + 1) * m * k];
                let b = &b[bt[i] * n * k..(bt[i] + 1) * n * k];
                kernel(a, b, k, out);
            });
        }
        Ok(vec![Tensor::made(shape, out)?])
    }
}

fn matrix_shape(x: &Tensor) -> Result<(&[usize], [usize; 2]), String> {
    match x.shape() {
        [batch @ .., rows, columns] => Ok((batch, [*rows, *columns])),
        other => Err(format!("an operand has shape {other:?}, expected at least 2 dimensions")),
    }
}

/// Plans `linear`.
pub(super) fn linear(args: &Arguments<'_>) -> Result<Planned, Problem> {
    args.expect_floats(&["x", "weight"])?;
    if let Some(weight) = args.weights.get("weight") {
        let bias = bias(args, weight.rows())?;
        let weight = Arc::clone(weight);
        return Ok(Planned::Project(Projection { weight, bias, channels: Channels::Last }));
    }
    let weight = args.tensor("weight")?;
    let weight = weight.ok_or_else(|| Problem::Malformed("parameter `weight` is missing".to_owned()))?;
    weight.f32s()?;
    let [out, _] = weight.shape() else {
        return Err(Problem::Malformed(format!("`weight` has shape {:?}, expected 2 axes", weight.shape())));
    };
    Ok(Planned::Computed(Box::new(Linear { bias: bias(args, *out)?, weight })))
}

/// The constant `bias` of `out` numbers.
pub(super) fn bias(args: &Arguments<'_>, out: usize) -> Result<Option<Arc<Tensor>>, Problem> {
    let bias = args.tensor("bias")?;
    match bias.as_ref().map(|b| b.f32s()).transpose()? {
        Some(b) if b.len() != out => {
            Err(Problem::Malformed(format!("`bias` has {} elements, expected {out}", b.len())))
        }
        _ => Ok(bias),
    }
}

impl Operation for Linear {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        let (weight, &[out, k]) = (self.weight.f32s()?, self.weight.shape()) else {
            return Err("`weight` is not a matrix".to_owned());
        };
        let mut shape = x.shape().to_vec();
        match shape.last_mut() {
            Some(last) if *last == k => *last = out,
            _ => return Err(format!("`x` has shape {:?}, `weight` takes {k} columns", x.shape())),
        }
        let mut y = vec![0f32; room_for(&shape)?];
        if k > 0 && !y.is_empty() {
            kernels::matmul_transposed(x.f32s()?, weight, k, &mut y);
        }
        if let Some(bias) = self.bias.as_deref().map(Tensor::f32s).transpose()?
            && out > 0
        {
            y.chunks_exact_mut(out).for_each(|row| row.iter_mut().zip(bias).for_each(|(v, b)| *v += b));
        }
        Ok(vec![Tensor::made(shape, y)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(shape: &[usize], v: &[f32]) -> Arc<Tensor> {
        Arc::new(Tensor::new(shape, v.to_vec()).unwrap())
    }

    fn product(transpose_x: bool, transpose_y: bool, x: &Arc<Tensor>, y: &Arc<Tensor>) -> Tensor {
        Matmul { transpose_x, transpose_y }.run(vec![x.clone(), y.clone()]).unwrap().remove(0)
    }

    #[test]
    fn each_side_may_be_transposed() {
        let x = floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let xt = floats(&[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let y = floats(&[3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        let yt = floats(&[2, 3], &[1.0, 0.0, 1.0, 0.0, 1.0, 1.0]);
        let expected = floats(&[2, 2], &[4.0, 5.0, 10.0, 11.0]);
        assert_eq!(product(false, false, &x, &y), *expected);
        assert_eq!(product(true, false, &xt, &y), *expected);
        assert_eq!(product(false, true, &x, &yt), *expected);
        assert_eq!(product(true, true, &xt, &yt), *expected);
    }

    #[test]
    fn batches_broadcast() {
        let x = floats(&[2, 1, 1, 1], &[1.0, 10.0]);
        let y = floats(&[3, 1, 1], &[1.0, 2.0, 3.0]);
        let out = product(false, false, &x, &y);
        assert_eq!(out, *floats(&[2, 3, 1, 1], &[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]));
        assert_eq!(product(false, true, &y, &x), *floats(&[2, 3, 1, 1], &[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]));
    }

    #[test]
    fn an_empty_sum_is_zero() {
        let out = product(false, false, &floats(&[2, 0], &[]), &floats(&[0, 1], &[]));
        assert_eq!(out, *floats(&[2, 1], &[0.0, 0.0]));
    }

    #[test]
    fn linear_adds_its_bias_to_every_row() {
        let weight = floats(&[3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        let op = Linear { weight, bias: Some(floats(&[3], &[0.5, 0.0, -0.5])) };
        let out = op.run(vec![floats(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0])]).unwrap();
        assert_eq!(out[0], *floats(&[1, 2, 3], &[1.5, 2.0, 2.5, 3.5, 4.0, 6.5]));
        let problem = op.run(vec![floats(&[3], &[0.0; 3])]).unwrap_err();
        assert_eq!(problem, "`x` has shape [3], `weight` takes 2 columns");
    }
}
