//! The product of activations with rows of weights: the one place where time goes.
//!
//! An element of a result is the sum over the channels in their order: 128 products at a time are summed in f32, and
//! these sums in f64, which is rounded once. No other element and no thread has a part in it.

use rayon::prelude::*;

use crate::error::Result;
use crate::matrix::Matrix;
use crate::memory::filled;

/// Tokens side by side, which the compiler puts into vectors.
const TOKENS: usize = 8;

/// Rows of weights at a time; with the tokens, their sums fill the registers.
const ROWS: usize = 4;

/// Products that are summed in f32.
const BLOCK: usize = 128;

/// Activations [tokens, width] in the order in which products read them: for eight tokens, channel by channel.
pub(crate) struct Panels {
    /// [panels, width]; the last panel is filled up with zeros.
    channels: Vec<[f32; TOKENS]>,
    width: usize,
    rows: usize,
}

impl Panels {
    /// # Errors
    /// `Machine` when there is no memory for them.
    pub(crate) fn new(x: &Matrix) -> Result<Panels> {
        let (rows, width) = (x.rows(), x.width());
        let mut channels = filled([0.0; TOKENS], rows.div_ceil(TOKENS), width)?;
        let tokens = x.values().par_chunks(TOKENS * width);
        channels.par_chunks_mut(width).zip(tokens).for_each(|(panel, tokens)| {
            for (token, row) in tokens.chunks_exact(width).enumerate() {
                panel.iter_mut().zip(row).for_each(|(channel, value)| channel[token] = *value);
            }
        });
        Ok(Panels { channels, width, rows })
    }

    /// The number of tokens.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The products with `weights` [rows, width], in pieces of whole rows, as the columns of `out` from `first` on.
    pub(crate) fn multiply(&self, weights: &[Vec<f32>], out: &mut Matrix, first: usize) {
        let width = out.width();
        let panels = self.channels.par_chunks(self.width);
        out.values_mut().par_chunks_mut(TOKENS * width).zip(panels).for_each(|(out, panel)| {
            let mut column = first;
            for piece in weights {
                let rows: Vec<&[f32]> = piece.chunks_exact(self.width).collect();
                for rows in rows.chunks(ROWS) {
                    // Where fewer are left, the last is computed more than once.
                    let sums = sums(std::array::from_fn(|i| rows[i.min(rows.len() - 1)]), panel);
                    for (token, out) in out.chunks_exact_mut(width).enumerate() {
                        for (out, sums) in out[column..].iter_mut().zip(&sums[..rows.len()]) {
                            *out = sums[token] as f32;
                        }
                    }
                    column += rows.len();
                }
            }
        });
    }
}

/// The products of some rows with the tokens of a panel.
fn sums(rows: [&[f32]; ROWS], panel: &[[f32; TOKENS]]) -> [[f64; TOKENS]; ROWS] {
    let mut sums = [[0.0; TOKENS]; ROWS];
    for (block, channels) in panel.chunks(BLOCK).enumerate() {
        let at = block * BLOCK;
        let block = block_sums(rows.map(|row| &row[at..at + channels.len()]), channels);
        for (sums, block) in sums.iter_mut().zip(block) {
            sums.iter_mut().zip(block).for_each(|(sum, part)| *sum += f64::from(part));
        }
    }
    sums
}

fn block_sums([a, b, c, d]: [&[f32]; ROWS], channels: &[[f32; TOKENS]]) -> [[f32; TOKENS]; ROWS] {
    let mut sums = [[0.0; TOKENS]; ROWS];
    for ((((x, a), b), c), d) in channels.iter().zip(a).zip(b).zip(c).zip(d) {
        for (sums, weight) in sums.iter_mut().zip([a, b, c, d]) {
            sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += weight * x);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes around the numbers of tokens, rows and products that go together.
    #[test]
    fn products_are_those_of_a_plain_loop() {
        for (tokens, width, rows) in [(1, 1, 1), (7, 5, 3), (8, 128, 4), (9, 129, 5), (25, 300, 11)] {
            let x = Matrix::noise(tokens, width, 1);
            let weights = Matrix::noise(rows, width, 2);
            // Two columns stand before and one behind, which must stay as they are.
            let mut found = Matrix::zeros(tokens, rows + 3).unwrap();
            let pieces: Vec<Vec<f32>> = weights.values().chunks(5 * width).map(<[f32]>::to_vec).collect();
            Panels::new(&x).unwrap().multiply(&pieces, &mut found, 2);
            for token in 0..tokens {
                let row = found.row(token).unwrap();
                assert_eq!((row[0], row[1], row[rows + 2]), (0.0, 0.0, 0.0));
                for (i, found) in row[2..rows + 2].iter().enumerate() {
                    let pairs = x.row(token).unwrap().iter().zip(weights.row(i).unwrap());
                    let expected: f64 = pairs.map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                    let error = (f64::from(*found) - expected).abs();
                    assert!(error < 1e-5, "{tokens}x{width}x{rows}: {found} for {expected}");
                }
            }
        }
    }

    #[test]
    fn an_element_depends_on_its_token_and_row_alone() {
        let (x, weights) = (Matrix::noise(11, 260, 3), Matrix::noise(6, 260, 4));
        let mut all = Matrix::zeros(11, 6).unwrap();
        Panels::new(&x).unwrap().multiply(&[weights.values().to_vec()], &mut all, 0);
        for token in 0..11 {
            let mut alone = Matrix::zeros(1, 260).unwrap();
            alone.values_mut().copy_from_slice(x.row(token).unwrap());
            let panels = Panels::new(&alone).unwrap();
            for row in 0..6 {
                let mut found = Matrix::zeros(1, 1).unwrap();
                panels.multiply(&[weights.row(row).unwrap().to_vec()], &mut found, 0);
                assert_eq!(found.values()[0], all.row(token).unwrap()[row]);
            }
        }
    }
}
