//! Opsets, and the op table: every op that anelith builds, checks and runs, one row each.
//!
//! A row states the op's MIL name, the releases that defined it anew, its parameters, and the function that
//! infers its output types. The builder, the validator and the executor read this table. An op outside it
//! is carried through readers and writers as it stands (`OpKind::Foreign`), with its declared types.

use std::fmt;

use crate::infer::{self, Call};
use crate::types::Type;

/// The version of the op definitions that a function is written against.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "each variant is the operating system release that introduced it")]
pub enum Opset {
    Ios15,
    Ios16,
    Ios17,
    Ios18,
}

/// Which operation an op is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum OpKind {
    /// A row of the table.
    Known(Opcode),
    /// An op that the table lacks, by its MIL name.
    Foreign(String),
}

/// What a parameter takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParamKind {
    /// A tensor, computed or constant.
    Tensor,
    /// A tensor known before the program runs.
    Const,
    /// A list of tensors.
    Tensors,
    /// A state.
    State,
}

/// A parameter of an op.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// MIL's name.
    pub name: &'static str,
    /// What it takes.
    pub kind: ParamKind,
    /// Whether it may be left out.
    pub optional: bool,
}

/// A row of the table.
#[derive(Debug)]
pub struct OpInfo {
    /// MIL's name.
    pub name: &'static str,
    /// The iOS releases that defined the op anew, oldest first; 15 is the first opset there is.
    ///
    /// They are those of Apple's own table, which is not public: what compiled models and compute plans say
    /// (`Ios16.add`, `ios18.conv`, `Split`). Where no iOS 16 model was seen with an op, that release is listed
    /// for the ops that compute and not for those that only move elements, as it is for all that were seen.
    pub releases: &'static [u8],
    /// Its parameters.
    pub params: &'static [Param],
    /// The output types for a call, or what is wrong with it.
    pub infer: fn(&Call<'_>) -> Result<Vec<Type>, String>,
}

macro_rules! kind {
    (tensor) => {
        ParamKind::Tensor
    };
    (constant) => {
        ParamKind::Const
    };
    (tensors) => {
        ParamKind::Tensors
    };
    (state) => {
        ParamKind::State
    };
}

macro_rules! optional {
    () => {
        false
    };
    (optional) => {
        true
    };
}

macro_rules! ops {
    ($($opcode:ident = $name:literal [$($release:literal)*]
        { $($param:ident : $kind:ident $($opt:ident)?),* } => $infer:path;)*) => {
        /// An op of the table.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[allow(missing_docs, reason = "each variant is the MIL op of the same name")]
        pub enum Opcode { $($opcode),* }

        impl Opcode {
            /// Every op of the table.
            pub const ALL: &[Opcode] = &[$(Opcode::$opcode),*];

            /// The op's row.
            pub fn info(self) -> &'static OpInfo {
                match self { $(Opcode::$opcode => {
                    static INFO: OpInfo = OpInfo {
                        name: $name,
                        releases: &[$($release),*],
                        params: &[$(Param {
                            name: stringify!($param),
                            kind: kind!($kind),
                            optional: optional!($($opt)?),
                        }),*],
                        infer: $infer,
                    };
                    &INFO
                })* }
            }
        }
    };
}

