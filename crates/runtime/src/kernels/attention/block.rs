//! The attention of some rows: queries of several tokens, of all heads that read the same keys and values.
#![allow(unsafe_code, reason = "blocks on different threads write different rows of one result")]

use std::ops::Range;

use super::softmax::weigh;
use super::source::{InPlace, Source, TILE, Widened};
use super::tiles::{ROWS, accumulate, score};
use super::{Attention, Cache, Inputs};
use crate::kernels::disjoint::Disjoint;
use crate::kernels::simd::{Kernel, LANES, Simd};

/// Rows of one key/value head, computed by one thread.
pub(super) struct Block<'a> {
    pub(super) shape: &'a Attention,
    pub(super) inputs: &'a Inputs<'a>,
    /// The key/value head.
    pub(super) head: usize,
    /// The rows: row `r` is query head `r % group` of those that read `head`, of token `r / group`.
    pub(super) rows: Range<usize>,
    /// Where the positions are that any of the tokens sees; begins at a multiple of eight.
    pub(super) visible: Range<usize>,
    /// The result, of which no other block has the same rows of the same head.
    pub(super) out: Disjoint<'a, f32>,
    pub(super) out_stride: usize,
}

impl Kernel for Block<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let dim = self.shape.head_dim;
        let (keys, values) = (self.filled(self.inputs.keys), self.filled(self.inputs.values));
        // To widen a tile first costs as much as to read it three times.
        let in_place = InPlace::new(keys, dim).zip(InPlace::new(values, dim));
        match in_place.filter(|_| self.rows.len() <= ROWS) {
            Some((keys, values)) => self.attend(simd, keys, values),
            None => self.attend(simd, Widened::new(keys, dim), Widened::new(values, dim)),
        }
    }
}

impl Block<'_> {
    #[inline(always)]
    fn attend<S: Simd, T: Source>(&self, simd: S, mut keys: T, mut values: T) {
        let vectors = self.shape.head_dim.div_ceil(LANES);
        let width = self.visible.len().next_multiple_of(LANES);
        let queries = self.queries(vectors);
        let mut weights = vec![0.0; self.rows.len() * width];
        for (start, positions) in self.tiles() {
            score(simd, &queries, keys.tile(simd, positions), &mut weights, width, start);
        }
        let totals = self.weigh(&mut weights, width);
        let mut sums = vec![[0.0; LANES]; self.rows.len() * vectors];
        for (start, positions) in self.tiles() {
            accumulate(simd, &weights, width, start, values.tile(simd, positions), &mut sums);
        }
        self.write(sums.chunks_exact(vectors).zip(totals));
    }

    /// The positions of the head that may be read.
    fn filled<'c>(&self, cache: Cache<'c>) -> &'c [u16] {
        &cache.data[self.head * cache.head_stride..][..self.visible.end * self.shape.head_dim]
    }

    /// The visible positions in tiles, each with its distance from the first of all.
    fn tiles(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let Range { start, end } = self.visible;
        (start..end).step_by(TILE).map(move |first| (first - start, first..end.min(first + TILE)))
    }

    /// The token and the query head of each row.
    fn askers(&self) -> impl Iterator<Item = (usize, usize)> {
        let (group, head) = (self.shape.group(), self.head);
        self.rows.clone().map(move |row| (row / group, head * group + row % group))
    }

    /// The queries of the rows, each with zeros up to whole vectors.
    fn queries(&self, vectors: usize) -> Vec<[f32; LANES]> {
        let queries = self.inputs.queries;
        let mut rows = vec![[0.0; LANES]; self.rows.len() * vectors];
        for ((token, head), row) in self.askers().zip(rows.chunks_exact_mut(vectors)) {
            let query = &queries.data[token * queries.token_stride + head * queries.head_stride..];
            row.as_flattened_mut()[..self.shape.head_dim].copy_from_slice(&query[..self.shape.head_dim]);
        }
        rows
    }

    /// Turns the products of each row, of `width`, into weights; returns their sums.
    #[inline(always)]
    fn weigh(&self, weights: &mut [f32], width: usize) -> Vec<f32> {
        let mut totals = Vec::with_capacity(self.rows.len());
        for (i, (token, _)) in self.askers().enumerate() {
            let mask = &self.inputs.mask[token * self.inputs.context..][self.visible.clone()];
            totals.push(weigh(&mut weights[i * width..][..width], mask, self.shape.scale));
        }
        totals
    }

    /// Divides the sums of each row by the sum of its weights.
    #[inline(always)]
    fn write<'r>(&self, rows: impl Iterator<Item = (&'r [[f32; LANES]], f32)>) {
        let dim = self.shape.head_dim;
        for ((token, head), (sums, total)) in self.askers().zip(rows) {
            let start = token * self.out_stride + head * dim;
            // SAFETY: no other block has this row, and those of one block are written one after the other.
            let out = unsafe { self.out.part(start..start + dim) };
            out.iter_mut().zip(sums.as_flattened()).for_each(|(out, sum)| *out = sum / total);
        }
    }
}
