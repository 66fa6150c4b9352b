//! Signal to noise of hidden states, block by block, and the first block that drops.
//!
//! Two measures. *After* a block: the hidden state of the whole model against the reference's, so errors of all blocks
//! before add up. *Of* a block: what it adds to the reference's own hidden state against what the reference adds, so
//! that only its own error counts. Both are means of the relative squared error over the positions, each of which
//! counts alike, in dB: a few tokens with very large states do not drown the others.
//!
//! A block drops where its own figure is lower than its number format explains. Optimal tables of b bits leave about
//! 6 b - 4 dB in a weight; with the projections of a block one after the other, and softmax between, 6 b - 16 dB is
//! left to each, and never less than 0 dB, which a block has that adds nothing at all: tables of 1 and 2 bits shrink what
//! they stand for, and so leave more. Blocks of fp16 weights must keep 30 dB. And a block drops that is more than 12 dB
//! below the median of the others that do the same in their layers, unless it keeps 40 dB. The first that drops is where to
//! look: the blocks after it may be right, and only get wrong inputs, which does not show in their own figure.

use crate::block::Block;

/// What is left to a block of palettized weights: so many dB for each bit, less `SLACK`.
const PER_BIT: f64 = 6.0;
const SLACK: f64 = 16.0;

/// What is left where a block adds nothing: worse is wrong with any number of bits.
const NOTHING: f64 = 0.0;

/// What a block of fp16 weights must keep.
const FP16: f64 = 30.0;

/// How far below the others of its kind a block may be.
const BELOW_OTHERS: f64 = 12.0;

/// From here on it does not matter how the others do.
const GOOD: f64 = 40.0;

/// The mean of a relative squared error.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Noise {
    sum: f64,
    count: usize,
}

impl Noise {
    /// Takes in one position: `measured` where `expected` is right, relative to `signal`.
    pub(crate) fn take(&mut self, expected: &[f32], measured: &[f32], signal: f64) {
        let error = |(x, y): (&f32, &f32)| (f64::from(*x) - f64::from(*y)).powi(2);
        let noise: f64 = expected.iter().zip(measured).map(error).sum();
        let share = if noise == 0.0 { 0.0 } else { noise / signal };
        self.sum += if share.is_nan() { f64::INFINITY } else { share };
        self.count += 1;
    }

    /// In dB; infinite without any error.
    pub(crate) fn decibels(&self) -> f64 {
        -10.0 * (self.sum / self.count as f64).log10()
    }
}

/// The energy of a hidden state.
pub(crate) fn energy(state: &[f32]) -> f64 {
    state.iter().map(|v| f64::from(*v).powi(2)).sum()
}

/// The energy of what a block adds.
pub(crate) fn energy_of_change(before: &[f32], after: &[f32]) -> f64 {
    before.iter().zip(after).map(|(x, y)| (f64::from(*y) - f64::from(*x)).powi(2)).sum()
}

/// What is known of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockFigures {
    /// Which.
    pub block: Block,
    /// The fewest bits of its palettized weights; `None` where all are fp16.
    pub bits: Option<u32>,
    /// Signal to noise, in dB, of the hidden state after the block: for each column of the verification.
    pub after: Vec<f64>,
    /// Signal to noise, in dB, of what the block adds to the reference's hidden state.
    pub own: f64,
    /// Whether that is lower than its format and its neighbours explain.
    pub drops: bool,
    /// The largest magnitude of what the block computes.
    pub largest: f32,
    /// The op that computed it.
    pub largest_at: String,
}

/// Marks the blocks that drop.
pub(crate) fn mark(blocks: &mut [BlockFigures]) {
    let marks: Vec<bool> = blocks.iter().map(|block| drops(block, blocks)).collect();
    blocks.iter_mut().zip(marks).for_each(|(block, drops)| block.drops = drops);
}

fn drops(block: &BlockFigures, all: &[BlockFigures]) -> bool {
    let least = block.bits.map_or(FP16, |bits| PER_BIT * f64::from(bits) - SLACK).clamp(NOTHING, FP16);
    let is_other = |other: &&BlockFigures| other.block != block.block && other.block.is_like(block.block);
    let mut others: Vec<f64> = all.iter().filter(is_other).map(|other| other.own).collect();
    others.sort_by(f64::total_cmp);
    let is_below = others.get(others.len() / 2).is_some_and(|median| block.own < median - BELOW_OTHERS);
    // A figure that is no number is as bad as one can be.
    block.own.is_nan() || block.own < least || is_below && block.own < GOOD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(bits: Option<u32>, own: &[f64]) -> Vec<BlockFigures> {
        let block = |(layer, own): (usize, &f64)| BlockFigures {
            block: Block::Mlp(layer),
            bits,
            after: Vec::new(),
            own: *own,
            drops: false,
            largest: 0.0,
            largest_at: String::new(),
        };
        let mut blocks: Vec<BlockFigures> = own.iter().enumerate().map(block).collect();
        mark(&mut blocks);
        blocks
    }

    fn dropping(bits: Option<u32>, own: &[f64]) -> Vec<usize> {
        let blocks = blocks(bits, own);
        blocks.iter().filter(|b| b.drops).filter_map(|b| b.block.layer()).collect()
    }

    #[test]
    fn a_block_drops_below_its_format_or_its_neighbours() {
        assert_eq!(dropping(Some(4), &[17.0, 16.0, 5.0, 15.0]), [2]);
        assert_eq!(dropping(Some(4), &[28.0, 27.0, 14.0, 29.0]), [2]);
        assert_eq!(dropping(Some(2), &[5.0, -2.0, 4.5]), [1]);
        assert_eq!(dropping(Some(1), &[1.1, 0.9]), [0; 0]);
        assert_eq!(dropping(Some(8), &[41.0, 40.5, 28.0]), [2]);
        assert_eq!(dropping(None, &[90.0, 60.0, 95.0]), [0; 0]);
        assert_eq!(dropping(None, &[25.0, 26.0, 24.0]), [0, 1, 2]);
        assert_eq!(dropping(None, &[f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY]), [2]);
        assert_eq!(dropping(None, &[f64::NAN]), [0]);
    }

    #[test]
    fn noise_is_relative_and_every_position_counts_alike() {
        let mut noise = Noise::default();
        noise.take(&[10.0, 0.0], &[9.0, 0.0], 100.0);
        noise.take(&[1000.0, 0.0], &[900.0, 0.0], 1e6);
        assert!((noise.decibels() - 20.0).abs() < 1e-9);
        let mut exact = Noise::default();
        exact.take(&[0.0], &[0.0], 0.0);
        assert_eq!(exact.decibels(), f64::INFINITY);
        exact.take(&[0.0], &[f32::NAN], 1.0);
        assert_eq!(exact.decibels(), f64::NEG_INFINITY);
    }
}
