//! Levels of a grid: bytes and four more bits each, put together.

use std::arch::x86_64::*;

use super::super::super::levels::CHUNK_BYTES;
use super::super::{CHUNK, Stored};
use super::Weights;

/// Levels of 12 bits.
pub(super) struct Grid;

impl Weights for Grid {
    const FORM: Stored = Stored::OnGrid;

    /// The high bits of even and odd columns, and the low ones, as the highest four of a byte each.
    type Chunk = [__m256i; 4];

    #[inline(always)]
    unsafe fn new(_: &[u8]) -> Grid {
        Grid
    }

    #[inline(always)]
    unsafe fn split(from: *const u8) -> [__m256i; 4] {
        // SAFETY: the caller has AVX2 and a chunk: 96 bytes.
        unsafe {
            let [even, odd, low] = [0, 32, CHUNK].map(|at| _mm256_loadu_si256(from.add(at).cast()));
            let high_half = _mm256_set1_epi8(-16);
            let odd_low = _mm256_and_si256(_mm256_slli_epi16::<4>(low), high_half);
            [even, odd, _mm256_and_si256(low, high_half), odd_low]
        }
    }

    #[inline(always)]
    unsafe fn words(&self, [even, odd, even_low, odd_low]: [__m256i; 4]) -> [__m256i; 4] {
        // SAFETY: the caller has AVX2.
        unsafe {
            [
                fourteen_bits(_mm256_unpacklo_epi8(even_low, even)),
                fourteen_bits(_mm256_unpackhi_epi8(even_low, even)),
                fourteen_bits(_mm256_unpacklo_epi8(odd_low, odd)),
                fourteen_bits(_mm256_unpackhi_epi8(odd_low, odd)),
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

/// [`super::super::pack_levels`].
#[target_feature(enable = "avx2")]
pub(in super::super) unsafe fn pack_levels(
    weights: &[f32; CHUNK],
    per_step: f32,
    bytes: &mut [u8; CHUNK_BYTES],
) {
    // SAFETY: this function has the instructions; each address is in the chunk.
    unsafe {
        let per_step = _mm256_set1_ps(per_step);
        let eight = |at: usize| {
            let weights = _mm256_loadu_ps(weights.as_ptr().add(at));
            _mm256_cvtps_epi32(_mm256_mul_ps(weights, per_step))
        };
        // Sixteen columns, each even one in the low half of 32 bits.
        let sixteen = |at: usize| in_order(_mm256_packs_epi32(eight(at), eight(at + 8)));
        let pairs = [sixteen(0), sixteen(16), sixteen(32), sixteen(48)];
        let kept = _mm256_set1_epi32(0xfff);
        let even = pairs.map(|pairs| _mm256_and_si256(pairs, kept));
        let odd = pairs.map(|pairs| _mm256_and_si256(_mm256_srli_epi32::<16>(pairs), kept));
        let [even, odd] = [even, odd]
            .map(|[a, b, c, d]| [in_order(_mm256_packus_epi32(a, b)), in_order(_mm256_packus_epi32(c, d))]);
        let high = |[a, b]: [__m256i; 2]| {
            in_order(_mm256_packus_epi16(_mm256_srli_epi16::<4>(a), _mm256_srli_epi16::<4>(b)))
        };
        let low = |even: __m256i, odd: __m256i| {
            let low = _mm256_set1_epi16(0xf);
            let even = _mm256_slli_epi16::<4>(_mm256_and_si256(even, low));
            _mm256_or_si256(even, _mm256_and_si256(odd, low))
        };
        let low = in_order(_mm256_packus_epi16(low(even[0], odd[0]), low(even[1], odd[1])));
        for (at, part) in [(0, high(even)), (CHUNK / 2, high(odd)), (CHUNK, low)] {
            _mm256_storeu_si256(bytes.as_mut_ptr().add(at).cast(), part);
        }
    }
}

/// Puts the quarters in order of what was packed from two registers.
#[inline(always)]
unsafe fn in_order(packed: __m256i) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe { _mm256_permute4x64_epi64::<0b11_01_10_00>(packed) }
}
