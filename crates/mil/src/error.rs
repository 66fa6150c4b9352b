//! The one error type of this crate.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// What went wrong while reading, building, validating or writing an ML program.
#[derive(Debug, Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried, e.g. `cannot read`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file is not what its format says.
    #[error("{what} is malformed: {problem}")]
    Malformed {
        /// The file, and the place in it (byte offset, line, field) where known.
        what: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// A file is in order but uses something that anelith does not do.
    #[error("{what} is not supported: {problem}")]
    Unsupported {
        /// The file or construct.
        what: String,
        /// What exactly, and what would be supported.
        problem: String,
    },
    /// A program breaks the rules of MIL; the first broken rule of each function.
    #[error("{}", lines(.0))]
    Invalid(Vec<Invalid>),
}

/// A broken rule, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("function `{function}`: {at}: {problem}")]
pub struct Invalid {
    /// The function.
    pub function: String,
    /// The op or variable.
    pub at: String,
    /// What was expected and what was found.
    pub problem: String,
}

fn lines(broken: &[Invalid]) -> String {
    broken.iter().map(Invalid::to_string).collect::<Vec<_>>().join("\n")
}

impl Invalid {
    /// A rule broken in `function`, at an op or variable of it.
    pub(crate) fn new(function: &str, at: impl Into<String>, problem: impl Into<String>) -> Invalid {
        Invalid { function: function.to_owned(), at: at.into(), problem: problem.into() }
    }
}

impl From<Invalid> for Error {
    fn from(broken: Invalid) -> Error {
        Error::Invalid(vec![broken])
    }
}

impl From<Vec<Invalid>> for Error {
    fn from(broken: Vec<Invalid>) -> Error {
        Error::Invalid(broken)
    }
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An operating system error on `path`; for `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    /// A file that breaks its format.
    pub fn malformed(what: impl Into<String>, problem: impl Into<String>) -> Error {
        Error::Malformed { what: what.into(), problem: problem.into() }
    }

    /// A construct that is not supported.
    pub fn unsupported(what: impl Into<String>, problem: impl Into<String>) -> Error {
        Error::Unsupported { what: what.into(), problem: problem.into() }
    }
}
