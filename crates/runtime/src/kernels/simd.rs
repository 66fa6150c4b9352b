//! Vectors of eight numbers, and code that is compiled once for each instruction set that has them.
//!
//! A value of a type that is [`Simd`] is the proof that the machine has its instructions: kernels are generic
//! over it, use its methods without further ado and are entered through [`dispatch`].
#![allow(unsafe_code, reason = "instructions that not every machine has, behind a test that this one does")]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
#[cfg(target_arch = "x86_64")]
use std::mem::transmute;

use super::fp16::{narrowed, widened};
use super::isa::Isa;

/// Numbers of one vector.
pub(crate) const LANES: usize = 8;

/// Instructions for vectors of [`LANES`] numbers.
///
/// All methods are inlined into the caller, which is compiled for the instruction set.
pub(crate) trait Simd: Copy {
    /// A vector.
    type Vector: Copy;

    /// A vector with `x` in all lanes.
    fn splat(self, x: f32) -> Self::Vector;

    /// The vector of these numbers.
    fn load(self, from: &[f32; LANES]) -> Self::Vector;

    /// The vector of the numbers that these bits of fp16 stand for.
    fn load_fp16(self, from: &[u16; LANES]) -> Self::Vector;

    /// Writes the numbers of a vector.
    fn store(self, vector: Self::Vector, to: &mut [f32; LANES]);

    /// Writes the bits of the nearest fp16 numbers, ties to even.
    fn store_fp16(self, vector: Self::Vector, to: &mut [u16; LANES]);

    /// `a · b + c`, rounded once where the instruction set does so.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// The sum of the lanes of each of four vectors, in a tree.
    fn totals(self, four: [Self::Vector; 4]) -> [f32; 4];
}

/// Code for any instruction set. A closure is code that the compiler vectorizes by itself.
pub(crate) trait Kernel {
    /// Does the work. To be marked `inline(always)`, or else it is not compiled for the instruction set.
    fn run<S: Simd>(self, simd: S);
}

impl<F: FnOnce()> Kernel for F {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self();
    }
}

/// Runs a kernel with the instructions of `isa`, or with plain ones where the machine lacks them.
pub(crate) fn dispatch(isa: Isa, kernel: impl Kernel) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 if Isa::Avx2.is_here() => {
            // SAFETY: the machine has AVX2, FMA and F16C.
            unsafe { with_avx2(kernel) }
        }
        _ => kernel.run(Plain),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn with_avx2(kernel: impl Kernel) {
    kernel.run(Avx2(()));
}

/// What every machine has; compilers turn it into vectors of whatever width there is.
#[derive(Clone, Copy)]
struct Plain;

impl Simd for Plain {
    type Vector = [f32; LANES];

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Vector {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::Vector {
        *from
    }

    #[inline(always)]
    fn load_fp16(self, from: &[u16; LANES]) -> Self::Vector {
        let mut vector = [0.0; LANES];
        for i in 0..LANES {
            vector[i] = widened(from[i]);
        }
        vector
    }

    #[inline(always)]
    fn store(self, vector: Self::Vector, to: &mut [f32; LANES]) {
        *to = vector;
    }

    #[inline(always)]
    fn store_fp16(self, vector: Self::Vector, to: &mut [u16; LANES]) {
        for i in 0..LANES {
            to[i] = narrowed(vector[i]);
        }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::Vector, b: Self::Vector, mut c: Self::Vector) -> Self::Vector {
        for i in 0..LANES {
            // Where there is no instruction for it, `mul_add` is a slow function.
            c[i] = if cfg!(target_arch = "aarch64") { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] };
        }
        c
    }

    #[inline(always)]
    fn totals(self, four: [Self::Vector; 4]) -> [f32; 4] {
        four.map(|[a, b, c, d, e, f, g, h]| ((a + b) + (c + d)) + ((e + f) + (g + h)))
    }
}

/// The proof that the machine has AVX2, FMA and F16C: made by [`with_avx2`] alone.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Simd for Avx2 {
    type Vector = __m256;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: `self` proves that the instruction is there.
        unsafe { _mm256_set1_ps(x) }
    }

    // Arrays become vectors by `transmute`, since the intrinsics check their pointers in builds for tests.

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> __m256 {
        // SAFETY: both are eight f32.
        unsafe { transmute::<[f32; LANES], __m256>(*from) }
    }

    #[inline(always)]
    fn load_fp16(self, from: &[u16; LANES]) -> __m256 {
        // SAFETY: both are 16 bytes of integers, and `self` proves that the instruction is there.
        unsafe { _mm256_cvtph_ps(transmute::<[u16; LANES], __m128i>(*from)) }
    }

    #[inline(always)]
    fn store(self, vector: __m256, to: &mut [f32; LANES]) {
        // SAFETY: both are eight f32.
        *to = unsafe { transmute::<__m256, [f32; LANES]>(vector) };
    }

    #[inline(always)]
    fn store_fp16(self, vector: __m256, to: &mut [u16; LANES]) {
        // SAFETY: `self` proves that the instruction is there, and both are 16 bytes of integers.
        *to = unsafe {
            transmute::<__m128i, [u16; LANES]>(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(vector))
        };
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: `self` proves that the instruction is there.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn totals(self, [a, b, c, d]: [__m256; 4]) -> [f32; 4] {
        // SAFETY: `self` proves that the instructions are there, and both are four f32.
        unsafe {
            let pairs = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            let sums = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
            transmute::<__m128, [f32; 4]>(sums)
        }
    }
}
