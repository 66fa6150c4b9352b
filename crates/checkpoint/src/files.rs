//! The files of a model directory that are neither config nor weights: tokenizer, templates, and what the README declares.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anelith_report::Reported;

use crate::error::{Error, Result};

/// The names that a converted model takes over, the required ones first.
const NAMES: [(&str, bool); 9] = [
    ("tokenizer.json", true),
    ("tokenizer_config.json", true),
    ("config.json", true),
    ("tokenizer.model", false),
    ("vocab.json", false),
    ("merges.txt", false),
    ("special_tokens_map.json", false),
    ("generation_config.json", false),
    ("chat_template.jinja", false),
];

/// How much of a README is looked at for its front matter.
const FRONT_MATTER_BYTES: u64 = 1 << 20;

/// A file that goes with a model so that its tokenizer can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerFile {
    /// The file name: `tokenizer.json`.
    pub name: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

/// The names of all files that a converted model takes over.
pub fn tokenizer_file_names() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().map(|(name, _)| name)
}

/// The names of the files that not every model has.
pub fn optional_files() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().filter(|(_, required)| !required).map(|(name, _)| name)
}

/// The names of all files that a conversion reads beside the weights, and whether it needs them.
pub(crate) fn model_file_names() -> impl Iterator<Item = (&'static str, bool)> {
    NAMES.into_iter().chain([("README.md", false)])
}

/// The tokenizer files that `dir` has, always in the same order.
///
/// `tokenizer.json`, `tokenizer_config.json` and `config.json` are required: a missing one is a `Missing` error that
/// names it. So is a link that leads nowhere, whatever its name; a directory or pipe of such a name is `Malformed`.
pub fn tokenizer_files(dir: &Path) -> Result<Vec<TokenizerFile>> {
    let mut files = Vec::new();
    for (name, required) in NAMES {
        let path = dir.join(name);
        if is_file(&path)? {
            files.push(TokenizerFile { name, path });
        } else if required {
            return Err(missing(name, &path));
        }
    }
    Ok(files)
}

fn missing(name: &str, path: &Path) -> Error {
    Error::missing(format!("no {name} in the model directory"))
        .at(path.display())
        .expecting(format!("the file {name}"))
        .finding("no such file")
        .mending("download the tokenizer files of the model into its directory")
}

fn is_file(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) => Error::unless_file(path, &metadata).map(|()| true),
        Err(e) if Error::leads_nowhere(path, &e) => Err(Error::broken_link(path)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("read", path, &e)),
    }
}

/// The `license` that the front matter of the model's README.md declares, if there is a README and it declares one.
pub fn license(dir: &Path) -> Result<Option<String>> {
    let path = dir.join("README.md");
    if !is_file(&path)? {
        return Ok(None);
    }
    let file = File::open(&path).map_err(|e| Error::io("read", &path, &e))?;
    let mut bytes = Vec::new();
    file.take(FRONT_MATTER_BYTES).read_to_end(&mut bytes).map_err(|e| Error::io("read", &path, &e))?;
    Ok(license_line(&String::from_utf8_lossy(&bytes)))
}

/// The value of the `license:` line of the block between the two first `---` lines; a top-level scalar or nothing.
fn license_line(readme: &str) -> Option<String> {
    let mut lines = readme.trim_start_matches('\u{feff}').lines().map(str::trim_end);
    if lines.next() != Some("---") {
        return None;
    }
    let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "---").collect();
    let value = block.iter().find_map(|line| line.strip_prefix("license:"))?;
    scalar(value.trim()).filter(|value| !value.is_empty())
}

/// The text of a YAML scalar on one line, quoted or plain, with or without a comment behind it; nothing for a list, a
/// mapping, or a scalar that goes on in the next lines.
fn scalar(text: &str) -> Option<String> {
    let (quote, rest) = match text.chars().next()? {
        quote @ ('"' | '\'') => (quote, &text[1..]),
        '[' | '{' | '|' | '>' | '&' | '*' | '#' => return None,
        _ => {
            let plain = text.split(" #").next().unwrap_or_default().trim_end();
            // YAML's words for nothing.
            return (!["null", "Null", "NULL", "~"].contains(&plain)).then(|| plain.to_owned());
        }
    };
    let mut value = String::new();
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            // In single quotes, two stand for one.
            '\'' if quote == '\'' && chars.next_if_eq(&'\'').is_some() => value.push('\''),
            _ if c == quote => return Some(value.trim().to_owned()),
            '\\' if quote == '"' => value.push(chars.next()?),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn license_comes_from_the_first_front_matter_block_only() {
        let cases = [
            ("---\nlicense: apache-2.0\n---\n", Some("apache-2.0")),
            ("\u{feff}---\r\nlicense: \"mit\"\r\n---\r\n", Some("mit")),
            ("---\nlicense: other # see below\nlicense_name: x\n---", Some("other")),
            ("---\nlicense_name: llama3\n---\nlicense: mit\n", None),
            ("---\ntags: [a]\nlicense:\n- mit\n---\n", None),
            ("---\ncard:\n  license: mit\n---\n", None),
            ("# Model\n---\nlicense: mit\n---\n", None),
            ("---\nlicense: \"a: b # c\" # d\n---\n", Some("a: b # c")),
            ("---\nlicense: 'it''s # one'\n---\n", Some("it's # one")),
            ("---\nlicense: \"so \\\"called\\\"\"\n---\n", Some("so \"called\"")),
            ("---\nlicense: c#-like\n---\n", Some("c#-like")),
            ("---\nlicense: \"never closed\n---\n", None),
            ("---\nlicense: # none\n---\n", None),
            ("---\nlicense: ''\n---\n", None),
            ("---\nlicense: null # yet\n---\n", None),
            ("---\nlicense: ~\n---\n", None),
            ("---\nlicense: nullable\n---\n", Some("nullable")),
            ("---\nlicense: 'null'\n---\n", Some("null")),
            ("", None),
        ];
        for (readme, expected) in cases {
            assert_eq!(license_line(readme).as_deref(), expected, "{readme:?}");
        }
    }

    #[test]
    fn files_are_listed_in_a_fixed_order_and_a_missing_required_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["merges.txt", "config.json", "tokenizer.json", "README.md"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let error = tokenizer_files(dir.path()).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Missing);
        assert_eq!(error.to_string(), "no tokenizer_config.json in the model directory");
        fs::write(dir.path().join("tokenizer_config.json"), "x").unwrap();
        let files = tokenizer_files(dir.path()).unwrap();
        let names: Vec<_> = files.iter().map(|file| file.name).collect();
        assert_eq!(names, ["tokenizer.json", "tokenizer_config.json", "config.json", "merges.txt"]);
        assert_eq!(license(dir.path()).unwrap(), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_dangling_link_is_not_taken_for_an_absent_file() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["tokenizer.json", "tokenizer_config.json", "config.json"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        for target in ["../blobs/gone", "vocab.json"] {
            let link = dir.path().join("vocab.json");
            std::os::unix::fs::symlink(target, &link).unwrap();
            let error = tokenizer_files(dir.path()).unwrap_err();
            assert!(error.to_string().contains("vocab.json"), "{error}");
            assert_eq!(error.kind(), crate::ErrorKind::Missing, "{target}");
            fs::remove_file(&link).unwrap();
        }
    }
}
