//! A conversation: questions in, answers out as pieces of text, with or without a memory.

use crate::cached::Cached;
use crate::error::Error;
use crate::generate::{End, Generator, Request, check_length};
use crate::model::LanguageModel;
use crate::sampling::Sampling;
use crate::template::{RenderOptions, Role, Template, Turn};
use crate::tokenizer::{DecodeStream, Tokenizer};
use std::path::Path;
use std::time::SystemTime;

/// How many tokens of the context an answer should find free, if the context allows.
const ANSWER_ROOM: usize = 100;

/// How a [`Session`] asks.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// The most tokens of an answer; the context is the only limit when not set.
    pub max_tokens: Option<usize>,
    /// Whether earlier questions and answers are part of the prompt.
    pub full: bool,
    /// Whether the text goes to the model without the chat template.
    pub no_template: bool,
    /// Passed to the chat template when set; models that can think decide by it.
    pub enable_thinking: Option<bool>,
    /// Instructions that precede every conversation.
    pub system: Option<String>,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// The date a chat template may write, in UTC.
    pub now: SystemTime,
}

impl Default for SessionOptions {
    /// One-shot with the chat template, greedy, as much as the context holds, dated 1 January 1970.
    fn default() -> Self {
        Self {
            max_tokens: None,
            full: false,
            no_template: false,
            enable_thinking: None,
            system: None,
            sampling: Sampling::default(),
            now: SystemTime::UNIX_EPOCH,
        }
    }
}

/// A conversation with one model: its tokenizer, its chat template and what was said.
#[derive(Debug)]
pub struct Session {
    tokenizer: Tokenizer,
    template: Option<Template>,
    options: SessionOptions,
    /// Questions and answers in turn, oldest first; empty unless `full`.
    history: Vec<Turn>,
}

impl Session {
    /// Opens the tokenizer and the chat template in `dir`.
    ///
    /// # Errors
    /// As [`Tokenizer::open`] and [`Template::open`].
    pub fn open(dir: &Path, options: SessionOptions) -> Result<Self, Error> {
        let tokenizer = Tokenizer::open(dir)?;
        let template =
            if options.no_template { None } else { Template::open(dir, tokenizer.named_tokens())? };
        Ok(Self { tokenizer, template, options, history: Vec::new() })
    }

    /// The tokenizer of the model.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Whether prompts go through a chat template.
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// The questions and answers that the next prompt will hold, oldest first.
    pub fn history(&self) -> &[Turn] {
        &self.history
    }

    /// How it asks; what is changed holds from the next question on.
    pub fn options_mut(&mut self) -> &mut SessionOptions {
        &mut self.options
    }

    /// How it asks.
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// Takes `history` for what was said, questions and answers in turn.
    pub fn set_history(&mut self, history: Vec<Turn>) {
        self.history = history;
    }

    /// Forgets the last question and its answer; the question.
    pub fn retract(&mut self) -> Option<String> {
        let question = self.history.iter().rposition(|turn| turn.role == Role::User)?;
        let forgotten = self.history.drain(question..).next();
        forgotten.map(|turn| turn.content)
    }

    /// Forgets what was said.
    pub fn clear(&mut self) {
        self.history.clear();
    }

    /// The ids of the prompt that asks `question`, whatever was said before and however long it is.
    ///
    /// # Errors
    /// As [`Template::render`] and [`Tokenizer::encode`].
    pub fn prompt(&self, question: &str) -> Result<Vec<u32>, Error> {
        self.prompt_ids(&[], question)
    }

