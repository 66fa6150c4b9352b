//! Whoever watches a run: gets what it computes, learns how far it is, and may stop it.

use std::fmt;

use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// A place in the model after which hidden states are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The embedding.
    Embedding,
    /// The attention of the decoder layer of this number, from 0, added to what came in.
    Attention(usize),
    /// The decoder layer of this number, from 0.
    Layer(usize),
    /// The final norm: what the LM head reads.
    Norm,
}

impl fmt::Display for Stage {
    /// By the beginning of its tensors' names: `model.layers.3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Embedding => f.write_str("model.embed_tokens"),
            Stage::Attention(layer) => write!(f, "model.layers.{layer}.self_attn"),
            Stage::Layer(layer) => write!(f, "model.layers.{layer}"),
            Stage::Norm => f.write_str("model.norm"),
        }
    }
}

/// Watches a run. All methods are called from the thread that runs; by themselves they do nothing.
pub trait Observer {
    /// The hidden states [tokens, hidden_size] after `stage`; all values are finite.
    fn hidden_states(&mut self, _stage: Stage, _states: &Matrix) {}

    /// The logits of the token after that of `row`, one for each of the vocab_size tokens; all values are finite.
    fn logits(&mut self, _row: usize, _logits: &[f32]) {}

    /// So many more weights have been multiplied with all the activations that pass them.
    fn advance(&mut self, _weights: u64) {}

    /// Whether the caller asks to stop. Asked often.
    fn interrupted(&mut self) -> bool {
        false
    }
}

/// Shows hidden states, unless they cannot be used.
pub(crate) fn show(observer: &mut dyn Observer, stage: Stage, states: &Matrix) -> Result<()> {
    states.check_finite(&format!("the hidden states after `{stage}`"))?;
    observer.hidden_states(stage, states);
    Ok(())
}

/// Says that `weights` more are done, and stops where the observer wants that.
pub(crate) fn advance(observer: &mut dyn Observer, weights: usize) -> Result<()> {
    observer.advance(weights as u64);
    if observer.interrupted() { Err(Error::Interrupted) } else { Ok(()) }
}
