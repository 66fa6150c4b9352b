//! Qwen 2.5, and the DeepSeek distills of it: queries, keys and values always have biases, the output never.

use anelith_mil::VarId;

use crate::error::Result;
use crate::graph::{Graph, Rotation, Scope};

pub(super) fn decoder_layer(g: &mut Graph<'_, '_>, layer: usize, x: VarId, at: Rotation) -> Result<VarId> {
    let scope = Scope::new(format!("model.layers.{layer}"));
    let attn = scope.at("self_attn");

    let h = g.norm_channels(x, &scope.at("input_layernorm"))?;
    let [q, k, v] = g.qkv(h, &attn, true)?;
    let q = g.rotate(q, &attn.at("q"), at)?;
    let k = g.rotate(k, &attn.at("k"), at)?;
    let y = g.attend(layer, [q, k, v], &attn)?;
    let x = g.add_projection(x, y, &attn.at("o_proj"), false)?;

    let h = g.norm_channels(x, &scope.at("post_attention_layernorm"))?;
    g.add_swiglu(x, h, &scope.at("mlp"))
}