    /// Asks `question`. The answer comes as the returned iterator is driven, and is part of the
    /// conversation once [`Answer::finish`] is called. What the model's cache holds of the prompt, which is mostly all but
    /// the question, is not run again.
    ///
    /// With `full`, the oldest questions are left out together with their answers until prompt and answer fit the
    /// context; once the answer is finished, for good.
    ///
    /// # Errors
    /// As [`Template::render`], [`Tokenizer::encode`] and [`Generator::new`]; the conversation is
    /// then as before.
    pub fn ask<'a, M: LanguageModel>(
        &'a mut self,
        model: &'a mut Cached<M>,
        question: &str,
    ) -> Result<Answer<'a, M>, Error> {
        let (prompt, forgotten) = self.fit(question, model.model().context_length())?;
        let request = Request {
            prompt,
            max_tokens: self.options.max_tokens.unwrap_or(usize::MAX),
            stop: self.tokenizer.stop_ids().clone(),
            sampling: self.options.sampling.clone(),
        };
        let generator = Generator::new(model, request)?;
        Ok(Answer {
            generator,
            decoder: self.tokenizer.decode_stream(),
            history: self.options.full.then_some(&mut self.history),
            question: question.to_owned(),
            forgotten,
            text: String::new(),
            ids: Vec::new(),
        })
    }

    /// Asks `question` and waits for the whole answer.
    ///
    /// # Errors
    /// As [`Session::ask`], and whatever the model reports.
    pub fn answer<M: LanguageModel>(
        &mut self,
        model: &mut Cached<M>,
        question: &str,
    ) -> Result<Reply, Error> {
        let mut answer = self.ask(model, question)?;
        for fragment in &mut answer {
            fragment?;
        }
        answer.finish()
    }

    /// The prompt ids, and how many turns at the start of the history had to go for them.
    ///
    /// Without its first turns the whole prompt is run again. So if any goes, enough go for the next questions to fit too.
    fn fit(&self, question: &str, context_length: usize) -> Result<(Vec<u32>, usize), Error> {
        let room = ANSWER_ROOM.min(self.options.max_tokens.unwrap_or(usize::MAX)).min(context_length / 2);
        let most = context_length - room;
        let all = self.prompt_ids(&self.history, question)?;
        if all.len() <= most {
            return Ok((all, 0));
        }
        // The fewest questions, with their answers, whose absence is enough; without more of them a prompt is shorter.
        let (mut too_few, mut enough) = (0, self.history.len().div_ceil(2));
        let mut ids = self.prompt_ids(&[], question)?;
        while enough - too_few > 1 {
            let middle = usize::midpoint(too_few, enough);
            let shorter = self.prompt_ids(&self.history[(2 * middle).min(self.history.len())..], question)?;
            match shorter.len() <= most - most / 4 {
                true => (enough, ids) = (middle, shorter),
                false => too_few = middle,
            }
        }
        check_length(ids.len(), context_length)?;
        Ok((ids, (2 * enough).min(self.history.len())))
    }

    fn prompt_ids(&self, history: &[Turn], question: &str) -> Result<Vec<u32>, Error> {
        let system = self.options.system.as_ref();
        let turns: Vec<Turn> = system
            .map(|text| Turn::new(Role::System, text))
            .into_iter()
            .chain(history.iter().cloned())
            .chain([Turn::new(Role::User, question)])
            .collect();
        let Some(template) = &self.template else {
            let lines: Vec<&str> = turns.iter().map(|turn| turn.content.as_str()).collect();
            return self.tokenizer.encode(&lines.join("\n"), true);
        };
        let options = RenderOptions {
            add_generation_prompt: true,
            enable_thinking: self.options.enable_thinking,
            now: self.options.now,
        };
        // The template writes the special tokens itself.
        self.tokenizer.encode(&template.render(&turns, options)?, false)
    }
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The answer, without special tokens.
    pub text: String,
    /// The tokens of the answer.
    pub ids: Vec<u32>,
    /// Why it ended; nothing when the caller stopped it.
    pub end: Option<End>,
    /// How many tokens the prompt had.
    pub prompt_tokens: usize,
    /// How many of them the model's cache held already.
    pub reused: usize,
    /// How many tokens the answer has.
    pub generated: usize,
    /// How many earlier turns were dropped from the conversation to make room.
    pub forgotten: usize,
}

/// An answer under way: yields its text in pieces, one per token.
///
/// A piece is empty while a character is unfinished, so that the caller has control after every
/// token; to stop early, stop iterating. An answer that is dropped without
/// [`Answer::finish`] is not part of the conversation.
#[must_use = "an answer is generated only as it is iterated"]
pub struct Answer<'a, M: LanguageModel> {
    generator: Generator<'a, M>,
    decoder: DecodeStream<'a>,
    /// Where the turn is kept, in a conversation with a memory.
    history: Option<&'a mut Vec<Turn>>,
    question: String,
    forgotten: usize,
    text: String,
    ids: Vec<u32>,
}

impl<'a, M: LanguageModel> Answer<'a, M> {
    /// The tokens underneath: how many there are, why they ended, and the prefill as a step of
    /// its own for callers that time it or stop it.
    pub fn generator(&mut self) -> &mut Generator<'a, M> {
        &mut self.generator
    }

    /// Ends the answer where it is and makes it part of the conversation.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn finish(mut self) -> Result<Reply, Error> {
        let rest = self.decoder.finish()?;
        self.text.push_str(&rest);
        if let Some(history) = self.history {
            history.drain(..self.forgotten);
            history.push(Turn::new(Role::User, self.question));
            history.push(Turn::new(Role::Assistant, self.text.clone()));
        }
        let generation = self.generator.generation();
        Ok(Reply {
            text: self.text,
            ids: self.ids,
            end: generation.end(),
            prompt_tokens: generation.prompt().len(),
            reused: generation.reused(),
            generated: generation.generated(),
            forgotten: self.forgotten,
        })
    }

    /// The text that the next token completes; the held-back rest after the last one.
    fn fragment(&mut self) -> Result<Option<String>, Error> {
        let fragment = match self.generator.next().transpose()? {
            Some(token) => {
                self.ids.push(token);
                self.decoder.push(token)?
            }
            None => match self.decoder.finish()? {
                rest if rest.is_empty() => return Ok(None),
                rest => rest,
            },
        };
        self.text.push_str(&fragment);
        Ok(Some(fragment))
    }
}

impl<M: LanguageModel> Iterator for Answer<'_, M> {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.fragment().transpose()
    }
}

#[cfg(test)]
mod tests;
