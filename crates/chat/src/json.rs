//! Reading the small JSON files that stand beside a model.

use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anelith_report::Reported;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
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

    /// The number `key`, when present.
    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>, Error> {
        let wrong = |v| self.wrong(key, "a number", v);
        self.get(key).map(|v| v.as_f64().ok_or_else(|| wrong(v))).transpose()
    }

    /// The error for a value of the wrong type.
    pub(crate) fn wrong(&self, key: &str, expected: &str, found: &Value) -> Error {
        Error::malformed(&self.path, format!("`{key}` has the wrong type"))
            .at(format!("{}, key `{key}`", self.path.display()))
            .expecting(expected)
            .finding(excerpt(found))
    }
}

/// Whether `text` is JSON, found out without holding it in memory.
///
/// # Errors
/// The first place where it is not, or where it nests too deep for a reader.
pub(crate) fn check_syntax(text: &str) -> serde_json::Result<()> {
    serde_json::from_str::<Syntax>(text).map(drop)
}

/// Any JSON value; nothing is kept of it.
struct Syntax;

impl<'de> Deserialize<'de> for Syntax {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Syntax)
    }
}

impl<'de> Visitor<'de> for Syntax {
    type Value = Syntax;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Syntax, E> {
        Ok(Syntax)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Syntax, E> {
        Ok(Syntax)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Syntax, E> {
        Ok(Syntax)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Syntax, E> {
        Ok(Syntax)
    }

    fn visit_str<E>(self, _: &str) -> Result<Syntax, E> {
        Ok(Syntax)
    }

    fn visit_unit<E>(self) -> Result<Syntax, E> {
        Ok(Syntax)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Syntax, A::Error> {
        while members.next_element::<Syntax>()?.is_some() {}
        Ok(Syntax)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Syntax, A::Error> {
        while entries.next_entry::<Syntax, Syntax>()?.is_some() {}
        Ok(Syntax)
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

/// The largest file that is read; a `tokenizer.json` of a quarter of a million tokens takes a tenth of it.
const MAX_BYTES: u64 = 1 << 28;

/// The text of a file, or nothing when it is not there.
pub(crate) fn read_text_optional(path: &Path) -> Result<Option<String>, Error> {
    match read(path) {
        Ok(None) => Err(Error::malformed(path, "a pipe or device stands in the place of a text file")
            .expecting("a regular file")
            .finding("something that is neither file nor directory")
            .mending("put the file of the model there")),
        Ok(Some(bytes)) if bytes.len() as u64 > MAX_BYTES => {
            Err(Error::malformed(path, "a text file is too large to be one")
                .expecting(format!("at most {MAX_BYTES} bytes"))
                .finding("more"))
        }
        Ok(Some(bytes)) => String::from_utf8(bytes).map(Some).map_err(|e| {
            Error::new(Kind::Malformed, "a text file is not UTF-8")
                .at(path.display())
                .expecting("UTF-8 text")
                .finding(e.utf8_error())
        }),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path, e)),
    }
}

/// The contents of a file as far as its first byte beyond the limit; nothing for a pipe or device, which may never end.
fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() && !metadata.is_dir() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_device_is_not_read() {
        let error = read_text_optional(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.kind(), Kind::Malformed);
        assert!(error.found().is_some() && error.mend().is_some());
    }

    /// A sparse file costs nothing, and reading it would take all memory.
    #[test]
    fn a_file_of_impossible_size_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer_config.json");
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let error = Object::read_optional(dir.path(), "tokenizer_config.json").unwrap_err();
        assert_eq!(error.to_string(), "a text file is too large to be one");
    }
}