ops! {
    Abs = "abs" [15 16 17] { x: tensor } => infer::number;
    Add = "add" [15 16 17 18] { x: tensor, y: tensor } => infer::elementwise;
    BandPart = "band_part" [15] { x: tensor, lower: constant optional, upper: constant optional }
        => infer::band_part;
    BatchNorm = "batch_norm" [15 16 17] { x: tensor, mean: constant, variance: constant, gamma: constant optional,
        beta: constant optional, epsilon: constant optional } => infer::channel_norm;
    Cast = "cast" [15 16 17 18] { x: tensor, dtype: constant } => infer::cast;
    Ceil = "ceil" [15 16 17] { x: tensor } => infer::float;
    Clip = "clip" [15 16 17] { x: tensor, alpha: constant, beta: constant } => infer::float;
    Concat = "concat" [15 17 18] { values: tensors, axis: constant, interleave: constant optional } => infer::concat;
    Const = "const" [15] {} => infer::constant;
    ConstexprAffineDequantize = "constexpr_affine_dequantize" [16]
        { quantized_data: constant, zero_point: constant, scale: constant, axis: constant }
        => infer::affine_dequantize;
    ConstexprBlockwiseShiftScale = "constexpr_blockwise_shift_scale" [18]
        { data: constant, scale: constant, offset: constant optional } => infer::blockwise_shift_scale;
    ConstexprCast = "constexpr_cast" [16 18] { source_val: constant, output_dtype: constant }
        => infer::constexpr_cast;
    ConstexprLutToDense = "constexpr_lut_to_dense" [16 18]
        { indices: constant, lut: constant, vector_axis: constant optional } => infer::lut_to_dense;
    ConstexprLutToSparse = "constexpr_lut_to_sparse" [18]
        { indices_mask: constant, indices_nonzero_data: constant, lut: constant, vector_axis: constant optional }
        => infer::lut_to_sparse;
    ConstexprSparseBlockwiseShiftScale = "constexpr_sparse_blockwise_shift_scale" [18]
        { data_mask: constant, nonzero_data: constant, scale: constant, offset: constant optional }
        => infer::sparse_blockwise_shift_scale;
    ConstexprSparseToDense = "constexpr_sparse_to_dense" [16 18] { nonzero_data: constant, mask: constant }
        => infer::sparse_to_dense;
    Conv = "conv" [15 16 17 18] { x: tensor, weight: tensor, bias: constant optional, strides: constant optional,
        pad_type: constant optional, pad: constant optional, dilations: constant optional,
        groups: constant optional } => infer::conv;
    Cos = "cos" [15 16 17] { x: tensor } => infer::float;
    Cumsum = "cumsum" [15 16] { x: tensor, axis: constant optional, exclusive: constant optional,
        reverse: constant optional } => infer::cumsum;
    Equal = "equal" [15 16 17 18] { x: tensor, y: tensor } => infer::equality;
    Erf = "erf" [15 16 17] { x: tensor } => infer::float;
    Exp = "exp" [15 16] { x: tensor } => infer::float;
    ExpandDims = "expand_dims" [15 17 18] { x: tensor, axes: constant } => infer::expand_dims;
    Fill = "fill" [15] { shape: tensor, value: constant optional } => infer::fill;
    Floor = "floor" [15 16 17] { x: tensor } => infer::float;
    FloorDiv = "floor_div" [15 16 17 18] { x: tensor, y: tensor } => infer::elementwise;
    Gather = "gather" [15 16 17 18] { x: tensor, indices: tensor, axis: constant optional,
        batch_dims: constant optional, validate_indices: constant optional } => infer::gather;
    GatherAlongAxis = "gather_along_axis" [15 16 17 18] { x: tensor, indices: tensor, axis: constant optional,
        validate_indices: constant optional } => infer::gather_along_axis;
    GatherNd = "gather_nd" [15 16 17] { x: tensor, indices: tensor, batch_dims: constant optional,
        validate_indices: constant optional } => infer::gather_nd;
    Gelu = "gelu" [15 16 18] { x: tensor, mode: constant optional } => infer::gelu;
    Greater = "greater" [15 16 17 18] { x: tensor, y: tensor } => infer::comparison;
    GreaterEqual = "greater_equal" [15 16 17 18] { x: tensor, y: tensor } => infer::comparison;
    Identity = "identity" [15] { x: tensor } => infer::same_as_x;
    InstanceNorm = "instance_norm" [15 16 17] { x: tensor, gamma: constant optional, beta: constant optional,
        epsilon: constant optional } => infer::channel_norm;
    Inverse = "inverse" [15 16 17] { x: tensor, epsilon: constant optional } => infer::float;
    LayerNorm = "layer_norm" [15 16 17 18] { x: tensor, axes: constant optional, gamma: constant optional,
        beta: constant optional, epsilon: constant optional } => infer::layer_norm;
    Less = "less" [15 16 17 18] { x: tensor, y: tensor } => infer::comparison;
    LessEqual = "less_equal" [15 16 17 18] { x: tensor, y: tensor } => infer::comparison;
    Linear = "linear" [15 16 17 18] { x: tensor, weight: constant, bias: constant optional } => infer::linear;
    Log = "log" [15 16 17] { x: tensor, epsilon: constant optional } => infer::float;
    LogicalAnd = "logical_and" [15 16 17 18] { x: tensor, y: tensor } => infer::logical;
    LogicalNot = "logical_not" [15 16 17] { x: tensor } => infer::logical_not;
    LogicalOr = "logical_or" [15 16 17 18] { x: tensor, y: tensor } => infer::logical;
    LogicalXor = "logical_xor" [15 16 17 18] { x: tensor, y: tensor } => infer::logical;
    Lstm = "lstm" [15 16 17] { x: tensor, initial_h: tensor, initial_c: tensor, weight_ih: constant,
        weight_hh: constant, bias: constant optional, peephole: constant optional,
        weight_ih_back: constant optional, weight_hh_back: constant optional, bias_back: constant optional,
        peephole_back: constant optional, direction: constant optional, output_sequence: constant optional,
        recurrent_activation: constant optional, cell_activation: constant optional,
        activation: constant optional, clip: constant optional } => infer::lstm;
    Matmul = "matmul" [15 16 17 18] { x: tensor, y: tensor, transpose_x: constant optional,
        transpose_y: constant optional } => infer::matmul;
    Maximum = "maximum" [15 16 17 18] { x: tensor, y: tensor } => infer::elementwise;
    Minimum = "minimum" [15 16 17 18] { x: tensor, y: tensor } => infer::elementwise;
    Mod = "mod" [15 16 17 18] { x: tensor, y: tensor } => infer::elementwise;
    Mul = "mul" [15 16 17 18] { x: tensor, y: tensor } => infer::elementwise;
    NotEqual = "not_equal" [15 16 17 18] { x: tensor, y: tensor } => infer::equality;
    Pad = "pad" [15] { x: tensor, pad: tensor, mode: constant optional, constant_val: constant optional }
        => infer::pad;
    Pow = "pow" [15 16 17 18] { x: tensor, y: tensor } => infer::elementwise;
    Range1d = "range_1d" [15] { end: tensor, start: tensor, step: tensor } => infer::range_1d;
    ReadState = "read_state" [18] { input: state } => infer::read_state;
    RealDiv = "real_div" [15 16 17 18] { x: tensor, y: tensor } => infer::elementwise;
    ReduceArgmax = "reduce_argmax" [15 16 17] { x: tensor, axis: constant optional, keep_dims: constant optional,
        output_dtype: constant optional } => infer::reduce_argmax;
    ReduceMax = "reduce_max" [15 16] { x: tensor, axes: constant optional, keep_dims: constant optional }
        => infer::reduce;
    ReduceMean = "reduce_mean" [15 16] { x: tensor, axes: constant optional, keep_dims: constant optional }
        => infer::reduce;
    ReduceMin = "reduce_min" [15 16] { x: tensor, axes: constant optional, keep_dims: constant optional }
        => infer::reduce;
    ReduceSum = "reduce_sum" [15 16] { x: tensor, axes: constant optional, keep_dims: constant optional }
        => infer::reduce;
    Relu = "relu" [15 16 18] { x: tensor } => infer::float;
    Reshape = "reshape" [15 17 18] { x: tensor, shape: constant } => infer::reshape;
    Reverse = "reverse" [15 17] { x: tensor, axes: constant optional } => infer::reverse;
    Round = "round" [15 16 17] { x: tensor } => infer::float;
    Rsqrt = "rsqrt" [15 16 17 18] { x: tensor, epsilon: constant optional } => infer::float;
    Select = "select" [15] { cond: tensor, a: tensor, b: tensor } => infer::select;
    Sigmoid = "sigmoid" [15 16 18] { x: tensor } => infer::float;
    Sign = "sign" [15 16 17] { x: tensor } => infer::number;
    Silu = "silu" [15 16 18] { x: tensor } => infer::float;
    Sin = "sin" [15 16 17] { x: tensor } => infer::float;
    SliceByIndex = "slice_by_index" [15 17 18] { x: tensor, begin: tensor, end: tensor, stride: constant optional,
        begin_mask: constant optional, end_mask: constant optional, squeeze_mask: constant optional }
        => infer::slice_by_index;
    SliceBySize = "slice_by_size" [15 17 18] { x: tensor, begin: tensor, size: tensor } => infer::slice_by_size;
    SliceUpdate = "slice_update" [18] { x: tensor, update: tensor, begin: tensor, end: tensor,
        stride: constant optional, begin_mask: constant optional, end_mask: constant optional,
        squeeze_mask: constant optional } => infer::slice_update;
    Softmax = "softmax" [15 16 18] { x: tensor, axis: constant optional } => infer::softmax;
    Split = "split" [15] { x: tensor, axis: constant, num_splits: constant optional,
        split_sizes: constant optional } => infer::split;
    Sqrt = "sqrt" [15 16 17] { x: tensor } => infer::float;
    Square = "square" [15 16 17] { x: tensor } => infer::number;
    Squeeze = "squeeze" [15 17 18] { x: tensor, axes: constant optional } => infer::squeeze;
    Stack = "stack" [15] { values: tensors, axis: constant } => infer::stack;
    Sub = "sub" [15 16 17 18] { x: tensor, y: tensor } => infer::elementwise;
    Tanh = "tanh" [15 16 18] { x: tensor } => infer::float;
    Tile = "tile" [15] { x: tensor, reps: constant } => infer::tile;
    Transpose = "transpose" [15 17 18] { x: tensor, perm: constant } => infer::transpose;
    WriteState = "write_state" [18] { input: state, data: tensor } => infer::write_state;
}

