//! Attention of a batch of queries over keys and values that are held as fp16.

use half::f16;

use super::isa::Isa;
use super::pool::Pool;

/// The extents of an attention. Query head `h` reads key/value head `h / (heads / kv_heads)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attention {
    /// Query heads, a multiple of `kv_heads`.
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    /// What the products of queries and keys are multiplied by.
    pub(crate) scale: f32,
}

/// Queries within a larger buffer: element `d` of head `h` of token `t` is at
/// `t * token_stride + h * head_stride + d`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queries<'a> {
    pub(crate) data: &'a [f32],
    /// How many tokens ask.
    pub(crate) count: usize,
    pub(crate) token_stride: usize,
    pub(crate) head_stride: usize,
}

/// The keys or the values of one layer, bits of fp16: element `d` of position `p` of head `h` is at
/// `h * head_stride + p * head_dim + d`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cache<'a> {
    pub(crate) data: &'a [u16],
    pub(crate) head_stride: usize,
}

/// What one attention reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs<'a> {
    pub(crate) queries: Queries<'a>,
    pub(crate) keys: Cache<'a>,
    pub(crate) values: Cache<'a>,
    /// What is added to the scaled scores, `[count, context]`; minus infinity hides a position.
    pub(crate) mask: &'a [f32],
    /// Positions that a row of the mask speaks of.
    pub(crate) context: usize,
}

/// `softmax(scale · q · kᵀ + mask) · v` for each token and head, all in `f32`. Head `h` of token `t` goes to
/// `out[t * out_stride + h * head_dim..][..head_dim]`; what lies between is left alone.
///
/// Positions behind the last one that a token may see are not read. A token that sees none gets NaN.
///
/// # Panics
/// When `heads` is no multiple of `kv_heads`, or a buffer ends before the last element that is asked for.
pub(crate) fn attend(
    isa: Isa,
    pool: &Pool,
    shape: &Attention,
    inputs: &Inputs<'_>,
    out: &mut [f32],
    out_stride: usize,
) {
    let _ = (isa, pool);
    let Inputs { queries, keys, values, mask, context } = *inputs;
    let (dim, group) = (shape.head_dim, shape.heads / shape.kv_heads);
    for t in 0..queries.count {
        let mask = &mask[t * context..][..context];
        let length = mask.iter().rposition(|&m| m != f32::NEG_INFINITY).map_or(0, |p| p + 1);
        for h in 0..shape.heads {
            let q = &queries.data[t * queries.token_stride + h * queries.head_stride..][..dim];
            let row = |cache: Cache<'_>, p: usize| {
                let row = &cache.data[h / group * cache.head_stride + p * dim..][..dim];
                row.iter().map(|&b| f16::from_bits(b).to_f32()).collect::<Vec<_>>()
            };
            let dot = |p| q.iter().zip(row(keys, p)).map(|(q, k)| q * k).sum::<f32>();
            let scores: Vec<f32> = (0..length).map(|p| dot(p) * shape.scale + mask[p]).collect();
            let top = scores.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
            let weights: Vec<f32> = scores.iter().map(|s| (s - top).exp()).collect();
            let total: f32 = weights.iter().sum();
            let mut sums = vec![0.0; dim];
            for (p, w) in weights.iter().enumerate() {
                sums.iter_mut().zip(row(values, p)).for_each(|(s, v)| *s += w * v);
            }
            let out = &mut out[t * out_stride + h * dim..][..dim];
            out.iter_mut().zip(&sums).for_each(|(o, s)| *o = s / total);
        }
    }
}
