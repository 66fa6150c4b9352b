//! One answer under way.

use std::mem::replace;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anelith_chat::{Cached, End, Error, Generation, LanguageModel, Tokenizer};

use super::slots::Slots;
use crate::intake::{Event, Intake, Job, Usage};
use crate::metrics::{Metrics, Work};
use crate::pieces::Choice;
use crate::problem::Problem;
use crate::writer::{Part, Writer};

/// A job that has a slot.
#[derive(Debug)]
pub(super) struct Seat<'t> {
    job: Job,
    generation: Generation,
    writer: Writer<'t>,
    /// Whether the client knows that it has begun.
    is_announced: bool,
    is_prefilling: bool,
    is_abandoned: bool,
    begun: Instant,
    first: Option<Instant>,
    /// The token before the next.
    previous: Option<u32>,
}

/// What came of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Taken,
    /// The client does not read.
    Paused,
    Over,
}

/// How many events a turn makes at most: the last text and the end, or the start and a fault.
const EVENTS: usize = 2;

/// What a step of the model gives.
enum Step {
    /// More of the prompt is left, or the first token is next.
    Prefilled(bool),
    Token(u32, Option<Choice>),
    End,
}

impl<'t> Seat<'t> {
    /// Begins; a job that cannot be done is refused.
    pub(super) fn new<M: LanguageModel>(
        job: Job,
        model: &M,
        tokenizer: &'t Tokenizer,
        intake: &Intake,
    ) -> Option<Seat<'t>> {
        match Generation::new(model, job.request.clone()) {
            Ok(generation) => {
                let writer = Writer::new(tokenizer, job.stops.clone());
                let previous = job.request.prompt.last().copied();
                Some(Seat {
                    job,
                    generation,
                    writer,
                    is_announced: false,
                    is_prefilling: true,
                    is_abandoned: false,
                    begun: Instant::now(),
                    first: None,
                    previous,
                })
            }
            Err(error) => {
                intake.free(None);
                job.tell(Event::Failed(Problem::of_chat(&error, "prompt")));
                None
            }
        }
    }

    /// There is no more time for it.
    pub(super) fn abandon(&mut self) {
        self.is_abandoned = true;
    }

    /// Runs a batch of the prompt, or one token.
    pub(super) fn turn<M: LanguageModel>(
        &mut self,
        slots: &mut Slots<M>,
        place: usize,
        tokenizer: &Tokenizer,
        intake: &Intake,
        metrics: &Metrics,
    ) -> Turn {
        if self.job.sender.is_closed() {
            metrics.disconnect();
            return self.leave(None, intake, metrics);
        }
        if self.is_abandoned {
            return self.leave(Some(Event::Failed(Problem::stopping())), intake, metrics);
        }
        if self.job.sender.capacity() < EVENTS {
            return Turn::Paused;
        }
        if !replace(&mut self.is_announced, true) {
            self.job.tell(Event::Started);
        }
        let step = catch_unwind(AssertUnwindSafe(|| self.step(slots.with(place), tokenizer)));
        let told = match step {
            Ok(Ok(step)) => self.tell(step, metrics),
            Ok(Err(error)) => Err(Problem::of_chat(&error, "prompt")),
            Err(_) => Err(Problem::internal("the model failed in a way that it should not")),
        };
        match told {
            Ok(None) => Turn::Taken,
            Ok(Some(usage)) => self.leave(Some(Event::Done(usage)), intake, metrics),
            Err(problem) => {
                metrics.failure();
                // Nobody knows what the cache holds now.
                let _ = catch_unwind(AssertUnwindSafe(|| slots.with(place).clear()));
                self.leave(Some(Event::Failed(problem)), intake, metrics)
            }
        }
    }

    fn step<M: LanguageModel>(
        &mut self,
        model: &mut Cached<M>,
        tokenizer: &Tokenizer,
    ) -> Result<Step, Error> {
        if self.is_prefilling {
            return self.generation.prefill_step(model).map(Step::Prefilled);
        }
        let Some(token) = self.generation.step(model)? else { return Ok(Step::End) };
        let choice = self
            .job
            .logprobs
            .zip(self.generation.logits())
            .map(|(count, logits)| Choice::new(tokenizer, self.previous, token, logits, count));
        self.previous = Some(token);
        Ok(Step::Token(token, choice))
    }

    /// Tells the client what there is; the usage at the end.
    fn tell(&mut self, step: Step, metrics: &Metrics) -> Result<Option<Usage>, Problem> {
        let failed = |error: Error| Problem::of_chat(&error, "prompt");
        let (part, is_over) = match step {
            Step::Prefilled(is_more) => {
                self.is_prefilling = is_more;
                return Ok(None);
            }
            Step::Token(token, choice) => {
                if self.first.is_none() {
                    self.first = Some(Instant::now());
                    metrics.first_token(self.job.arrived.elapsed().as_secs_f64());
                }
                let part = self.writer.push(token, choice).map_err(failed)?;
                (part, self.writer.is_stopped())
            }
            Step::End => (self.writer.finish().map_err(failed)?, true),
        };
        self.part(part);
        Ok(is_over.then(|| self.usage()))
    }

    fn part(&self, part: Part) {
        if !part.is_empty() {
            self.job.tell(Event::Part(part));
        }
    }

    fn usage(&self) -> Usage {
        Usage {
            is_complete: self.writer.is_stopped() || self.generation.end() == Some(End::Stop),
            prompt: self.generation.prompt().len(),
            cached: self.generation.reused(),
            generated: self.generation.generated(),
        }
    }

    /// Frees the slot, and then tells the last word, so that a client that asks again at once finds it free.
    fn leave(&mut self, last: Option<Event>, intake: &Intake, metrics: &Metrics) -> Turn {
        let is_done = matches!(last, Some(Event::Done(_)));
        let Usage { prompt, cached, generated, .. } = self.usage();
        let seconds = self.first.map_or(0.0, |first| first.elapsed().as_secs_f64());
        metrics.work(Work { prompt, cached, generated, seconds });
        intake.free(is_done.then(|| self.begun.elapsed().as_secs_f64()));
        if let Some(last) = last {
            self.job.tell(last);
        }
        Turn::Over
    }
}
