//! Where tiles come from: the cache itself, or a copy of it in `f32` that many rows read.

use std::ops::Range;

use super::tiles::{Stored, Tile};
use crate::kernels::fp16::widened;
use crate::kernels::simd::{LANES, Simd};

/// Positions of the largest tile: with usual heads, keys that fill half of the nearest cache. A multiple of eight.
pub(super) const TILE: usize = 32;

/// The keys or the values of one head.
pub(super) trait Source {
    /// What tiles are made of.
    type Stored: Stored;

    /// The tile of these positions, at most [`TILE`].
    fn tile<S: Simd>(&mut self, simd: S, positions: Range<usize>) -> Tile<'_, Self::Stored>;
}

/// Rows of fp16 that are whole vectors, read where they are.
pub(super) struct InPlace<'a> {
    data: &'a [[u16; LANES]],
    vectors: usize,
}

impl<'a> InPlace<'a> {
    /// The rows in `data`, if they are whole vectors.
    pub(super) fn new(data: &'a [u16], dim: usize) -> Option<InPlace<'a>> {
        dim.is_multiple_of(LANES).then_some(InPlace { data: data.as_chunks().0, vectors: dim / LANES })
    }
}

impl Source for InPlace<'_> {
    type Stored = u16;

    #[inline(always)]
    fn tile<S: Simd>(&mut self, _: S, positions: Range<usize>) -> Tile<'_, u16> {
        let data = &self.data[positions.start * self.vectors..positions.end * self.vectors];
        Tile { data, vectors: self.vectors }
    }
}

/// Rows of fp16 that are widened a tile at a time, with zeros up to whole vectors.
pub(super) struct Widened<'a> {
    data: &'a [u16],
    dim: usize,
    wide: Vec<[f32; LANES]>,
}

impl<'a> Widened<'a> {
    /// The rows of `dim` numbers in `data`.
    pub(super) fn new(data: &'a [u16], dim: usize) -> Widened<'a> {
        Widened { data, dim, wide: vec![[0.0; LANES]; TILE * dim.div_ceil(LANES)] }
    }
}

impl Source for Widened<'_> {
    type Stored = f32;

    #[inline(always)]
    fn tile<S: Simd>(&mut self, simd: S, positions: Range<usize>) -> Tile<'_, f32> {
        let vectors = self.dim.div_ceil(LANES);
        let wide = &mut self.wide[..positions.len() * vectors];
        let rows = &self.data[positions.start * self.dim..positions.end * self.dim];
        for (row, wide) in rows.chunks_exact(self.dim).zip(wide.chunks_exact_mut(vectors)) {
            let (body, tail) = row.as_chunks();
            for (from, to) in body.iter().zip(&mut *wide) {
                simd.store(simd.load_fp16(from), to);
            }
            if let Some(last) = wide.get_mut(body.len()) {
                last.iter_mut().zip(tail).for_each(|(to, from)| *to = widened(*from));
            }
        }
        Tile { data: wide, vectors }
    }
}
