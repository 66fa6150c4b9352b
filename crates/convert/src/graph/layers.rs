//! Embedding, norms, projections, feed-forward and LM head.

use anelith_checkpoint::Config;
use anelith_mil::{Argument, DataType, Opcode, Operand, Value, VarId};
use anelith_report::{Report, Reported};
use half::f16;

use super::{Graph, Scope, identifier};
use crate::error::{Error, Result};
use crate::head::HeadSplit;
use crate::weights::{Component, NewEntry, Stored};

/// Token ids up to this one fit the 16-bit index that gathers take where they can.
const LARGEST_INT16: u64 = i16::MAX as u64;

impl Graph<'_, '_> {
    /// Rows of the embedding [1, tokens, hidden] for the input ids.
    pub(crate) fn embed_tokens(&mut self, scope: &Scope) -> Result<VarId> {
        let (vocab, hidden) = (self.config.vocab_size as u64, self.config.hidden_size as u64);
        let name = scope.tensor("weight");
        let table = self.weights.matrix(&name, Component::Embeddings, vocab, &[vocab, hidden])?;
        // coremltools narrows the ids of fp16 tables, and of those only.
        let narrow = vocab <= LARGEST_INT16 && matches!(table, Stored::Dense(_));
        let table = self.weight(&name, table)?;
        let ids = self.inputs.input_ids;
        let ids = match narrow {
            true => self.cast("input_ids_to_int16", ids, DataType::Int16)?,
            false => ids,
        };
        self.gather(&scope.op("gather"), table, ids, 0)
    }

    /// `x` divided by the root mean square of its last axis, times the weight.
    ///
    /// The mean of [x, -x] is zero, so the layer norm of both together divides x by its root mean square; that
    /// is the one norm that the Neural Engine computes in sufficient precision.
    pub(crate) fn rms_norm(&mut self, x: VarId, scope: &Scope) -> Result<VarId> {
        self.rms_norm_as(&scope.op("scaled"), x, scope)
    }

    /// `rms_norm` with a result of the given name.
    pub(crate) fn rms_norm_as(&mut self, name: &str, x: VarId, scope: &Scope) -> Result<VarId> {
        let width = *self.shape(x).last().expect("activations have axes");
        let minus_one = Value::fp16(f16::NEG_ONE);
        let negated = self.binary(Opcode::Mul, &scope.op("negated"), x, minus_one)?;
        let both = vec![Operand::Var(x), Operand::Var(negated)];
        let both = self.concat(&scope.op("symmetric"), both, -1)?;
        let args = [
            ("x", both.into()),
            ("axes", Value::i32s(&[-1]).into()),
            ("epsilon", Value::fp16(norm_epsilon(self.config)?).into()),
        ];
        let normed = self.call(Opcode::LayerNorm, &scope.op("layer_norm"), &args)?;
        let last = self.shape(x).len() - 1;
        let normed = self.slice(&scope.op("normed"), normed, last, 0..width)?;
        let tensor = scope.tensor("weight");
        let weight = self.weights.vector(&tensor, width)?;
        let weight = self.weight(&tensor, Stored::Dense(weight))?;
        self.binary(Opcode::Mul, name, normed, weight)
    }

    /// The norm of `x` [1, tokens, hidden] as [1, hidden, 1, tokens], ready for projections.
    pub(crate) fn norm_channels(&mut self, x: VarId, scope: &Scope) -> Result<VarId> {
        let h = self.rms_norm(x, scope)?;
        self.channels_first(h, scope)
    }

    /// [1, tokens, channels] as [1, channels, 1, tokens], the layout of convolutions.
    fn channels_first(&mut self, x: VarId, scope: &Scope) -> Result<VarId> {
        let x = self.transpose(&scope.op("transposed"), x, &[0, 2, 1])?;
        self.expand_dims(&scope.op("channels_first"), x, 2)
    }

    /// [1, channels, 1, tokens] as [1, tokens, channels].
    fn channels_last(&mut self, x: VarId, scope: &Scope) -> Result<VarId> {
        let x = self.squeeze(&scope.op("squeezed"), x, 2)?;
        self.transpose(&scope.op("channels_last"), x, &[0, 2, 1])
    }

    /// The projection of `x` [1, in, 1, tokens] to `out` channels, with the bias `scope.bias` where `bias` says.
    pub(crate) fn linear(&mut self, x: VarId, scope: &Scope, out: usize, bias: bool) -> Result<VarId> {
        let (out, inner) = (out as u64, self.shape(x)[1]);
        let name = scope.tensor("weight");
        let weight = self.weights.matrix(&name, Component::Layers, out, &[out, inner, 1, 1])?;
        let weight = self.weight(&name, weight)?;
        let bias = match bias {
            true => Some(self.bias(scope, out)?),
            false => None,
        };
        self.conv(&scope.op("conv"), x, weight, bias)
    }

