//! AVX-512: indices are taken out of their bytes by `vpmultishiftqb` and looked up by `vpermb`.

use std::arch::x86_64::*;

use super::{CHUNK, LANES, PAIRS, Palette, Tile, Vectors, multiply_with, unpack_with};

/// Indices of `BITS` with AVX-512.
struct Avx512<const BITS: u32>;

/// [`super::multiply`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn multiply<const BITS: u32>(tile: &Tile<'_>) {
    // SAFETY: this function has the instructions; the results are the caller's.
    unsafe { multiply_with::<Avx512<BITS>>(tile) }
}

/// [`super::unpack`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn unpack<const BITS: u32>(
    palette: &Palette,
    columns: usize,
    first: usize,
    out: &mut [f32],
) {
    // SAFETY: this function has the instructions.
    unsafe { unpack_with::<Avx512<BITS>>(palette, columns, first, out) }
}

/// The first column of each quarter of a register of words.
const QUARTERS: [usize; 4] = [0, 32, 16, 48];

/// The column of each byte of indices: a quarter has eight even columns, then the odd ones after them.
const COLUMNS: [u8; CHUNK] = {
    let mut columns = [0; CHUNK];
    let mut i = 0;
    while i < CHUNK {
        // Interleaving low and high bytes makes words of the first eight bytes of each quarter, then of the others.
        columns[i] = PAIRS[i / 8 % 2 * 32 + i / 16 * 8 + i % 8];
        i += 1;
    }
    columns
};

impl<const BITS: u32> Vectors for Avx512<BITS> {
    const BITS: u32 = BITS;
    const WIDTH: usize = 32;

    /// The low and the high bytes of the entries, 64 to a register; fewer are repeated to fill it, so that
    /// bits of an index above its width do not matter.
    type Table = [[__m512i; 4]; 2];
    type Vector = __m512i;
    type Indices = __m512i;
    type Words = [__m512i; 2];
    /// Sums of half the products of a lane, eight registers' places apart.
    type Sums = __m512i;

    #[inline(always)]
    unsafe fn table(planes: &[u8]) -> [[__m512i; 4]; 2] {
        let mut table = [[0u8; 256]; 2];
        for (table, plane) in table.iter_mut().zip(planes.chunks_exact(planes.len() / 2)) {
            for part in table.chunks_exact_mut(1 << BITS) {
                part.copy_from_slice(&plane[..1 << BITS]);
            }
        }
        // SAFETY: the caller has AVX-512, and each slice 64 bytes.
        unsafe {
            let mut registers = [[_mm512_setzero_si512(); 4]; 2];
            for plane in 0..2 {
                for part in 0..4 {
                    registers[plane][part] =
                        _mm512_loadu_si512(table[plane][64 * part..][..64].as_ptr().cast());
                }
            }
            registers
        }
    }

    #[inline(always)]
    unsafe fn split(from: *const u8) -> __m512i {
        // SAFETY: the caller has AVX-512 and the indices of a chunk.
        unsafe { Self::in_bytes(from) }
    }

    #[inline(always)]
    unsafe fn words(table: &[[__m512i; 4]; 2], indices: __m512i) -> [__m512i; 2] {
        // SAFETY: the caller has AVX-512.
        unsafe {
            let (low, high) = (Self::look_up(&table[0], indices), Self::look_up(&table[1], indices));
            [_mm512_unpacklo_epi8(low, high), _mm512_unpackhi_epi8(low, high)]
        }
    }

    #[inline(always)]
    unsafe fn natural([even, odd]: [__m512i; 2]) -> [u16; CHUNK] {
        let mut eights = [0u16; CHUNK];
        // SAFETY: the caller has AVX-512; half of `eights` is a register.
        unsafe {
            _mm512_storeu_si512(eights[..32].as_mut_ptr().cast(), _mm512_unpacklo_epi16(even, odd));
            _mm512_storeu_si512(eights[32..].as_mut_ptr().cast(), _mm512_unpackhi_epi16(even, odd));
        }
        let mut out = [0; CHUNK];
        for (quarter, first) in QUARTERS.into_iter().enumerate() {
            out[first..][..8].copy_from_slice(&eights[8 * quarter..][..8]);
            out[first + 8..][..8].copy_from_slice(&eights[32 + 8 * quarter..][..8]);
        }
        out
    }

