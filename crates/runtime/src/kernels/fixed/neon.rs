//! NEON: tables are looked up by `tbl` and `tbx`, up to 64 entries at a time.

use std::arch::aarch64::*;

use super::super::fp16::widened;
use super::{CHUNK, LANES, Palette, Tile, Vectors, multiply_with, unpack_with};

/// Indices of `BITS` with NEON.
struct Neon<const BITS: u32>;

/// [`super::multiply`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn multiply<const BITS: u32>(tile: &Tile<'_>) {
    // SAFETY: this function has the instructions; the results are the caller's.
    unsafe { multiply_with::<Neon<BITS>>(tile) }
}

/// [`super::unpack`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn unpack<const BITS: u32>(
    palette: &Palette,
    columns: usize,
    first: usize,
    out: &mut [f32],
) {
    // SAFETY: this function has the instructions.
    unsafe { unpack_with::<Neon<BITS>>(palette, columns, first, out) }
}

/// Numbers of the first half of a chunk, whose sums are the first four lanes, and of the second half.
type Halves = [int16x8_t; 2];

impl<const BITS: u32> Vectors for Neon<BITS> {
    const BITS: u32 = BITS;
    const WIDTH: usize = 16;

    /// The low and the high bytes of the entries, 64 at a time.
    type Table = [[uint8x16x4_t; 4]; 2];
    type Vector = Halves;
    /// Where they are.
    type Indices = *const u8;
    type Words = [Halves; 4];
    type Sums = [int32x4_t; 2];

    #[inline(always)]
    unsafe fn table(planes: &[u8]) -> [[uint8x16x4_t; 4]; 2] {
        let mut bytes = [[0u8; 256]; 2];
        for (bytes, plane) in bytes.iter_mut().zip(planes.chunks_exact(planes.len() / 2)) {
            bytes[..plane.len()].copy_from_slice(plane);
        }
        // SAFETY: the caller has NEON, and each slice 64 bytes.
        unsafe {
            let mut table = [[vld1q_u8_x4(bytes[0].as_ptr()); 4]; 2];
            for plane in 0..2 {
                for part in 0..4 {
                    table[plane][part] = vld1q_u8_x4(bytes[plane][64 * part..][..64].as_ptr());
                }
            }
            table
        }
    }

    #[inline(always)]
    unsafe fn split(from: *const u8) -> *const u8 {
        from
    }

    #[inline(always)]
    unsafe fn words(table: &[[uint8x16x4_t; 4]; 2], indices: *const u8) -> [Halves; 4] {
        // SAFETY: the caller has NEON and the indices of a chunk.
        unsafe {
            let mut words = [[vdupq_n_s16(0); 2]; 4];
            for half in 0..2 {
                let (even, odd) = Self::in_bytes(indices, half);
                let (low, high) = (Self::look_up(&table[0], even), Self::look_up(&table[1], even));
                words[0][half] = vreinterpretq_s16_u8(vtrn1q_u8(low, high));
                words[1][half] = vreinterpretq_s16_u8(vtrn2q_u8(low, high));
                let (low, high) = (Self::look_up(&table[0], odd), Self::look_up(&table[1], odd));
                words[2][half] = vreinterpretq_s16_u8(vtrn1q_u8(low, high));
                words[3][half] = vreinterpretq_s16_u8(vtrn2q_u8(low, high));
            }
            words
        }
    }

    #[inline(always)]
    unsafe fn natural(words: [Halves; 4]) -> [u16; CHUNK] {
        let mut out = [0; CHUNK];
        for half in 0..2 {
            let [a, b, c, d] = [words[0][half], words[1][half], words[2][half], words[3][half]];
            // SAFETY: the caller has NEON, and the slice room for four registers.
            unsafe { vst4q_s16(out[32 * half..][..32].as_mut_ptr().cast(), int16x8x4_t(a, c, b, d)) };
        }
        out
    }

    #[inline(always)]
    unsafe fn load(from: *const i16) -> Halves {
        // SAFETY: the caller has NEON, and a vector there.
        unsafe { [vld1q_s16(from), vld1q_s16(from.add(8))] }
    }

    #[inline(always)]
    unsafe fn store(vector: Halves, to: *mut i16) {
        // SAFETY: the caller has NEON, and room for a vector there.
        unsafe {
            vst1q_s16(to, vector[0]);
            vst1q_s16(to.add(8), vector[1]);
        }
    }

    #[inline(always)]
    unsafe fn zero() -> [int32x4_t; 2] {
        // SAFETY: the caller has NEON.
        unsafe { [vdupq_n_s32(0); 2] }
    }

