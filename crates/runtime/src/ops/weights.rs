//! `conv` at a point, `linear` and `gather` with weights that stay as they are stored.

use std::sync::Arc;

use super::conv::{add_bias, extents};
use super::gather::position;
use super::shape::transposed;
use super::{Operation, operands};
use crate::kernels::{self, Isa, Matrix, Pool};
use crate::tensor::{Tensor, room_for};

/// A product with a weight, each of whose rows makes one channel of the result.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    pub(crate) weight: Arc<Matrix>,
    /// One number for each row of the weight.
    pub(crate) bias: Option<Arc<Tensor>>,
    /// The axis that the weight takes, and in whose place its rows come.
    pub(crate) channels: Channels,
}

/// Where the channels of an operand are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Channels {
    /// `[batch, channels, ...]`, as `conv` has them.
    Second,
    /// `[..., channels]`, as `linear` has them.
    Last,
}

/// Rows of a weight, picked by indices.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    pub(crate) weight: Arc<Matrix>,
    /// Whether negative indices count from the end.
    pub(crate) wraps: bool,
}

impl Operation for Projection {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        self.multiply(x).map(|y| vec![y])
    }
}

impl Operation for Lookup {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [indices] = operands(inputs)?;
        self.pick(&indices).map(|rows| vec![rows])
    }
}

impl Projection {
    /// Whether an operand of `shape` has as many channels as the weight has columns.
    pub(crate) fn takes(&self, shape: &[usize]) -> bool {
        let channels = match self.channels {
            Channels::Second => shape.get(1),
            Channels::Last => shape.last(),
        };
        channels == Some(&self.weight.columns())
    }

    /// The product with `x`, in `f32` and in the order of summation of dense weights.
    ///
    /// # Errors
    /// Another number of channels than the weight has columns.
    fn multiply(&self, x: Arc<Tensor>) -> Result<Tensor, String> {
        match self.channels {
            Channels::Second => self.channels_second(x),
            Channels::Last => self.channels_last(&x),
        }
    }

    fn channels_second(&self, x: Arc<Tensor>) -> Result<Tensor, String> {
        let [batch, channels, points] = extents(&x)?;
        self.expect(channels)?;
        let mut shape = x.shape().to_vec();
        shape[1] = self.weight.rows();
        let mut y = vec![0f32; room_for(&shape)?];
        if !y.is_empty() {
            let rows = Tensor::made(vec![batch, channels, points], Arc::unwrap_or_clone(x).into_data())?;
            let rows = transposed(Arc::new(rows), &[0, 2, 1])?;
            let items = rows.f32s()?.chunks_exact(points * channels);
            for (item, y) in items.zip(y.chunks_exact_mut(shape[1] * points)) {
                kernels::multiply_exact(Isa::best(), Pool::shared(), &self.weight, item, y);
            }
        }
        add_bias(&mut y, points, self.bias.as_deref())?;
        Tensor::made(shape, y)
    }

    fn channels_last(&self, x: &Tensor) -> Result<Tensor, String> {
        let mut shape = x.shape().to_vec();
        let last = shape.last_mut().ok_or("`x` is a scalar")?;
        let channels = std::mem::replace(last, self.weight.rows());
        self.expect(channels)?;
        let mut y = vec![0f32; room_for(&shape)?];
        if !y.is_empty() {
            kernels::multiply_exact(Isa::best(), Pool::shared(), &self.weight, x.f32s()?, &mut y);
        }
        let count = y.len() / self.weight.rows().max(1);
        add_bias(&mut y, count, self.bias.as_deref())?;
        let by_row = Tensor::made(vec![self.weight.rows(), count], y)?;
        let by_point = transposed(Arc::new(by_row), &[1, 0])?;
        Tensor::made(shape, by_point.into_data())
    }

    fn expect(&self, channels: usize) -> Result<(), String> {
        let taken = self.weight.columns();
        if channels == taken {
            return Ok(());
        }
        Err(format!("`x` has {channels} channels, `weight` takes {taken}"))
    }
}

impl Lookup {
    /// The rows that `indices` name.
    ///
    /// # Errors
    /// Indices out of range.
    fn pick(&self, indices: &Tensor) -> Result<Tensor, String> {
        let columns = self.weight.columns();
        let shape = [indices.shape(), &[columns]].concat();
        let mut out = vec![0f32; room_for(&shape)?];
        self.fill(Isa::best(), indices, &mut out)?;
        Tensor::made(shape, out)
    }

    /// Writes the rows that `indices` name to `out`, with the instructions of `isa`, which the machine must have.
    ///
    /// # Errors
    /// Indices out of range.
    pub(crate) fn fill(&self, isa: Isa, indices: &Tensor, out: &mut [f32]) -> Result<(), String> {
        for (index, row) in indices.i32s()?.iter().zip(out.chunks_exact_mut(self.weight.columns())) {
            let at = position(*index, self.weight.rows(), self.wraps)?;
            self.weight.unpack(isa, at, row);
        }
        Ok(())
    }
}