    /// `x` plus the projection of `y` [1, tokens, in] back to the residual stream.
    pub(crate) fn add_projection(&mut self, x: VarId, y: VarId, scope: &Scope, bias: bool) -> Result<VarId> {
        let y = self.channels_first(y, scope)?;
        let y = self.linear(y, scope, self.config.hidden_size, bias)?;
        let y = self.channels_last(y, scope)?;
        self.binary(Opcode::Add, &scope.op("residual"), x, y)
    }

    fn bias(&mut self, scope: &Scope, out: u64) -> Result<VarId> {
        let name = scope.tensor("bias");
        let bias = self.weights.vector(&name, out)?;
        self.weight(&name, Stored::Dense(bias))
    }

    fn conv(&mut self, name: &str, x: VarId, weight: VarId, bias: Option<VarId>) -> Result<VarId> {
        let mut args: Vec<(&str, Argument)> = vec![
            ("x", x.into()),
            ("weight", weight.into()),
            ("strides", Value::i32s(&[1, 1]).into()),
            ("pad_type", Value::string("valid").into()),
            ("pad", Value::i32s(&[0, 0, 0, 0]).into()),
            ("dilations", Value::i32s(&[1, 1]).into()),
            ("groups", Value::i32(1).into()),
        ];
        args.extend(bias.map(|b| ("bias", b.into())));
        self.call(Opcode::Conv, name, &args)
    }

    /// `x` plus down(silu(gate(h)) * up(h)), where `h` is [1, hidden, 1, tokens].
    pub(crate) fn add_swiglu(&mut self, x: VarId, h: VarId, scope: &Scope) -> Result<VarId> {
        let config = self.config;
        let gate = self.linear(h, &scope.at("gate_proj"), config.intermediate_size, config.mlp_bias)?;
        let up = self.linear(h, &scope.at("up_proj"), config.intermediate_size, config.mlp_bias)?;
        let gate = self.unary(Opcode::Silu, &scope.op("silu"), gate)?;
        let gated = self.binary(Opcode::Mul, &scope.op("gated"), gate, up)?;
        let down = scope.at("down_proj");
        let y = self.linear(gated, &down, config.hidden_size, config.mlp_bias)?;
        let y = self.channels_last(y, &down)?;
        self.binary(Opcode::Add, &scope.op("residual"), x, y)
    }

    /// The last position of `x` [1, tokens, hidden].
    pub(crate) fn last_position(&mut self, x: VarId) -> Result<VarId> {
        let tokens = self.sizes.tokens;
        self.slice("last_position", x, 1, tokens - 1..tokens)
    }

    /// `logits1`, `logits2`, ... [1, 1, rows] of `x` [1, 1, hidden], one for each split of the vocabulary.
    pub(crate) fn lm_head(&mut self, x: VarId, tensor: &str, splits: &[HeadSplit]) -> Result<Vec<VarId>> {
        let (vocab, hidden) = (self.config.vocab_size as u64, self.config.hidden_size as u64);
        let head = self.weights.claim(tensor, &[vocab, hidden])?;
        let scope = Scope::new("lm_head");
        let x = self.channels_first(x, &scope)?;
        let mut logits = Vec::with_capacity(splits.len());
        for (i, split) in splits.iter().enumerate() {
            let name = format!("lm_head{}_{}.weight", splits.len(), i + 1);
            let shape = [split.rows, hidden, 1, 1];
            let entry = NewEntry { name: &name, component: Component::LmHead, shape: &shape };
            let weight = self.weights.rows(entry, head.clone(), split.first)?;
            let weight = self.weight(&name, weight)?;
            let y = self.conv(&identifier(&format!("lm_head.{}.conv", i + 1)), x, weight, None)?;
            let y = self.squeeze(&format!("lm_head_{}_squeezed", i + 1), y, 2)?;
            logits.push(self.transpose(&format!("logits{}", i + 1), y, &[0, 2, 1])?);
        }
        Ok(logits)
    }
}

/// `rms_norm_eps` as the fp16 that norms take.
fn norm_epsilon(config: &Config) -> Result<f16> {
    let epsilon = f16::from_f64(config.rms_norm_eps);
    if epsilon > f16::ZERO && epsilon.is_finite() {
        return Ok(epsilon);
    }
    let report = Report::new("`rms_norm_eps` cannot be told from zero or infinity in fp16").at("config.json");
    let report = report.expecting("3e-8 to 65504").finding(config.rms_norm_eps);
    Err(Error::Input(report.mending("this model cannot be computed in fp16")))
}
