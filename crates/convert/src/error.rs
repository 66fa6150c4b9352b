//! The one error type of this crate.

use std::fmt;
use std::path::Path;

use anelith_checkpoint as checkpoint;
use anelith_mil as mil;
use thiserror::Error;

/// Why a conversion stopped.
#[derive(Debug, Error)]
pub enum Error {
    /// An option, or a combination of options, that cannot be meant.
    #[error(transparent)]
    Usage(Report),
    /// A package or step output that is missing, foreign or stale, or a model that cannot be converted.
    #[error(transparent)]
    Input(Report),
    /// The machine: I/O, disk, memory, or another run in the same directory.
    #[error(transparent)]
    Machine(Report),
    /// The model directory.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// An ML program or a file that holds one.
    #[error(transparent)]
    Mil(#[from] mil::Error),
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// What happened, where, what was expected, what was found, and how to mend it.
///
/// `Display` prints the first; the others are for whoever shows the error.
#[derive(Debug, Default, Error)]
pub struct Report {
    /// What happened.
    pub what: String,
    /// The file, option or tensor.
    pub location: Option<String>,
    /// What would have been accepted.
    pub expected: Option<String>,
    /// What was there instead.
    pub found: Option<String>,
    /// What the user can do.
    pub mend: Option<String>,
}

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Report {
    /// A report that says what happened.
    pub fn new(what: impl Into<String>) -> Report {
        Report { what: what.into(), ..Report::default() }
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, location: impl fmt::Display) -> Report {
        self.location = Some(location.to_string());
        self
    }

    /// Says what would have been accepted.
    #[must_use]
    pub fn expected(mut self, expected: impl fmt::Display) -> Report {
        self.expected = Some(expected.to_string());
        self
    }

    /// Says what was there instead.
    #[must_use]
    pub fn found(mut self, found: impl fmt::Display) -> Report {
        self.found = Some(found.to_string());
        self
    }

    /// Says what the user can do.
    #[must_use]
    pub fn mend(mut self, mend: impl fmt::Display) -> Report {
        self.mend = Some(mend.to_string());
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<mil::Invalid> for Error {
    fn from(broken: mil::Invalid) -> Error {
        Error::Mil(broken.into())
    }
}

impl From<Vec<mil::Invalid>> for Error {
    fn from(broken: Vec<mil::Invalid>) -> Error {
        Error::Mil(broken.into())
    }
}

/// An operating system error while doing `action` to `path`; for `map_err`.
pub(crate) fn io(action: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let (action, path) = (action.to_owned(), path.to_path_buf());
    move |source| {
        let what = format!("cannot {action} {}: {source}", path.display());
        Error::Machine(Report::new(what).at(path.display()))
    }
}
