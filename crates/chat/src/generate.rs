//! Generation: an iterator of token ids over a [`LanguageModel`].

use std::collections::BTreeSet;

use anelith_report::Reported;

use crate::error::{Error, Kind};
use crate::model::{LanguageModel, Next};
use crate::sampler::greedy;

/// When to stop even though the model would go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most tokens to yield.
    pub max_tokens: usize,
}

/// Why a generation ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The model said a stop token, which is not yielded.
    Stop,
    /// [`Limits::max_tokens`] tokens were yielded.
    MaxTokens,
    /// Every position of the context is taken.
    ContextFull,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    Running,
    Over(Option<End>),
}

/// Yields the tokens that follow a prompt.
///
/// The model is reset, then takes the prompt but for its last token in [`Generator::prefill`]
/// (the first `next` does that when the caller has not), then one token per `next`. Dropping the
/// iterator stops the generation.
pub struct Generator<'m, M: LanguageModel + ?Sized> {
    model: &'m mut M,
    prompt: Vec<u32>,
    stop: BTreeSet<u32>,
    limits: Limits,
    /// The token to run next and its position.
    last: u32,
    position: usize,
    generated: usize,
    state: State,
}

impl<'m, M: LanguageModel + ?Sized> Generator<'m, M> {
    /// Prepares to continue `prompt` until one of the `stop` ids or a limit.
    ///
    /// # Errors
    /// [`Kind::Prompt`] for a prompt that is empty or longer than the model's context, and
    /// [`Kind::Malformed`] for an id outside the vocabulary.
    pub fn new(
        model: &'m mut M,
        prompt: Vec<u32>,
        limits: Limits,
        stop: BTreeSet<u32>,
    ) -> Result<Self, Error> {
        let &last = prompt.last().ok_or_else(|| {
            Error::new(Kind::Prompt, "the prompt is empty")
                .expecting("at least one token")
                .finding("none")
                .mending("give a prompt with text in it")
        })?;
        check_length(prompt.len(), model.context_length())?;
        check_ids(&prompt, model.vocab_size())?;
        Ok(Self { model, prompt, stop, limits, last, position: 0, generated: 0, state: State::Fresh })
    }

    /// Runs the prompt but for its last token: full batches while they fit, then single tokens.
    /// Does nothing when that is done already.
    ///
    /// # Errors
    /// Whatever the model reports; the generation is over then.
    pub fn prefill(&mut self) -> Result<(), Error> {
        while self.prefill_step()? {}
        Ok(())
    }

    /// Runs the next batch or token of the prompt; returns whether more of it is left.
    ///
    /// # Errors
    /// Whatever the model reports; the generation is over then.
    pub fn prefill_step(&mut self) -> Result<bool, Error> {
        if self.state == State::Fresh {
            self.model.reset();
            self.state = State::Running;
        }
        if matches!(self.state, State::Over(_)) {
            return Ok(false);
        }
        let done = self.feed();
        self.or_over(done)?;
        Ok(self.prefilling().is_some())
    }

    /// The prompt tokens that still have to be prefilled, if any.
    fn prefilling(&self) -> Option<&[u32]> {
        let all_but_last = self.prompt.len() - 1;
        self.prompt.get(self.position..all_but_last).filter(|rest| !rest.is_empty())
    }

    fn feed(&mut self) -> Result<(), Error> {
        let Some(rest) = self.prefilling() else {
            return Ok(());
        };
        let batch = self.model.batch_size().max(1);
        let taken = if rest.len() >= batch {
            let tokens = &self.prompt[self.position..self.position + batch];
            self.model.prefill(tokens, self.position)?;
            batch
        } else {
            self.model.infer(rest[0], self.position)?;
            1
        };
        self.position += taken;
        Ok(())
    }

    /// Why the generation ended; nothing while it runs, and after an error.
    pub fn end(&self) -> Option<End> {
        match self.state {
            State::Over(end) => end,
            State::Fresh | State::Running => None,
        }
    }

    /// The prompt.
    pub fn prompt(&self) -> &[u32] {
        &self.prompt
    }

    /// How many tokens the prompt has.
    pub fn prompt_tokens(&self) -> usize {
        self.prompt.len()
    }

    /// How many tokens were yielded.
    pub fn generated(&self) -> usize {
        self.generated
    }

    /// Runs one token and chooses the next; nothing when that ends the generation.
    fn step(&mut self) -> Result<Option<u32>, Error> {
        self.prefill()?;
        if let Some(end) = self.limit() {
            self.state = State::Over(Some(end));
            return Ok(None);
        }
        let next = self.model.infer(self.last, self.position)?;
        let token = choose(next, self.model.vocab_size())?;
        self.position += 1;
        if self.stop.contains(&token) {
            self.state = State::Over(Some(End::Stop));
            return Ok(None);
        }
        self.last = token;
        self.generated += 1;
        Ok(Some(token))
    }

    fn limit(&self) -> Option<End> {
        if self.generated >= self.limits.max_tokens {
            Some(End::MaxTokens)
        } else if self.position >= self.model.context_length() {
            Some(End::ContextFull)
        } else {
            None
        }
    }

    /// An error ends the generation.
    fn or_over<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            self.state = State::Over(None);
        }
        result
    }
}

impl<M: LanguageModel + ?Sized> Iterator for Generator<'_, M> {
    type Item = Result<u32, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if matches!(self.state, State::Over(_)) {
            return None;
        }
        let step = self.step();
        self.or_over(step).transpose()
    }
}

fn choose(next: Next, vocab_size: usize) -> Result<u32, Error> {
    let disagrees = |what: &str, found: String| {
        Error::model(what)
            .expecting(format!("the vocabulary of {vocab_size} tokens"))
            .finding(found)
            .mending("convert the model again; its files do not belong together")
    };
    match next {
        Next::Logits(logits) if logits.len() == vocab_size => greedy(&logits),
        Next::Logits(logits) => Err(disagrees(
            "the model's logits do not cover the vocabulary",
            format!("{} logits", logits.len()),
        )),
        Next::Token(token) if (token as usize) < vocab_size => Ok(token),
        Next::Token(token) => {
            Err(disagrees("the model chose a token outside the vocabulary", format!("token {token}")))
        }
    }
}

/// Refuses a prompt of `tokens` that does not fit the context.
pub(crate) fn check_length(tokens: usize, context_length: usize) -> Result<(), Error> {
    if tokens <= context_length {
        return Ok(());
    }
    Err(Error::new(
        Kind::Prompt,
        format!("the prompt of {tokens} tokens does not fit the context of {context_length}"),
    )
    .expecting(format!("at most {context_length} tokens"))
    .finding(format!("{tokens} tokens"))
    .mending("shorten the prompt, or convert the model with a larger `--context`"))
}

fn check_ids(prompt: &[u32], vocab_size: usize) -> Result<(), Error> {
    let outside = |&(_, &id): &(usize, &u32)| id as usize >= vocab_size;
    match prompt.iter().enumerate().find(outside) {
        None => Ok(()),
        Some((position, id)) => {
            Err(Error::new(Kind::Malformed, "the prompt holds a token outside the model's vocabulary")
                .at(format!("token {position} of the prompt"))
                .expecting(format!("ids below {vocab_size}"))
                .finding(id)
                .mending("use the tokenizer that belongs to the model"))
        }
    }
}

#[cfg(test)]
mod tests;
