//! Products with few rows of activations.

use super::{BLOCK, CHUNK, Chunks, LANES, Rows, Source, Tile, Vectors, chunk_bytes, tokens, total};

/// Bytes of a line of the cache.
const LINE: usize = 64;

/// How many bytes ahead indices are asked for.
const AHEAD: usize = 2048;

/// The product with `T` rows of activations: each chunk of weights is used as soon as it is looked up.
#[inline(always)]
pub(super) unsafe fn thin<V: Vectors, const T: usize>(tile: &Tile<'_>) {
    let source = Source::of::<V>(tile.palette);
    let mut chunks = Chunks::new::<V>(source.chunks(), tile.x.columns());
    let blocks: Vec<Block<'_, T>> = (0..tile.x.blocks()).map(|block| Block::new(tile.x, block)).collect();
    let mut row = tile.rows.start;
    while row < tile.rows.end {
        let end = source.alike(row, tile.rows.end);
        // SAFETY: the caller has the instructions and the results.
        unsafe {
            let table = V::table(source.table(row));
            for row in row..end {
                let scale = |block| source.block_scale(row, block);
                let totals = row_totals::<V, T>(&table, chunks.row(row), &blocks, scale);
                for token in 0..T {
                    tile.out.set(token * tile.stride + row, source.row_scale(row) * total(totals[token]));
                }
            }
        }
        row = end;
    }
}

/// The lanes of one row of weights with each row of activations.
#[inline(always)]
unsafe fn row_totals<V: Vectors, const T: usize>(
    table: &V::Table,
    chunks: &[u8],
    blocks: &[Block<'_, T>],
    scale: impl Fn(usize) -> f32,
) -> [[f32; LANES]; T] {
    let mut totals = [[0f32; LANES]; T];
    // SAFETY: the caller has the instructions, and all chunks and one more.
    unsafe {
        let mut from = chunks.as_ptr();
        // Chunks are read one ahead: many of the steps from them to a sum wait for the one before.
        let mut ahead = V::split(from);
        for (i, block) in blocks.iter().enumerate() {
            for line in 0..(BLOCK / CHUNK * chunk_bytes::<V>()).div_ceil(LINE) {
                // Rows follow each other, so what is ahead is the next ones.
                V::prefetch(from.wrapping_add(AHEAD + line * LINE));
            }
            let mut sums = [V::zero(); T];
            for chunk in 0..block.chunks {
                let here = ahead;
                from = from.add(chunk_bytes::<V>());
                ahead = V::split(from);
                add_chunk::<V, T>(&mut sums, &V::words(table, here), block.xs, chunk);
            }
            let scale = scale(i);
            for token in 0..T {
                V::add_scaled(&mut totals[token], sums[token], scale * block.scales[token]);
            }
        }
    }
    totals
}

/// A block of `T` rows of activations.
struct Block<'a, const T: usize> {
    xs: [&'a [i16; BLOCK]; T],
    scales: [f32; T],
    /// The chunks in which there are columns.
    chunks: usize,
}

impl<'a, const T: usize> Block<'a, T> {
    fn new(x: &'a Rows, block: usize) -> Block<'a, T> {
        let mut scales = [0.0; T];
        for token in 0..T {
            scales[token] = x.scale(block, token);
        }
        Block { xs: tokens(x, block, 0), scales, chunks: x.chunks(block) }
    }
}

/// Adds the products of the words of chunk `chunk` with it.
#[inline(always)]
unsafe fn add_chunk<V: Vectors, const T: usize>(
    sums: &mut [V::Sums; T],
    words: &V::Words,
    xs: [&[i16; BLOCK]; T],
    chunk: usize,
) {
    let words = words.as_ref();
    for token in 0..T {
        for i in 0..CHUNK / V::WIDTH {
            // SAFETY: a chunk has as many vectors as `words`, a block has the chunk, and the caller the
            // instructions.
            unsafe {
                let x = V::load(xs[token].as_ptr().add(chunk * CHUNK + i * V::WIDTH));
                sums[token] = V::add_products(sums[token], words[i], x);
            }
        }
    }
}
