//! The loops where the time goes.
//!
//! ```text
//! Matrix (a weight as it is stored) --multiply----------> fast: fixed point for palettized weights, see `fixed`
//!   |    \                            Rows (activations)
//!   |     `--multiply_exact-----------------------------> the numbers of matmul_transposed, tile by tile
//!   `--prepare------------------------------------------> the form, kept beside it, that `multiply` is quicker with
//! ```

mod apart;
mod attention;
mod bandwidth;
mod bytes;
mod disjoint;
mod exact;
mod exp;
mod fixed;
mod float;
mod fp16;
mod isa;
mod levels;
mod matmul;
mod matrix;
mod pool;
mod prepare;
mod product;
mod round;
mod rows;
mod rowwise;
mod simd;
mod zeroed;

pub(crate) use attention::{Attention, Cache, Inputs, Queries, attend, attention_bytes};
pub(crate) use bandwidth::read_bandwidth;
pub(crate) use bytes::Bytes;
pub(crate) use exact::multiply_exact;
pub(crate) use fp16::{from_fp16, to_fp16};
pub use isa::Isa;
pub(crate) use matmul::{matmul, matmul_transposed};
pub(crate) use matrix::Matrix;
pub(crate) use pool::Pool;
pub(crate) use prepare::{apart_bytes, prepare, take_apart};
pub(crate) use product::{Product, forms_for, multiply};
pub(crate) use round::round_to_fp16;
pub(crate) use rows::Rows;
pub(crate) use rowwise::{add, rms_norm, rotate, silu_mul};
