//! What a model is verified with: token ids, from a text or a file, and what was recorded of them.

use std::path::Path;

use anelith_chat::Tokenizer;
use anelith_mil::disk;
use anelith_report::{Report, Reported};

use crate::error::{Error, Result};
use crate::npz::{Array, Npz};
use crate::passage::{PASSAGE, SOURCE};

/// Fewest tokens: one whose next is known.
const FEWEST: usize = 2;

/// The largest text that is read.
const MAX_TEXT_BYTES: u64 = 1 << 26;

/// Token ids, and where they are from.
#[derive(Debug)]
pub struct Tokens {
    /// The ids.
    pub(crate) ids: Vec<u32>,
    /// In words.
    pub(crate) source: String,
    pub(crate) recorded: Option<Recorded>,
}

/// Logits that another program has computed of the same tokens.
#[derive(Debug)]
pub(crate) struct Recorded {
    logits: Array,
}

impl Tokens {
    /// The first `limit` tokens of the text that is built in, by the tokenizer in `dir`.
    ///
    /// # Errors
    /// As [`Tokens::of_text`].
    pub fn built_in(dir: &Path, limit: usize) -> Result<Tokens> {
        Tokens::encode(PASSAGE, SOURCE.to_owned(), dir, limit)
    }

    /// The first `limit` tokens of the text in `file`, by the tokenizer in `dir`, with the special tokens that it puts
    /// before and after a text.
    ///
    /// # Errors
    /// `Mil` and `Chat` for files that cannot be read, `Input` for one that is no text, `Usage` for fewer than two
    /// tokens.
    pub fn of_text(file: &Path, dir: &Path, limit: usize) -> Result<Tokens> {
        if file.is_dir() {
            let report = Report::new("the text is a directory").at(file.display());
            return Err(Error::input(
                report.expecting("a text file in UTF-8").mending("check the path given to --text"),
            ));
        }
        let bytes = disk::read_file(file, MAX_TEXT_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|e| {
            let report = Report::new("the text is not UTF-8").at(file.display()).finding(e.utf8_error());
            Error::input(report.mending("give a text file in UTF-8"))
        })?;
        Tokens::encode(&text, format!("`{}`", file.display()), dir, limit)
    }

    fn encode(text: &str, source: String, dir: &Path, limit: usize) -> Result<Tokens> {
        let mut ids = Tokenizer::open(dir)?.encode(text, true)?;
        ids.truncate(limit);
        Tokens { ids, source, recorded: None }.checked()
    }

    /// The first `limit` of the `input_ids`, int32 or int64 `[T]`, of an `.npz` file, compressed or not, and its `logits`
    /// f32 `[T, V]` where it has them.
    ///
    /// # Errors
    /// `Input` for a file without `input_ids`, one that is not whole, and ids below 0; `Usage` for fewer than two
    /// tokens.
    pub fn of_npz(file: &Path, limit: usize) -> Result<Tokens> {
        let mut npz = Npz::open(file)?;
        let mut array = npz.array("input_ids", &[("<i4", 4), ("<i8", 8)], 1)?.ok_or_else(|| {
            let report = Report::new("the file has no array `input_ids`").at(file.display());
            let report = report.expecting("`input_ids` int32 or int64 [T], and perhaps `logits` f32 [T, V]");
            Error::input(report.mending("write it with numpy.savez(FILE, input_ids=...)"))
        })?;
        let count = array.shape[0].min(limit);
        let id = |(place, id): (usize, &i64)| {
            u32::try_from(*id).map_err(|_| {
                let report = Report::new("a token id is negative, or beyond any vocabulary");
                Error::input(report.at(format!("`input_ids`, token {place}")).finding(id))
            })
        };
        let ids = array.integers(count)?.iter().enumerate().map(id).collect::<Result<Vec<_>>>()?;
        let logits = npz.array("logits", &[("<f4", 4)], 2)?;
        if let Some(logits) = logits.as_ref().filter(|logits| logits.shape[0] != array.shape[0]) {
            let report = Report::new("`logits` does not belong to `input_ids`").at(file.display());
            let report = report.expecting(format!("{} rows, one a token", array.shape[0]));
            return Err(Error::input(report.finding(format!("{} rows", logits.shape[0]))));
        }
        let recorded = logits.map(|logits| Recorded { logits });
        Tokens { ids, source: format!("`{}`", file.display()), recorded }.checked()
    }

    /// The ids, at least two.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    fn checked(self) -> Result<Tokens> {
        if self.ids.len() >= FEWEST {
            return Ok(self);
        }
        let report = Report::new("the text is too short to be verified with").at(&self.source);
        let report = report.expecting(format!("at least {FEWEST} tokens")).finding(self.ids.len());
        Err(Error::usage(report.mending("give a longer text, or more --tokens")))
    }

    /// Refuses ids that a model of so many tokens does not have, and recorded logits of another number.
    pub(crate) fn check_vocabulary(&self, vocab: usize) -> Result<()> {
        if let Some(place) = self.ids.iter().position(|id| *id as usize >= vocab) {
            let report = Report::new(format!("the model has no token {}", self.ids[place]));
            let report = report.at(format!("{}, token {place}", self.source));
            let report = report.expecting(format!("ids below {vocab}, the vocab_size"));
            let report =
                report.finding(self.ids[place]).mending("use the tokenizer that belongs to the model");
            return Err(Error::input(report));
        }
        match &self.recorded {
            Some(recorded) if recorded.logits.shape[1] != vocab => {
                let report = Report::new("the recorded logits are of another vocabulary").at(&self.source);
                let report = report.expecting(format!("{vocab} a token, the vocab_size"));
                Err(Error::input(report.finding(recorded.logits.shape[1])))
            }
            _ => Ok(()),
        }
    }
}

impl Recorded {
    /// The logits after the next token.
    pub(crate) fn next_row(&mut self) -> Result<Vec<f32>> {
        let bytes = self.logits.elements(self.logits.shape[1])?;
        Ok(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }
}
