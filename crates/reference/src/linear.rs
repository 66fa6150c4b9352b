//! A projection: weights from the disk, a band of rows at a time, times all activations.

use std::ops::Range;

use anelith_checkpoint::Tensors;
use rayon::prelude::*;

use crate::error::Result;
use crate::matrix::Matrix;
use crate::observer::{Observer, advance};
use crate::product::Panels;
use crate::weight::Weight;

/// Weights that a thread reads at once.
const PIECE: usize = 1 << 16;

/// Weights that are in memory at once, as f32: more pieces than most machines have threads.
const BAND: usize = 16 * PIECE;

/// `y = x W^T + b`, with the weight [out, in].
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Weight,
    bias: Option<Weight>,
}

impl Linear {
    /// The tensors `name.weight` [out, in] and, where there is a bias, `name.bias` [out].
    pub(crate) fn open(
        tensors: &Tensors,
        name: &str,
        [out, width]: [usize; 2],
        bias: bool,
    ) -> Result<Linear> {
        let weight = Weight::open(tensors, &format!("{name}.weight"), &[out, width])?;
        let bias = bias.then(|| Weight::open(tensors, &format!("{name}.bias"), &[out])).transpose()?;
        Ok(Linear { weight, bias })
    }

    /// The number of weights, without the bias.
    pub(crate) fn weights(&self) -> u64 {
        self.weight.len() as u64
    }

    /// [tokens, in] to [tokens, out].
    pub(crate) fn apply(&self, x: &Panels, observer: &mut dyn Observer) -> Result<Matrix> {
        let (rows, width) = (self.weight.rows(), self.weight.width());
        let mut y = Matrix::zeros(x.rows(), rows)?;
        for band in cut(0..rows, BAND / width) {
            let weights = self.read(band.clone())?;
            x.multiply(&weights, &mut y, band.start);
            advance(observer, band.len() * width)?;
        }
        if let Some(bias) = &self.bias {
            y.add_to_rows(&bias.read()?);
        }
        Ok(y)
    }

    /// Some rows, in pieces of whole rows. Of several errors it is always the same that is returned.
    fn read(&self, rows: Range<usize>) -> Result<Vec<Vec<f32>>> {
        let pieces: Vec<Range<usize>> = cut(rows, PIECE / self.weight.width()).collect();
        let read: Vec<Result<Vec<f32>>> =
            pieces.into_par_iter().map(|piece| self.weight.read_rows(piece)).collect();
        read.into_iter().collect()
    }
}

/// Ranges of `length` that make up `range`; the last may be shorter.
fn cut(range: Range<usize>, length: usize) -> impl Iterator<Item = Range<usize>> {
    let length = length.max(1);
    range.clone().step_by(length).map(move |start| start..range.end.min(start.saturating_add(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_up_the_whole() {
        assert_eq!(cut(3..10, 3).collect::<Vec<_>>(), [3..6, 6..9, 9..10]);
        assert_eq!(cut(0..2, 0).collect::<Vec<_>>(), [0..1, 1..2]);
        assert!(cut(1..4, 100).eq([1..4; 1]));
    }
}
