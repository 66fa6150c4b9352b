//! A function under construction, with the vocabulary of decoder-only language models.
//!
//! The op forms are those that the Neural Engine is known to run: activations as [1, channels, 1, tokens] into
//! 1x1 convolutions, root mean square norms through `layer_norm`, keys and values in one state tensor.

mod argmax;
mod attention;
mod layers;

use anelith_checkpoint::Config;
use anelith_mil::{
    Argument, DataType, Function, FunctionBuilder, Opcode, Operand, Opset, TensorType, Value, VarId,
};
use anelith_report::{Report, Reported};

use crate::error::Result;
use crate::weights::{Stored, Weights};

pub(crate) use attention::Rotation;

/// The sizes that tell one function of a model from another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Tokens of one call: 1, or the batch.
    pub(crate) tokens: u64,
    /// Width of the mask.
    pub(crate) context: u64,
    /// Rows of the KV cache.
    pub(crate) state_rows: u64,
}

/// The inputs of a function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs {
    /// int32 [1, tokens]
    pub(crate) input_ids: VarId,
    /// int32 [tokens]
    pub(crate) position_ids: VarId,
    /// fp16 [1, 1, tokens, context]: 0 or negative infinity, added to the scores
    pub(crate) causal_mask: VarId,
    /// int32 [1]: the row of the cache that the first token is written to
    pub(crate) current_pos: VarId,
    /// fp16 [2 * layers, kv_heads, state_rows, head_dim]
    state: VarId,
}

/// A place in the checkpoint, which names weights and ops alike: `model.layers.3.self_attn`.
#[derive(Clone, Debug)]
pub(crate) struct Scope(String);

impl Scope {
    pub(crate) fn new(path: impl Into<String>) -> Scope {
        Scope(path.into())
    }

    /// A place inside this one.
    pub(crate) fn at(&self, name: &str) -> Scope {
        Scope(format!("{}.{name}", self.0))
    }

    /// The name of a checkpoint tensor here.
    pub(crate) fn tensor(&self, name: &str) -> String {
        format!("{}.{name}", self.0)
    }

    /// The name of an op here.
    pub(crate) fn op(&self, name: &str) -> String {
        identifier(&self.tensor(name))
    }
}

/// MIL identifiers have no dots.
pub(crate) fn identifier(path: &str) -> String {
    path.replace('.', "_")
}

/// A function under construction.
pub(crate) struct Graph<'w, 'c> {
    pub(crate) config: &'c Config,
    pub(crate) sizes: Sizes,
    pub(crate) inputs: Inputs,
    builder: FunctionBuilder,
    weights: &'w mut Weights<'c>,
    /// The cache as the last read gave it.
    cache: VarId,
    /// The position after the last token, once something needed it.
    end_pos: Option<VarId>,
}

/// The name of the state in every function; tools look for it.
pub(crate) const STATE_NAME: &str = "model_model_kv_cache_0";

impl<'w, 'c> Graph<'w, 'c> {
    /// A function `main` with the inputs that consumers send, and the cache read once.
    pub(crate) fn new(
        config: &'c Config,
        sizes: Sizes,
        weights: &'w mut Weights<'c>,
    ) -> Result<Graph<'w, 'c>> {
        let mut builder = FunctionBuilder::new("main", Opset::Ios18);
        let int32 = |shape: &[u64]| TensorType::new(DataType::Int32, shape);
        let mask = TensorType::new(DataType::Fp16, &[1, 1, sizes.tokens, sizes.context]);
        let [layers, heads, dim] =
            [config.num_hidden_layers, config.num_key_value_heads, config.head_dim].map(|n| n as u64);
        let cache = TensorType::new(DataType::Fp16, &[2 * layers, heads, sizes.state_rows, dim]);
        let inputs = Inputs {
            input_ids: builder.input("input_ids", int32(&[1, sizes.tokens])),
            position_ids: builder.input("position_ids", int32(&[sizes.tokens])),
            causal_mask: builder.input("causal_mask", mask),
            current_pos: builder.input("current_pos", int32(&[1])),
            state: builder.state(STATE_NAME, cache),
        };
        let cache = builder.call(Opcode::ReadState, "read_state_0", &[("input", inputs.state.into())])?;
        Ok(Graph { config, sizes, inputs, builder, weights, cache, end_pos: None })
    }

    /// The finished function, which returns `outputs`.
    pub(crate) fn finish(self, outputs: Vec<VarId>) -> Function {
        self.builder.finish(outputs)
    }

