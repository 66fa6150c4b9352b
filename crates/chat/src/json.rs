//! Reading the small JSON files that stand beside a model.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anelith_report::Reported;
use serde_json::{Map, Value};

use crate::error::{Error, Kind};

/// A JSON object read from disk; remembers its path so that errors can name it.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    path: PathBuf,
    map: Map<String, Value>,
}

impl Object {
    /// Reads `dir/name`; a file that is not there is an object without keys.
    pub(crate) fn read_optional(dir: &Path, name: &str) -> Result<Self, Error> {
        let path = dir.join(name);
        let Some(text) = read_text_optional(&path)? else {
            return Ok(Self { path, map: Map::new() });
        };
        let map = serde_json::from_str(&text).map_err(|e| {
            Error::malformed(&path, format!("`{name}` is not a JSON object"))
                .finding(&e)
                .caused_by(e)
                .mending("fetch the file again from where the model came from")
        })?;
        Ok(Self { path, map })
    }

    /// The file this object was read from.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the key is there at all.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// The value of `key`; JSON `null` counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    /// The boolean `key`, when present.
    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        let wrong = |v| self.wrong(key, "true or false", v);
        self.get(key).map(|v| v.as_bool().ok_or_else(|| wrong(v))).transpose()
    }

    /// The string `key`, when present.
    pub(crate) fn str(&self, key: &str) -> Result<Option<&str>, Error> {
        let wrong = |v| self.wrong(key, "a string", v);
        self.get(key).map(|v| v.as_str().ok_or_else(|| wrong(v))).transpose()
    }

    /// The error for a value of the wrong type.
    pub(crate) fn wrong(&self, key: &str, expected: &str, found: &Value) -> Error {
        Error::malformed(&self.path, format!("`{key}` has the wrong type"))
            .at(format!("{}, key `{key}`", self.path.display()))
            .expecting(expected)
            .finding(excerpt(found))
    }
}

/// A value as JSON, cut so that an error stays one line.
fn excerpt(value: &Value) -> String {
    const LIMIT: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// The text of a file, or nothing when it is not there.
pub(crate) fn read_text_optional(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|e| {
            Error::new(Kind::Malformed, "a text file is not UTF-8")
                .at(path.display())
                .expecting("UTF-8 text")
                .finding(e.utf8_error())
        }),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path, e)),
    }
}
