//! The loops where the time goes.

mod attention;
mod bytes;
mod exp;
mod fp16;
mod isa;
mod matmul;
mod pieces;
mod pool;
mod round;
mod rowwise;
mod simd;

pub(crate) use attention::{Attention, Cache, Inputs, Queries, attend};
pub(crate) use bytes::Bytes;
pub(crate) use fp16::{from_fp16, to_fp16};
pub use isa::Isa;
pub(crate) use matmul::{matmul, matmul_transposed};
pub(crate) use pool::Pool;
pub(crate) use round::round_to_fp16;
pub(crate) use rowwise::{add, rms_norm, rotate, silu_mul};
