//! The loops where the time goes.
//!
//! ```text
//! Matrix (a weight as it is stored) --multiply----------> fast: fixed point for palettized weights, see `fixed`
//!        \                            Rows (activations)
//!         `--multiply_exact-----------------------------> the numbers of matmul_transposed, tile by tile
//! ```

#![allow(dead_code, unused_imports, reason = "the plan does not call the new products yet")]

mod bandwidth;
mod bytes;
mod disjoint;
mod exact;
mod fixed;
mod float;
pub(crate) mod isa;
mod matmul;
mod matrix;
pub(crate) mod pool;
mod product;
mod round;
mod rows;

pub(crate) use bandwidth::read_bandwidth;
pub(crate) use bytes::Bytes;
pub(crate) use exact::multiply_exact;
pub(crate) use matmul::{matmul, matmul_transposed};
pub(crate) use matrix::Matrix;
pub(crate) use product::{Product, multiply};
pub(crate) use round::round_to_fp16;
pub(crate) use rows::Rows;
