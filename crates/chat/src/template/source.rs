//! The source of a chat template as the library takes it: line ends, tags it does not know, and a check around
//! every value that is kept.
//!
//! The library bounds the steps of a template, the text that they make and the depth of its blocks, not the length
//! of an expression nor how deep a value nests; both end in recursion. So sources and tags have a largest size here, and what
//! a `set` keeps passes through the filter [`KEPT`].

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// The filter that is put around what a variable is set to.
pub(super) const KEPT: &str = "__kept";
/// The filter around what an attribute of a namespace is set to.
pub(super) const KEPT_IN_NAMESPACE: &str = "__kept_in_namespace";

/// The largest template; real ones take a tenth of it.
const MAX_SOURCE: usize = 1 << 18;
/// The longest tag; real ones hold some hundred characters, or a text of some thousand.
const MAX_TAG: usize = 1 << 14;
/// The most values in one that is kept.
const MAX_VALUES: usize = 1 << 17;
/// How deep a value that is kept may nest.
const MAX_DEPTH: usize = 16;

/// Jinja reads every line end as `\n`. The `generation` blocks of transformers only mark what the
/// assistant said; a `with` block has the same scope and text.
///
/// # Errors
/// When the source or a tag of it is longer than any real one.
pub(super) fn prepare(source: &str) -> Result<String, Error> {
    if source.len() > MAX_SOURCE {
        return Err(too_large(format!(
            "a template of {} bytes, expected at most {MAX_SOURCE}",
            source.len()
        )));
    }
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut prepared = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(start) = rest.find('{') {
        let (before, tag) = rest.split_at(start);
        prepared.push_str(before);
        let end = match tag.get(..2) {
            Some("{%") => end_of_tag(tag, "%}"),
            Some("{{") => end_of_tag(tag, "}}"),
            Some("{#") => tag.find("#}").map(|at| at + 2),
            _ => Some(1),
        };
        let (tag, after) = tag.split_at(end.unwrap_or(tag.len()));
        if tag.len() > MAX_TAG && !tag.starts_with("{#") {
            let found = tag.len();
            return Err(too_large(format!("a tag of {found} bytes, expected at most {MAX_TAG}")));
        }
        rest = after;
        if !tag.starts_with("{%") {
            prepared.push_str(tag);
        } else if word(tag) == "raw" {
            let end = after.find("endraw").unwrap_or(after.len());
            prepared.push_str(tag);
            prepared.push_str(&after[..end]);
            rest = &after[end..];
        } else {
            prepared.push_str(&rewritten(tag));
        }
    }
    Ok(prepared + rest)
}

fn too_large(what: String) -> Error {
    Error::new(ErrorKind::SyntaxError, what)
}

/// The length of the tag that `text` begins with, up to `close` outside of strings; nothing if it does not end.
fn end_of_tag(text: &str, close: &str) -> Option<usize> {
    outside_strings(text).find(|&at| at >= 2 && text[at..].starts_with(close)).map(|at| at + close.len())
}

/// The byte offsets of the characters of `text` that are no part of a quoted string.
fn outside_strings(text: &str) -> impl Iterator<Item = usize> + '_ {
    let mut quote = None;
    let mut escaped = false;
    text.char_indices().filter_map(move |(at, c)| {
        let inside = quote.is_some();
        match quote {
            None if matches!(c, '"' | '\'') => quote = Some(c),
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            _ => {}
        }
        (!inside && quote.is_none()).then_some(at)
    })
}

/// What stands between the marks of a tag, and the white space around it.
fn word(tag: &str) -> &str {
    tag.trim_matches(|c: char| "{%-+}".contains(c) || c.is_whitespace())
}

fn rewritten(tag: &str) -> String {
    match word(tag) {
        "generation" => return tag.replace("generation", "with"),
        "endgeneration" => return tag.replace("endgeneration", "endwith"),
        _ => {}
    }
    checked(tag).unwrap_or_else(|| tag.to_owned())
}

/// A tag that sets a variable to an expression, with the check around the expression; nothing for other tags.
fn checked(tag: &str) -> Option<String> {
    let statement = tag.trim_start_matches(|c: char| "{%-+".contains(c) || c.is_whitespace());
    let target = statement.strip_prefix("set").filter(|rest| rest.starts_with(char::is_whitespace))?;
    let equals = tag.len() - target.len() + assignment(target)?;
    let (head, expression) = tag.split_at(equals + 1);
    let end = expression.strip_suffix("%}")?.trim_end_matches(['-', '+']).len();
    let (expression, marks) = expression.split_at(end);
    let filter = if target.split('=').next()?.contains('.') { KEPT_IN_NAMESPACE } else { KEPT };
    Some(format!("{head} ({expression})|{filter} {marks}"))
}

/// Where the `=` of an assignment is, if there is one outside of brackets.
fn assignment(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for at in outside_strings(text) {
        match text.as_bytes().get(at) {
            Some(b'(' | b'[' | b'{') => depth += 1,
            Some(b')' | b']' | b'}') => depth = depth.saturating_sub(1),
            Some(b'=') if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// Lets a value through that a variable may keep.
pub(super) fn keep(value: Value) -> Result<Value, Error> {
    Budget { values: MAX_VALUES, namespaces: true }.spend(&value, MAX_DEPTH)?;
    Ok(value)
}

/// Lets a value through that a namespace may keep: no namespace, since one that holds itself has no end.
pub(super) fn keep_in_namespace(value: Value) -> Result<Value, Error> {
    Budget { values: MAX_VALUES, namespaces: false }.spend(&value, MAX_DEPTH)?;
    Ok(value)
}

/// What a value may still hold.
struct Budget {
    values: usize,
    namespaces: bool,
}

impl Budget {
    fn spend(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let refuse = |what: &str| Err(Error::new(ErrorKind::InvalidOperation, what.to_owned()));
        let is_namespace = value.as_object().is_some_and(|o| o.type_name().contains("Namespace"));
        if is_namespace && !self.namespaces {
            return refuse("a namespace is kept in a namespace");
        }
        let Some(values) = self.values.checked_sub(1) else {
            return refuse("a value grows beyond what a conversation takes");
        };
        self.values = values;
        let is_container = matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable);
        if !is_container {
            return Ok(());
        }
        let Some(depth) = depth.checked_sub(1) else {
            return refuse("a value nests deeper than a conversation does");
        };
        let is_map = value.kind() == ValueKind::Map;
        for member in value.try_iter()? {
            self.spend(&member, depth)?;
            if is_map {
                self.spend(&value.get_item(&member)?, depth)?;
            }
        }
        Ok(())
    }
}
