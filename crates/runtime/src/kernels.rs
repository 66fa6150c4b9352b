//! The loops where the time goes: products of matrices and rounding to fp16.

mod matmul;
mod round;

pub(crate) use matmul::{matmul, matmul_transposed};
pub(crate) use round::round_to_fp16;
