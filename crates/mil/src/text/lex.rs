//! Tokens of the text form.

use std::borrow::Cow;
use std::fmt;

use crate::error::Error;

/// A token.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token<'a> {
    /// A name or keyword; also `inf`, `nan`, `true` and `false`, which only a literal's place tells apart.
    Word(&'a str),
    /// A number, or `-inf` or `-nan`.
    Number(&'a str),
    /// The contents of a string.
    Text(Cow<'a, str>),
    /// `->`.
    Arrow,
    /// One of ``( ) [ ] { } < > , ; = ?``.
    Mark(char),
    /// The end of the text.
    End,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(word) | Token::Number(word) => write!(f, "`{word}`"),
            Token::Text(_) => f.write_str("a string"),
            Token::Arrow => f.write_str("`->`"),
            Token::Mark(mark) => write!(f, "`{mark}`"),
            Token::End => f.write_str("the end of the text"),
        }
    }
}

/// Cuts text into tokens.
#[derive(Clone)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    what: &'a str,
    offset: usize,
}

impl<'a> Lexer<'a> {
    /// A lexer at the start of `text`; `what` names the text in errors.
    pub(super) fn new(text: &'a str, what: &'a str) -> Lexer<'a> {
        Lexer { text, what, offset: 0 }
    }

    /// The byte offset of the next token, with what may stand before it skipped.
    pub(super) fn start(&mut self) -> usize {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
            self.offset += blank;
            if !self.rest().starts_with("//") {
                return self.offset;
            }
            self.offset += self.rest().find('\n').unwrap_or(self.rest().len());
        }
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Result<Token<'a>, Error> {
        self.start();
        let rest = self.rest();
        let mut chars = rest.chars();
        let Some(first) = chars.next() else { return Ok(Token::End) };
        let second = chars.next();
        match first {
            '"' => self.string(),
            '-' if second == Some('>') => {
                self.take(2);
                Ok(Token::Arrow)
            }
            '-' | '0'..='9' => Ok(Token::Number(self.take(number_len(rest)))),
            'a'..='z' | 'A'..='Z' | '_' => {
                let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
                Ok(Token::Word(self.take(end)))
            }
            '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | ',' | ';' | '=' | '?' => {
                self.take(1);
                Ok(Token::Mark(first))
            }
            _ => {
                Err(self.error_at(self.offset, format!("expected a token, found `{}`", first.escape_debug())))
            }
        }
    }

    /// An error about the token at byte `offset`.
    pub(super) fn error_at(&self, offset: usize, problem: impl Into<String>) -> Error {
        Error::malformed(self.place(offset), problem)
    }

    /// The text's name, line and column; both count from 1, columns in characters.
    pub(super) fn place(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        format!("{} at line {line}, column {column}", self.what)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    fn take(&mut self, len: usize) -> &'a str {
        let taken = self.rest().get(..len).unwrap_or_default();
        self.offset += taken.len();
        taken
    }

    fn string(&mut self) -> Result<Token<'a>, Error> {
        let start = self.offset;
        self.take(1);
        let mut text = Cow::Borrowed("");
        loop {
            let plain = self.rest().find(['"', '\\']);
            let Some(plain) = plain else {
                return Err(self.error_at(start, "expected a closing `\"`, found the end of the text"));
            };
            match (self.take(plain), &mut text) {
                ("", _) => {}
                (part, Cow::Borrowed("")) => text = Cow::Borrowed(part),
                (part, text) => text.to_mut().push_str(part),
            }
            if self.take(1) == "\"" {
                return Ok(Token::Text(text));
            }
            let escaped = self.escape()?;
            text.to_mut().push(escaped);
        }
    }

    /// The character that the escape after a backslash stands for.
    fn escape(&mut self) -> Result<char, Error> {
        let at = self.offset;
        match self.take(1) {
            "n" => Ok('\n'),
            "t" => Ok('\t'),
            "r" => Ok('\r'),
            "\"" => Ok('"'),
            "\\" => Ok('\\'),
            _ => Err(self.error_at(at, r#"expected `n`, `t`, `r`, `"` or `\` after a backslash"#)),
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '@')
}

/// The length of the number that `text` starts with: letters, digits and points, and a sign where an exponent
/// may have one. What it is worth is judged later, by the type it must have.
fn number_len(text: &str) -> usize {
    let hex = text.trim_start_matches('-').starts_with("0x");
    let mut before = '-';
    for (at, c) in text.char_indices() {
        let exponent = if hex { matches!(before, 'p' | 'P') } else { matches!(before, 'e' | 'E') };
        let sign = matches!(c, '+' | '-') && exponent;
        if at > 0 && !is_word(c) && c != '.' && !sign {
            return at;
        }
        before = c;
    }
    text.len()
}
