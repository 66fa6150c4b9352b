//! Typed access to the fields of one JSON object: every wrong type or size is an error that names the field.

use std::ops::RangeInclusive;
use std::path::Path;

use anelith_report::Reported;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// One JSON object of config.json: the document itself, or a nested object such as `rope_scaling`.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// The object's own field name with a trailing dot, or nothing for the document.
    prefix: &'a str,
    path: &'a Path,
}

impl<'a> Fields<'a> {
    pub(super) fn new(object: &'a Map<String, Value>, prefix: &'a str, path: &'a Path) -> Self {
        Self { object, prefix, path }
    }

    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    pub(super) fn object(&self) -> &'a Map<String, Value> {
        self.object
    }

    /// The field's full name, as messages quote it: `rope_scaling.factor`.
    pub(super) fn name(&self, key: &str) -> String {
        format!("{}{}", self.prefix, abbreviate(key))
    }

    /// The value, unless the key is absent or null.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn wrong(&self, key: &str, expected: &str, found: &Value) -> Error {
        let name = self.name(key);
        let found = abbreviate(&found.to_string());
        Error::malformed(format!("config.json: `{name}` is {found}, expected {expected}"))
            .at(self.path.display())
            .expecting(expected)
            .finding(found)
            .mending(format!("correct `{name}` in config.json"))
    }

    pub(super) fn absent(&self, key: &str, why: &str) -> Error {
        let name = self.name(key);
        Error::malformed(format!("config.json has no `{name}`, which {why} needs"))
            .at(self.path.display())
            .expecting(format!("a value for `{name}`"))
            .finding(if self.object.contains_key(key) { "null" } else { "no such field" })
            .mending(format!("add `{name}` to config.json"))
    }

    /// An integer within `range`, or `None` when absent or null.
    pub(super) fn optional_integer(&self, key: &str, range: RangeInclusive<usize>) -> Result<Option<usize>> {
        self.get(key).map(|value| self.integer(key, range, value)).transpose()
    }

    /// An integer within `range`, or the class default when the key is absent; null is an error, as in transformers.
    pub(super) fn integer_or(
        &self,
        key: &str,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> Result<usize> {
        match self.object.get(key) {
            Some(value) => self.integer(key, range, value),
            None => Ok(default),
        }
    }

    fn integer(&self, key: &str, range: RangeInclusive<usize>, value: &Value) -> Result<usize> {
        let number = value.as_u64().and_then(|n| usize::try_from(n).ok());
        number.filter(|n| range.contains(n)).ok_or_else(|| {
            let expected = format!("an integer from {} to {}", range.start(), range.end());
            self.wrong(key, &expected, value)
        })
    }

    /// A number above zero, or `None` when absent or null.
    pub(super) fn optional_positive(&self, key: &str) -> Result<Option<f64>> {
        self.get(key).map(|value| self.positive(key, value)).transpose()
    }

    /// A number above zero, or the class default when the key is absent; null is an error, as in transformers.
    pub(super) fn positive_or(&self, key: &str, default: f64) -> Result<f64> {
        match self.object.get(key) {
            Some(value) => self.positive(key, value),
            None => Ok(default),
        }
    }

    fn positive(&self, key: &str, value: &Value) -> Result<f64> {
        // Outside the range of f32 the number would become infinite or zero in transformers' own arithmetic.
        let sane = f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX);
        let number = value.as_f64().filter(|x| sane.contains(x));
        number.ok_or_else(|| self.wrong(key, "a number above 0 and within the range of f32", value))
    }

    /// A number above zero that must be there, because `why` needs it.
    pub(super) fn required_positive(&self, key: &str, why: &str) -> Result<f64> {
        self.optional_positive(key)?.ok_or_else(|| self.absent(key, why))
    }

    /// `true` or `false`, or `None` when absent or null.
    pub(super) fn optional_boolean(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(*b)),
            Some(other) => Err(self.wrong(key, "true or false", other)),
        }
    }

    pub(super) fn optional_string(&self, key: &str) -> Result<Option<&'a str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(other) => Err(self.wrong(key, "a string", other)),
        }
    }

    pub(super) fn optional_object(&self, key: &str) -> Result<Option<&'a Map<String, Value>>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(other) => Err(self.wrong(key, "an object", other)),
        }
    }
}

/// A name or JSON value short enough for a message, and without what would end its line.
pub(super) fn abbreviate(text: &str) -> String {
    const LIMIT: usize = 80;
    let mut short = String::new();
    for (i, c) in text.chars().enumerate() {
        match c {
            _ if i == LIMIT => return short + "...",
            c if c.is_control() => short.extend(c.escape_default()),
            c => short.push(c),
        }
    }
    short
}
