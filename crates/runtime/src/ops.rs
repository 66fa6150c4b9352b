//! The ops: for each row of `mil`'s op table, a planned form that runs on tensors.
//!
//! An op is a plain function on slices, an adapter (a struct with the parameters known when the plan is
//! made, and [`Operation::run`] for the tensors known when it runs), and tests. [`plan`] is the only place
//! that lists them all; its `match` has no catch-all arm, so a new row of the table does not compile until
//! it is run here.

mod along;
pub(crate) mod arguments;
pub(crate) mod constexpr;
mod conv;
mod elementwise;
mod gather;
mod norm;
mod product;
mod reduce;
mod shape;
mod slice;

use std::fmt::Debug;
use std::sync::Arc;

use anelith_mil::Opcode;

use crate::tensor::Tensor;
use arguments::Arguments;

/// What an op was found to be when the plan was made.
#[derive(Debug)]
pub(crate) enum Planned {
    /// It states or decompresses a constant, which its readers have fetched by now.
    Constant,
    /// It makes new values, which take on the precision of their type.
    Computed(Box<dyn Operation>),
    /// It moves values around and changes none.
    Moved(Box<dyn Operation>),
    /// It hands out the state bound to `input`.
    ReadState,
    /// It replaces the state bound to `input` by `data`.
    WriteState,
}

/// An op whose constant parameters are fixed.
pub(crate) trait Operation: Debug + Send + Sync {
    /// Computes the results from the tensor parameters, in the order of the op table. An operand that is
    /// not shared with anyone may be reused for a result.
    ///
    /// # Errors
    /// What is wrong with the data, as a sentence without subject.
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String>;
}

/// Why an op cannot be planned.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The executor does not do this.
    Unsupported(String),
    /// The op contradicts itself.
    Malformed(String),
    /// A weight cannot be read.
    Weights(anelith_mil::Error),
}

impl From<String> for Problem {
    fn from(problem: String) -> Problem {
        Problem::Malformed(problem)
    }
}

/// Plans one op.
pub(crate) fn plan(args: &Arguments<'_>) -> Result<Planned, Problem> {
    use elementwise::{Binary, Unary};
    let computed = |op: Box<dyn Operation>| Ok(Planned::Computed(op));
    let moved = |op: Box<dyn Operation>| Ok(Planned::Moved(op));
    match args.opcode {
        Opcode::Add => computed(elementwise::binary(args, Binary::Add)?),
        Opcode::Cast => computed(elementwise::cast(args)?),
        Opcode::Concat => moved(shape::concat(args)?),
        Opcode::Const | Opcode::ConstexprLutToDense => Ok(Planned::Constant),
        Opcode::Conv => computed(conv::conv(args)?),
        Opcode::Exp => computed(elementwise::unary(args, Unary::Exp)?),
        Opcode::ExpandDims | Opcode::Reshape | Opcode::Squeeze => moved(shape::reshape(args)?),
        Opcode::Gather => moved(gather::gather(args)?),
        Opcode::GatherAlongAxis => moved(along::gather_along_axis(args)?),
        Opcode::GreaterEqual => moved(elementwise::greater_equal(args)?),
        Opcode::Identity => moved(Box::new(shape::Identity)),
        Opcode::LayerNorm => computed(norm::layer_norm(args)?),
        Opcode::Linear => computed(product::linear(args)?),
        Opcode::Matmul => computed(product::matmul(args)?),
        Opcode::Mul => computed(elementwise::binary(args, Binary::Mul)?),
        Opcode::ReadState => Ok(Planned::ReadState),
        Opcode::RealDiv => computed(elementwise::binary(args, Binary::RealDiv)?),
        Opcode::ReduceArgmax => moved(along::reduce_argmax(args)?),
        Opcode::ReduceMax => moved(reduce::reduce(args, reduce::Kind::Max)?),
        Opcode::ReduceMean => computed(reduce::reduce(args, reduce::Kind::Mean)?),
        Opcode::ReduceSum => computed(reduce::reduce(args, reduce::Kind::Sum)?),
        Opcode::Rsqrt => computed(elementwise::rsqrt(args)?),
        Opcode::Select => moved(elementwise::select(args)?),
        Opcode::Silu => computed(elementwise::unary(args, Unary::Silu)?),
        Opcode::SliceByIndex => moved(slice::slice_by_index(args)?),
        Opcode::SliceUpdate => moved(slice::slice_update(args)?),
        Opcode::Softmax => computed(norm::softmax(args)?),
        Opcode::Split => moved(shape::split(args)?),
        Opcode::Sub => computed(elementwise::binary(args, Binary::Sub)?),
        Opcode::Tile => moved(shape::tile(args)?),
        Opcode::Transpose => moved(shape::transpose(args)?),
        Opcode::WriteState => Ok(Planned::WriteState),
    }
}

/// The operands of an op that takes exactly `N`.
fn operands<const N: usize>(inputs: Vec<Arc<Tensor>>) -> Result<[Arc<Tensor>; N], String> {
    let count = inputs.len();
    inputs.try_into().map_err(|_| format!("has {count} operands, expected {N}"))
}
