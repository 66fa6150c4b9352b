//! `softmax` and the norms: ops that weigh each element against its row or its channel.

use std::sync::Arc;

use anelith_mil::Opcode;
use rayon::prelude::*;

use super::arguments::Arguments;
use super::reduce::{maximum, sum};
use super::shape::transposed;
use super::{Operation, Problem, operands};
use crate::tensor::{Tensor, TensorData};

#[derive(Debug)]
struct Softmax {
    axis: usize,
}

#[derive(Debug)]
struct LayerNorm {
    axes: Vec<usize>,
    gamma: Option<Arc<Tensor>>,
    beta: Option<Arc<Tensor>>,
    epsilon: f32,
}

/// `batch_norm` where the statistics are given, `instance_norm` where each plane has its own.
#[derive(Debug)]
struct ChannelNorm {
    /// Mean and variance of each channel.
    statistics: Option<[Arc<Tensor>; 2]>,
    gamma: Option<Arc<Tensor>>,
    beta: Option<Arc<Tensor>>,
    epsilon: f32,
}

/// Plans `softmax`.
pub(super) fn softmax(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    args.expect_floats(&["x"])?;
    Ok(Box::new(Softmax { axis: args.axis("axis", args.rank("x")?, -1)? }))
}

impl Operation for Softmax {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        by_rows(x, &[self.axis], softmax_row).map(|t| vec![t])
    }
}

/// Replaces `row` by its exponentials over their sum; the maximum is subtracted first.
fn softmax_row(row: &mut [f32]) {
    let max = maximum(row);
    row.iter_mut().for_each(|v| *v = (*v - max).exp());
    let total = sum(row);
    row.iter_mut().for_each(|v| *v /= total);
}

/// Applies `f` to the elements that differ only in `axes`, taken as one row.
fn by_rows(x: Arc<Tensor>, axes: &[usize], f: impl Fn(&mut [f32]) + Send + Sync) -> Result<Tensor, String> {
    let rank = x.shape().len();
    let row: usize = axes.iter().map(|a| x.shape()[*a]).product();
    let order: Vec<usize> = (0..rank).filter(|i| !axes.contains(i)).chain(axes.iter().copied()).collect();
    let mut back = vec![0; rank];
    order.iter().enumerate().for_each(|(to, from)| back[*from] = to);
    let mut rows = transposed(x, &order)?;
    match rows.data_mut() {
        TensorData::F32(v) if row > 0 => v.par_chunks_exact_mut(row).with_min_len(4096 / row + 1).for_each(f),
        TensorData::F32(_) => {}
        other => return Err(format!("`x` holds {}, expected floating-point numbers", other.class())),
    }
    transposed(Arc::new(rows), &back)
}

/// Plans `layer_norm`; without `axes` the whole tensor is one row.
pub(super) fn layer_norm(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    args.expect_floats(&["x"])?;
    let rank = args.rank("x")?;
    let axes = args.axes("axes", rank)?.unwrap_or_else(|| (0..rank).collect());
    let shape = args.shape("x")?;
    let row: Option<usize> = axes.iter().map(|a| shape[*a]).product();
    let factor = |name: &str| -> Result<Option<Arc<Tensor>>, Problem> {
        let tensor = args.tensor(name)?;
        match tensor.as_ref().map(|t| t.f32s()).transpose()? {
            Some(v) if row.is_some_and(|row| row != v.len()) => {
                Err(Problem::Malformed(format!("`{name}` has {} elements, a row has {row:?}", v.len())))
            }
            _ => Ok(tensor),
        }
    };
    let (gamma, beta) = (factor("gamma")?, factor("beta")?);
    Ok(Box::new(LayerNorm { axes, gamma, beta, epsilon: args.f32("epsilon")?.unwrap_or(1e-5) }))
}

impl Operation for LayerNorm {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        let gamma = self.gamma.as_deref().map(Tensor::f32s).transpose()?;
        let beta = self.beta.as_deref().map(Tensor::f32s).transpose()?;
        let out = by_rows(x, &self.axes, |row| {
            normalize(row, self.epsilon);
            if let Some(gamma) = gamma {
                row.iter_mut().zip(gamma).for_each(|(v, g)| *v *= g);
            }
            if let Some(beta) = beta {
                row.iter_mut().zip(beta).for_each(|(v, b)| *v += b);
            }
        })?;
        Ok(vec![out])
    }
}

/// Plans `batch_norm` and `instance_norm`.
pub(super) fn channel_norm(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    args.expect_floats(&["x"])?;
    if args.rank("x")? < 3 {
        let rank = args.rank("x")?;
        return Err(Problem::Malformed(format!("`x` has {rank} dimensions, expected at least 3")));
    }
    let given = |name: &str| -> Result<Option<Arc<Tensor>>, Problem> {
        let tensor = args.tensor(name)?;
        tensor.as_ref().map(|t| t.f32s()).transpose()?;
        Ok(tensor)
    };
    let statistics = match (args.opcode, given("mean")?, given("variance")?) {
        (Opcode::BatchNorm, Some(mean), Some(variance)) => Some([mean, variance]),
        (Opcode::BatchNorm, ..) => {
            return Err(Problem::Malformed("parameter `mean` or `variance` is missing".to_owned()));
        }
        _ => None,
    };
    let epsilon = args.f32("epsilon")?.unwrap_or(1e-5);
    Ok(Box::new(ChannelNorm { statistics, gamma: given("gamma")?, beta: given("beta")?, epsilon }))
}

