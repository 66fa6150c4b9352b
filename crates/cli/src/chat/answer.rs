//! Asking a question and timing its answer.

use std::time::Instant;

use anelith_chat::{Cached, Monolith, Reply, Session};

use super::signals::Stop;
use crate::failure::Result;
use crate::results::{Answer, Times};

/// Takes the times of an answer.
pub(super) struct Clock {
    asked: Instant,
    /// When the part under way began.
    begun: Instant,
    prefill: f64,
    first_token: Option<f64>,
}

impl Clock {
    /// The question is there.
    pub(super) fn start() -> Clock {
        let now = Instant::now();
        Clock { asked: now, begun: now, prefill: 0.0, first_token: None }
    }

    /// It is a prompt of ids.
    fn encoded(&mut self) {
        self.begun = Instant::now();
    }

    /// The prompt is through, but for its last token.
    pub(super) fn prefilled(&mut self) {
        self.prefill = self.begun.elapsed().as_secs_f64();
        self.begun = Instant::now();
    }

    /// A token is there.
    pub(super) fn token(&mut self) {
        self.first_token.get_or_insert_with(|| self.asked.elapsed().as_secs_f64());
    }

    /// The answer is at its end.
    pub(super) fn times(&self) -> Times {
        let decode = self.begun.elapsed().as_secs_f64();
        Times { prefill: self.prefill, first_token: self.first_token, decode }
    }
}

/// Shows the answer to `question` as it comes, until it ends or `stop` is set. An answer that was stopped is part of the
/// conversation as far as it came; nothing is given where that is nothing.
pub(super) fn ask(
    session: &mut Session,
    model: &mut Cached<Monolith>,
    question: &str,
    show: &mut dyn FnMut(&str) -> Result<()>,
    stop: &Stop,
) -> Result<Option<Answer>> {
    let mut clock = Clock::start();
    let sampling = session.options().sampling.clone();
    let mut answer = session.ask(model, question)?;
    clock.encoded();
    let prompt_ids = answer.generator().generation().prompt().to_vec();
    while !stop.is_set() && answer.generator().prefill_step()? {}
    clock.prefilled();
    let mut is_empty = true;
    while !stop.is_set()
        && let Some(fragment) = answer.next()
    {
        clock.token();
        is_empty = false;
        show(&fragment?)?;
    }
    if stop.is_set() && is_empty {
        return Ok(None);
    }
    let reply = answer.finish()?;
    let Reply { ids, text, end, reused, forgotten, .. } = reply;
    let (text, times) = (Some(text), clock.times());
    Ok(Some(Answer { prompt_ids, ids, text, end, reused, forgotten, sampling, times }))
}
