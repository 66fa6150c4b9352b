//! Entries for registers of 32 indices, a byte each.
//!
//! `vpshufb` looks up one of sixteen bytes, or zero where the highest bit of the index is set. Larger tables
//! are made of sixteens: two are looked up with the highest bit set for one of them, and joined by `vpor`, and
//! `vpblendvb`, which looks at the highest bit too, takes one of two such pairs.

use std::arch::x86_64::*;

use super::Weights;
use super::split::split;

/// Sixteen bytes, in both halves of a register.
pub(super) type Sixteen = __m256i;

/// Two registers, as the indices of a chunk take. All steps are taken for both, since tables are larger than the
/// registers that there are: what is read of them serves twice.
pub(super) type Two = [__m256i; 2];

/// A table for indices of `BITS`: the low bytes of the entries, and the high ones.
pub(super) struct Planes<const BITS: u32>([[Sixteen; 16]; 2]);

impl<const BITS: u32> Weights for Planes<BITS> {
    type Chunk = Two;

    #[inline(always)]
    unsafe fn new(bytes: &[u8]) -> Planes<BITS> {
        // SAFETY: the caller has AVX2.
        unsafe {
            let (low, high) = bytes.split_at(bytes.len() / 2);
            Planes([sixteens(low), sixteens(high)])
        }
    }

    #[inline(always)]
    unsafe fn split(from: *const u8) -> Two {
        // SAFETY: the caller has AVX2 and the indices of a chunk.
        unsafe { split::<BITS>(from) }
    }

    #[inline(always)]
    unsafe fn words(&self, indices: Two) -> [__m256i; 4] {
        let [low, high] = &self.0;
        // SAFETY: the caller has AVX2.
        unsafe {
            let [[a, b], [c, d]] = match BITS {
                6 => {
                    let indices = Of64::new(indices);
                    interleave(indices.look_up(low), indices.look_up(high))
                }
                8 => {
                    let indices = Of256::new(indices);
                    interleave(indices.look_up(low), indices.look_up(high))
                }
                _ => interleave(of_16(low[0], indices), of_16(high[0], indices)),
            };
            // Of 8 bits, even and odd columns share a register.
            if BITS == 8 { [a, c, b, d] } else { [a, b, c, d] }
        }
    }
}

/// Sixteen bytes after the other; those that are not there are zeros.
#[inline(always)]
pub(super) unsafe fn sixteens<const N: usize>(bytes: &[u8]) -> [Sixteen; N] {
    // SAFETY: the caller has AVX2, and each chunk 16 bytes.
    unsafe {
        let mut sixteens = [_mm256_setzero_si256(); N];
        for (sixteen, bytes) in sixteens.iter_mut().zip(bytes.chunks_exact(16)) {
            *sixteen = _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes.as_ptr().cast()));
        }
        sixteens
    }
}

/// Words of low and high bytes: of both registers the low eight of each half, then the others.
#[inline(always)]
pub(super) unsafe fn interleave(low: Two, high: Two) -> [Two; 2] {
    // SAFETY: the caller has AVX2.
    unsafe {
        [
            [_mm256_unpacklo_epi8(low[0], high[0]), _mm256_unpackhi_epi8(low[0], high[0])],
            [_mm256_unpacklo_epi8(low[1], high[1]), _mm256_unpackhi_epi8(low[1], high[1])],
        ]
    }
}

/// The bytes of a sixteen.
#[inline(always)]
pub(super) unsafe fn of_16(bytes: Sixteen, indices: Two) -> Two {
    // SAFETY: the caller has AVX2.
    unsafe { [_mm256_shuffle_epi8(bytes, indices[0]), _mm256_shuffle_epi8(bytes, indices[1])] }
}

/// The first, or the second where the highest bit of `second` is set.
#[inline(always)]
pub(super) unsafe fn choose(first: Two, other: Two, second: Two) -> Two {
    // SAFETY: the caller has AVX2.
    unsafe {
        [_mm256_blendv_epi8(first[0], other[0], second[0]), _mm256_blendv_epi8(first[1], other[1], second[1])]
    }
}

