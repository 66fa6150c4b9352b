//! What models, and states of them, are called on a hub: `org/name`, and a branch, tag or commit.

use std::fmt;

use anelith_report::Reported;

use crate::error::{Error, Result};

/// The longest name that hubs give.
const MAX_ID: usize = 96;

/// The longest revision that is asked for; git's own limit is that of file names.
const MAX_REVISION: usize = 255;

/// The id of a model: `org/name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelId {
    org: String,
    name: String,
}

impl ModelId {
    /// Reads `org/name`.
    ///
    /// Letters, digits, `-`, `_` and `.`; neither part begins or ends with `-` or `.`, and `--` and `..` do not occur:
    /// the cache joins the parts with `--`, so ids with it would not be told apart. Anything else is `Malformed`.
    pub fn parse(text: &str) -> Result<ModelId> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_word = |word: &str| {
            !word.is_empty()
                && word.chars().all(is_plain)
                && !word.starts_with(['-', '.'])
                && !word.ends_with(['-', '.'])
        };
        match text.split_once('/') {
            Some((org, name))
                if is_word(org)
                    && is_word(name)
                    && !text.contains("--")
                    && !text.contains("..")
                    && text.len() <= MAX_ID =>
            {
                Ok(ModelId { org: org.to_owned(), name: name.to_owned() })
            }
            _ => Err(Error::malformed(format!("`{text}` is no hub id"))
                .at("--model")
                .expecting(format!(
                    "org/name, at most {MAX_ID} letters, digits, `-`, `_` and `.`, without `--` and `..`, \
                     no part beginning or ending with `-` or `.`"
                ))
                .finding(text)
                .mending("copy the id from the model's page, or give a directory")),
        }
    }

    /// What a conversion calls the model: `org-name`.
    pub fn model_name(&self) -> String {
        format!("{}-{}", self.org, self.name)
    }

    /// The model's directory in a cache: `models--org--name`.
    pub(super) fn folder(&self) -> String {
        format!("models--{}--{}", self.org, self.name)
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.org, self.name)
    }
}

/// A state of a model: a branch, a tag, or a commit, whole or abbreviated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision(String);

impl Revision {
    /// Reads a revision. `Malformed` is what git does not allow as the name of a branch or tag; so no revision
    /// leads out of the cache's directory of them.
    pub fn parse(text: &str) -> Result<Revision> {
        let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && !"~^:?*[\\\"<>|".contains(c);
        let is_part = |part: &str| {
            !part.is_empty() && !part.starts_with('.') && !part.ends_with(['.']) && !part.ends_with(".lock")
        };
        let is_revision = text.len() <= MAX_REVISION
            && text.chars().all(is_plain)
            && text.split('/').all(is_part)
            && !text.contains("..")
            && !text.contains("@{")
            && !text.starts_with('-');
        if is_revision {
            return Ok(Revision(text.to_owned()));
        }
        Err(Error::malformed("the revision is none that git allows")
            .at("--revision")
            .expecting("a branch, a tag or a commit")
            .finding(format!("{text:?}"))
            .mending("copy it from the model's page"))
    }

    /// The revision as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a whole commit, which never means anything else.
    pub(super) fn is_commit(&self) -> bool {
        is_commit(&self.0)
    }
}

impl Default for Revision {
    /// The branch `main`.
    fn default() -> Revision {
        Revision("main".to_owned())
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` is a whole commit: 40 digits, of which the letters are small.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_two_words_that_the_cache_can_tell_apart() {
        for good in ["Qwen/Qwen3-0.6B", "a/b", "meta_llama/Llama-3.2-1B"] {
            assert_eq!(ModelId::parse(good).unwrap().to_string(), good);
        }
        let long = format!("org/{}", "x".repeat(MAX_ID));
        let all = ["a", "a/", "/a", "a/b/c", "a--b/c", "a/b..c", "-a/b", "a/b.", "a/b c", "a/ä", "", &long];
        for bad in all {
            assert_eq!(ModelId::parse(bad).unwrap_err().kind(), crate::ErrorKind::Malformed, "{bad}");
        }
        let id = ModelId::parse("Qwen/Qwen3-0.6B").unwrap();
        assert_eq!(
            (id.folder().as_str(), id.model_name().as_str()),
            ("models--Qwen--Qwen3-0.6B", "Qwen-Qwen3-0.6B")
        );
    }

    #[test]
    fn revisions_stay_in_their_directory() {
        for good in ["main", "refs/pr/1", "v1.0", "feature/x-y", &"0a".repeat(20)] {
            assert_eq!(Revision::parse(good).unwrap().as_str(), good);
        }
        let all = [
            "", "..", "a/../b", "/etc", "a//b", "a/", ".hidden", "a b", "a\\b", "a\n", "x.lock", "-x",
            "a@{1}",
        ];
        for bad in all {
            assert!(Revision::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Revision(("0a").repeat(20)).is_commit());
        assert!(!Revision(("0A").repeat(20)).is_commit());
        assert!(!Revision::default().is_commit());
    }
}
