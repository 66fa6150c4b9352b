//! The model families, one file each, and the two functions that all of them share.

mod llama;
mod qwen2;
mod qwen3;

use anelith_checkpoint::{Architecture, Config};
use anelith_mil::{Function, Opcode, VarId};

use crate::error::Result;
use crate::graph::{Graph, Rotation, Scope, Sizes};
use crate::head::Head;
use crate::weights::Weights;

/// The tensor of the embedding, which is the LM head too where both are tied.
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";

/// The tensor of an LM head of its own.
pub(crate) const LM_HEAD: &str = "lm_head.weight";

/// One decoder layer: [1, tokens, hidden] to the same.
fn decoder_layer(g: &mut Graph<'_, '_>, layer: usize, x: VarId, at: Rotation) -> Result<VarId> {
    match g.config.architecture {
        Architecture::Llama => llama::decoder_layer(g, layer, x, at),
        Architecture::Qwen2 => qwen2::decoder_layer(g, layer, x, at),
        Architecture::Qwen3 => qwen3::decoder_layer(g, layer, x, at),
    }
}

fn decoder(g: &mut Graph<'_, '_>, positions: VarId) -> Result<VarId> {
    let mut x = g.embed_tokens(&Scope::new("model.embed_tokens"))?;
    let at = g.rotation(positions)?;
    for layer in 0..g.config.num_hidden_layers {
        x = decoder_layer(g, layer, x, at)?;
    }
    Ok(x)
}

/// The function that takes one token and returns the logits of the next, one output a vocabulary split; or of each
/// split the largest alone.
pub(crate) fn infer<'c>(
    config: &'c Config,
    sizes: Sizes,
    weights: &mut Weights<'c>,
    head: Head<'_>,
) -> Result<Function> {
    let mut g = Graph::new(config, sizes, weights)?;
    let positions = g.inputs.current_pos;
    let x = decoder(&mut g, positions)?;
    let x = g.rms_norm(x, &Scope::new("model.norm"))?;
    let tensor = if config.tie_word_embeddings { EMBEDDING } else { LM_HEAD };
    let logits = g.lm_head(x, tensor, head.splits)?;
    let outputs = if head.argmax { g.argmax(&logits)? } else { logits };
    // Consumers always send position_ids; a function that did not take it would refuse the call.
    let unused = g.inputs.position_ids;
    g.unary(Opcode::Identity, "position_ids_tmp", unused)?;
    Ok(g.finish(outputs))
}

/// The function that takes a batch of tokens and fills the cache.
///
/// Nobody reads logits of a prompt, so it has no LM head; Core ML wants an output, so it returns the last
/// position after the final norm, [1, 1, hidden].
pub(crate) fn prefill<'c>(config: &'c Config, sizes: Sizes, weights: &mut Weights<'c>) -> Result<Function> {
    let mut g = Graph::new(config, sizes, weights)?;
    let positions = g.inputs.position_ids;
    let x = decoder(&mut g, positions)?;
    let x = g.last_position(x)?;
    let hidden = g.rms_norm_as("output_hidden_states", x, &Scope::new("model.norm"))?;
    Ok(g.finish(vec![hidden]))
}