impl Opset {
    /// All opsets, oldest first.
    pub const ALL: [Opset; 4] = [Opset::Ios15, Opset::Ios16, Opset::Ios17, Opset::Ios18];

    /// The name in protobuf: `CoreML5` to `CoreML8`.
    pub fn proto_name(self) -> &'static str {
        match self {
            Opset::Ios15 => "CoreML5",
            Opset::Ios16 => "CoreML6",
            Opset::Ios17 => "CoreML7",
            Opset::Ios18 => "CoreML8",
        }
    }

    /// The name in text: `ios15` to `ios18`.
    pub fn text_name(self) -> &'static str {
        match self {
            Opset::Ios15 => "ios15",
            Opset::Ios16 => "ios16",
            Opset::Ios17 => "ios17",
            Opset::Ios18 => "ios18",
        }
    }

    /// The iOS release: 15 to 18.
    pub fn release(self) -> u8 {
        match self {
            Opset::Ios15 => 15,
            Opset::Ios16 => 16,
            Opset::Ios17 => 17,
            Opset::Ios18 => 18,
        }
    }
}

impl fmt::Display for Opset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text_name())
    }
}

impl Opcode {
    /// The op called `name`, if the table has it.
    pub fn from_name(name: &str) -> Option<Opcode> {
        Self::ALL.iter().copied().find(|o| o.info().name == name)
    }
}