    /// The extents of a variable.
    pub(crate) fn shape(&self, var: VarId) -> Vec<u64> {
        self.builder.shape(var)
    }

    fn call(&mut self, opcode: Opcode, name: &str, args: &[(&str, Argument)]) -> Result<VarId> {
        Ok(self.builder.call(opcode, name, args)?)
    }

    /// An op of one tensor and nothing else.
    pub(crate) fn unary(&mut self, opcode: Opcode, name: &str, x: VarId) -> Result<VarId> {
        self.call(opcode, name, &[("x", x.into())])
    }

    /// An op of two operands.
    pub(crate) fn binary(
        &mut self,
        opcode: Opcode,
        name: &str,
        x: VarId,
        y: impl Into<Argument>,
    ) -> Result<VarId> {
        self.call(opcode, name, &[("x", x.into()), ("y", y.into())])
    }

    fn transpose(&mut self, name: &str, x: VarId, perm: &[i32]) -> Result<VarId> {
        self.call(Opcode::Transpose, name, &[("x", x.into()), ("perm", Value::i32s(perm).into())])
    }

    fn reshape(&mut self, name: &str, x: VarId, shape: &[u64]) -> Result<VarId> {
        let shape = Value::i32s(&to_i32s(shape)?);
        self.call(Opcode::Reshape, name, &[("x", x.into()), ("shape", shape.into())])
    }

    fn expand_dims(&mut self, name: &str, x: VarId, axis: i32) -> Result<VarId> {
        self.call(Opcode::ExpandDims, name, &[("x", x.into()), ("axes", Value::i32s(&[axis]).into())])
    }

    fn squeeze(&mut self, name: &str, x: VarId, axis: i32) -> Result<VarId> {
        self.call(Opcode::Squeeze, name, &[("x", x.into()), ("axes", Value::i32s(&[axis]).into())])
    }

    fn cast(&mut self, name: &str, x: VarId, dtype: DataType) -> Result<VarId> {
        self.call(Opcode::Cast, name, &[("x", x.into()), ("dtype", Value::string(dtype.name()).into())])
    }

    fn concat(&mut self, name: &str, values: Vec<Operand>, axis: i32) -> Result<VarId> {
        let args = [
            ("values", Argument::Many(values)),
            ("axis", Value::i32(axis).into()),
            ("interleave", Value::bool(false).into()),
        ];
        self.call(Opcode::Concat, name, &args)
    }

    fn gather(&mut self, name: &str, x: VarId, indices: VarId, axis: i32) -> Result<VarId> {
        let args = [
            ("x", x.into()),
            ("indices", indices.into()),
            ("axis", Value::i32(axis).into()),
            ("batch_dims", Value::i32(0).into()),
            ("validate_indices", Value::bool(false).into()),
        ];
        self.call(Opcode::Gather, name, &args)
    }

    /// The part `from..to` of one axis; the other axes stay whole.
    fn slice(&mut self, name: &str, x: VarId, axis: usize, range: std::ops::Range<u64>) -> Result<VarId> {
        let mut end = self.shape(x);
        let mut begin = vec![0; end.len()];
        let mut whole = vec![true; end.len()];
        whole[axis] = range.end == end[axis];
        (begin[axis], end[axis]) = (range.start, range.end);
        let args = [
            ("x", x.into()),
            ("begin", Value::i32s(&to_i32s(&begin)?).into()),
            ("end", Value::i32s(&to_i32s(&end)?).into()),
            ("end_mask", Value::bools(&whole).into()),
        ];
        self.call(Opcode::SliceByIndex, name, &args)
    }

    /// The variable that holds a weight, decompressed where it is palettized.
    fn weight(&mut self, name: &str, stored: Stored) -> Result<VarId> {
        let name = identifier(name);
        match stored {
            Stored::Dense(value) => Ok(self.builder.constant(&name, value)),
            Stored::Palettized { indices, lut } => self.call(
                Opcode::ConstexprLutToDense,
                &format!("{name}_palettized"),
                &[("indices", indices.into()), ("lut", lut.into())],
            ),
        }
    }
}

/// Extents as MIL's int32 parameters.
fn to_i32s(shape: &[u64]) -> Result<Vec<i32>> {
    use crate::error::Error;
    let narrow = |d: &u64| {
        let report =
            || Report::new(format!("extent {d} is beyond what Core ML can address")).expecting(i32::MAX);
        i32::try_from(*d).map_err(|_| Error::Input(report()))
    };
    shape.iter().map(narrow).collect()
}
