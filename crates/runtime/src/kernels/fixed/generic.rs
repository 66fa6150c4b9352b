//! Plain Rust: the slow twin that the other sets are held against.

use super::super::fp16::widened;
use super::super::levels::LEVEL_BITS;
use super::{CHUNK, LANES, PAIRS, Palette, Tile, Vectors, multiply_with, unpack_with};

/// Indices or levels of `BITS` in plain Rust.
struct Generic<const BITS: u32>;

/// [`super::multiply`].
pub(super) unsafe fn multiply<const BITS: u32>(tile: &Tile<'_>) {
    // SAFETY: every machine has plain Rust; the results are the caller's.
    unsafe { multiply_with::<Generic<BITS>>(tile) }
}

/// [`super::unpack`].
pub(super) unsafe fn unpack<const BITS: u32>(
    palette: &Palette,
    columns: usize,
    first: usize,
    out: &mut [f32],
) {
    // SAFETY: every machine has plain Rust.
    unsafe { unpack_with::<Generic<BITS>>(palette, columns, first, out) }
}

/// The levels of a chunk, as numbers of 14 bits.
fn levels(chunk: &[u8]) -> [[i16; 16]; 4] {
    let (high, low) = chunk.split_at(CHUNK);
    let mut words = [0i16; CHUNK];
    for (i, high) in high.iter().enumerate() {
        // Even columns come first, and have the high halves of the bytes of low bits.
        let (pair, is_odd) = (i % (CHUNK / 2), i / (CHUNK / 2));
        let kept = low[pair] << (4 * is_odd) & 0xf0;
        words[2 * pair + is_odd] = i16::from_le_bytes([kept, *high]) >> 2;
    }
    std::array::from_fn(|v| std::array::from_fn(|i| words[usize::from(PAIRS[v * 16 + i])]))
}

impl<const BITS: u32> Vectors for Generic<BITS> {
    const BITS: u32 = BITS;
    const WIDTH: usize = 16;

    type Table = [i16; 256];
    type Vector = [i16; 16];
    /// Where they are.
    type Indices = *const u8;
    type Words = [[i16; 16]; 4];
    type Sums = [i32; LANES];

    unsafe fn table(planes: &[u8]) -> [i16; 256] {
        let (low, high) = planes.split_at(planes.len() / 2);
        let mut table = [0; 256];
        for (entry, (low, high)) in table.iter_mut().zip(low.iter().zip(high)) {
            *entry = i16::from_le_bytes([*low, *high]);
        }
        table
    }

    unsafe fn split(from: *const u8) -> *const u8 {
        from
    }

    unsafe fn words(table: &[i16; 256], indices: *const u8) -> [[i16; 16]; 4] {
        if BITS == LEVEL_BITS {
            // SAFETY: a chunk has eight times BITS bytes.
            return unsafe { levels(std::slice::from_raw_parts(indices, 8 * BITS as usize)) };
        }
        let mut natural = [0i16; CHUNK];
        for (eight, out) in natural.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            // SAFETY: eight indices take BITS bytes, of which a chunk has eight times as many.
            let bytes =
                unsafe { std::slice::from_raw_parts(indices.add(eight * BITS as usize), BITS as usize) };
            let packed = bytes.iter().rev().fold(0u64, |packed, byte| packed << 8 | u64::from(*byte));
            for (i, out) in out.iter_mut().enumerate() {
                *out = table[(packed >> (i as u32 * BITS) & ((1 << BITS) - 1)) as usize];
            }
        }
        std::array::from_fn(|v| std::array::from_fn(|i| natural[usize::from(PAIRS[v * 16 + i])]))
    }

    unsafe fn natural(words: [[i16; 16]; 4]) -> [u16; CHUNK] {
        let mut natural = [0; CHUNK];
        for (column, word) in PAIRS.iter().zip(words.as_flattened()) {
            natural[usize::from(*column)] = *word as u16;
        }
        natural
    }

    #[inline(always)]
    unsafe fn load(from: *const i16) -> [i16; 16] {
        // SAFETY: the caller has a vector there.
        unsafe { from.cast::<[i16; 16]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(vector: [i16; 16], to: *mut i16) {
        // SAFETY: the caller has room for a vector there.
        unsafe { to.cast::<[i16; 16]>().write_unaligned(vector) }
    }

    #[inline(always)]
    unsafe fn zero() -> [i32; LANES] {
        [0; LANES]
    }

    #[inline(always)]
    unsafe fn add_products(mut sums: [i32; LANES], a: [i16; 16], b: [i16; 16]) -> [i32; LANES] {
        for (lane, sum) in sums.iter_mut().enumerate() {
            let product = |i: usize| i32::from(a[i]) * i32::from(b[i]);
            *sum += product(2 * lane) + product(2 * lane + 1);
        }
        sums
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        let _ = address;
    }

    #[inline(always)]
    unsafe fn add_scaled(totals: &mut [f32; LANES], sums: [i32; LANES], scale: f32) {
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total += scale * sum as f32;
        }
    }

    unsafe fn widen(bits: &[u16; CHUNK], out: &mut [f32; CHUNK]) {
        for (out, bits) in out.iter_mut().zip(bits) {
            *out = widened(*bits);
        }
    }
}
