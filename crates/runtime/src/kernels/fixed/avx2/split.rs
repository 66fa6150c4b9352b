//! The indices of a chunk, taken out of their bytes.

use std::arch::x86_64::*;

/// The indices of a chunk of columns in two registers, a byte each, columns below 32 in the low halves.
///
/// Of 8 bits, a half has the even columns of 16 and then the odd ones: first those of columns 0 to 15 and 32 to
/// 47, then the others. Of fewer bits the first register has the even columns and the second the odd ones.
#[inline(always)]
pub(super) unsafe fn split<const BITS: u32>(indices: *const u8) -> [__m256i; 2] {
    // SAFETY: the caller has AVX2 and the indices of a chunk: 8 * BITS bytes.
    unsafe {
        match BITS {
            1 => split_1(indices),
            2 => split_2(indices),
            3 => split_3(indices),
            4 => split_4(indices),
            6 => split_6(indices),
            _ => split_8(indices),
        }
    }
}

/// Two times 16 bytes.
#[inline(always)]
unsafe fn halves(low: *const u8, high: *const u8) -> __m256i {
    // SAFETY: the caller has AVX2, and 16 bytes at each.
    unsafe { _mm256_loadu2_m128i(high.cast(), low.cast()) }
}

/// Eight columns a byte.
#[inline(always)]
unsafe fn split_1(indices: *const u8) -> [__m256i; 2] {
    // SAFETY: the caller has AVX2, and 8 bytes there.
    unsafe {
        let bytes = _mm256_set1_epi64x(indices.cast::<i64>().read_unaligned());
        let four_times = _mm256_setr_epi8(
            0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7,
        );
        let bytes = _mm256_shuffle_epi8(bytes, four_times);
        [chosen(bytes, 0x4010_0401), chosen(bytes, 0x8020_0802_u32.cast_signed())]
    }
}

/// One for each byte in which the bit of `bits` is set, zero for others.
#[inline(always)]
unsafe fn chosen(bytes: __m256i, bits: i32) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe {
        let bits = _mm256_set1_epi32(bits);
        let set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bits), bits);
        _mm256_and_si256(set, _mm256_set1_epi8(1))
    }
}

/// Four columns a byte.
#[inline(always)]
unsafe fn split_2(indices: *const u8) -> [__m256i; 2] {
    // SAFETY: the caller has AVX2, and 16 bytes there.
    unsafe {
        let bytes = _mm256_broadcastsi128_si256(_mm_loadu_si128(indices.cast()));
        let twice = _mm256_setr_epi8(
            0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14,
            14, 15, 15,
        );
        let bytes = _mm256_shuffle_epi8(bytes, twice);
        // Of the second of two equal bytes, the upper half.
        let nibbles = _mm256_blendv_epi8(
            bytes,
            _mm256_srli_epi16::<4>(bytes),
            _mm256_set1_epi16(0xff00_u16.cast_signed()),
        );
        let three = _mm256_set1_epi8(3);
        [_mm256_and_si256(nibbles, three), _mm256_and_si256(_mm256_srli_epi16::<2>(nibbles), three)]
    }
}

/// Eight columns in three bytes.
#[inline(always)]
unsafe fn split_3(indices: *const u8) -> [__m256i; 2] {
    // SAFETY: the caller has AVX2, and 24 bytes there.
    unsafe {
        // Three bytes to each 32 bits.
        let bytes = halves(indices, indices.add(8));
        let threes = _mm256_setr_epi8(
            0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1, 4, 5, 6, -1, 7, 8, 9, -1, 10, 11, 12, -1,
            13, 14, 15, -1,
        );
        let eights = _mm256_shuffle_epi8(bytes, threes);
        [every_other(eights), every_other(_mm256_srli_epi32::<3>(eights))]
    }
}

/// Columns 0, 2, 4 and 6 of eight in 24 bits, a byte each.
#[inline(always)]
unsafe fn every_other(eights: __m256i) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe {
        let first = _mm256_and_si256(eights, _mm256_set1_epi32(7));
        let second = _mm256_and_si256(_mm256_slli_epi32::<2>(eights), _mm256_set1_epi32(7 << 8));
        let third = _mm256_and_si256(_mm256_slli_epi32::<4>(eights), _mm256_set1_epi32(7 << 16));
        let fourth = _mm256_and_si256(_mm256_slli_epi32::<6>(eights), _mm256_set1_epi32(7 << 24));
        _mm256_or_si256(_mm256_or_si256(first, second), _mm256_or_si256(third, fourth))
    }
}

/// Two columns a byte.
#[inline(always)]
unsafe fn split_4(indices: *const u8) -> [__m256i; 2] {
    // SAFETY: the caller has AVX2, and 32 bytes there.
    unsafe {
        let bytes = _mm256_loadu_si256(indices.cast());
        let fifteen = _mm256_set1_epi8(15);
        [_mm256_and_si256(bytes, fifteen), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), fifteen)]
    }
}

/// Four columns in three bytes.
#[inline(always)]
unsafe fn split_6(indices: *const u8) -> [__m256i; 2] {
    // SAFETY: the caller has AVX2, and 48 bytes there.
    unsafe {
        // Of four threes, the first two bytes each, then the last two each. Sixteen bytes from 12 and 36 on
        // would go beyond the chunk, so the second four are read with four bytes before them.
        let first = halves(indices, indices.add(24));
        let second = halves(indices.add(8), indices.add(32));
        let pairs =
            _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 3, 4, 6, 7, 9, 10, 1, 2, 4, 5, 7, 8, 10, 11));
        let first = _mm256_shuffle_epi8(first, pairs);
        let second = _mm256_shuffle_epi8(second, _mm256_add_epi8(pairs, _mm256_set1_epi8(4)));
        let low = _mm256_unpacklo_epi64(first, second);
        let high = _mm256_unpackhi_epi64(first, second);
        // Column 0 is bits 0 to 5 of the low pair, 1 its bits 6 to 11; of the high pair, column 2 is bits
        // 4 to 9 and 3 is bits 10 to 15.
        [
            join(low, _mm256_slli_epi16::<4>(high)),
            join(_mm256_srli_epi16::<6>(low), _mm256_srli_epi16::<2>(high)),
        ]
    }
}

/// Six bits of each low byte, and six of each high one.
#[inline(always)]
unsafe fn join(low: __m256i, high: __m256i) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe {
        let low = _mm256_and_si256(low, _mm256_set1_epi16(0x003f));
        _mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi16(0x3f00)))
    }
}

/// One column a byte.
#[inline(always)]
unsafe fn split_8(indices: *const u8) -> [__m256i; 2] {
    // SAFETY: the caller has AVX2, and 64 bytes there.
    unsafe {
        let even_then_odd =
            _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
        let first = _mm256_shuffle_epi8(halves(indices, indices.add(32)), even_then_odd);
        let second = _mm256_shuffle_epi8(halves(indices.add(16), indices.add(48)), even_then_odd);
        [first, second]
    }
}