/// Indices into several sixteens.
struct Halves {
    /// The highest bit is set in the upper half of the table.
    below: Two,
    /// The highest bit is set in the lower half.
    above: Two,
}

impl Halves {
    /// Of two sixteens, the bytes of that in whose half of the table the index is.
    #[inline(always)]
    unsafe fn look_up(&self, lower: Sixteen, upper: Sixteen) -> Two {
        // SAFETY: the caller has AVX2.
        unsafe {
            let (lower, upper) = (of_16(lower, self.below), of_16(upper, self.above));
            [_mm256_or_si256(lower[0], upper[0]), _mm256_or_si256(lower[1], upper[1])]
        }
    }
}

/// Indices of 6 bits.
struct Of64 {
    halves: Halves,
    /// The highest bit is set in the second of two sixteens.
    second: Two,
}

impl Of64 {
    #[inline(always)]
    unsafe fn new(indices: Two) -> Of64 {
        // SAFETY: the caller has AVX2.
        unsafe {
            let (up, down) = (_mm256_set1_epi8(96), _mm256_set1_epi8(-32));
            let below = [_mm256_add_epi8(indices[0], up), _mm256_add_epi8(indices[1], up)];
            let above = [_mm256_add_epi8(indices[0], down), _mm256_add_epi8(indices[1], down)];
            let second = [_mm256_slli_epi16::<3>(indices[0]), _mm256_slli_epi16::<3>(indices[1])];
            Of64 { halves: Halves { below, above }, second }
        }
    }

    /// The bytes for the indices.
    #[inline(always)]
    unsafe fn look_up(&self, bytes: &[Sixteen; 16]) -> Two {
        // SAFETY: the caller has AVX2.
        unsafe {
            let first = self.halves.look_up(bytes[0], bytes[2]);
            choose(first, self.halves.look_up(bytes[1], bytes[3]), self.second)
        }
    }
}

/// Indices of 8 bits.
struct Of256 {
    halves: Halves,
    /// The highest bit is set in the second of two sixteens, of two of 32 and of two of 64.
    second: [Two; 3],
}

impl Of256 {
    #[inline(always)]
    unsafe fn new(indices: Two) -> Of256 {
        // SAFETY: the caller has AVX2.
        unsafe {
            let [a, b] = indices;
            let half = _mm256_set1_epi8(-128);
            let above = [_mm256_xor_si256(a, half), _mm256_xor_si256(b, half)];
            let of_16 = [_mm256_slli_epi16::<3>(a), _mm256_slli_epi16::<3>(b)];
            let of_32 = [_mm256_slli_epi16::<2>(a), _mm256_slli_epi16::<2>(b)];
            let of_64 = [_mm256_add_epi8(a, a), _mm256_add_epi8(b, b)];
            Of256 { halves: Halves { below: indices, above }, second: [of_16, of_32, of_64] }
        }
    }

    /// The bytes for the indices.
    #[inline(always)]
    unsafe fn look_up(&self, bytes: &[Sixteen; 16]) -> Two {
        // SAFETY: the caller has AVX2.
        unsafe {
            let first = self.look_up_four(bytes, 0);
            choose(first, self.look_up_four(bytes, 4), self.second[2])
        }
    }

    /// The bytes of the four sixteens from `at` on, or of those 128 entries further.
    #[inline(always)]
    unsafe fn look_up_four(&self, bytes: &[Sixteen; 16], at: usize) -> Two {
        // SAFETY: the caller has AVX2.
        unsafe {
            let low = self.look_up_two(bytes, at);
            choose(low, self.look_up_two(bytes, at + 2), self.second[1])
        }
    }

    /// The bytes of the two sixteens from `at` on, or of those 128 entries further.
    #[inline(always)]
    unsafe fn look_up_two(&self, bytes: &[Sixteen; 16], at: usize) -> Two {
        // SAFETY: the caller has AVX2.
        unsafe {
            let first = self.halves.look_up(bytes[at], bytes[at + 8]);
            choose(first, self.halves.look_up(bytes[at + 1], bytes[at + 9]), self.second[0])
        }
    }
}
