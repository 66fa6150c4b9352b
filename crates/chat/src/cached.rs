//! A model and what its cache holds: what two prompts have in common is run once.

use std::mem::swap;

use crate::error::Error;
use crate::model::{LanguageModel, Next};

/// A model, and the tokens at the positions of its cache, from 0 on.
///
/// Whoever runs the model goes through this, so the tokens are always those of the cache.
#[derive(Debug)]
pub struct Cached<M: LanguageModel> {
    model: M,
    tokens: Vec<u32>,
}

/// A cache that is set aside, with its tokens; see [`Cached::swap`].
#[derive(Debug)]
pub struct Slot<C> {
    cache: C,
    tokens: Vec<u32>,
}

impl<C> Slot<C> {
    /// An empty one for `model`.
    ///
    /// # Errors
    /// [`Kind::Model`](crate::Kind::Model) when there is no memory for it.
    pub fn new<M: LanguageModel<Cache = C>>(model: &M) -> Result<Slot<C>, Error> {
        Ok(Slot { cache: model.new_cache()?, tokens: Vec::new() })
    }

    /// The tokens that it holds.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// How many tokens at the beginning of `prompt` it holds.
    pub fn common(&self, prompt: &[u32]) -> usize {
        common(&self.tokens, prompt)
    }
}

impl<M: LanguageModel> Cached<M> {
    /// `model`, whose cache holds nothing of use.
    pub fn new(model: M) -> Cached<M> {
        Cached { model, tokens: Vec::new() }
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The tokens that the cache holds.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// How many tokens at the beginning of `prompt` the cache holds.
    pub fn common(&self, prompt: &[u32]) -> usize {
        common(&self.tokens, prompt)
    }

    /// Exchanges the cache, with its tokens, for that of `slot`. Nothing is copied.
    pub fn swap(&mut self, slot: &mut Slot<M::Cache>) {
        self.model.swap_cache(&mut slot.cache);
        swap(&mut self.tokens, &mut slot.tokens);
    }

    /// Forgets what the cache holds.
    pub fn clear(&mut self) {
        self.keep(0);
    }

    /// Keeps only the first `count` tokens. The positions behind them are written again before they are seen.
    pub(crate) fn keep(&mut self, count: usize) {
        self.tokens.truncate(count);
        if self.tokens.is_empty() {
            self.model.reset();
        }
    }

    /// Runs a batch after what the cache holds. If `tokens` are fewer, the last is repeated at positions that are written
    /// again before they are seen; the context must have room for a whole batch.
    pub(crate) fn prefill(&mut self, tokens: &[u32]) -> Result<(), Error> {
        let mut batch = tokens.to_vec();
        if let Some(last) = tokens.last() {
            batch.resize(tokens.len().max(self.model.batch_size()), *last);
        }
        let done = self.model.prefill(&batch, self.tokens.len());
        self.advance(tokens, done)
    }

    /// Runs one token after what the cache holds.
    pub(crate) fn infer(&mut self, token: u32) -> Result<Next, Error> {
        let next = self.model.infer(token, self.tokens.len());
        self.advance(&[token], next)
    }

    /// After an error nobody knows what the cache holds.
    fn advance<T>(&mut self, tokens: &[u32], done: Result<T, Error>) -> Result<T, Error> {
        match done {
            Ok(_) => self.tokens.extend_from_slice(tokens),
            Err(_) => self.tokens.clear(),
        }
        done
    }
}

fn common(held: &[u32], prompt: &[u32]) -> usize {
    held.iter().zip(prompt).take_while(|(a, b)| a == b).count()
}
