//! AVX2: tables of 16 bytes are looked up by `vpshufb`, larger ones are made of such.

mod apart;
mod grid;
mod split;
mod tables;

use std::arch::x86_64::*;
use std::marker::PhantomData;

use apart::Apart;
use grid::Grid;
pub(super) use grid::pack_levels;
use tables::Planes;

use super::super::levels::LEVEL_BITS;
use super::indices::{Chunks, chunk_bytes};
use super::{CHUNK, LANES, Palette, Stored, Tile, Vectors, multiply_with, unpack_with};

/// Weights of `BITS` in the form `W` with AVX2.
struct Avx2<const BITS: u32, W>(PhantomData<W>);

/// How weights become words.
trait Weights {
    /// As in [`Vectors::FORM`].
    const FORM: Stored = Stored::Indices;

    /// As in [`Vectors::Indices`].
    type Chunk: Copy;

    /// Takes a table from its bytes.
    unsafe fn new(table: &[u8]) -> Self;

    /// Reads a chunk.
    unsafe fn split(from: *const u8) -> Self::Chunk;

    /// The words of a chunk, in the order of [`PAIRS`](super::PAIRS).
    unsafe fn words(&self, chunk: Self::Chunk) -> [__m256i; 4];
}

/// [`super::multiply`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn multiply<const BITS: u32>(tile: &Tile<'_>) {
    // SAFETY: this function has the instructions; the results are the caller's.
    unsafe { multiply_with::<Avx2<BITS, Planes<BITS>>>(tile) }
}

/// [`super::multiply`], of levels.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn multiply_levels(tile: &Tile<'_>) {
    // SAFETY: this function has the instructions; the results are the caller's.
    unsafe { multiply_with::<Avx2<LEVEL_BITS, Grid>>(tile) }
}

/// [`super::multiply`], of indices that are taken apart.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn multiply_apart(tile: &Tile<'_>) {
    // SAFETY: this function has the instructions; the results are the caller's.
    unsafe { multiply_with::<Avx2<6, Apart>>(tile) }
}

/// [`super::take_apart`].
#[target_feature(enable = "avx2")]
pub(super) unsafe fn take_apart(palette: &Palette, columns: usize, first: usize, out: &mut [u8]) {
    const BYTES: usize = chunk_bytes::<Avx2<6, Apart>>();
    let mut chunks = Chunks::new::<Avx2<6, Apart>>(palette.stored(), columns);
    for (row, out) in (first..).zip(out.chunks_exact_mut(columns.div_ceil(CHUNK) * BYTES)) {
        let (stored, _) = chunks.row(row).as_chunks::<BYTES>();
        for (from, to) in stored.iter().zip(out.as_chunks_mut::<BYTES>().0) {
            // SAFETY: this function has the instructions, and both are chunks.
            unsafe { apart::take_apart(from.as_ptr(), to.as_mut_ptr()) };
        }
    }
}

/// [`super::unpack`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn unpack<const BITS: u32>(
    palette: &Palette,
    columns: usize,
    first: usize,
    out: &mut [f32],
) {
    // SAFETY: this function has the instructions.
    unsafe { unpack_with::<Avx2<BITS, Planes<BITS>>>(palette, columns, first, out) }
}

impl<const BITS: u32, W: Weights> Vectors for Avx2<BITS, W> {
    const BITS: u32 = BITS;
    const WIDTH: usize = 16;
    const FORM: Stored = W::FORM;

    type Table = W;
    type Vector = __m256i;
    type Indices = W::Chunk;
    type Words = [__m256i; 4];
    type Sums = __m256i;

    #[inline(always)]
    unsafe fn table(bytes: &[u8]) -> W {
        // SAFETY: the caller has AVX2.
        unsafe { W::new(bytes) }
    }

    #[inline(always)]
    unsafe fn split(from: *const u8) -> W::Chunk {
        // SAFETY: the caller has AVX2 and a chunk.
        unsafe { W::split(from) }
    }

    #[inline(always)]
    unsafe fn words(table: &W, chunk: W::Chunk) -> [__m256i; 4] {
        // SAFETY: the caller has AVX2.
        unsafe { table.words(chunk) }
    }

    #[inline(always)]
    unsafe fn natural([a, b, c, d]: [__m256i; 4]) -> [u16; CHUNK] {
        // SAFETY: the caller has AVX2.
        unsafe {
            let mut out = [0u16; CHUNK];
            store_halves(_mm256_unpacklo_epi16(a, c), &mut out, 0);
            store_halves(_mm256_unpackhi_epi16(a, c), &mut out, 8);
            store_halves(_mm256_unpacklo_epi16(b, d), &mut out, 16);
            store_halves(_mm256_unpackhi_epi16(b, d), &mut out, 24);
            out
        }
    }

    #[inline(always)]
    unsafe fn load(from: *const i16) -> __m256i {
        // SAFETY: the caller has AVX2, and a vector there.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(vector: __m256i, to: *mut i16) {
        // SAFETY: the caller has AVX2, and room for a vector there.
        unsafe { _mm256_storeu_si256(to.cast(), vector) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m256i {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn add_products(sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(a, b)) }
    }

    #[inline(always)]
    unsafe fn add_scaled(totals: &mut [f32; LANES], sums: __m256i, scale: f32) {
        // SAFETY: the caller has AVX2; eight numbers are a register.
        unsafe {
            let scaled = _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_cvtepi32_ps(sums));
            let sum = _mm256_add_ps(_mm256_loadu_ps(totals.as_ptr()), scaled);
            _mm256_storeu_ps(totals.as_mut_ptr(), sum);
        }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        // SAFETY: asking for memory does not access it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }

    #[inline(always)]
    unsafe fn widen(bits: &[u16; CHUNK], out: &mut [f32; CHUNK]) {
        for i in 0..CHUNK / 8 {
            // SAFETY: the caller has F16C; eight numbers are a register.
            unsafe {
                let eight = _mm_loadu_si128(bits[8 * i..][..8].as_ptr().cast());
                _mm256_storeu_ps(out[8 * i..][..8].as_mut_ptr(), _mm256_cvtph_ps(eight));
            }
        }
    }
}

/// Writes the low half of `x` to eight places from `at` on, and the high half 32 places further.
#[inline(always)]
unsafe fn store_halves(x: __m256i, to: &mut [u16; CHUNK], at: usize) {
    // SAFETY: the caller has AVX2; eight numbers are half a register.
    unsafe {
        _mm_storeu_si128(to[at..][..8].as_mut_ptr().cast(), _mm256_castsi256_si128(x));
        _mm_storeu_si128(to[at + 32..][..8].as_mut_ptr().cast(), _mm256_extracti128_si256::<1>(x));
    }
}