    #[inline(always)]
    unsafe fn load(from: *const i16) -> __m512i {
        // SAFETY: the caller has AVX-512, and a vector there.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(vector: __m512i, to: *mut i16) {
        // SAFETY: the caller has AVX-512, and room for a vector there.
        unsafe { _mm512_storeu_si512(to.cast(), vector) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512i {
        // SAFETY: the caller has AVX-512.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn add_products(sums: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the caller has AVX-512 with VNNI.
        unsafe { _mm512_dpwssd_epi32(sums, a, b) }
    }

    #[inline(always)]
    unsafe fn add_scaled(totals: &mut [f32; LANES], sums: __m512i, scale: f32) {
        // SAFETY: the caller has AVX-512; eight numbers are half a register.
        unsafe {
            let sums = _mm256_add_epi32(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64::<1>(sums));
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
        for i in 0..CHUNK / 16 {
            // SAFETY: the caller has AVX-512; sixteen numbers are a register, and half of one before.
            unsafe {
                let sixteen = _mm256_loadu_si256(bits[16 * i..][..16].as_ptr().cast());
                _mm512_storeu_ps(out[16 * i..][..16].as_mut_ptr(), _mm512_cvtph_ps(sixteen));
            }
        }
    }
}

impl<const BITS: u32> Avx512<BITS> {
    /// Whether the sixteen indices of a quarter fit 64 bits.
    const NARROW: bool = BITS <= 4;

    /// Which byte of the indices goes where, so that each 64 bits have all of which they give indices.
    const SOURCES: [u8; CHUNK] = {
        let mut sources = [0; CHUNK];
        let mut i = 0;
        while i < CHUNK {
            let first = if Self::NARROW { QUARTERS[i / 16] } else { i / 8 * 8 };
            sources[i] = ((first * BITS as usize / 8 + i % 8) % CHUNK) as u8;
            i += 1;
        }
        sources
    };

    /// Where in these 64 bits the index of a byte begins.
    const SHIFTS: [u8; CHUNK] = {
        let mut shifts = [0; CHUNK];
        let mut i = 0;
        while i < CHUNK {
            let column = if Self::NARROW { i % 8 * 2 + i / 8 % 2 } else { i % 8 };
            shifts[i] = (column * BITS as usize % 64) as u8;
            i += 1;
        }
        shifts
    };

    /// The indices of a chunk, a byte each, in the order of [`COLUMNS`]; bits above their width may be set.
    #[inline(always)]
    unsafe fn in_bytes(indices: *const u8) -> __m512i {
        // SAFETY: the caller has AVX-512 and the indices of a chunk; bytes after them are not read.
        unsafe {
            let bytes = _mm512_maskz_loadu_epi8(u64::MAX >> (64 - 8 * BITS), indices.cast());
            if BITS == 8 {
                return _mm512_permutexvar_epi8(constant(&COLUMNS), bytes);
            }
            let bytes = _mm512_permutexvar_epi8(constant(&Self::SOURCES), bytes);
            let indices = _mm512_multishift_epi64_epi8(constant(&Self::SHIFTS), bytes);
            if Self::NARROW { indices } else { _mm512_permutexvar_epi8(constant(&COLUMNS), indices) }
        }
    }

    /// One byte of the entries for 64 indices.
    #[inline(always)]
    unsafe fn look_up(table: &[__m512i; 4], indices: __m512i) -> __m512i {
        // SAFETY: the caller has AVX-512.
        unsafe {
            if BITS < 8 {
                return _mm512_permutexvar_epi8(indices, table[0]);
            }
            let lower = _mm512_permutex2var_epi8(table[0], indices, table[1]);
            let upper = _mm512_permutex2var_epi8(table[2], indices, table[3]);
            _mm512_mask_blend_epi8(_mm512_movepi8_mask(indices), lower, upper)
        }
    }
}

/// A register of constants.
#[inline(always)]
unsafe fn constant(bytes: &[u8; CHUNK]) -> __m512i {
    // SAFETY: the caller has AVX-512; a chunk of bytes is a register.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}
