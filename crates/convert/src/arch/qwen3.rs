//! Qwen 3: queries and keys pass a norm over each head before they are rotated.

use anelith_mil::VarId;

use crate::error::Result;
use crate::graph::{Graph, Rotation, Scope};

pub(super) fn decoder_layer(g: &mut Graph<'_, '_>, layer: usize, x: VarId, at: Rotation) -> Result<VarId> {
    let c = g.config;
    let scope = Scope::new(format!("model.layers.{layer}"));
    let attn = scope.at("self_attn");

    let h = g.norm_channels(x, &scope.at("input_layernorm"))?;
    let [q, k, v] = g.qkv(h, &attn, c.attention_bias)?;
    let q = g.rms_norm(q, &attn.at("q_norm"))?;
    let k = g.rms_norm(k, &attn.at("k_norm"))?;
    let q = g.rotate(q, &attn.at("q"), at)?;
    let k = g.rotate(k, &attn.at("k"), at)?;
    let y = g.attend(layer, [q, k, v], &attn)?;
    let x = g.add_projection(x, y, &attn.at("o_proj"), c.attention_bias)?;

    let h = g.norm_channels(x, &scope.at("post_attention_layernorm"))?;
    g.add_swiglu(x, h, &scope.at("mlp"))
}
