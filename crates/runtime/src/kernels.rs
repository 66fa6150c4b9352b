//! The loops where the time goes.

pub(crate) mod attention;
mod exp;
pub(crate) mod fp16;
pub(crate) mod isa;
mod matmul;
mod pieces;
pub(crate) mod pool;
mod round;
pub(crate) mod rowwise;
mod simd;

pub(crate) use matmul::{matmul, matmul_transposed};
pub(crate) use round::round_to_fp16;
