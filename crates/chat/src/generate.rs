//! Generation: from a prompt to the tokens after it, over a [`LanguageModel`].

use std::collections::BTreeSet;

use anelith_report::Reported;

use crate::cached::Cached;
use crate::error::{Error, Kind};
use crate::model::{LanguageModel, Next};
use crate::sampling::{Sampler, Sampling};

/// A batch takes as long as this part of its tokens one by one, or less: `docs/performance.md` has the speeds. So from
/// there on a batch that is filled up is quicker.
const WORTH: usize = 3;

/// What a [`Generation`] continues, and how.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Request {
    /// The tokens to continue.
    pub prompt: Vec<u32>,
    /// The most tokens to yield; the context is the only limit where it holds fewer.
    pub max_tokens: usize,
    /// The tokens that end the generation.
    pub stop: BTreeSet<u32>,
    /// How the next token is chosen.
    pub sampling: Sampling,
}

/// Why a generation ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The model said a stop token, which is not yielded.
    Stop,
    /// [`Request::max_tokens`] tokens were yielded.
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

/// The tokens that follow a prompt, one at a time.
///
/// What the model's cache holds of the prompt is kept, but for its last token, which predicts the first of the answer. The
/// rest goes in by [`Generation::prefill_step`], and each [`Generation::step`] runs one token. The model is borrowed for one
/// step at a time, so several generations can take turns, each with a cache of its own.
#[derive(Debug)]
pub struct Generation {
    prompt: Vec<u32>,
    max_tokens: usize,
    stop: BTreeSet<u32>,
    sampler: Sampler,
    /// The token to run next and its position.
    last: u32,
    position: usize,
    /// How many tokens of the prompt did not have to be run.
    reused: usize,
    generated: usize,
    logits: Option<Vec<f32>>,
    state: State,
}

impl Generation {
    /// Prepares to answer `request` with `model`.
    ///
    /// # Errors
    /// [`Kind::Prompt`] for a prompt that is empty or longer than the model's context and for sampling that is out of range,
    /// [`Kind::Unsupported`] for sampling from a model that picks the likeliest token itself, and [`Kind::Malformed`] for an
    /// id outside the vocabulary.
    pub fn new<M: LanguageModel>(model: &M, request: Request) -> Result<Generation, Error> {
        let Request { prompt, max_tokens, stop, sampling } = request;
        let &last = prompt.last().ok_or_else(|| {
            Error::new(Kind::Prompt, "the prompt is empty")
                .expecting("at least one token")
                .finding("none")
                .mending("give a prompt with text in it")
        })?;
        check_length(prompt.len(), model.context_length())?;
        check_ids(&prompt, model.vocab_size())?;
        sampling.check()?;
        if model.has_argmax() && !sampling.takes_any_model() {
            return Err(Error::new(Kind::Unsupported, "the model picks the likeliest token itself")
                .expecting("no temperature and no penalties")
                .finding("sampling")
                .mending("ask for the likeliest token, or convert the model without `--argmax`"));
        }
        let sampler = Sampler::new(sampling, &prompt);
        let (position, reused, generated, logits, state) = (0, 0, 0, None, State::Fresh);
        Ok(Generation { prompt, max_tokens, stop, sampler, last, position, reused, generated, logits, state })
    }

    /// Runs the next batch or token of the prompt, all of which but the last token is prefilled: in batches while they
    /// fit, then token by token where few are left. Returns whether more of it is left.
    ///
    /// # Errors
    /// Whatever the model reports; the generation is over then.
    pub fn prefill_step<M: LanguageModel>(&mut self, model: &mut Cached<M>) -> Result<bool, Error> {
        if matches!(self.state, State::Over(_)) {
            return Ok(false);
        }
        let done = self.feed(model);
        self.or_over(done)?;
        Ok(self.prefilling().is_some())
    }

    /// Runs one token, after what is left of the prompt, and chooses the next; nothing at the end of the generation.
    ///
    /// # Errors
    /// Whatever the model reports; the generation is over then.
    pub fn step<M: LanguageModel>(&mut self, model: &mut Cached<M>) -> Result<Option<u32>, Error> {
        while self.prefill_step(model)? {}
        if matches!(self.state, State::Over(_)) {
            return Ok(None);
        }
        let next = self.next_token(model);
        self.or_over(next)
    }

