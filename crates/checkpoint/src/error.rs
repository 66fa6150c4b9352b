//! The one error of this crate: what went wrong in a model directory, where, what was expected, what was found, and how to mend it.

use std::fmt::Display;
use std::path::Path;

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What sort of failure an [`Error`] is; callers choose their exit status by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The machine failed: a read, an open or a listing returned an operating-system error.
    Io,
    /// A directory, file or tensor that must be there is not.
    Missing,
    /// The input contradicts its own format, or itself.
    Malformed,
    /// The input is well formed, but means something that anelith does not convert.
    Unsupported,
    /// The caller asked for something that the input cannot answer (a range beyond a tensor's end).
    Caller,
}

/// An error about a model directory.
///
/// `Display` prints one line that says what happened; the accessors hold the rest.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.what)]
pub struct Error(Box<Detail>);

#[derive(Debug)]
struct Detail {
    kind: ErrorKind,
    what: String,
    location: Option<String>,
    expected: Option<String>,
    found: Option<String>,
    mend: Option<String>,
}

impl Error {
    fn new(kind: ErrorKind, what: impl Display) -> Self {
        Self(Box::new(Detail {
            kind,
            what: what.to_string(),
            location: None,
            expected: None,
            found: None,
            mend: None,
        }))
    }

    /// An operating-system error while doing `action` (`read`, `open`, `list`) to `path`.
    pub(crate) fn io(action: &str, path: &Path, source: &std::io::Error) -> Self {
        let what = format!("cannot {action} `{}`: {source}", path.display());
        Self::new(ErrorKind::Io, what).at(path.display())
    }

    pub(crate) fn missing(what: impl Display) -> Self {
        Self::new(ErrorKind::Missing, what)
    }

    pub(crate) fn malformed(what: impl Display) -> Self {
        Self::new(ErrorKind::Malformed, what)
    }

    pub(crate) fn unsupported(what: impl Display) -> Self {
        Self::new(ErrorKind::Unsupported, what)
    }

    pub(crate) fn caller(what: impl Display) -> Self {
        Self::new(ErrorKind::Caller, what)
    }

    pub(crate) fn at(mut self, location: impl Display) -> Self {
        self.0.location = Some(location.to_string());
        self
    }

    pub(crate) fn with_expected(mut self, expected: impl Display) -> Self {
        self.0.expected = Some(expected.to_string());
        self
    }

    pub(crate) fn with_found(mut self, found: impl Display) -> Self {
        self.0.found = Some(found.to_string());
        self
    }

    pub(crate) fn with_mend(mut self, mend: impl Display) -> Self {
        self.0.mend = Some(mend.to_string());
        self
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file it happened in, with line and column or byte offset where there is one.
    pub fn location(&self) -> Option<&str> {
        self.0.location.as_deref()
    }

    /// What would have been accepted.
    pub fn expected(&self) -> Option<&str> {
        self.0.expected.as_deref()
    }

    /// What was there instead.
    pub fn found(&self) -> Option<&str> {
        self.0.found.as_deref()
    }

    /// What the user can do about it.
    pub fn mend(&self) -> Option<&str> {
        self.0.mend.as_deref()
    }
}
