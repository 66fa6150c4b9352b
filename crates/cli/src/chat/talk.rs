//! A session with a model: asks, shows answers, and knows how the last one went.

use anelith_chat::{Cached, End, LanguageModel, Monolith, Session};

use super::answer::ask;
use super::screen::{OPENING, Screen};
use super::signals::Stop;
use super::stats;
use crate::failure::{Failure, Result};
use crate::results::Answer;
use crate::terminal::{note, say};

/// How many tokens at the end of a prompt are looked at for the beginning of thoughts.
const TAIL: usize = 16;

/// How answers are presented.
#[derive(Debug)]
pub(super) struct Style {
    /// The name of the model.
    pub(super) name: String,
    /// Whether a line of figures follows each answer.
    pub(super) has_stats: bool,
    /// Whether commands can be typed.
    pub(super) has_commands: bool,
}

/// Who asks a model, and is answered on standard output.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) session: Session,
    model: Cached<Monolith>,
    pub(super) style: Style,
    /// When an answer is to stop.
    pub(super) stop: Stop,
    /// How the last answer went.
    pub(super) last: Option<Answer>,
    /// What was asked last and has no answer in the session's history.
    unanswered: Option<String>,
}

impl Talk {
    pub(super) fn new(session: Session, model: Cached<Monolith>, style: Style) -> Talk {
        Talk { session, model, style, stop: Stop::default(), last: None, unanswered: None }
    }

    /// Answers on standard output.
    ///
    /// The seed of an answer is one more than that of the answer before, so that no two draw the same chances and a
    /// conversation can be had again all the same.
    pub(super) fn ask(&mut self, question: &str) -> Result<()> {
        self.unanswered = Some(question.to_owned());
        let mut screen = Screen::new(|| self.begins_thinking(question));
        let show = &mut |text: &str| screen.show(text);
        let answer = ask(&mut self.session, &mut self.model, question, show, &self.stop);
        if answer.is_ok() || screen.has_shown() {
            screen.end()?;
        }
        let Some(answer) = answer? else {
            say("[stopped before it began; /retry asks again]");
            return Ok(());
        };
        self.take(answer);
        Ok(())
    }

    /// Answers without showing it.
    pub(super) fn answer_silently(&mut self, question: &str) -> Result<Answer> {
        let answer = ask(&mut self.session, &mut self.model, question, &mut |_| Ok(()), &self.stop)?;
        let answer = answer.ok_or_else(Failure::interrupted)?;
        if self.style.has_stats {
            say(&stats::line(&answer, self.context()));
        }
        Ok(answer)
    }

    /// Tells what there is to tell of an answer.
    fn take(&mut self, answer: Answer) {
        let Answer { end, forgotten, .. } = answer;
        if forgotten > 0 {
            note(&format!("note: {forgotten} earlier turns no longer fit the context and were dropped"));
        }
        let remedy = if self.style.has_commands { "; /reset begins a new conversation" } else { "" };
        match end {
            None => say("[stopped; /retry answers again]"),
            Some(End::ContextFull) => {
                let full =
                    format!("the context of {} tokens is full, and the answer ends there", self.context());
                note(&format!("note: {full}{remedy}"));
            }
            Some(End::Stop | End::MaxTokens) => {}
        }
        if self.style.has_stats {
            say(&stats::line(&answer, self.context()));
        }
        let options = self.session.options_mut();
        options.sampling.seed = options.sampling.seed.wrapping_add(1);
        if self.session.options().full {
            self.unanswered = None;
        }
        self.last = Some(answer);
    }

    /// The last question, which is in the session no more; it may be asked again.
    pub(super) fn retract(&mut self) -> Option<String> {
        self.unanswered.take().or_else(|| self.session.retract())
    }

    /// Forgets what was said.
    pub(super) fn reset(&mut self) {
        self.session.clear();
        self.unanswered = None;
    }

    /// How many tokens prompt and answer may be together.
    pub(super) fn context(&self) -> usize {
        self.model.model().context_length()
    }

    /// Whether the model picks the likeliest token itself.
    pub(super) fn has_argmax(&self) -> bool {
        self.model.model().has_argmax()
    }

    /// What `/stats` says.
    pub(super) fn report(&self) -> String {
        stats::report(self.last.as_ref(), self.model.tokens().len(), self.context())
    }

    /// Whether the prompt itself opens the thoughts, as some templates do.
    fn begins_thinking(&self, question: &str) -> bool {
        let Ok(ids) = self.session.prompt(question) else { return false };
        let tail = &ids[ids.len().saturating_sub(TAIL)..];
        self.session.has_template()
            && self.session.tokenizer().decode(tail).is_ok_and(|text| text.trim_end().ends_with(OPENING))
    }
}