impl OpKind {
    /// The op called `name`, from the table where it has it.
    pub fn from_name(name: &str) -> OpKind {
        Opcode::from_name(name).map_or_else(|| OpKind::Foreign(name.to_owned()), OpKind::Known)
    }

    /// MIL's name of the op.
    pub fn name(&self) -> &str {
        match self {
            OpKind::Known(opcode) => opcode.info().name,
            OpKind::Foreign(name) => name,
        }
    }

    /// Whether this op is the given row of the table.
    pub fn is(&self, opcode: Opcode) -> bool {
        *self == OpKind::Known(opcode)
    }

    /// Whether the op only states or decompresses a constant, and so runs before the program does.
    pub fn is_constant(&self) -> bool {
        self.is(Opcode::Const) || self.name().starts_with("constexpr_")
    }

    /// The release whose definition of the op a function of `opset` uses; `None` for foreign ops.
    pub fn release(&self, opset: Opset) -> Option<u8> {
        let OpKind::Known(opcode) = self else { return None };
        opcode.info().releases.iter().copied().filter(|r| *r <= opset.release()).max()
    }
}

impl OpInfo {
    /// The parameter called `name`.
    pub fn param(&self, name: &str) -> Option<&'static Param> {
        self.params.iter().find(|p| p.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_row() {
        for &opcode in Opcode::ALL {
            assert_eq!(OpKind::from_name(opcode.info().name), OpKind::Known(opcode));
        }
        assert_eq!(OpKind::from_name("softplus"), OpKind::Foreign("softplus".into()));
    }

    #[test]
    fn the_release_in_force_is_the_newest_one_of_the_opset() {
        let lut = OpKind::Known(Opcode::ConstexprLutToDense);
        assert_eq!(lut.release(Opset::Ios17), Some(16));
        assert_eq!(lut.release(Opset::Ios18), Some(18));
        assert_eq!(OpKind::Known(Opcode::ReadState).release(Opset::Ios17), None);
    }
}
