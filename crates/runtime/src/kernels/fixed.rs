//! Products of palettized weights with activations, in fixed point.
//!
//! # The numbers
//!
//! The entries of a table are multiples of a scale: the largest magnitude of the table over [`MAX`]. So are
//! the activations, with a scale for each block of 256 columns. Both are rounded to nearest, ties to even,
//! and fit 14 bits with their sign.
//! Tables of 256 entries in ascending order are rounded to a coarser grid where that adds little to the noise
//! that they have anyway, see [`super::stepped`]: less than a sixteenth of it, in general a hundredth.
//!
//! Within a block, the products are summed in eight lanes of `i32`. Column `c` belongs to lane
//! `c / 32 % 2 * 4 + c / 4 % 4`: 32 products of at most `MAX²` to a lane, so that no sum overflows and none
//! depends on the order. A lane's sum times the scale of the block is added, block after block, to a lane
//! of `f32`, and an element of the result is
//!
//! ```text
//! scale of the table · (((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7)))
//! ```
//!
//! with no multiplication fused with an addition. So all sets of instructions give the same bits, and so do
//! one row of activations and many, at any number of threads.
//!
//! # What is lost
//!
//! * A block of activations with an infinity or NaN has the scale NaN: every result of its row is NaN, also where
//!   IEEE 754 would give an infinity.
//! * The scale is that of the largest magnitude of the block, so what is at most half of it, 1/16382 of the largest,
//!   counts as zero. One outlier takes the small activations of its block away, and no others.
//! * So it is with the entries of a table; of fp16, the largest over the smallest may be more than 16382.
//! * A block of which the largest is below the smallest normal f32 times [`MAX`], 9.6e-35, counts as zeros.
#![allow(
    unsafe_code,
    reason = "kernels read packed indices through pointers, with one machine's instructions"
)]
#![allow(
    clippy::needless_range_loop,
    reason = "iterators and closures over registers are not always inlined"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod generic;
#[cfg(target_arch = "aarch64")]
mod neon;

use std::ops::Range;

use super::disjoint::Disjoint;
use super::isa::Isa;
use super::matrix::Palette;
use super::rows::{BLOCK, CHUNK, Rows};

/// The largest magnitude in fixed point: 32 products of two such numbers are below 2^31.
pub(super) const MAX: f32 = 8191.0;

/// Lanes of a sum.
pub(super) const LANES: usize = 8;

/// Rows of weights whose activations go by together, where there are many.
const PANEL: usize = 8;

/// Rows of activations that go by together.
const TOKENS: usize = 64;

/// Bytes of a line of the cache.
const LINE: usize = 64;

/// How many bytes ahead indices are asked for.
const AHEAD: usize = 2048;

/// The most rows of activations for which weights are not stored in between.
const THIN: usize = 4;

/// Rows of a matrix, to be multiplied with all rows of activations.
pub(super) struct Tile<'a> {
    /// The weights.
    pub(super) palette: &'a Palette,
    /// Which rows of the weights.
    pub(super) rows: Range<usize>,
    /// The activations.
    pub(super) x: &'a Rows,
    /// Where the results go: element `[token, row]` to `token * stride + row`.
    pub(super) out: Disjoint<'a, f32>,
    /// Rows of the whole matrix.
    pub(super) stride: usize,
}

/// What the product needs of a set of instructions, for indices of one width.
///
/// # Safety
/// The functions may be called only where the instructions are there.
trait Vectors {
    /// Width of an index.
    const BITS: u32;

    /// Numbers of a vector.
    const WIDTH: usize;

    /// A table, as the lookups want it.
    type Table;

    /// [`Vectors::WIDTH`] numbers of 16 bits.
    type Vector: Copy;

    /// The indices of a chunk, on the way to their entries.
    type Indices: Copy;

    /// The numbers of a chunk, in the order of the set.
    type Words: AsRef<[Self::Vector]>;

    /// Eight sums of 32 bits, or parts that add up to them.
    type Sums: Copy;

    /// Whether tables are taken from [`Palette::stepped`], and not from planes.
    const STEPPED: bool = false;

    /// Takes a table from its bytes.
    unsafe fn table(bytes: &[u8]) -> Self::Table;

    /// Reads the indices of a chunk: the `8 * BITS` bytes at `from`.
    unsafe fn split(from: *const u8) -> Self::Indices;

    /// The entries for the indices.
    unsafe fn words(table: &Self::Table, indices: Self::Indices) -> Self::Words;

