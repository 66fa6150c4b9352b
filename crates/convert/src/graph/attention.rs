//! Rotary positions, the KV cache, and grouped-query attention.

use anelith_mil::{DataType, Opcode, Operand, Value, VarId};
use half::f16;

use super::{Graph, Scope, to_i32s};
use crate::error::Result;
use crate::rotary::RotaryTable;
use crate::weights::Stored;

/// Cosine and sine of the rotary angles at the positions of a call, [1, 1, tokens, head_dim] each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rotation {
    cos: VarId,
    sin: VarId,
}

/// Positions up to this one are gathered by a 16-bit index.
const LARGEST_UINT16: u64 = u16::MAX as u64;

impl Graph<'_, '_> {
    /// The rotation at `positions`, an int32 input of as many elements as there are tokens.
    pub(crate) fn rotation(&mut self, positions: VarId) -> Result<Rotation> {
        let positions = match self.sizes.context <= LARGEST_UINT16 + 1 {
            true => self.cast("positions_to_uint16", positions, DataType::UInt16)?,
            false => positions,
        };
        let [cos, sin] = RotaryTable::cos_and_sin(self.config, self.sizes.context)?;
        Ok(Rotation {
            cos: self.rotary_rows("rotary_cos", cos, positions)?,
            sin: self.rotary_rows("rotary_sin", sin, positions)?,
        })
    }

    fn rotary_rows(&mut self, name: &str, table: RotaryTable, positions: VarId) -> Result<VarId> {
        let (context, dim) = (self.sizes.context, self.config.head_dim as u64);
        let table = self.weights.rotary(name, &[1, context, dim], table)?;
        let table = self.weight(name, Stored::Dense(table))?;
        let rows = self.gather(&format!("{name}_rows"), table, positions, 1)?;
        self.reshape(&format!("{name}_at_positions"), rows, &[1, 1, self.sizes.tokens, dim])
    }

    /// Queries, keys and values of `h` [1, hidden, 1, tokens], each [1, heads, tokens, head_dim].
    pub(crate) fn qkv(&mut self, h: VarId, scope: &Scope, bias: bool) -> Result<[VarId; 3]> {
        let (heads, kv_heads) = (self.config.num_attention_heads, self.config.num_key_value_heads);
        let mut project = |name: &str, heads: usize| {
            let scope = scope.at(name);
            let x = self.linear(h, &scope, heads * self.config.head_dim, bias)?;
            self.heads(x, &scope, heads)
        };
        Ok([project("q_proj", heads)?, project("k_proj", kv_heads)?, project("v_proj", kv_heads)?])
    }

    /// The channels of `x` [1, heads * head_dim, 1, tokens] as heads [1, heads, tokens, head_dim].
    fn heads(&mut self, x: VarId, scope: &Scope, heads: usize) -> Result<VarId> {
        let (heads, dim, tokens) = (heads as u64, self.config.head_dim as u64, self.sizes.tokens);
        if tokens == 1 {
            return self.reshape(&scope.op("heads"), x, &[1, heads, 1, dim]);
        }
        let x = self.reshape(&scope.op("split"), x, &[1, heads, dim, tokens])?;
        self.transpose(&scope.op("heads"), x, &[0, 1, 3, 2])
    }

    /// `x` [1, heads, tokens, head_dim] rotated: x * cos + [-x2, x1] * sin.
    pub(crate) fn rotate(&mut self, x: VarId, scope: &Scope, at: Rotation) -> Result<VarId> {
        let half = self.config.head_dim as u64 / 2;
        let straight = self.binary(Opcode::Mul, &scope.op("cos"), x, at.cos)?;
        let x1 = self.slice(&scope.op("x1"), x, 3, 0..half)?;
        let x2 = self.slice(&scope.op("x2"), x, 3, half..2 * half)?;
        let x2 = self.binary(Opcode::Mul, &scope.op("x2_negated"), x2, Value::fp16(f16::NEG_ONE))?;
        let turned = self.concat(&scope.op("half_turned"), vec![Operand::Var(x2), Operand::Var(x1)], -1)?;
        let turned = self.binary(Opcode::Mul, &scope.op("sin"), turned, at.sin)?;
        self.binary(Opcode::Add, &scope.op("rotated"), straight, turned)
    }

