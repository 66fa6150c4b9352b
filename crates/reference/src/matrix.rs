//! Activations: one row for each token.

use anelith_report::{Report, Reported};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::memory::filled;

/// Numbers [rows, width] in row-major order. In hidden states a row is a token; the rows of all windows follow each
/// other.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    values: Vec<f32>,
    width: usize,
}

impl Matrix {
    /// Zeros [rows, width].
    ///
    /// # Errors
    /// `Machine` when there is not so much memory.
    pub(crate) fn zeros(rows: usize, width: usize) -> Result<Matrix> {
        Ok(Matrix { values: filled(0.0, rows, width)?, width })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    /// The length of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All numbers, row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The numbers of a row, if there is such a row.
    pub fn row(&self, row: usize) -> Option<&[f32]> {
        self.values.chunks_exact(self.width.max(1)).nth(row)
    }

    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Adds `other`, which has the same shape.
    pub(crate) fn add(&mut self, other: &Matrix) {
        self.values.par_iter_mut().zip(&other.values).for_each(|(x, y)| *x += y);
    }

    /// Adds `bias` [width] to each row.
    pub(crate) fn add_to_rows(&mut self, bias: &[f32]) {
        let add = |row: &mut [f32]| row.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
        self.values.par_chunks_mut(self.width.max(1)).for_each(add);
    }

    /// Refuses an infinity or NaN, which would make every difference from it meaningless. `what` names the values.
    pub(crate) fn check_finite(&self, what: &str) -> Result<()> {
        let Some(at) = self.values.par_iter().position_first(|v| !v.is_finite()) else { return Ok(()) };
        let report = Report::new(format!("{what} cannot be computed in f32"))
            .at(format!("row {}, channel {}", at / self.width, at % self.width))
            .expecting("finite values")
            .finding(self.values[at])
            .mending("check that config.json and the weights belong to the same model");
        Err(Error::Input(report.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Matrix {
        /// Rows of equal length, at least one.
        pub(crate) fn of<const N: usize>(rows: &[[f32; N]]) -> Matrix {
            Matrix { values: rows.concat(), width: N }
        }

        /// Reproducible numbers between -1 and 1.
        pub(crate) fn noise(rows: usize, width: usize, seed: u32) -> Matrix {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            };
            Matrix { values: (0..rows * width).map(|_| next()).collect(), width }
        }
    }

    #[test]
    fn more_than_there_is_is_an_error() {
        for rows in [usize::MAX, usize::MAX / 64] {
            let error = Matrix::zeros(rows, 16).unwrap_err();
            assert!(matches!(error, Error::Machine(_)), "{error}");
        }
    }

    #[test]
    fn the_first_value_that_is_not_finite_is_named() {
        let mut matrix = Matrix::noise(3, 5, 1);
        assert!(matrix.check_finite("layer 4").is_ok());
        matrix.values[7] = f32::NEG_INFINITY;
        matrix.values[9] = f32::NAN;
        let error = matrix.check_finite("layer 4").unwrap_err();
        let report = error.report().unwrap();
        assert_eq!(report.what, "layer 4 cannot be computed in f32");
        assert_eq!(report.location.as_deref(), Some("row 1, channel 2"));
        assert_eq!(report.found.as_deref(), Some("-inf"));
    }
}