    #[inline(always)]
    unsafe fn add_products(mut sums: [int32x4_t; 2], a: Halves, b: Halves) -> [int32x4_t; 2] {
        for half in 0..2 {
            // SAFETY: the caller has NEON.
            unsafe {
                let sum = vmlal_s16(sums[half], vget_low_s16(a[half]), vget_low_s16(b[half]));
                sums[half] = vmlal_high_s16(sum, a[half], b[half]);
            }
        }
        sums
    }

    #[inline(always)]
    unsafe fn add_scaled(totals: &mut [f32; LANES], sums: [int32x4_t; 2], scale: f32) {
        for half in 0..2 {
            let totals = &mut totals[4 * half..][..4];
            // SAFETY: the caller has NEON; four numbers are a register.
            unsafe {
                let scaled = vmulq_n_f32(vcvtq_f32_s32(sums[half]), scale);
                vst1q_f32(totals.as_mut_ptr(), vaddq_f32(vld1q_f32(totals.as_ptr()), scaled));
            }
        }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        let _ = address;
    }

    #[inline(always)]
    unsafe fn widen(bits: &[u16; CHUNK], out: &mut [f32; CHUNK]) {
        for i in 0..CHUNK {
            out[i] = widened(bits[i]);
        }
    }
}

impl<const BITS: u32> Neon<BITS> {
    /// For the even columns of half a chunk, then the odd ones: the byte in which the index begins.
    const BYTES: [[u8; 16]; 2] = {
        let mut bytes = [[0; 16]; 2];
        let mut column = 0;
        while column < 32 {
            bytes[column % 2][column / 2] = (column * BITS as usize / 8) as u8;
            column += 1;
        }
        bytes
    };

    /// The bits of that byte which belong to columns before.
    const SHIFTS: [[i8; 16]; 2] = {
        let mut shifts = [[0; 16]; 2];
        let mut column = 0;
        while column < 32 {
            shifts[column % 2][column / 2] = (column * BITS as usize % 8) as i8;
            column += 1;
        }
        shifts
    };

    /// The indices of the even columns of half a chunk and of the odd ones, a byte each, in order.
    #[inline(always)]
    unsafe fn in_bytes(indices: *const u8, half: usize) -> (uint8x16_t, uint8x16_t) {
        // SAFETY: the caller has NEON and the indices of a chunk: 8 * BITS bytes.
        unsafe {
            match BITS {
                4 => {
                    let bytes = vld1q_u8(indices.add(16 * half));
                    (vandq_u8(bytes, vdupq_n_u8(15)), vshrq_n_u8::<4>(bytes))
                }
                8 => {
                    let pairs = vld2q_u8(indices.add(32 * half));
                    (pairs.0, pairs.1)
                }
                _ => {
                    // Half a chunk has up to 24 bytes; registers are filled from a copy, not from beyond.
                    let mut bytes = [0u8; CHUNK];
                    std::ptr::copy_nonoverlapping(indices, bytes.as_mut_ptr(), 8 * BITS as usize);
                    let bytes = vld1q_u8_x2(bytes[4 * BITS as usize * half..][..32].as_ptr());
                    (Self::extract(bytes, 0), Self::extract(bytes, 1))
                }
            }
        }
    }

    /// The indices of the even (0) or odd (1) columns of half a chunk.
    #[inline(always)]
    unsafe fn extract(bytes: uint8x16x2_t, parity: usize) -> uint8x16_t {
        // SAFETY: the caller has NEON.
        unsafe {
            let (at, shift) =
                (vld1q_u8(Self::BYTES[parity].as_ptr()), vld1q_s8(Self::SHIFTS[parity].as_ptr()));
            let low = vshlq_u8(vqtbl2q_u8(bytes, at), vnegq_s8(shift));
            let next = vqtbl2q_u8(bytes, vaddq_u8(at, vdupq_n_u8(1)));
            let high = vshlq_u8(next, vsubq_s8(vdupq_n_s8(8), shift));
            vandq_u8(vorrq_u8(low, high), vdupq_n_u8(((1u32 << BITS) - 1) as u8))
        }
    }

    /// One byte of the entries for 16 indices.
    #[inline(always)]
    unsafe fn look_up(table: &[uint8x16x4_t; 4], indices: uint8x16_t) -> uint8x16_t {
        // SAFETY: the caller has NEON.
        unsafe {
            if BITS <= 4 {
                return vqtbl1q_u8(table[0].0, indices);
            }
            let mut bytes = vqtbl4q_u8(table[0], indices);
            if BITS == 8 {
                // What is beyond a table keeps the byte that there was.
                for part in 1..4 {
                    let left = vsubq_u8(indices, vdupq_n_u8(64 * part as u8));
                    bytes = vqtbx4q_u8(bytes, table[part], left);
                }
            }
            bytes
        }
    }
}
