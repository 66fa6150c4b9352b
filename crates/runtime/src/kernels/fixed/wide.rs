//! Products with many rows of activations.

use std::ops::Range;

use super::{BLOCK, CHUNK, Chunks, LANES, Rows, Source, Tile, Vectors, chunk_bytes, tokens, total};

/// Rows of weights whose activations go by together, where there are many.
const PANEL: usize = 8;

/// Rows of activations that go by together.
const TOKENS: usize = 64;

/// The product with many rows of activations: a panel of weights is looked up once, block by block.
#[inline(always)]
pub(super) unsafe fn wide<V: Vectors>(tile: &Tile<'_>) {
    let source = Source::of::<V>(tile.palette);
    let mut panel = Panel { words: [[0; BLOCK]; PANEL], scales: [0.0; PANEL] };
    for first in tile.rows.clone().step_by(PANEL) {
        let rows = first..(first + PANEL).min(tile.rows.end);
        for token in (0..tile.x.count()).step_by(TOKENS) {
            let tokens = token..(token + TOKENS).min(tile.x.count());
            let mut totals = Totals([[[0.0; LANES]; PANEL]; TOKENS]);
            for block in 0..tile.x.blocks() {
                // SAFETY: the caller has the instructions.
                unsafe {
                    look_up::<V>(source, tile.x, rows.clone(), block, &mut panel);
                    multiply_panel::<V>(&panel, tile.x, block, tokens.clone(), &mut totals.0);
                }
            }
            for (token, totals) in tokens.zip(&totals.0) {
                for (row, lanes) in rows.clone().zip(totals) {
                    // SAFETY: the results of these rows are the caller's.
                    unsafe { tile.out.set(token * tile.stride + row, source.row_scale(row) * total(*lanes)) };
                }
            }
        }
    }
}

/// A block of some rows of weights, in the order of the set; aligned, for loads across two lines of the cache
/// take twice as long.
#[repr(align(64))]
struct Panel {
    words: [[i16; BLOCK]; PANEL],
    /// What one is worth in each row.
    scales: [f32; PANEL],
}

/// The lanes for each row of activations and of a panel.
#[repr(align(64))]
struct Totals([[[f32; LANES]; PANEL]; TOKENS]);

/// Writes the weights of one block of some rows, up to the last chunk in which there are columns.
#[inline(always)]
unsafe fn look_up<V: Vectors>(
    source: Source<'_>,
    x: &Rows,
    rows: Range<usize>,
    block: usize,
    panel: &mut Panel,
) {
    let mut chunks = Chunks::new::<V>(source.chunks(), x.columns());
    let mut row = rows.start;
    while row < rows.end {
        let end = source.alike(row, rows.end);
        // SAFETY: the caller has the instructions, and a chunk has as many vectors as `words`.
        unsafe {
            let table = V::table(source.table(row));
            for row in row..end {
                panel.scales[row - rows.start] = source.block_scale(row, block);
                let from = chunks.row(row)[block * (BLOCK / CHUNK) * chunk_bytes::<V>()..].as_ptr();
                for chunk in 0..x.chunks(block) {
                    let words = V::words(&table, V::split(from.add(chunk * chunk_bytes::<V>())));
                    let out = &mut panel.words[row - rows.start][chunk * CHUNK..][..CHUNK];
                    for i in 0..CHUNK / V::WIDTH {
                        V::store(words.as_ref()[i], out.as_mut_ptr().add(i * V::WIDTH));
                    }
                }
            }
        }
        row = end;
    }
}

/// Adds the products of one block of a panel of weights with rows of activations.
#[inline(always)]
unsafe fn multiply_panel<V: Vectors>(
    panel: &Panel,
    x: &Rows,
    block: usize,
    tokens: Range<usize>,
    totals: &mut [[[f32; LANES]; PANEL]; TOKENS],
) {
    let first = tokens.start;
    let (pairs, last) = totals[..tokens.len()].as_chunks_mut::<2>();
    for (i, totals) in pairs.iter_mut().enumerate() {
        // SAFETY: the caller has the instructions.
        unsafe { multiply_block::<V, 2>(panel, x, block, first + 2 * i, totals) };
    }
    for totals in last.as_chunks_mut::<1>().0 {
        // SAFETY: as above.
        unsafe { multiply_block::<V, 1>(panel, x, block, tokens.end - 1, totals) };
    }
}

/// Adds the products of one block of a panel of weights with `T` rows of activations.
#[inline(always)]
unsafe fn multiply_block<V: Vectors, const T: usize>(
    panel: &Panel,
    x: &Rows,
    block: usize,
    first: usize,
    totals: &mut [[[f32; LANES]; PANEL]; T],
) {
    const ROWS: usize = 4;
    let xs = tokens::<T>(x, block, first);
    // Were the number of steps known, all would be unrolled, and registers would not suffice.
    let steps = x.chunks(block) * (CHUNK / V::WIDTH);
    for at in 0..PANEL / ROWS {
        // SAFETY: the caller has the instructions; all blocks have BLOCK numbers.
        unsafe {
            let mut sums = [[V::zero(); ROWS]; T];
            for k in 0..steps {
                let mut weights = [V::load(panel.words[at * ROWS].as_ptr().add(k * V::WIDTH)); ROWS];
                for row in 1..ROWS {
                    weights[row] = V::load(panel.words[at * ROWS + row].as_ptr().add(k * V::WIDTH));
                }
                for token in 0..T {
                    let x = V::load(xs[token].as_ptr().add(k * V::WIDTH));
                    for row in 0..ROWS {
                        sums[token][row] = V::add_products(sums[token][row], weights[row], x);
                    }
                }
            }
            for token in 0..T {
                for row in 0..ROWS {
                    let totals = &mut totals[token][at * ROWS + row];
                    let scale = panel.scales[at * ROWS + row] * x.scale(block, first + token);
                    V::add_scaled(totals, sums[token][row], scale);
                }
            }
        }
    }
}
