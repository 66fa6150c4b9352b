//! AVX2: tables of 16 bytes are looked up by `vpshufb`, larger ones are made of such.

use std::arch::x86_64::*;

use super::{CHUNK, LANES, Palette, Tile, Vectors, multiply_with, unpack_with};

/// Indices of `BITS` with AVX2.
struct Avx2<const BITS: u32>;

/// [`super::multiply`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn multiply<const BITS: u32>(tile: &Tile<'_>) {
    // SAFETY: this function has the instructions; the results are the caller's.
    unsafe { multiply_with::<Avx2<BITS>>(tile) }
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
    unsafe { unpack_with::<Avx2<BITS>>(palette, columns, first, out) }
}

/// Sixteen entries: their low and their high bytes, in both halves of a register.
type Sixteen = [__m256i; 2];

impl<const BITS: u32> Vectors for Avx2<BITS> {
    const BITS: u32 = BITS;
    const WIDTH: usize = 16;

    /// Of more than 16 entries, each 16 but the first of 128 are stored as what differs from those before.
    type Table = [Sixteen; 16];
    type Vector = __m256i;
    type Words = [__m256i; 4];
    type Sums = __m256i;

    #[inline(always)]
    unsafe fn table(planes: &[u8]) -> [Sixteen; 16] {
        // SAFETY: the caller has AVX2, and each slice 16 bytes.
        unsafe {
            let mut table = [[_mm256_setzero_si256(); 2]; 16];
            for i in (0..Self::SIXTEENS).rev() {
                for plane in 0..2 {
                    let at = planes[plane * planes.len() / 2..][16 * i..][..16].as_ptr();
                    let entries = _mm256_broadcastsi128_si256(_mm_loadu_si128(at.cast()));
                    table[i][plane] = entries;
                    if i + 1 < Self::SIXTEENS && i != 7 {
                        table[i + 1][plane] = _mm256_xor_si256(table[i + 1][plane], entries);
                    }
                }
            }
            table
        }
    }

    #[inline(always)]
    unsafe fn words(table: &[Sixteen; 16], indices: *const u8) -> [__m256i; 4] {
        // SAFETY: the caller has AVX2 and the indices of a chunk.
        unsafe {
            let [even, odd] = Self::split(indices);
            Self::look_up(table, even, odd)
        }
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

impl<const BITS: u32> Avx2<BITS> {
    /// Sixteen entries each, of which a table is made.
    const SIXTEENS: usize = if BITS <= 4 { 1 } else { 1 << (BITS - 4) };

    /// The indices of the even columns of a chunk and of the odd ones, a byte each, in order.
    #[inline(always)]
    unsafe fn split(indices: *const u8) -> [__m256i; 2] {
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

    /// The entries of two times 32 indices, as 16 bits: of each, the first eight of both halves, then the others.
    #[inline(always)]
    unsafe fn look_up(table: &[Sixteen; 16], even: __m256i, odd: __m256i) -> [__m256i; 4] {
        // SAFETY: the caller has AVX2.
        unsafe {
            // A byte from 128 on is negative and looks up zero. Below, 16 off for each sixteen that is
            // passed: all up to the one that is meant are looked up, and their differences add up to it.
            let (mut a, mut b) = (even, odd);
            let (mut even_low, mut even_high) = look_up_16(&table[0], a);
            let (mut odd_low, mut odd_high) = look_up_16(&table[0], b);
            for i in 1..Self::SIXTEENS {
                if i == 8 {
                    let half = _mm256_set1_epi8(-128);
                    (a, b) = (_mm256_xor_si256(even, half), _mm256_xor_si256(odd, half));
                } else {
                    let sixteen = _mm256_set1_epi8(16);
                    (a, b) = (_mm256_subs_epi8(a, sixteen), _mm256_subs_epi8(b, sixteen));
                }
                let (low, high) = look_up_16(&table[i], a);
                (even_low, even_high) = (_mm256_xor_si256(even_low, low), _mm256_xor_si256(even_high, high));
                let (low, high) = look_up_16(&table[i], b);
                (odd_low, odd_high) = (_mm256_xor_si256(odd_low, low), _mm256_xor_si256(odd_high, high));
            }
            [
                _mm256_unpacklo_epi8(even_low, even_high),
                _mm256_unpackhi_epi8(even_low, even_high),
                _mm256_unpacklo_epi8(odd_low, odd_high),
                _mm256_unpackhi_epi8(odd_low, odd_high),
            ]
        }
    }
}

/// The low and the high bytes of the entries for 32 indices; zeros for those from 128 on.
#[inline(always)]
unsafe fn look_up_16(table: &Sixteen, indices: __m256i) -> (__m256i, __m256i) {
    // SAFETY: the caller has AVX2.
    unsafe { (_mm256_shuffle_epi8(table[0], indices), _mm256_shuffle_epi8(table[1], indices)) }
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
        let first = halves(indices, indices.add(32));
        let second = halves(indices.add(16), indices.add(48));
        let low = _mm256_set1_epi16(0x00ff);
        let even = _mm256_packus_epi16(_mm256_and_si256(first, low), _mm256_and_si256(second, low));
        let odd = _mm256_packus_epi16(_mm256_srli_epi16::<8>(first), _mm256_srli_epi16::<8>(second));
        [even, odd]
    }
}
