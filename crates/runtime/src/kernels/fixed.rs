//! Products of palettized weights with activations, in fixed point.
//!
//! # The numbers
//!
//! The entries of a table are multiples of a scale: the largest magnitude of the table over [`MAX`]. So are
//! the activations, with a scale for each block of 256 columns. Both are rounded to nearest, ties to even,
//! and fit 14 bits with their sign.
//! Where instructions would take long to look up entries, weights of 8 bits are [levels](super::levels) of a grid
//! instead, with a scale for each block of a row.
//!
//! Within a block, the products are summed in eight lanes of `i32`. Column `c` belongs to lane
//! `c / 32 % 2 * 4 + c / 4 % 4`: 32 products of at most `MAX²` to a lane, so that no sum overflows and none
//! depends on the order. A lane's sum times the scale of the block, which levels have their own part in, is added, block
//! after block, to a lane of `f32`, and an element of the result is
//!
//! ```text
//! scale of the table · (((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7)))
//! ```
//!
//! with no multiplication fused with an addition. So all sets of instructions give the same bits for the same form of
//! weights, and so do one row of activations and many, at any number of threads.
//!
//! # What is lost
//!
//! * A block of activations with an infinity or NaN has the scale NaN: every result of its row is NaN, also where
//!   IEEE 754 would give an infinity.
//! * The scale is that of the largest magnitude of the block, so what is at most half of it, 1/16382 of the largest,
//!   counts as zero. One outlier takes the small activations of its block away, and no others.
//! * So it is with the entries of a table; of fp16, the largest over the smallest may be more than 16382.
//! * A block of which the largest is below the smallest normal f32 times [`MAX`], 9.6e-35, counts as zeros.
//! * Activations above some 1e29 may overflow to an infinity in the sum of a block, where the whole sum would not.
//! * Where there is no memory for levels, entries are looked up: the results are nearer to those of the weights as they are
//!   stored, and not the same to the bit.
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
mod indices;
#[cfg(target_arch = "aarch64")]
mod neon;
mod thin;
mod wide;

use std::ops::Range;

use indices::{Chunks, chunk_bytes};
use thin::thin;
use wide::wide;

use super::disjoint::Disjoint;
use super::isa::Isa;
use super::levels::{self, LEVEL_BITS, Levels};
use super::matrix::{Fixed, Palette, Prepared};
use super::rows::{BLOCK, CHUNK, Rows};

/// The largest magnitude in fixed point: 32 products of two such numbers are below 2^31.
pub(super) const MAX: f32 = 8191.0;

/// Lanes of a sum.
pub(super) const LANES: usize = 8;

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

/// What chunks hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stored {
    /// Indices as they are stored.
    Indices,
    /// Indices as [`Prepared::Apart`] has them.
    Apart,
    /// [`Prepared::Levels`].
    OnGrid,
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

    /// What the chunks hold.
    const FORM: Stored = if Self::BITS == LEVEL_BITS { Stored::OnGrid } else { Stored::Indices };

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
    unsafe {
        match (isa, tile.palette.prepared.get()) {
            (Isa::Generic, Some(Prepared::Levels(_))) => generic::multiply::<LEVEL_BITS>(tile),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, Some(Prepared::Levels(_))) => avx2::multiply_levels(tile),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, Some(Prepared::Apart(_))) => avx2::multiply_apart(tile),
            _ => dispatch!(isa, tile.palette.bits, multiply(tile)),
        }
    }
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

/// Writes the indices of 6 bits of rows from `first` on as [`Apart`](super::apart::Apart) has them.
///
/// # Panics
/// When the machine has no AVX2.
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "there is no AVX2"))]
pub(super) fn take_apart(palette: &Palette, columns: usize, first: usize, out: &mut [u8]) {
    assert!(Isa::Avx2.is_here(), "{:?} where there is none", Isa::Avx2);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the machine has the set.
    unsafe {
        avx2::take_apart(palette, columns, first, out);
    }
}

/// Writes a chunk of levels, with AVX2 where there is such.
#[inline(always)]
pub(super) fn pack_levels(weights: &[f32; CHUNK], per_step: f32, bytes: &mut [u8; levels::CHUNK_BYTES]) {
    #[cfg(target_arch = "x86_64")]
    if Isa::Avx2.is_here() {
        // SAFETY: the machine has the set.
        return unsafe { avx2::pack_levels(weights, per_step, bytes) };
    }
    levels::pack_plainly(weights, per_step, bytes);
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

/// What is multiplied for the rows of a tile.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// Indices into tables, of which each is for some rows; as they are stored or taken apart.
    Tables {
        chunks: RowBytes<'a>,
        tables: &'a Fixed,
        rows_per_table: usize,
    },
    Grid(&'a Levels),
}

/// The bytes of a matrix, and how many of them a row has.
type RowBytes<'a> = (&'a [u8], usize);

impl<'a> Source<'a> {
    /// What `V` multiplies.
    #[inline(always)]
    fn of<V: Vectors>(palette: &'a Palette) -> Source<'a> {
        match palette.prepared.get() {
            Some(Prepared::Levels(levels)) if V::FORM == Stored::OnGrid => Source::Grid(levels),
            Some(Prepared::Apart(apart)) if V::FORM == Stored::Apart => {
                Source::tables(palette, (apart.bytes(), apart.row_bytes()))
            }
            _ => Source::tables(palette, palette.stored()),
        }
    }

    #[inline(always)]
    fn tables(palette: &'a Palette, chunks: RowBytes<'a>) -> Source<'a> {
        Source::Tables { chunks, tables: palette.fixed(), rows_per_table: palette.rows_per_table }
    }

    /// The chunks of all rows.
    #[inline(always)]
    fn chunks(self) -> RowBytes<'a> {
        match self {
            Source::Tables { chunks, .. } => chunks,
            Source::Grid(levels) => (levels.bytes(), levels.row_bytes()),
        }
    }

    /// The rows from `row` on, but not `end`, that share its table.
    #[inline(always)]
    fn alike(self, row: usize, end: usize) -> usize {
        match self {
            Source::Tables { rows_per_table, .. } => ((row / rows_per_table + 1) * rows_per_table).min(end),
            Source::Grid(_) => end,
        }
    }

    /// The bytes of the table of `row`.
    #[inline(always)]
    fn table(self, row: usize) -> &'a [u8] {
        match self {
            Source::Tables { tables, rows_per_table, .. } => tables.planes.table(row / rows_per_table),
            Source::Grid(_) => &[],
        }
    }

    /// What one is worth in a block of `row`, apart from [`Source::row_scale`].
    #[inline(always)]
    fn block_scale(self, row: usize, block: usize) -> f32 {
        match self {
            Source::Tables { .. } => 1.0,
            Source::Grid(levels) => levels.scale(row, block),
        }
    }

    /// What one is worth in `row`.
    #[inline(always)]
    fn row_scale(self, row: usize) -> f32 {
        match self {
            Source::Tables { tables, rows_per_table, .. } => tables.scales[row / rows_per_table],
            Source::Grid(_) => 1.0,
        }
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

/// The sum of the lanes, in a tree.
#[inline(always)]
pub(super) fn total([a, b, c, d, e, f, g, h]: [f32; LANES]) -> f32 {
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// [`unpack`] with the instructions of `V`.
#[inline(always)]
unsafe fn unpack_with<V: Vectors>(palette: &Palette, columns: usize, first: usize, out: &mut [f32]) {
    let (mut table, mut indices) = (None, Chunks::new::<V>(palette.stored(), columns));
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