    /// The prompt tokens that still have to be prefilled, if any.
    fn prefilling(&self) -> Option<&[u32]> {
        let all_but_last = self.prompt.len() - 1;
        self.prompt.get(self.position..all_but_last).filter(|rest| !rest.is_empty())
    }

    /// Begins with what the cache holds.
    fn begin<M: LanguageModel>(&mut self, model: &mut Cached<M>) {
        self.reused = model.common(&self.prompt).min(self.prompt.len() - 1);
        model.keep(self.reused);
        self.position = self.reused;
        self.state = State::Running;
    }

    fn feed<M: LanguageModel>(&mut self, model: &mut Cached<M>) -> Result<(), Error> {
        if self.state == State::Fresh {
            self.begin(model);
        }
        self.check_cache(model)?;
        let Some(rest) = self.prefilling() else {
            return Ok(());
        };
        let batch = model.model().batch_size().max(1);
        let taken = rest.len().min(batch);
        let has_room = self.position + batch <= model.model().context_length();
        if has_room && taken > 1 && taken * WORTH >= batch {
            model.prefill(&rest[..taken])?;
            self.position += taken;
        } else {
            model.infer(rest[0])?;
            self.position += 1;
        }
        Ok(())
    }

    /// Turns must not be mixed up.
    fn check_cache<M: LanguageModel>(&self, model: &Cached<M>) -> Result<(), Error> {
        if model.tokens().len() == self.position {
            return Ok(());
        }
        Err(Error::model("the cache is not that of this generation")
            .expecting(format!("{} tokens", self.position))
            .finding(format!("{} tokens", model.tokens().len())))
    }

    fn next_token<M: LanguageModel>(&mut self, model: &mut Cached<M>) -> Result<Option<u32>, Error> {
        if let Some(end) = self.limit(model.model().context_length()) {
            self.state = State::Over(Some(end));
            return Ok(None);
        }
        let next = model.infer(self.last)?;
        self.position += 1;
        let token = self.choose(next, model.model().vocab_size())?;
        if self.stop.contains(&token) {
            self.state = State::Over(Some(End::Stop));
            return Ok(None);
        }
        self.last = token;
        self.generated += 1;
        Ok(Some(token))
    }

    fn choose(&mut self, next: Next, vocab_size: usize) -> Result<u32, Error> {
        let disagrees = |what: &str, found: String| {
            Error::model(what)
                .expecting(format!("the vocabulary of {vocab_size} tokens"))
                .finding(found)
                .mending("convert the model again; its files do not belong together")
        };
        match next {
            Next::Logits(logits) if logits.len() == vocab_size => {
                let token = self.sampler.choose(&logits)?;
                self.logits = Some(logits);
                Ok(token)
            }
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

    fn limit(&self, context_length: usize) -> Option<End> {
        if self.generated >= self.max_tokens {
            Some(End::MaxTokens)
        } else if self.position >= context_length {
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

    /// How many tokens of the prompt the cache held when the generation began.
    pub fn reused(&self) -> usize {
        self.reused
    }

    /// How many tokens were yielded.
    pub fn generated(&self) -> usize {
        self.generated
    }

    /// The logits that the last token was chosen from, as the model predicted them, one for each token of the vocabulary;
    /// nothing before the first, and from a model that picks the token itself.
    pub fn logits(&self) -> Option<&[f32]> {
        self.logits.as_deref()
    }
}

/// A [`Generation`] that has a model to itself: yields its tokens. Dropping it stops the generation.
#[derive(Debug)]
pub struct Generator<'m, M: LanguageModel> {
    model: &'m mut Cached<M>,
    generation: Generation,
}

impl<'m, M: LanguageModel> Generator<'m, M> {
    /// Prepares to answer `request`.
    ///
    /// # Errors
    /// As [`Generation::new`].
    pub fn new(model: &'m mut Cached<M>, request: Request) -> Result<Self, Error> {
        let generation = Generation::new(model.model(), request)?;
        Ok(Self { model, generation })
    }

    /// Runs the prompt but for its last token. Does nothing when that is done already.
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
        self.generation.prefill_step(self.model)
    }

    /// How far it is.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }
}

impl<M: LanguageModel> Iterator for Generator<'_, M> {
    type Item = Result<u32, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.generation.step(self.model).transpose()
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
