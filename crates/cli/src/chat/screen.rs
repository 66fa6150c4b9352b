//! An answer on standard output: as it is for a program, harmless for a terminal, and there with thoughts in a dim color.

use std::env;
use std::io::{self, IsTerminal};
use std::mem::take;

use crate::failure::Result;
use crate::plain::plain_text;
use crate::terminal::print;

const DIM: &str = "\x1b[2m";
const BRIGHT: &str = "\x1b[0m";

/// What a model's thoughts begin and end with.
pub(super) const OPENING: &str = "<think>";
const CLOSING: &str = "</think>";

/// Where the pieces of one answer are shown as they come.
#[derive(Debug)]
pub(super) struct Screen {
    form: Form,
    has_shown: bool,
}

#[derive(Debug)]
enum Form {
    /// A pipe or a file gets every byte.
    Raw,
    /// A terminal is not commanded by what a model says.
    Plain,
    /// A terminal with colors.
    Color(Thoughts),
}

impl Screen {
    /// Standard output, where the model may think already when its answer begins.
    pub(super) fn new(is_thinking: impl FnOnce() -> bool) -> Screen {
        let form = match (io::stdout().is_terminal(), has_colors()) {
            (false, _) => Form::Raw,
            (true, false) => Form::Plain,
            (true, true) => Form::Color(Thoughts::new(is_thinking())),
        };
        Screen { form, has_shown: false }
    }

    /// Whether something of the answer is there to be seen.
    pub(super) fn has_shown(&self) -> bool {
        self.has_shown
    }

    /// Shows the next piece.
    pub(super) fn show(&mut self, text: &str) -> Result<()> {
        self.has_shown = true;
        match &mut self.form {
            Form::Raw => print(text),
            Form::Plain => print(&plain_text(text)),
            Form::Color(thoughts) => print(&thoughts.push(text)),
        }
    }

    /// Ends the line, and what else the answer began.
    pub(super) fn end(&mut self) -> Result<()> {
        let rest = match &mut self.form {
            Form::Raw | Form::Plain => String::new(),
            Form::Color(thoughts) => thoughts.finish(),
        };
        print(&format!("{rest}\n"))
    }
}

/// Whether a terminal may be given colors: see no-color.org.
fn has_colors() -> bool {
    let is_refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !is_refused && env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Makes thoughts dim. What may become a tag is held back until that is clear.
#[derive(Debug)]
struct Thoughts {
    is_thinking: bool,
    /// Whether the terminal's color is the dim one.
    is_dim: bool,
    held: String,
}

impl Thoughts {
    fn new(is_thinking: bool) -> Thoughts {
        Thoughts { is_thinking, is_dim: false, held: String::new() }
    }

    /// The text and colors that can be shown now.
    fn push(&mut self, text: &str) -> String {
        let mut rest = take(&mut self.held) + text;
        let mut shown = String::new();
        while let Some(at) = rest.find(self.tag()) {
            // The tags are part of the thoughts.
            let end = if self.is_thinking { at + self.tag().len() } else { at };
            self.write(&rest[..end], &mut shown);
            self.is_thinking = !self.is_thinking;
            if self.is_thinking {
                self.write(OPENING, &mut shown);
            }
            let begun = if self.is_thinking { end + OPENING.len() } else { end };
            rest.drain(..begun);
        }
        let tag = self.tag();
        let held = (1..tag.len()).rev().find(|length| rest.ends_with(&tag[..*length])).unwrap_or(0);
        self.held = rest.split_off(rest.len() - held);
        self.write(&rest, &mut shown);
        shown
    }

    /// What was held back, and the color that was there before.
    fn finish(&mut self) -> String {
        let mut shown = String::new();
        let held = take(&mut self.held);
        self.write(&held, &mut shown);
        self.is_thinking = false;
        self.color(&mut shown);
        shown
    }

    /// The tag that comes next, if any does.
    fn tag(&self) -> &'static str {
        if self.is_thinking { CLOSING } else { OPENING }
    }

    fn write(&mut self, text: &str, shown: &mut String) {
        if !text.is_empty() {
            self.color(shown);
            shown.push_str(&plain_text(text));
        }
    }

    fn color(&mut self, shown: &mut String) {
        if self.is_dim != self.is_thinking {
            shown.push_str(if self.is_thinking { DIM } else { BRIGHT });
            self.is_dim = self.is_thinking;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(is_thinking: bool, pieces: &[&str]) -> String {
        let mut thoughts = Thoughts::new(is_thinking);
        let shown: String = pieces.iter().map(|piece| thoughts.push(piece)).collect();
        shown + &thoughts.finish()
    }

    #[test]
    fn thoughts_are_dim() {
        let expected = format!("a {DIM}<think>b</think>{BRIGHT} c");
        assert_eq!(shown(false, &["a <think>b</think> c"]), expected);
        // However they come.
        let pieces: Vec<String> = "a <think>b</think> c".chars().map(String::from).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        assert_eq!(shown(false, &pieces), expected);
        assert_eq!(shown(false, &["<thi", "n <", "3"]), "<thin <3");
        assert_eq!(shown(false, &["a</think>"]), "a</think>");
    }

    #[test]
    fn a_prompt_may_begin_them() {
        assert_eq!(shown(true, &["a", "</think>\n", "b"]), format!("{DIM}a</think>{BRIGHT}\nb"));
        assert_eq!(shown(true, &[""]), "");
    }

    #[test]
    fn thoughts_that_do_not_end_end_with_the_answer() {
        assert_eq!(shown(false, &["<think>a</th"]), format!("{DIM}<think>a</th{BRIGHT}"));
    }

    #[test]
    fn a_model_does_not_command_the_terminal() {
        let text = shown(false, &["\u{1b}[2J\u{9b}31m\u{7}", "<think>\u{1b}]0;x\u{7}"]);
        assert_eq!(
            text,
            format!("\\u{{1b}}[2J\\u{{9b}}31m\\u{{7}}{DIM}<think>\\u{{1b}}]0;x\\u{{7}}{BRIGHT}")
        );
    }

    #[test]
    fn nothing_is_held_back_that_is_no_tag() {
        let mut thoughts = Thoughts::new(false);
        assert_eq!((thoughts.push("a <"), thoughts.push("b")), ("a ".into(), "<b".into()));
    }
}
