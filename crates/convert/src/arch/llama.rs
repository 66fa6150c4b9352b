//! LLaMA, and the DeepSeek distills of it: biases where the config asks for them.

use anelith_mil::{Opcode, VarId};

use crate::error::Result;
use crate::graph::{Graph, Rotation, Scope};

pub(super) fn decoder_layer(g: &mut Graph<'_, '_>, layer: usize, x: VarId, at: Rotation) -> Result<VarId> {
    let c = g.config;
    let scope = Scope::new(format!("model.layers.{layer}"));
    let attn = scope.at("self_attn");
    let (q_proj, k_proj, v_proj, o_proj) = (attn.at("q_proj"), attn.at("k_proj"), attn.at("v_proj"), attn.at("o_proj"));

    let h = g.rms_norm(x, &scope.at("input_layernorm"))?;
    let h = g.channels_first(h, &attn)?;
    let q = g.linear(h, &q_proj, c.num_attention_heads * c.head_dim, c.attention_bias)?;
    let k = g.linear(h, &k_proj, c.num_key_value_heads * c.head_dim, c.attention_bias)?;
    let v = g.linear(h, &v_proj, c.num_key_value_heads * c.head_dim, c.attention_bias)?;
    let q = g.heads(q, &q_proj, c.num_attention_heads)?;
    let k = g.heads(k, &k_proj, c.num_key_value_heads)?;
    let v = g.heads(v, &v_proj, c.num_key_value_heads)?;
    let q = g.rotate(q, &q_proj, at)?;
    let k = g.rotate(k, &k_proj, at)?;
    let y = g.attend(layer, q, k, v, &attn)?;
    let y = g.channels_first(y, &o_proj)?;
    let y = g.linear(y, &o_proj, c.hidden_size, c.attention_bias)?;
    let y = g.channels_last(y, &o_proj)?;
    let x = g.binary(Opcode::Add, &attn.op("residual"), x, y)?;

    let mlp = scope.at("mlp");
    let h = g.rms_norm(x, &scope.at("post_attention_layernorm"))?;
    let h = g.channels_first(h, &mlp)?;
    let y = g.swiglu(h, &mlp)?;
    g.binary(Opcode::Add, &mlp.op("residual"), x, y)
}