    /// The bits of these words in the order of the columns.
    unsafe fn natural(words: Self::Words) -> [u16; CHUNK];

    /// Reads a vector; `from` may have any alignment.
    unsafe fn load(from: *const i16) -> Self::Vector;

    /// Writes a vector; `to` may have any alignment.
    unsafe fn store(vector: Self::Vector, to: *mut i16);

    /// Sums of nothing.
    unsafe fn zero() -> Self::Sums;

    /// `sums` and the products of `a` and `b`.
    unsafe fn add_products(sums: Self::Sums, a: Self::Vector, b: Self::Vector) -> Self::Sums;

    /// Adds to each of `totals` its sum times `scale`.
    unsafe fn add_scaled(totals: &mut [f32; LANES], sums: Self::Sums, scale: f32);

    /// Asks for the line of the cache at `address`, which may be anywhere.
    unsafe fn prefetch(address: *const u8);

    /// The values of fp16 numbers.
    unsafe fn widen(bits: &[u16; CHUNK], out: &mut [f32; CHUNK]);
}

/// Calls a function of the module of `isa`, made for `bits`.
macro_rules! dispatch {
    ($isa:expr, $bits:expr, $function:ident $arguments:tt) => {
        match $isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => by_bits!($bits, avx2::$function $arguments),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => by_bits!($bits, avx512::$function $arguments),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => by_bits!($bits, neon::$function $arguments),
            _ => by_bits!($bits, generic::$function $arguments),
        }
    };
}

/// Calls a function of a module, made for `bits`.
macro_rules! by_bits {
    ($bits:expr, $module:ident::$function:ident $arguments:tt) => {
        match $bits {
            1 => $module::$function::<1> $arguments,
            2 => $module::$function::<2> $arguments,
            3 => $module::$function::<3> $arguments,
            4 => $module::$function::<4> $arguments,
            6 => $module::$function::<6> $arguments,
            _ => $module::$function::<8> $arguments,
        }
    };
}

/// Multiplies the rows of `tile` with all rows of activations.
///
/// # Safety
/// Nobody else accesses the results of these rows.
///
/// # Panics
/// When the activations were prepared for another set than `isa`, or the machine does not have the set.
pub(super) unsafe fn multiply(isa: Isa, tile: &Tile<'_>) {
    assert!(isa.is_here() && tile.x.isa() == isa, "{isa:?} where there is none, or other activations");
    // SAFETY: the machine has the set, and the results are the caller's.
    unsafe { dispatch!(isa, tile.palette.bits, multiply(tile)) }
}

/// Writes rows from `first` on with the values of the fp16 entries.
///
/// # Panics
/// When the machine does not have the set.
pub(super) fn unpack(isa: Isa, palette: &Palette, columns: usize, first: usize, out: &mut [f32]) {
    assert!(isa.is_here(), "{isa:?} where there is none");
    // SAFETY: the machine has the set.
    unsafe { dispatch!(isa, palette.bits, unpack(palette, columns, first, out)) }
}

/// The column of each place of a chunk of activations, as the vectors of `isa` find their weights.
pub(super) fn order(isa: Isa) -> &'static [u8; CHUNK] {
    match isa {
        Isa::Generic | Isa::Avx2 | Isa::Avx512 => &PAIRS,
        Isa::Neon => &FOURS,
    }
}

/// The order in which two neighbours belong to one lane: even columns before odd ones, of each half of the
/// chunk eight at a time.
const PAIRS: [u8; CHUNK] = {
    let mut order = [0; CHUNK];
    let mut i = 0;
    while i < CHUNK {
        let (vector, half, element) = (i / 16, i / 8 % 2, i % 8);
        order[i] = (32 * half + 16 * (vector % 2) + 2 * element + vector / 2) as u8;
        i += 1;
    }
    order
};

/// The order in which eight numbers in a row belong to four lanes, twice: the first of every four columns
/// of a half, then the third, the second and the fourth, that is, even columns before odd ones.
const FOURS: [u8; CHUNK] = {
    let mut order = [0; CHUNK];
    let mut i = 0;
    while i < CHUNK {
        let (half, element) = (i / 8 % 2, i % 8);
        order[i] = (32 * half + 4 * element + [0, 2, 1, 3][i / 16]) as u8;
        i += 1;
    }
    order
};

/// Rows of indices, each with a chunk more than it has: what is behind its own are others, and as activations
/// are zero there, an index of any entry serves.
struct Indices<'a> {
    all: &'a [u8],
    row_bytes: usize,
    /// The bytes of a row up to the end of its last chunk, and of a chunk more.
    len: usize,
    /// A copy of a row that has not so much behind it.
    padded: Vec<u8>,
}

