//! Attention of a batch of queries over keys and values that are held as fp16.
//!
//! Keys and values are what is large. The query heads that share them, of several tokens, are a block, which
//! reads them once, tile by tile: first the scores of all rows and positions, then their softmax, then the
//! sums of the values.

mod block;
mod softmax;
mod source;
#[cfg(test)]
mod tests;
mod tiles;

use std::ops::Range;

use block::Block;
use source::TILE;

use super::disjoint::Disjoint;
use super::isa::Isa;
use super::pool::Pool;
use super::simd::{LANES, dispatch};

/// Rows of a block: so many that to widen a tile of keys costs little beside its products, and no more, since
/// a block reads all that its last token sees.
const BLOCK: usize = 24;

/// Rows of the mask that one thread looks through at a time.
const LINES: usize = 4;

/// Elements of the mask that are looked at together.
const SPAN: usize = 64;

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

impl Attention {
    /// Query heads that read one key/value head.
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
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

/// The most bytes that [`attend`] takes at a time while `count` tokens ask about `context` positions.
pub(crate) fn attention_bytes(pool: &Pool, shape: &Attention, count: usize, context: usize) -> u64 {
    let rows = shape.group().saturating_mul(count).min(BLOCK) as u64;
    let vectors = shape.head_dim.div_ceil(LANES) as u64;
    let weights = rows.saturating_mul(context as u64 + LANES as u64) * size_of::<f32>() as u64;
    // Queries and sums of the rows, and a tile of keys and one of values.
    let others = 2 * (rows + TILE as u64) * vectors * size_of::<[f32; LANES]>() as u64;
    let visible = (count as u64).saturating_mul(size_of::<Range<usize>>() as u64);
    (pool.threads() as u64).saturating_mul(weights.saturating_add(others)).saturating_add(visible)
}

/// `softmax(scale · q · kᵀ + mask) · v` for each token and head, all in `f32`. Head `h` of token `t` goes to
/// `out[t * out_stride + h * head_dim..][..head_dim]`; what lies between is left alone.
///
/// Positions before the first and behind the last that a token may see are not read, unless others of its
/// block see them. A token that sees none gets NaN. A result depends on the token's query, on its mask and on
/// what it sees, not on the other tokens.
///
/// # Panics
/// When an extent of `shape` is 0, `heads` is no multiple of `kv_heads`, rows of the result overlap, or a
/// buffer ends before the last element that is asked for.
pub(crate) fn attend(
    isa: Isa,
    pool: &Pool,
    shape: &Attention,
    inputs: &Inputs<'_>,
    out: &mut [f32],
    out_stride: usize,
) {
    assert!(shape.heads.is_multiple_of(shape.kv_heads) && shape.head_dim > 0, "whole groups of heads");
    let row = shape.heads * shape.head_dim;
    let last = inputs.queries.count.saturating_sub(1).saturating_mul(out_stride);
    assert!(
        row <= out_stride && last.saturating_add(row) <= out.len(),
        "rows of the result apart and within it"
    );
    let visible = visible(pool, inputs);
    let (group, rows) = (shape.group(), shape.group() * inputs.queries.count);
    // With fewer key/value heads than threads, those that share one read it several times.
    let shares = pool.threads().div_ceil(shape.kv_heads);
    let size = rows.div_ceil(shares).clamp(1, BLOCK);
    let blocks = rows.div_ceil(size);
    let out = Disjoint::new(out);
    pool.run(blocks * shape.kv_heads, &|part| {
        // The last first: they see most, and what takes longest should not begin last.
        let start = (blocks - 1 - part / shape.kv_heads) * size;
        let rows = start..rows.min(start + size);
        let visible = union(&visible[rows.start / group..rows.end.div_ceil(group)]);
        let head = part % shape.kv_heads;
        dispatch(isa, Block { shape, inputs, head, rows, visible, out, out_stride });
    });
}

/// For each token, from the first position that it sees to the last.
fn visible(pool: &Pool, inputs: &Inputs<'_>) -> Vec<Range<usize>> {
    let context = inputs.context;
    let mut visible = vec![0..0; inputs.queries.count];
    pool.for_each_chunk(&mut visible, LINES, &|i, visible| {
        for (j, visible) in visible.iter_mut().enumerate() {
            *visible = extent(&inputs.mask[(i * LINES + j) * context..][..context]);
        }
    });
    visible
}

/// From the first element above minus infinity to the last, empty if there is none.
fn extent(mask: &[f32]) -> Range<usize> {
    let is_hidden = |m: &f32| *m == f32::NEG_INFINITY;
    // Without an early end, which would keep it from being vectorized.
    let are_hidden = |span: &&[f32]| span.iter().fold(true, |all, m| all & is_hidden(m));
    let behind: usize = mask.rchunks(SPAN).take_while(are_hidden).map(<[f32]>::len).sum();
    let end = mask[..mask.len() - behind].iter().rposition(|m| !is_hidden(m)).map_or(0, |last| last + 1);
    let before: usize = mask[..end].chunks(SPAN).take_while(are_hidden).map(<[f32]>::len).sum();
    let start =
        mask[..end].iter().skip(before).position(|m| !is_hidden(m)).map_or(end, |first| before + first);
    start..end
}

/// What any of these sees, from a multiple of eight on: so every position has its lane, whatever is seen.
fn union(visible: &[Range<usize>]) -> Range<usize> {
    let seen = || visible.iter().filter(|v| !v.is_empty());
    let start = seen().map(|v| v.start).min().unwrap_or(0);
    start / LANES * LANES..seen().map(|v| v.end).max().unwrap_or(0)
}