impl ChannelNorm {
    /// Applies the norm to `plane`, which is part of channel `c`.
    fn apply(&self, plane: &mut [f32], c: usize) -> Result<(), String> {
        let of_channel = |values: &Arc<Tensor>| -> Result<f32, String> {
            let value = values.f32s()?.get(c).copied();
            value.ok_or_else(|| format!("there is no factor for channel {c}"))
        };
        match &self.statistics {
            Some([mean, variance]) => {
                let (mean, deviation) = (of_channel(mean)?, (of_channel(variance)? + self.epsilon).sqrt());
                plane.iter_mut().for_each(|v| *v = (*v - mean) / deviation);
            }
            None => normalize(plane, self.epsilon),
        }
        let gamma = self.gamma.as_ref().map(of_channel).transpose()?.unwrap_or(1.0);
        let beta = self.beta.as_ref().map(of_channel).transpose()?.unwrap_or(0.0);
        plane.iter_mut().for_each(|v| *v = *v * gamma + beta);
        Ok(())
    }
}

impl Operation for ChannelNorm {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        let mut x = Arc::unwrap_or_clone(x);
        let [_, channels, spatial @ ..] = x.shape() else {
            return Err(format!("`x` has shape {:?}, expected batch and channels", x.shape()));
        };
        let (channels, plane) = (*channels, spatial.iter().product::<usize>());
        if let TensorData::F32(v) = x.data_mut()
            && plane > 0
        {
            let mut planes = v.chunks_exact_mut(plane).enumerate();
            planes.try_for_each(|(i, plane)| self.apply(plane, i % channels))?;
        }
        Ok(vec![x])
    }
}

/// Shifts and scales `row` to mean 0 and variance 1; `epsilon` is added to the variance.
fn normalize(row: &mut [f32], epsilon: f32) {
    let count = row.len() as f64;
    let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let variance = row.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
    let deviation = (variance + f64::from(epsilon)).sqrt();
    row.iter_mut().for_each(|v| *v = ((f64::from(*v) - mean) / deviation) as f32);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_near(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 1e-6, "{found:?} is not near {expected:?}");
        }
    }

    #[test]
    fn softmax_along_either_axis() {
        let x = Arc::new(Tensor::new(&[2, 2], vec![0.0f32, 200.0, 0.0, 200.0]).unwrap());
        let along = |axis| Softmax { axis }.run(vec![x.clone()]).unwrap().remove(0);
        assert_near(along(1).as_f32s().unwrap(), &[0.0, 1.0, 0.0, 1.0]);
        assert_near(along(0).as_f32s().unwrap(), &[0.5; 4]);
    }

    #[test]
    fn a_mask_of_minus_infinity_hides_and_a_full_one_is_nan() {
        let mut row = [f32::NEG_INFINITY, 1.0, 1.0];
        softmax_row(&mut row);
        assert_near(&row, &[0.0, 0.5, 0.5]);
        let mut row = [f32::NEG_INFINITY; 2];
        softmax_row(&mut row);
        assert!(row.iter().all(|v| v.is_nan()));
    }

    #[test]
    fn layer_norm_over_two_leading_axes() {
        let x = Tensor::new(&[2, 1, 2], vec![1.0f32, 10.0, 3.0, 30.0]).unwrap();
        let gamma = Arc::new(Tensor::new(&[2, 1], vec![2.0f32, 4.0]).unwrap());
        let beta = Arc::new(Tensor::new(&[2, 1], vec![0.5f32, 0.5]).unwrap());
        let op = LayerNorm { axes: vec![0, 1], gamma: Some(gamma), beta: Some(beta), epsilon: 0.0 };
        let out = op.run(vec![Arc::new(x)]).unwrap();
        assert_eq!(out[0].shape(), [2, 1, 2]);
        assert_near(out[0].as_f32s().unwrap(), &[-1.5, -1.5, 4.5, 4.5]);
    }

    #[test]
    fn epsilon_counts_when_the_variance_is_small() {
        let mut row = [0.0, 2e-3];
        normalize(&mut row, 3e-6);
        assert_near(&row, &[-0.5, 0.5]);
    }

    #[test]
    fn channels_have_their_own_factors() {
        let x = Arc::new(Tensor::new(&[1, 2, 2], vec![1.0f32, 3.0, 10.0, 30.0]).unwrap());
        let vector = |v: [f32; 2]| Arc::new(Tensor::new(&[2], v.to_vec()).unwrap());
        let (gamma, beta) = (Some(vector([1.0, 2.0])), Some(vector([0.0, 5.0])));
        let statistics = Some([vector([1.0, 10.0]), vector([4.0, 100.0])]);
        let op = ChannelNorm { statistics, gamma: gamma.clone(), beta: beta.clone(), epsilon: 0.0 };
        assert_near(op.run(vec![x.clone()]).unwrap()[0].as_f32s().unwrap(), &[0.0, 1.0, 5.0, 9.0]);
        let op = ChannelNorm { statistics: None, gamma, beta, epsilon: 0.0 };
        assert_near(op.run(vec![x.clone()]).unwrap()[0].as_f32s().unwrap(), &[-1.0, 1.0, 3.0, 7.0]);
        let op = ChannelNorm { gamma: Some(Arc::new(Tensor::new(&[1], vec![1.0f32]).unwrap())), ..op };
        assert_eq!(op.run(vec![x]).unwrap_err(), "there is no factor for channel 1");
    }
}
