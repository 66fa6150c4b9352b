//! The tokens to be computed: windows of text, none of which sees another.

use anelith_checkpoint::Config;
use anelith_report::{Report, Reported};

use crate::error::{Error, Result};

/// The tokens of all windows, one after the other.
#[derive(Debug)]
pub(crate) struct Text {
    /// Token ids, all in the vocabulary.
    pub(crate) ids: Vec<u32>,
    /// For each token, the row of the first token of its window.
    pub(crate) starts: Vec<usize>,
}

impl Text {
    /// # Errors
    /// `Usage` for no tokens, for a token beyond the vocabulary, and for a window that is empty or longer than the
    /// model's positions or its attention window.
    pub(crate) fn new(windows: &[&[u32]], config: &Config) -> Result<Text> {
        let mut text = Text { ids: Vec::new(), starts: Vec::new() };
        for (number, window) in windows.iter().enumerate() {
            check(number, window, config)?;
            let start = text.ids.len();
            text.starts.extend(window.iter().map(|_| start));
            text.ids.extend_from_slice(window);
        }
        if text.ids.is_empty() {
            return Err(Error::Usage(
                Report::new("no tokens to compute").expecting("at least one token").into(),
            ));
        }
        Ok(text)
    }

    /// The place of each token in its window, from 0.
    pub(crate) fn positions(&self) -> impl Iterator<Item = usize> {
        self.starts.iter().enumerate().map(|(row, start)| row - start)
    }
}

fn check(number: usize, window: &[u32], config: &Config) -> Result<()> {
    // Within its attention window a model computes as if there were none.
    let longest = config.sliding_window.unwrap_or(usize::MAX).min(config.max_positions());
    if window.is_empty() || window.len() > longest {
        let report = Report::new(format!("the model cannot compute {} tokens at once", window.len()))
            .at(format!("window {number}"))
            .expecting(format!("1 to {longest} tokens"))
            .finding(format!("{} tokens", window.len()))
            .mending("cut the text into windows of that length");
        return Err(Error::Usage(report.into()));
    }
    let vocab = config.vocab_size;
    match window.iter().position(|id| *id as usize >= vocab) {
        None => Ok(()),
        Some(at) => {
            let report = Report::new(format!("the model has no token {}", window[at]))
                .at(format!("window {number}, token {at}"))
                .expecting(format!("ids below {vocab}, the vocab_size"))
                .finding(window[at])
                .mending("use the tokenizer that belongs to the model");
            Err(Error::Usage(report.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(fields: &str) -> Config {
        let text = format!("{{\"model_type\": \"qwen2\", \"vocab_size\": 10{fields}}}");
        Config::parse(&text, Path::new("config.json")).unwrap()
    }

    #[test]
    fn positions_begin_again_in_each_window() {
        let text = Text::new(&[&[1, 2, 3], &[4], &[5, 6]], &config("")).unwrap();
        assert_eq!(text.ids, [1, 2, 3, 4, 5, 6]);
        assert_eq!(text.starts, [0, 0, 0, 3, 4, 4]);
        assert_eq!(text.positions().collect::<Vec<_>>(), [0, 1, 2, 0, 0, 1]);
    }

    #[test]
    fn what_the_model_does_not_have_is_refused() {
        let limited = ", \"max_position_embeddings\": 4";
        let window = ", \"use_sliding_window\": true, \"sliding_window\": 2";
        let cases: [(&str, &[&[u32]], &str); 6] = [
            ("", &[], "no tokens"),
            ("", &[&[1], &[]], "0 tokens at once"),
            ("", &[&[1], &[9, 10]], "no token 10"),
            (limited, &[&[1, 2, 3, 4, 5]], "5 tokens at once"),
            (window, &[&[1, 2, 3]], "3 tokens at once"),
            ("", &[&[u32::MAX]], "no token 4294967295"),
        ];
        for (fields, windows, expected) in cases {
            let error = Text::new(windows, &config(fields)).unwrap_err();
            assert!(matches!(error, Error::Usage(_)) && error.to_string().contains(expected), "{error}");
        }
        assert!(Text::new(&[&[1, 2, 3, 4]], &config(limited)).is_ok());
        assert!(Text::new(&[&[1, 2], &[3]], &config(window)).is_ok());
    }
}
