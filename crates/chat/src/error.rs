//! The one error of this crate: what went wrong, where, what was expected, what was found and
//! how to mend it.

use std::error::Error as StdError;
use std::fmt::Display;
use std::path::Path;

/// What sort of thing went wrong; decides the exit status of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The machine failed us: a file could not be read.
    Io,
    /// A file is not what its format says.
    Malformed,
    /// A well-formed input asks for something this crate does not do.
    Unsupported,
    /// What the user asked cannot be answered: an empty prompt, one longer than the context.
    Prompt,
    /// The model failed while running, or answered with something that is not a prediction.
    Model,
}

/// An error with the lines a user needs to act on it.
///
/// `Display` gives only what went wrong; the accessors give the other lines.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Report>);

#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Report {
    kind: Kind,
    what: String,
    location: Option<String>,
    expected: Option<String>,
    found: Option<String>,
    mend: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` about `what` (lower case, no final period), without details.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self(Box::new(Report {
            kind,
            what: what.into(),
            location: None,
            expected: None,
            found: None,
            mend: None,
            source: None,
        }))
    }

    /// A file or directory that could not be read; `found` is the operating system's message.
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        Self::new(Kind::Io, format!("cannot read `{}`", path.display()))
            .at(path.display())
            .finding(&source)
            .caused_by(source)
    }

    /// A file that is not what its format says.
    pub fn malformed(path: &Path, what: impl Into<String>) -> Self {
        Self::new(Kind::Malformed, what).at(path.display())
    }

    /// A file that is fine but asks for something this crate does not do.
    pub fn unsupported(path: &Path, what: impl Into<String>) -> Self {
        Self::new(Kind::Unsupported, what).at(path.display())
    }

    /// A model that failed while running.
    pub fn model(what: impl Into<String>) -> Self {
        Self::new(Kind::Model, what)
    }

    /// Says where: a file, a key in it, a position.
    #[must_use]
    pub fn at(mut self, location: impl Display) -> Self {
        self.0.location = Some(location.to_string());
        self
    }

    /// Says what would have been right.
    #[must_use]
    pub fn expecting(mut self, expected: impl Display) -> Self {
        self.0.expected = Some(expected.to_string());
        self
    }

    /// Says what was there instead.
    #[must_use]
    pub fn finding(mut self, found: impl Display) -> Self {
        self.0.found = Some(found.to_string());
        self
    }

    /// Says what the user can do about it.
    #[must_use]
    pub fn mending(mut self, mend: impl Display) -> Self {
        self.0.mend = Some(mend.to_string());
        self
    }

    /// Keeps the error underneath for [`std::error::Error::source`].
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Where it went wrong, when that is known.
    pub fn location(&self) -> Option<&str> {
        self.0.location.as_deref()
    }

    /// What would have been right, when that can be said.
    pub fn expected(&self) -> Option<&str> {
        self.0.expected.as_deref()
    }

    /// What was there instead, when that can be said.
    pub fn found(&self) -> Option<&str> {
        self.0.found.as_deref()
    }

    /// What the user can do, when there is something.
    pub fn mend(&self) -> Option<&str> {
        self.0.mend.as_deref()
    }
}
