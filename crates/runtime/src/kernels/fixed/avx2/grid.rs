//! Levels of a grid: bytes and a few more bits each, put together.

use std::arch::x86_64::*;

use super::super::CHUNK;
use super::Weights;

/// Levels of `BITS`: 10 or 12.
pub(super) struct Grid<const BITS: u32>;

impl<const BITS: u32> Weights for Grid<BITS> {
    /// The bytes of the high bits, then those of the low ones, of which the highest count.
    type Chunk = [__m256i; 4];

    #[inline(always)]
    unsafe fn new(_: &[u8]) -> Grid<BITS> {
        Grid
    }

    #[inline(always)]
    unsafe fn split(from: *const u8) -> [__m256i; 4] {
        // SAFETY: the caller has AVX2 and a chunk: eight times BITS bytes.
        unsafe {
            let [low, other] = low_bits::<BITS>(from.add(CHUNK));
            [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(CHUNK / 2).cast()), low, other]
        }
    }

    #[inline(always)]
    unsafe fn words(&self, [high, other_high, low, other_low]: [__m256i; 4]) -> [__m256i; 4] {
        // SAFETY: the caller has AVX2.
        unsafe {
            [
                fourteen_bits(_mm256_unpacklo_epi8(low, high)),
                fourteen_bits(_mm256_unpackhi_epi8(low, high)),
                fourteen_bits(_mm256_unpacklo_epi8(other_low, other_high)),
                fourteen_bits(_mm256_unpackhi_epi8(other_low, other_high)),
            ]
        }
    }
}

/// Words of which the low bits are zero, as words that products of 14 bits may be made of.
#[inline(always)]
unsafe fn fourteen_bits(words: __m256i) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe { _mm256_srai_epi16::<2>(words) }
}

/// The low bits of the levels of a chunk, as the highest of a byte each.
#[inline(always)]
unsafe fn low_bits<const BITS: u32>(from: *const u8) -> [__m256i; 2] {
    // SAFETY: the caller has AVX2, and eight bytes for each bit above eight.
    unsafe {
        // Each quarter of a register is shifted so far that the bits of its columns are the highest.
        let (bytes, first, second, kept) = match BITS {
            10 => (
                _mm256_broadcastsi128_si256(_mm_loadu_si128(from.cast())),
                _mm256_setr_epi64x(0, 0, 2, 2),
                _mm256_setr_epi64x(4, 4, 6, 6),
                _mm256_set1_epi8(-0x40),
            ),
            _ => (
                _mm256_loadu_si256(from.cast()),
                _mm256_setzero_si256(),
                _mm256_set1_epi64x(4),
                _mm256_set1_epi8(-0x10),
            ),
        };
        [first, second].map(|by| _mm256_and_si256(_mm256_sllv_epi64(bytes, by), kept))
    }
}
