//! The ops: for each row of `mil`'s op table, a planned form that runs on tensors.
//!
//! An op is a plain function on slices, an adapter (a struct with the parameters known when the plan is
//! made, and [`Operation::run`] for the tensors known when it runs), and tests. [`plan`] is the only place
//! that lists them all; its `match` has no catch-all arm, so a new row of the table does not compile until
//! it is run here.

mod along;
pub(crate) mod arguments;
mod binary;
pub(crate) mod constexpr;
mod conv;
mod elementwise;
mod fill;
mod function;
mod gather;
mod norm;
mod pad;
mod position;
mod product;
mod recurrent;
mod reduce;
mod shape;
pub(crate) mod slice;
mod unary;
pub(crate) mod weights;

use std::fmt::Debug;
use std::sync::Arc;

use anelith_mil::Opcode;

use crate::tensor::Tensor;
use arguments::Arguments;
pub(crate) use function::Function;
use slice::SliceUpdate;
use weights::{Lookup, Projection};

/// What an op was found to be when the plan was made.
#[derive(Debug)]
pub(crate) enum Planned {
    /// It states or decompresses a constant, which its readers have fetched by now.
    Constant,
    /// It makes new values, which take on the precision of their type.
    Computed(Box<dyn Operation>),
    /// It moves values around and changes none.
    Moved(Box<dyn Operation>),
    /// It multiplies by a weight that stays as it is stored.
    Project(Projection),
    /// It replaces a box of a tensor.
    Update(SliceUpdate),
    /// It looks rows up in a weight that stays as it is stored.
    PickRows(Lookup),
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

    /// What the op does to each element of operands of floating-point numbers, in their order; `None` if it does
    /// more than that. `run` gives the same bits.
    fn function(&self) -> Option<Function> {
        None
    }
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
    use binary::Binary;
    use unary::Unary;
    let computed = |op: Box<dyn Operation>| Ok(Planned::Computed(op));
    let moved = |op: Box<dyn Operation>| Ok(Planned::Moved(op));
    match args.opcode {
        Opcode::Abs | Opcode::Sign | Opcode::Square => computed(unary::number(args)?),
        Opcode::Add => computed(binary::binary(args, Binary::Add)?),
        Opcode::BandPart => moved(position::band_part(args)?),
        Opcode::BatchNorm | Opcode::InstanceNorm => computed(norm::channel_norm(args)?),
        Opcode::Cast => computed(elementwise::cast(args)?),
        Opcode::Ceil => computed(unary::unary(args, Unary::Ceil)?),
        Opcode::Clip => computed(unary::clip(args)?),
        Opcode::Concat => moved(shape::concat(args)?),
        Opcode::Const
        | Opcode::ConstexprAffineDequantize
        | Opcode::ConstexprBlockwiseShiftScale
        | Opcode::ConstexprCast
        | Opcode::ConstexprLutToDense
        | Opcode::ConstexprLutToSparse
        | Opcode::ConstexprSparseBlockwiseShiftScale
        | Opcode::ConstexprSparseToDense => Ok(Planned::Constant),
        Opcode::Conv => conv::conv(args),
        Opcode::Cos => computed(unary::unary(args, Unary::Cos)?),
        Opcode::Cumsum => computed(position::cumsum(args)?),
        Opcode::Equal | Opcode::NotEqual => moved(binary::comparison(args)?),
        Opcode::Erf => computed(unary::unary(args, Unary::Erf)?),
        Opcode::Exp => computed(unary::unary(args, Unary::Exp)?),
        Opcode::ExpandDims | Opcode::Reshape | Opcode::Squeeze => moved(shape::reshape(args)?),
        Opcode::Fill => moved(fill::fill(args)?),
        Opcode::Floor => computed(unary::unary(args, Unary::Floor)?),
        Opcode::FloorDiv => computed(binary::binary(args, Binary::FloorDiv)?),
        Opcode::Gather => gather::gather(args),
        Opcode::GatherAlongAxis => moved(along::gather_along_axis(args)?),
        Opcode::GatherNd => moved(gather::gather_nd(args)?),
        Opcode::Gelu => computed(unary::gelu(args)?),
        Opcode::Greater | Opcode::GreaterEqual => moved(binary::comparison(args)?),
        Opcode::Identity => moved(Box::new(shape::Identity)),
        Opcode::Inverse | Opcode::Log | Opcode::Rsqrt => computed(unary::shifted(args)?),
        Opcode::LayerNorm => computed(norm::layer_norm(args)?),
        Opcode::Less | Opcode::LessEqual => moved(binary::comparison(args)?),
        Opcode::Linear => product::linear(args),
        Opcode::LogicalAnd | Opcode::LogicalOr | Opcode::LogicalXor => moved(binary::logical(args)?),
        Opcode::LogicalNot => moved(unary::not(args)?),
        Opcode::Lstm => computed(recurrent::lstm(args)?),
        Opcode::Matmul => computed(product::matmul(args)?),
        Opcode::Maximum => moved(binary::binary(args, Binary::Maximum)?),
        Opcode::Minimum => moved(binary::binary(args, Binary::Minimum)?),
        Opcode::Mod => computed(binary::binary(args, Binary::Mod)?),
        Opcode::Mul => computed(binary::binary(args, Binary::Mul)?),
        Opcode::Pad => computed(pad::pad(args)?),
        Opcode::Pow => computed(binary::binary(args, Binary::Pow)?),
        Opcode::Range1d => computed(fill::range_1d(args)?),
        Opcode::ReadState => Ok(Planned::ReadState),
        Opcode::RealDiv => computed(binary::binary(args, Binary::RealDiv)?),
        Opcode::ReduceArgmax => moved(along::reduce_argmax(args)?),
        Opcode::ReduceMax | Opcode::ReduceMin => moved(reduce::reduce(args)?),
        Opcode::ReduceMean | Opcode::ReduceSum => computed(reduce::reduce(args)?),
        Opcode::Relu => computed(unary::unary(args, Unary::Relu)?),
        Opcode::Reverse => moved(position::reverse(args)?),
        Opcode::Round => computed(unary::unary(args, Unary::Round)?),
        Opcode::Select => moved(elementwise::select(args)?),
        Opcode::Sigmoid => computed(unary::unary(args, Unary::Sigmoid)?),
        Opcode::Silu => computed(unary::unary(args, Unary::Silu)?),
        Opcode::Sin => computed(unary::unary(args, Unary::Sin)?),
        Opcode::SliceByIndex => moved(slice::slice_by_index(args)?),
        Opcode::SliceBySize => moved(slice::slice_by_size()),
        Opcode::SliceUpdate => slice::slice_update(args),
        Opcode::Softmax => computed(norm::softmax(args)?),
        Opcode::Split => moved(shape::split(args)?),
        Opcode::Sqrt => computed(unary::unary(args, Unary::Sqrt)?),
        Opcode::Stack => moved(shape::stack(args)?),
        Opcode::Sub => computed(binary::binary(args, Binary::Sub)?),
        Opcode::Tanh => computed(unary::unary(args, Unary::Tanh)?),
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
