//! The one error of this crate: what went wrong in a model directory or on the way to it, where, what was expected, what was found, and
//! how to mend it.

use std::fmt::Display;
use std::fs::{self, FileType, Metadata};
use std::io::ErrorKind::NotFound;
use std::path::Path;

use anelith_report::{Report, Reported, remedy};

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
    /// A hub could not be reached, or did not give what it has; later it may.
    Network,
}

/// An error about a model directory, or about the hub that it is from.
///
/// `Display` prints one line that says what happened; the report holds the rest.
#[derive(Debug, thiserror::Error)]
#[error("{report}")]
pub struct Error {
    kind: ErrorKind,
    report: Box<Report>,
}

impl Error {
    fn new(kind: ErrorKind, what: impl Display) -> Self {
        Self { kind, report: Box::new(Report::new(what.to_string())) }
    }

    /// An operating-system error while doing `action` (`read`, `open`, `list`) to `path`.
    pub(crate) fn io(action: &str, path: &Path, source: &std::io::Error) -> Self {
        let what = format!("cannot {action} `{}`: {source}", path.display());
        let error = Self::new(ErrorKind::Io, what).at(path.display());
        match remedy(source.kind()) {
            Some(remedy) => error.mending(remedy),
            None => error,
        }
    }

    /// The machine has no room for what is asked for.
    pub(crate) fn no_room(what: impl Display) -> Self {
        Self::new(ErrorKind::Io, what)
    }

    /// Whether `path` cannot be read, as `source` says, because it is a link to nothing or back to itself.
    pub(crate) fn leads_nowhere(path: &Path, source: &std::io::Error) -> bool {
        path.is_symlink() && (source.kind() == NotFound || is_loop(path))
    }

    /// What stands at `path` is a link to a file that is not there.
    pub(crate) fn broken_link(path: &Path) -> Self {
        let leads = fs::read_link(path).map_or(String::new(), |to| format!(" to `{}`", to.display()));
        Self::missing(format!("`{}` is a link to a missing file", path.display()))
            .at(path.display())
            .expecting("a file")
            .finding(format!("a link{leads}, which leads to no file"))
            .mending("download the file again, or remove the link")
    }

    /// Refuses what is not a plain file; reading a pipe would wait for whoever writes it.
    pub(crate) fn unless_file(path: &Path, metadata: &Metadata) -> Result<()> {
        if metadata.is_file() {
            return Ok(());
        }
        Err(Self::malformed(format!("`{}` is not a file", path.display()))
            .at(path.display())
            .expecting("a file")
            .finding(name_of(metadata.file_type()))
            .mending("download the file again"))
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

    pub(crate) fn network(what: impl Display) -> Self {
        Self::new(ErrorKind::Network, what)
    }

    pub(crate) fn caller(what: impl Display) -> Self {
        Self::new(ErrorKind::Caller, what)
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// Whether links lead from `path` to each other without end; operating systems follow 40 at most.
fn is_loop(path: &Path) -> bool {
    let mut at = path.to_owned();
    for _ in 0..40 {
        let Ok(target) = fs::read_link(&at) else { return false };
        at = at.parent().unwrap_or(Path::new("")).join(target);
    }
    true
}

fn name_of(kind: FileType) -> &'static str {
    if kind.is_dir() { "a directory" } else { "a pipe, a device or a socket" }
}

impl Reported for Error {
    fn report(&self) -> &Report {
        &self.report
    }

    fn report_mut(&mut self) -> &mut Report {
        &mut self.report
    }
}
