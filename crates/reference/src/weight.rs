//! A weight on the disk, read as f32 when it is needed.

use std::ops::Range;
use std::path::PathBuf;

use anelith_checkpoint::{TensorRef, Tensors};
use anelith_report::{Report, Reported};

use crate::error::{Error, Result};

/// A tensor whose rows are read one after the other; one of one dimension is a single row.
#[derive(Debug)]
pub(crate) struct Weight {
    tensor: TensorRef,
    file: PathBuf,
}

impl Weight {
    /// The tensor `name`, which must have this shape. Nothing is read.
    pub(crate) fn open(tensors: &Tensors, name: &str, shape: &[usize]) -> Result<Weight> {
        let tensor = tensors.get(name, shape)?;
        let file = tensors.find(name).map(|(file, _)| file.to_path_buf()).unwrap_or_default();
        Ok(Weight { tensor, file })
    }

    /// The number of elements.
    pub(crate) fn len(&self) -> usize {
        self.tensor.element_count()
    }

    /// The length of a row.
    pub(crate) fn width(&self) -> usize {
        self.tensor.shape().last().copied().unwrap_or(1)
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.len() / self.width().max(1)
    }

    /// All elements; for what is small.
    pub(crate) fn read(&self) -> Result<Vec<f32>> {
        self.read_rows(0..self.rows())
    }

    /// The elements of some rows.
    ///
    /// # Errors
    /// `Input` for a weight that is infinite or NaN, `Checkpoint` where the file cannot be read.
    pub(crate) fn read_rows(&self, rows: Range<usize>) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        let first = rows.start * self.width();
        self.tensor.read_f32(first..rows.end * self.width(), &mut values)?;
        match values.iter().position(|v| !v.is_finite()) {
            None => Ok(values),
            Some(at) => Err(self.not_finite(first + at, values[at])),
        }
    }

    fn not_finite(&self, at: usize, value: f32) -> Error {
        let (row, column) = (at / self.width(), at % self.width());
        let report = Report::new(format!("tensor `{}` has the value {value}", self.tensor.name()))
            .at(format!("{}, row {row}, column {column}", self.file.display()))
            .expecting("a finite value")
            .finding(value)
            .mending("download the checkpoint again, or use another one");
        Error::Input(report.into())
    }
}
