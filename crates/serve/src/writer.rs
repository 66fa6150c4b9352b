//! From tokens to text that clients may see: whole characters, and nothing of a stop string.

use anelith_chat::{DecodeStream, Error, Tokenizer};

use crate::pieces::Choice;

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Part {
    pub(crate) text: String,
    /// The tokens that begin in it, each with its place in the answer in characters; only where they are asked for.
    pub(crate) choices: Vec<(usize, Choice)>,
}

impl Part {
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.choices.is_empty()
    }
}

/// Takes tokens, gives text.
///
/// What may be the beginning of a stop string is held back until it is known. Where several are complete, that counts which is
/// complete first, however the text is cut into tokens.
#[derive(Debug)]
pub(crate) struct Writer<'t> {
    decoder: DecodeStream<'t>,
    stops: Vec<String>,
    held: String,
    /// Of tokens that begin in `held`.
    choices: Vec<(usize, Choice)>,
    /// How many characters were given.
    given: usize,
    is_stopped: bool,
}

impl<'t> Writer<'t> {
    pub(crate) fn new(tokenizer: &'t Tokenizer, stops: Vec<String>) -> Writer<'t> {
        let decoder = tokenizer.decode_stream();
        Writer { decoder, stops, held: String::new(), choices: Vec::new(), given: 0, is_stopped: false }
    }

    /// Takes the next token; gives what is certain now.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub(crate) fn push(&mut self, token: u32, choice: Option<Choice>) -> Result<Part, Error> {
        let place = self.given + self.held.chars().count();
        self.choices.extend(choice.map(|choice| (place, choice)));
        let text = self.decoder.push(token)?;
        self.held.push_str(&text);
        Ok(self.release(false))
    }

    /// Gives the rest.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub(crate) fn finish(&mut self) -> Result<Part, Error> {
        if self.is_stopped {
            return Ok(Part::default());
        }
        let text = self.decoder.finish()?;
        self.held.push_str(&text);
        Ok(self.release(true))
    }

    /// Whether a stop string was met, so that nothing comes any more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    fn release(&mut self, is_last: bool) -> Part {
        if self.is_stopped {
            return Part::default();
        }
        if let Some(start) = self.stop_at() {
            self.is_stopped = true;
            self.held.truncate(start);
            let end = self.given + self.held.chars().count();
            self.choices.retain(|(place, _)| *place < end);
            return self.give(start);
        }
        let certain = if is_last { self.held.len() } else { self.held.len() - self.doubtful() };
        self.give(certain)
    }

    /// Where the stop string begins that is complete first.
    fn stop_at(&self) -> Option<usize> {
        let found = self.stops.iter().filter_map(|stop| {
            let start = self.held.find(stop.as_str())?;
            Some((start + stop.len(), start))
        });
        found.min().map(|(_, start)| start)
    }

    /// How many bytes at the end may be the beginning of a stop string.
    fn doubtful(&self) -> usize {
        let of_stop = |stop: &String| {
            let most = self.held.len().min(stop.len().saturating_sub(1));
            let is_beginning =
                |length: &usize| stop.is_char_boundary(*length) && self.held.ends_with(&stop[..*length]);
            (0..=most).rev().find(is_beginning).unwrap_or(0)
        };
        self.stops.iter().map(of_stop).max().unwrap_or(0)
    }

    /// The first `bytes` of what is held, with the tokens that begin there.
    fn give(&mut self, bytes: usize) -> Part {
        let rest = self.held.split_off(bytes);
        let text = std::mem::replace(&mut self.held, rest);
        self.given += text.chars().count();
        let is_held = !self.held.is_empty();
        // Tokens without text of their own go with what is before them.
        let count = match is_held {
            true => self.choices.iter().take_while(|(place, _)| *place < self.given).count(),
            false => self.choices.len(),
        };
        let choices = self.choices.drain(..count).collect();
        Part { text, choices }
    }
}

#[cfg(test)]
mod tests;
