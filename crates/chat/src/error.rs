//! The one error of this crate: what went wrong, where, what was expected, what was found and
//! how to mend it.

use std::error::Error as StdError;
use std::path::Path;

use anelith_report::{Report, Reported, remedy};

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
/// `Display` gives only what went wrong; the report gives the other lines.
#[derive(Debug, thiserror::Error)]
#[error("{report}")]
pub struct Error {
    kind: Kind,
    report: Box<Report>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` about `what` (lower case, no final period), without details.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, report: Box::new(Report::new(what)), source: None }
    }

    /// A file or directory that could not be read; `found` is the operating system's message.
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        let error = Self::new(Kind::Io, format!("cannot read `{}`", path.display()))
            .at(path.display())
            .finding(&source);
        let error = match remedy(source.kind()) {
            Some(remedy) => error.mending(remedy),
            None => error,
        };
        error.caused_by(source)
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

    /// Keeps the error underneath for [`std::error::Error::source`].
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The sort of failure.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl Reported for Error {
    fn report(&self) -> &Report {
        &self.report
    }

    fn report_mut(&mut self) -> &mut Report {
        &mut self.report
    }
}