impl<'a> Indices<'a> {
    #[inline(always)]
    fn new<V: Vectors>(palette: &'a Palette, columns: usize) -> Indices<'a> {
        let len = (columns.div_ceil(CHUNK) + 1) * chunk_bytes::<V>();
        Indices { all: &palette.indices, row_bytes: palette.row_bytes, len, padded: Vec::new() }
    }

    /// The indices of row `row`.
    #[inline(always)]
    fn row(&mut self, row: usize) -> &[u8] {
        let rest = &self.all[row * self.row_bytes..];
        if let Some(row) = rest.get(..self.len) {
            return row;
        }
        self.padded.clear();
        self.padded.extend_from_slice(&rest[..self.row_bytes]);
        self.padded.resize(self.len, 0);
        &self.padded
    }
}

/// Bytes of the indices of a chunk.
#[inline(always)]
const fn chunk_bytes<V: Vectors>() -> usize {
    CHUNK / 8 * V::BITS as usize
}

/// [`multiply`] with the instructions of `V`.
#[inline(always)]
unsafe fn multiply_with<V: Vectors>(tile: &Tile<'_>) {
    // SAFETY: the caller has the instructions and the results.
    unsafe {
        match tile.x.count() {
            0 => {}
            1 => thin::<V, 1>(tile),
            2 => thin::<V, 2>(tile),
            3 => thin::<V, 3>(tile),
            THIN => thin::<V, THIN>(tile),
            _ => wide::<V>(tile),
        }
    }
}

/// The product with `T` rows of activations: each chunk of weights is used as soon as it is looked up.
#[inline(always)]
unsafe fn thin<V: Vectors, const T: usize>(tile: &Tile<'_>) {
    let palette = tile.palette;
    let mut indices = Indices::new::<V>(palette, tile.x.columns());
    let blocks: Vec<Block<'_, T>> = (0..tile.x.blocks()).map(|block| Block::new(tile.x, block)).collect();
    let mut row = tile.rows.start;
    while row < tile.rows.end {
        let group = row / palette.rows_per_table;
        let end = ((group + 1) * palette.rows_per_table).min(tile.rows.end);
        // SAFETY: the caller has the instructions and the results.
        unsafe {
            let table = V::table(table_bytes::<V>(palette, group));
            for row in row..end {
                let totals = row_totals::<V, T>(&table, indices.row(row), &blocks);
                for token in 0..T {
                    tile.out.set(token * tile.stride + row, palette.scales[group] * total(totals[token]));
                }
            }
        }
        row = end;
    }
}

/// The bytes of table `group`, in the form that `V` takes.
#[inline(always)]
fn table_bytes<V: Vectors>(palette: &Palette, group: usize) -> &[u8] {
    match &palette.stepped {
        Some(stepped) if V::STEPPED => stepped.table(group),
        _ => palette.fixed.table(group),
    }
}

/// The lanes of one row of weights with each row of activations.
#[inline(always)]
unsafe fn row_totals<V: Vectors, const T: usize>(
    table: &V::Table,
    indices: &[u8],
    blocks: &[Block<'_, T>],
) -> [[f32; LANES]; T] {
    let mut totals = [[0f32; LANES]; T];
    // SAFETY: the caller has the instructions, and the indices of all chunks and one more.
    unsafe {
        let mut from = indices.as_ptr();
        // Indices are read one chunk ahead: many of the steps from them to a sum wait for the one before.
        let mut ahead = V::split(from);
        for block in blocks {
            for line in 0..BLOCK / CHUNK * chunk_bytes::<V>() / LINE {
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
            for token in 0..T {
                V::add_scaled(&mut totals[token], sums[token], block.scales[token]);
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

/// Block `block` of `T` rows of activations from `first` on.
#[inline(always)]
fn tokens<const T: usize>(x: &Rows, block: usize, first: usize) -> [&[i16; BLOCK]; T] {
    let mut tokens = [x.fixed(block, first); T];
    for token in 1..T {
        tokens[token] = x.fixed(block, first + token);
    }
    tokens
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

/// The product with many rows of activations: a panel of weights is looked up once, block by block.
#[inline(always)]
unsafe fn wide<V: Vectors>(tile: &Tile<'_>) {
    let mut panel = Panel([[0; BLOCK]; PANEL]);
    for first in tile.rows.clone().step_by(PANEL) {
        let rows = first..(first + PANEL).min(tile.rows.end);
        for token in (0..tile.x.count()).step_by(TOKENS) {
            let tokens = token..(token + TOKENS).min(tile.x.count());
            let mut totals = Totals([[[0.0; LANES]; PANEL]; TOKENS]);
            for block in 0..tile.x.blocks() {
                // SAFETY: the caller has the instructions.
                unsafe {
                    look_up::<V>(tile, rows.clone(), block, &mut panel);
                    multiply_panel::<V>(&panel.0, tile.x, block, tokens.clone(), &mut totals.0);
                }
            }
            for (token, totals) in tokens.zip(&totals.0) {
                for (row, lanes) in rows.clone().zip(totals) {
                    let scale = tile.palette.scales[row / tile.palette.rows_per_table];
                    // SAFETY: the results of these rows are the caller's.
                    unsafe { tile.out.set(token * tile.stride + row, scale * total(*lanes)) };
                }
            }
        }
    }
}

/// A block of some rows of weights, in the order of the set; aligned, for loads across two lines of the cache
/// take twice as long.
#[repr(align(64))]
struct Panel([[i16; BLOCK]; PANEL]);

/// The lanes for each row of activations and of a panel.
#[repr(align(64))]
struct Totals([[[f32; LANES]; PANEL]; TOKENS]);

/// Writes the weights of one block of some rows, up to the last chunk in which there are columns.
#[inline(always)]
unsafe fn look_up<V: Vectors>(tile: &Tile<'_>, rows: Range<usize>, block: usize, panel: &mut Panel) {
    let palette = tile.palette;
    let mut indices = Indices::new::<V>(palette, tile.x.columns());
    let mut row = rows.start;
    while row < rows.end {
        let group = row / palette.rows_per_table;
        let end = ((group + 1) * palette.rows_per_table).min(rows.end);
        // SAFETY: the caller has the instructions, and a chunk has as many vectors as `words`.
        unsafe {
            let table = V::table(table_bytes::<V>(palette, group));
            for row in row..end {
                let from = indices.row(row)[block * (BLOCK / CHUNK) * chunk_bytes::<V>()..].as_ptr();
                for chunk in 0..tile.x.chunks(block) {
                    let words = V::words(&table, V::split(from.add(chunk * chunk_bytes::<V>())));
                    let out = &mut panel.0[row - rows.start][chunk * CHUNK..][..CHUNK];
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
    panel: &[[i16; BLOCK]; PANEL],
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
    panel: &[[i16; BLOCK]; PANEL],
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
                let mut weights = [V::load(panel[at * ROWS].as_ptr().add(k * V::WIDTH)); ROWS];
                for row in 1..ROWS {
                    weights[row] = V::load(panel[at * ROWS + row].as_ptr().add(k * V::WIDTH));
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
                    V::add_scaled(totals, sums[token][row], x.scale(block, first + token));
                }
            }
        }
    }
}

/// The sum of the lanes, in a tree.
#[inline(always)]
pub(super) fn total([a, b, c, d, e, f, g, h]: [f32; LANES]) -> f32 {
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// [`unpack`] with the instructions of `V`.
#[inline(always)]
unsafe fn unpack_with<V: Vectors>(palette: &Palette, columns: usize, first: usize, out: &mut [f32]) {
    let (mut table, mut indices) = (None, Indices::new::<V>(palette, columns));
    for (row, out) in (first..).zip(out.chunks_exact_mut(columns)) {
        let group = row / palette.rows_per_table;
        let indices = indices.row(row);
        // SAFETY: the caller has the instructions, and `indices` those of all chunks.
        unsafe {
            if table.as_ref().is_none_or(|(of, _)| *of != group) {
                table = Some((group, V::table(palette.halves.table(group))));
            }
            let Some((_, table)) = &table else { return };
            let (whole, rest) = out.as_chunks_mut::<CHUNK>();
            for (chunk, out) in whole.iter_mut().enumerate() {
                let indices = V::split(indices[chunk * chunk_bytes::<V>()..].as_ptr());
                V::widen(&V::natural(V::words(table, indices)), out);
            }
            if !rest.is_empty() {
                let mut last = [0f32; CHUNK];
                let indices = V::split(indices[whole.len() * chunk_bytes::<V>()..].as_ptr());
                V::widen(&V::natural(V::words(table, indices)), &mut last);
                rest.copy_from_slice(&last[..rest.len()]);
            }
        }
    }
}
