//! Causal attention with grouped queries: several heads of queries read one head of keys and values.

use anelith_checkpoint::{Config, Tensors};
use rayon::prelude::*;

use crate::error::Result;
use crate::family::Family;
use crate::linear::Linear;
use crate::matrix::Matrix;
use crate::norm::Norm;
use crate::observer::Observer;
use crate::product::Panels;
use crate::rotary::Rotary;
use crate::text::Text;

/// Sums side by side in the product of a query and a key.
const LANES: usize = 8;

/// The attention of one layer.
#[derive(Debug)]
pub(crate) struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    /// Of queries and keys.
    head_norms: Option<[Norm; 2]>,
    heads: Heads,
}

#[derive(Clone, Copy, Debug)]
struct Heads {
    dim: usize,
    /// How many heads of queries read one head of keys and values.
    group: usize,
}

impl Attention {
    /// The tensors below `name`: `model.layers.3.self_attn`.
    pub(crate) fn open(tensors: &Tensors, name: &str, config: &Config) -> Result<Attention> {
        let (hidden, dim, family) = (config.hidden_size, config.head_dim, Family::of(config));
        let [all, grouped] =
            [config.num_attention_heads, config.num_key_value_heads].map(|heads| heads * dim);
        let input = |projection, width| {
            Linear::open(tensors, &format!("{name}.{projection}"), [width, hidden], family.qkv_bias)
        };
        let norm = |norm| Norm::open(tensors, &format!("{name}.{norm}"), dim, config);
        Ok(Attention {
            q_proj: input("q_proj", all)?,
            k_proj: input("k_proj", grouped)?,
            v_proj: input("v_proj", grouped)?,
            o_proj: Linear::open(tensors, &format!("{name}.o_proj"), [hidden, all], family.o_bias)?,
            head_norms: if family.head_norms { Some([norm("q_norm")?, norm("k_norm")?]) } else { None },
            heads: Heads { dim, group: config.num_attention_heads / config.num_key_value_heads },
        })
    }

    /// The number of weights in the projections.
    pub(crate) fn weights(&self) -> u64 {
        [&self.q_proj, &self.k_proj, &self.v_proj, &self.o_proj].map(Linear::weights).iter().sum()
    }

    /// [tokens, hidden_size] to the same.
    pub(crate) fn apply(
        &self,
        x: &Matrix,
        text: &Text,
        rotary: &Rotary,
        observer: &mut dyn Observer,
    ) -> Result<Matrix> {
        let x = Panels::new(x)?;
        let mut q = self.q_proj.apply(&x, observer)?;
        let mut k = self.k_proj.apply(&x, observer)?;
        let v = self.v_proj.apply(&x, observer)?;
        drop(x);
        if let Some([q_norm, k_norm]) = &self.head_norms {
            q_norm.apply(&mut q)?;
            k_norm.apply(&mut k)?;
        }
        let positions: Vec<usize> = text.positions().collect();
        rotary.apply(&mut q, &positions);
        rotary.apply(&mut k, &positions);
        let y = Panels::new(&attend([&q, &k, &v], self.heads, &text.starts)?)?;
        drop((q, k, v));
        self.o_proj.apply(&y, observer)
    }
}

/// For each token and head, the mean of the values of its window up to the token itself, weighted by softmax.
fn attend([q, k, v]: [&Matrix; 3], heads: Heads, starts: &[usize]) -> Result<Matrix> {
    let mut y = Matrix::zeros(q.rows(), q.width())?;
    let queries = q.values().par_chunks(q.width());
    let rows = y.values_mut().par_chunks_mut(q.width()).zip(queries).zip(starts);
    rows.enumerate().for_each(|(token, ((y, q), start))| {
        let seen = start * k.width()..(token + 1) * k.width();
        let (keys, values) = (&k.values()[seen.clone()], &v.values()[seen]);
        let each_head = y.chunks_exact_mut(heads.dim).zip(q.chunks_exact(heads.dim));
        for (head, (y, q)) in each_head.enumerate() {
            let first = head / heads.group * heads.dim;
            let part = first..first + heads.dim;
            let [keys, values] =
                [keys, values].map(|all| all.chunks_exact(k.width()).map(|row| &row[part.clone()]));
            weighted_mean(y, &softmax(q, keys), values);
        }
    });
    Ok(y)
}

/// How much each key is attended to; the weights are 1 together.
fn softmax<'k>(q: &[f32], keys: impl Iterator<Item = &'k [f32]>) -> Vec<f32> {
    let scale = 1.0 / (q.len() as f64).sqrt();
    let mut weights: Vec<f32> = keys.map(|key| dot(q, key) * scale as f32).collect();
    let largest = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    weights.iter_mut().for_each(|w| *w = f64::from(*w - largest).exp() as f32);
    let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    weights.iter_mut().for_each(|w| *w /= sum as f32);
    weights
}

/// The product of two vectors, in f32: eight sums side by side, which are added at the end.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        (0..LANES).for_each(|lane| sums[lane] += a[lane] * b[lane]);
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// The sum of `weights` times `values`, in f64, which is rounded once.
fn weighted_mean<'v>(y: &mut [f32], weights: &[f32], values: impl Iterator<Item = &'v [f32]>) {
    let mut sums = vec![0.0; y.len()];
    for (weight, value) in weights.iter().zip(values) {
        sums.iter_mut().zip(value).for_each(|(sum, v)| *sum += f64::from(weight * v));
    }
    y.iter_mut().zip(sums).for_each(|(y, sum)| *y = sum as f32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `attend` says it does, number by number in f64.
    fn naive([q, k, v]: [&Matrix; 3], Heads { dim, group }: Heads, starts: &[usize]) -> Vec<f64> {
        let at = |m: &Matrix, row: usize, column: usize| f64::from(m.values()[row * m.width() + column]);
        let mut y = Vec::new();
        for (token, start) in starts.iter().enumerate() {
            for channel in 0..q.width() {
                let (head, inside) = (channel / dim, channel % dim);
                let first = head / group * dim;
                let score = |row: usize| -> f64 {
                    let products = (0..dim).map(|i| at(q, token, head * dim + i) * at(k, row, first + i));
                    products.sum::<f64>() / (dim as f64).sqrt()
                };
                let weights: Vec<f64> = (*start..=token).map(|row| score(row).exp()).collect();
                let rows = (*start..=token).zip(&weights);
                let sum: f64 = rows.map(|(row, weight)| weight * at(v, row, first + inside)).sum();
                y.push(sum / weights.iter().sum::<f64>());
            }
        }
        y
    }

    #[test]
    fn grouped_queries_attend_as_a_plain_loop_does() {
        // Heads of queries, of keys and values, and their width, which is not always one of whole lanes.
        for (all, grouped, dim) in [(4, 2, 8), (6, 2, 10), (3, 3, 2), (4, 1, 16)] {
            let q = Matrix::noise(9, all * dim, 1);
            let [k, v] = [2, 3].map(|seed| Matrix::noise(9, grouped * dim, seed));
            let heads = Heads { dim, group: all / grouped };
            let starts = [0, 0, 0, 0, 0, 5, 6, 6, 6];
            let found = attend([&q, &k, &v], heads, &starts).unwrap();
            let expected = naive([&q, &k, &v], heads, &starts);
            for (found, expected) in found.values().iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} for {expected}");
            }
        }
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let weights = softmax(&[300.0, 0.0], [&[300.0, 0.0][..], &[300.0, 1.0], &[0.0, 0.0]].into_iter());
        assert_eq!(weights, [0.5, 0.5, 0.0]);
    }
}
