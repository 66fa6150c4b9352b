//! Rotary positions: queries and keys are turned by their place in the window.

use anelith_checkpoint::Config;
use rayon::prelude::*;

use crate::frequencies::{attention_factor, frequencies};
use crate::matrix::Matrix;

/// The rotation of heads.
#[derive(Debug)]
pub(crate) struct Rotary {
    /// Radians per position of each pair of channels.
    frequencies: Vec<f32>,
    /// What cosines and sines are multiplied by.
    factor: f32,
}

impl Rotary {
    pub(crate) fn new(config: &Config) -> Rotary {
        let frequencies = frequencies(&config.rope, config.head_dim);
        Rotary { frequencies, factor: attention_factor(&config.rope) }
    }

    /// Turns every head of each row of `x` [tokens, heads * head_dim], whose position is given.
    pub(crate) fn apply(&self, x: &mut Matrix, positions: &[usize]) {
        let width = x.width();
        x.values_mut().par_chunks_mut(width).zip(positions).for_each(|(row, position)| {
            let turns = self.turns(*position);
            row.chunks_exact_mut(2 * turns.len()).for_each(|head| rotate(head, &turns));
        });
    }

    /// Cosine and sine for each pair of channels.
    fn turns(&self, position: usize) -> Vec<[f32; 2]> {
        let turn = |frequency: &f32| {
            // The angle is rounded to f32, as transformers computes it.
            let angle = f64::from(position as f32 * frequency);
            [angle.cos(), angle.sin()].map(|value| value as f32 * self.factor)
        };
        self.frequencies.iter().map(turn).collect()
    }
}

/// Channel i of the first half and channel i of the second are a point in the plane.
fn rotate(head: &mut [f32], turns: &[[f32; 2]]) {
    let (first, second) = head.split_at_mut(turns.len());
    for ((a, b), [cos, sin]) in first.iter_mut().zip(second).zip(turns) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

#[cfg(test)]
mod tests {
    use std::f32::consts::FRAC_PI_2;

    use super::*;

    #[test]
    fn halves_of_a_head_turn_together() {
        let rotary = Rotary { frequencies: vec![FRAC_PI_2, 0.0], factor: 1.0 };
        // Two tokens with two heads each.
        let row = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let mut x = Matrix::of(&[row, row]);
        rotary.apply(&mut x, &[0, 1]);
        assert_eq!(x.row(0).unwrap(), row);
        let turned = [-3.0, 2.0, 1.0, 4.0, -7.0, 6.0, 5.0, 8.0];
        for (found, expected) in x.row(1).unwrap().iter().zip(turned) {
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
    }

    #[test]
    fn the_factor_stretches() {
        let rotary = Rotary { frequencies: vec![0.5], factor: 3.0 };
        let mut x = Matrix::of(&[[1.0, 0.0]]);
        rotary.apply(&mut x, &[2]);
        let [cos, sin] = [1f64.cos(), 1f64.sin()].map(|v| 3.0 * v as f32);
        assert_eq!(x.values(), [cos, sin]);
    }
}
