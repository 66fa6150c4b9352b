//! Indices of 6 bits, taken apart beforehand: four bits that `vpshufb` takes as they are, and two that
//! choose among its results.
//!
//! A chunk has 32 bytes as indices of 4 bits have them, then 16: of byte `i` the highest two bits are those of the even
//! column `2 i`, the next those of `2 i + 32`, then those of the odd columns behind each.

use std::arch::x86_64::*;

use super::super::Stored;
use super::Weights;
use super::split::split;
use super::tables::{Sixteen, Two, choose, interleave, of_16, sixteens};

/// A table of 64 entries: the low bytes, and the high ones.
pub(super) struct Apart([[Sixteen; 4]; 2]);

impl Weights for Apart {
    const FORM: Stored = Stored::Apart;

    /// The low bits of even and of odd columns, and the others as the highest of a byte each.
    type Chunk = [Two; 2];

    #[inline(always)]
    unsafe fn new(bytes: &[u8]) -> Apart {
        // SAFETY: the caller has AVX2.
        unsafe {
            let (low, high) = bytes.split_at(bytes.len() / 2);
            Apart([sixteens(low), sixteens(high)])
        }
    }

    #[inline(always)]
    unsafe fn split(from: *const u8) -> [Two; 2] {
        // SAFETY: the caller has AVX2 and a chunk: 48 bytes.
        unsafe {
            let others = _mm256_broadcastsi128_si256(_mm_loadu_si128(from.add(32).cast()));
            let even = _mm256_sllv_epi64(others, _mm256_setr_epi64x(0, 0, 2, 2));
            let odd = _mm256_sllv_epi64(others, _mm256_setr_epi64x(4, 4, 6, 6));
            [split::<4>(from), [even, odd]]
        }
    }

    #[inline(always)]
    unsafe fn words(&self, [low, others]: [Two; 2]) -> [__m256i; 4] {
        // SAFETY: the caller has AVX2.
        unsafe {
            let second = [_mm256_add_epi8(others[0], others[0]), _mm256_add_epi8(others[1], others[1])];
            let [low_bytes, high_bytes] = &self.0;
            let [[a, b], [c, d]] =
                interleave(look_up(low_bytes, low, second, others), look_up(high_bytes, low, second, others));
            [a, b, c, d]
        }
    }
}

/// The bytes of one of four sixteens: of the second or fourth where the highest bit of `second` is set, of the third or
/// fourth where that of `last` is.
#[inline(always)]
unsafe fn look_up(bytes: &[Sixteen; 4], low: Two, second: Two, last: Two) -> Two {
    // SAFETY: the caller has AVX2.
    unsafe {
        let first = choose(of_16(bytes[0], low), of_16(bytes[1], low), second);
        choose(first, choose(of_16(bytes[2], low), of_16(bytes[3], low), second), last)
    }
}

/// Takes the indices of a chunk apart.
///
/// # Safety
/// There are 48 bytes to read and 48 to write.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn take_apart(from: *const u8, to: *mut u8) {
    // SAFETY: this function has the instructions, and the bytes are the caller's.
    unsafe {
        let [even, odd] = split::<6>(from);
        let low = _mm256_set1_epi8(15);
        let odd_low = _mm256_andnot_si256(low, _mm256_slli_epi16::<4>(odd));
        _mm256_storeu_si256(to.cast(), _mm256_or_si256(_mm256_and_si256(even, low), odd_low));
        let odd_high = _mm256_and_si256(_mm256_srli_epi16::<4>(odd), _mm256_set1_epi8(3));
        let pairs = _mm256_or_si256(_mm256_andnot_si256(low, even), odd_high);
        let first = _mm_slli_epi16::<2>(_mm256_castsi256_si128(pairs));
        let high = _mm_or_si128(first, _mm256_extracti128_si256::<1>(pairs));
        _mm_storeu_si128(to.add(32).cast(), high);
    }
}
