//! Weights in forms that are quicker to multiply than the one in which they are stored.

use std::collections::HashSet;
use std::ops::Range;
use std::ptr;
use std::sync::Arc;

use super::apart::{self, Apart};
use super::isa::Isa;
use super::levels::{self, Levels};
use super::matrix::{Matrix, Palette, Prepared};
use super::pool::Pool;
use super::rows::CHUNK;
use super::zeroed::{Piece, Zeroed};

/// Where a weight begins in memory: at a line of the cache.
const LINE: usize = 64;

/// Readies palettized `weights` for products with the instructions of `isa`: those of 8 bits become [`Levels`] if
/// `repack` says so and that is quicker, which changes results and so is done before the first of them; the tables of the
/// others get into fixed point.
///
/// # Panics
/// When the machine does not have the set.
pub(crate) fn prepare<'a>(
    isa: Isa,
    pool: &Pool,
    weights: impl IntoIterator<Item = &'a Matrix>,
    repack: bool,
) {
    let palettes = palettes(weights);
    if repack {
        change_forms(isa, pool, &palettes, 8);
    }
    pool.run(palettes.len(), &|i| {
        let (palette, _) = palettes[i];
        if !matches!(palette.prepared.get(), Some(Prepared::Levels(_))) {
            palette.fixed();
        }
    });
}

/// Takes those of `weights` apart that have 6 bits, where products are quicker with [`Apart`]: they give the same results, so
/// it may be done at any time.
///
/// # Panics
/// When the machine does not have the set.
pub(crate) fn take_apart<'a>(isa: Isa, pool: &Pool, weights: impl IntoIterator<Item = &'a Matrix>) {
    change_forms(isa, pool, &palettes(weights), 6);
}

/// The bytes that [`take_apart`] takes for `weights`.
pub(crate) fn apart_bytes<'a>(isa: Isa, weights: impl IntoIterator<Item = &'a Matrix>) -> usize {
    places(isa, &palettes(weights), 6).map_or(0, |(_, length)| length)
}

/// The palettes among `weights`, each once and with its columns.
fn palettes<'a>(weights: impl IntoIterator<Item = &'a Matrix>) -> Vec<(&'a Palette, usize)> {
    let mut seen = HashSet::new();
    let palettes = weights.into_iter().filter_map(|weight| Some((weight.palette()?, weight.columns())));
    palettes.filter(|(palette, _)| seen.insert(ptr::from_ref(*palette))).collect()
}

/// Gives those of `palettes` that have indices of `bits` another form, if they have none, rows are a chunk or longer and
/// there is memory for it. What the weight file has of them is not read again.
fn change_forms(isa: Isa, pool: &Pool, palettes: &[(&Palette, usize)], bits: u32) {
    let Some((places, length)) = places(isa, palettes, bits) else { return };
    let Some(mut memory) = Zeroed::new(length) else { return };
    let mut scales = Vec::new();
    for (palette, columns, range) in &places {
        let bytes = &mut memory[range.clone()];
        scales.push(match palette.bits {
            6 => {
                apart::write(pool, palette, *columns, bytes);
                None
            }
            _ => Some(levels::write(isa, pool, palette, *columns, bytes)),
        });
        palette.release();
    }
    let memory = Arc::new(memory);
    for ((palette, columns, range), scales) in places.into_iter().zip(scales) {
        let bytes = Piece::new(&memory, range);
        let prepared = match scales {
            Some(scales) => Prepared::Levels(Levels::new(columns, bytes, scales)),
            None => Prepared::Apart(Apart::new(columns, bytes)),
        };
        palette.prepared.get_or_init(|| prepared);
    }
}

/// The weights of `bits` that get another form, their columns, and where in a piece of memory they go; and how long that is.
/// `None` if there are none, or too many.
///
/// One piece for all has large pages throughout, and the smallest weights would fill none.
#[expect(clippy::type_complexity, reason = "two callers, next to it")]
fn places<'a>(
    isa: Isa,
    palettes: &[(&'a Palette, usize)],
    bits: u32,
) -> Option<(Vec<(&'a Palette, usize, Range<usize>)>, usize)> {
    let (mut places, mut length) = (Vec::new(), 0usize);
    let wanted = |palette: &Palette| palette.bits == bits && palette.prepared.get().is_none();
    for (palette, columns) in palettes.iter().filter(|(palette, _)| wanted(palette)) {
        // A chunk for a few columns would be many times what is stored, and the product no quicker.
        if *columns < CHUNK {
            continue;
        }
        let row_bytes = match (isa, palette.bits) {
            (Isa::Avx2, 6) => apart::row_bytes(*columns),
            (Isa::Avx2, 8) => levels::row_bytes(*columns),
            _ => continue,
        };
        let end = length.checked_add(palette.rows().checked_mul(row_bytes)?)?;
        places.push((*palette, *columns, length..end));
        length = end.checked_next_multiple_of(LINE)?;
    }
    (!places.is_empty()).then_some((places, length))
}
