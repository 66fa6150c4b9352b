//! What the conversation needs from a model: next-token prediction with a cache of positions.

use crate::error::Error;

/// What a model predicts after one token.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// One logit for each of the [`LanguageModel::vocab_size`] tokens.
    Logits(Vec<f32>),
    /// The most likely token, from a model that has the argmax built in.
    Token(u32),
}

/// A causal language model with a key/value cache addressed by position.
///
/// The caller writes positions in order, each once: full batches through [`prefill`], single
/// tokens through [`infer`]. Position `p` sees the positions `0..=p`.
///
/// A cache holds one sequence of tokens; with a cache for each, several sequences take turns.
///
/// [`prefill`]: LanguageModel::prefill
/// [`infer`]: LanguageModel::infer
pub trait LanguageModel {
    /// What the model remembers of the positions that were written.
    type Cache;

    /// An empty cache.
    ///
    /// # Errors
    /// [`Kind::Model`](crate::Kind::Model) when there is no memory for it.
    fn new_cache(&self) -> Result<Self::Cache, Error>;

    /// Exchanges the cache for another of this model, without copying either.
    fn swap_cache(&mut self, cache: &mut Self::Cache);

    /// Whether [`LanguageModel::infer`] answers with [`Next::Token`], so that tokens cannot be sampled.
    fn has_argmax(&self) -> bool {
        false
    }

    /// How many positions the cache holds.
    fn context_length(&self) -> usize;

    /// How many tokens one [`LanguageModel::prefill`] call takes, at least 1.
    fn batch_size(&self) -> usize;

    /// How many tokens there are; every id is below it.
    fn vocab_size(&self) -> usize;

    /// Forgets every position.
    fn reset(&mut self);

    /// Runs exactly [`LanguageModel::batch_size`] tokens and writes the positions
    /// `start..start + tokens.len()`, all of them inside the context.
    ///
    /// # Errors
    /// [`Kind::Model`](crate::Kind::Model) when the model fails.
    fn prefill(&mut self, tokens: &[u32], start: usize) -> Result<(), Error>;

    /// Runs one token at `position`, below the context length, and predicts the one after it.
    ///
    /// # Errors
    /// [`Kind::Model`](crate::Kind::Model) when the model fails.
    fn infer(&mut self, token: u32, position: usize) -> Result<Next, Error>;
}