    /// Stores keys and values of this call in the cache and attends over all of it: [1, tokens, heads * head_dim].
    pub(crate) fn attend(&mut self, layer: usize, [q, k, v]: [VarId; 3], scope: &Scope) -> Result<VarId> {
        let (key_row, value_row) = (layer as u64, (layer + self.config.num_hidden_layers) as u64);
        self.write_cache(key_row, k, &scope.at("key_cache"))?;
        self.write_cache(value_row, v, &scope.at("value_cache"))?;
        let keys = self.read_cache(key_row, &scope.at("keys"))?;
        let values = self.read_cache(value_row, &scope.at("values"))?;
        let scores = self.matmul(&scope.op("scores"), q, keys, true)?;
        let scale = Value::fp16(f16::from_f64(1.0 / (self.config.head_dim as f64).sqrt()));
        let scores = self.binary(Opcode::Mul, &scope.op("scores_scaled"), scores, scale)?;
        let mask = self.inputs.causal_mask;
        let scores = self.binary(Opcode::Add, &scope.op("scores_masked"), scores, mask)?;
        let args = [("x", scores.into()), ("axis", Value::i32(-1).into())];
        let probabilities = self.call(Opcode::Softmax, &scope.op("probabilities"), &args)?;
        let mixed = self.matmul(&scope.op("mixed"), probabilities, values, false)?;
        let mixed = self.transpose(&scope.op("mixed_by_token"), mixed, &[0, 2, 1, 3])?;
        let width = (self.config.num_attention_heads * self.config.head_dim) as u64;
        self.reshape(&scope.op("joined"), mixed, &[1, self.sizes.tokens, width])
    }

    fn matmul(&mut self, name: &str, x: VarId, y: VarId, transpose_y: bool) -> Result<VarId> {
        let args = [
            ("x", x.into()),
            ("y", y.into()),
            ("transpose_x", Value::bool(false).into()),
            ("transpose_y", Value::bool(transpose_y).into()),
        ];
        self.call(Opcode::Matmul, name, &args)
    }

    /// Writes `x` [1, kv_heads, tokens, head_dim] into a row of the cache, from the current position on.
    fn write_cache(&mut self, row: u64, x: VarId, scope: &Scope) -> Result<()> {
        let position = Operand::Var(self.inputs.current_pos);
        let end = self.position_after()?;
        let begin = self.place(&scope.op("begin"), row, position)?;
        let end = self.place(&scope.op("end"), row + 1, Operand::Var(end))?;
        let args = [
            ("x", self.cache.into()),
            ("update", x.into()),
            ("begin", begin.into()),
            ("end", end.into()),
            ("stride", Value::i32s(&[1, 1, 1, 1]).into()),
            ("begin_mask", Value::bools(&[false; 4]).into()),
            ("end_mask", Value::bools(&[false, true, false, true]).into()),
            ("squeeze_mask", Value::bools(&[false; 4]).into()),
        ];
        let updated = self.call(Opcode::SliceUpdate, &scope.op("updated"), &args)?;
        let state = self.inputs.state;
        let write = [("input", state.into()), ("data", updated.into())];
        self.builder.call_many(Opcode::WriteState, &scope.op("write_state"), &write)?;
        self.cache = self.call(Opcode::ReadState, &scope.op("read_state"), &[("input", state.into())])?;
        Ok(())
    }

    /// The position after the last token of this call; computed once.
    fn position_after(&mut self) -> Result<VarId> {
        if let Some(end) = self.end_pos {
            return Ok(end);
        }
        let tokens = to_i32s(&[self.sizes.tokens])?;
        let end = self.binary(Opcode::Add, "end_pos", self.inputs.current_pos, Value::i32(tokens[0]))?;
        self.end_pos = Some(end);
        Ok(end)
    }

    /// The index [row, 0, position, 0] into the cache.
    fn place(&mut self, name: &str, row: u64, position: Operand) -> Result<VarId> {
        let fixed = |v: i32| Operand::Value(Value::i32s(&[v]));
        let row = to_i32s(&[row])?[0];
        self.concat(name, vec![fixed(row), fixed(0), position, fixed(0)], 0)
    }

    /// A row of the cache as [1, heads, context, head_dim], each key-value head once for every query head it serves.
    fn read_cache(&mut self, row: u64, scope: &Scope) -> Result<VarId> {
        let config = self.config;
        let x = self.slice(&scope.op("row"), self.cache, 0, row..row + 1)?;
        let mut x = self.squeeze(&scope.op("squeezed"), x, 0)?;
        if self.sizes.state_rows > self.sizes.context {
            x = self.slice(&scope.op("in_context"), x, 1, 0..self.sizes.context)?;
        }
        let repeats = to_i32s(&[(config.num_attention_heads / config.num_key_value_heads) as u64])?[0];
        let x = self.expand_dims(&scope.op("expanded"), x, 1)?;
        let reps = Value::i32s(&[1, repeats, 1, 1]);
        let x = self.call(Opcode::Tile, &scope.op("tiled"), &[("x", x.into()), ("reps", reps.into())])?;
        let shape = [1, config.num_attention_heads, self.sizes.context as usize, config.head_dim];
        self.reshape(&scope.op("repeated"), x, &shape.map(|d| d as u64))
    }
}
