//! Runs an ML program on the CPU: tensors in, tensors out, state kept between calls.
//!
//! ```text
//! mil::Program --plan--> Plan (one a function) --run--> tensors
//!                          \__ Instance: plans of one program + the state that they share
//! ```
//!
//! The crate knows ops, not models: any function whose ops are in `mil`'s op table runs, whoever made it.
//! What it cannot run it refuses when the plan is made, naming op, opset and function; once a plan exists
//! only the data can be wrong (an index out of range, a slice that does not fit), and that is an [`Error`],
//! never a panic.
//!
//! Modules, each of which uses only those before it: error, tensor, kernels, ops, plan, instance.
//!
//! # Numeric contract
//!
//! Tensors of fp16 and fp32 are held as `f32`, integers of any width as `i32`, booleans as `bool`.
//!
//! * [`Precision::Exact`] follows the types of the program: every op computes in `f32` from the values of
//!   its operands, and each fp16-typed result is rounded to fp16 once (nearest, ties to even; 65520 and
//!   above become infinite). Inputs and states of type fp16 are rounded too, and so is a weight that an op
//!   scales.
//! * [`Precision::F32`] computes the same without rounding anything; the weights are what is stored.
//! * [`Precision::Fast`] is meant to be near to `F32` and as fast as memory allows. States of type fp16 are fp16;
//!   nothing else is rounded to it. Products with palettized weights are taken in fixed point: for each 256 columns
//!   the activations are integers of 14 bits times a scale, the entries of each table are integers of 14 bits
//!   times a scale, and what the sum of a block makes in 32 bits is exact. So in these products an activation below
//!   1/16382 of the largest of its 256 counts as zero, as does an entry below 1/16382 of the largest of its table; and
//!   an infinity or NaN among the activations makes every result of their row NaN. With AVX2,
//!   weights of 8 bits are rounded to 12 bits times a scale for each 256 columns, which adds a two hundredth to the noise that
//!   palettization has left, as a rule. Tables with an infinity or NaN do not take part: such weights are unpacked to fp16, and
//!   multiplied in `f32` as weights of fp16 are. Between ops numbers are `f32`. Groups of ops (norms, rotations,
//!   attention, chains of ops on elements) are computed at once, without the roundings between them. Instructions
//!   ([`Isa`]) do not change the products of palettized weights by a bit, but for those of 8 bits; sums in other
//!   kernels differ by their order.
//!
//! In `Exact` and `F32` products, convolutions and sums accumulate in `f32` in an order that depends on the shapes only, so
//! results do not change with the number of threads. `layer_norm` takes mean and variance in `f64`,
//! `gelu` and `erf` are taken in it; `lstm` accumulates over all steps and rounds its results once.
//! Integers wrap: results of ops and casts to a narrow type keep its low bits. Infinities and NaN go where
//! IEEE 754 sends them: a row of `softmax` that is all minus infinity is NaN.
//!
//! # Memory
//!
//! Weights of `conv` at a point, `linear` and `gather` stay in the mapped weight file, palettized or fp16, and are
//! unpacked by the tile while they are used; fast plans with AVX2 copy those of 6 bits, after some runs, and
//! those of 8 bits, when they are made, into another form, in memory, and give the pages of the file back. Others are decompressed once, and shared by all functions of a program
//! that name the same blob. Of palettized weights of fp16, those with an infinity or NaN in a table, or with rows that
//! do not end with a byte, are decompressed to fp16; a plan shows them as `fp16 of lut4`. What ops make of constants
//! alone is made once, when the plan is made, and shared in the same way. In a plain plan values are reference-counted
//! and given up at their last use, which lets `slice_update` write in place: a key-value cache that goes through
//! `read_state`, `slice_update` and `write_state` is never copied. A fast plan gives each value a buffer when it is
//! made, and values that are never alive together the same one.
//!
//! States, values and constants that are not read where they are stored may take 64 GiB together. A plan that needs more
//! is refused when it is made, and so is an instance whose states, with the buffers of a fast plan, are not to be had;
//! what is found only while a program runs is an [`Error`] too.

mod error;
mod instance;
mod kernels;
mod ops;
mod plan;
mod tensor;

pub use error::{Error, Result};
pub use instance::{Contents, Instance};
pub use kernels::Isa;
pub use plan::{Constants, Feature, Options, Plan, Precision, StepInfo, StepTime};
pub use tensor::{Tensor, TensorData};

/// Bytes a second that the threads of this process read from memory together: what no product with weights can exceed.
/// Takes about a second and 256 MiB.
pub fn read_bandwidth() -> f64 {
    kernels::read_bandwidth(kernels::Pool::shared())
}
