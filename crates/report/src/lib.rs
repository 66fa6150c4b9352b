//! What a user is told when something fails: what, where, expected, found, and how to mend it.
//!
//! The errors of several crates carry a [`Report`]; whoever shows them prints its lines. The crate depends on
//! nothing, so that crates which must not know each other can share the form.

use std::error::Error;
use std::fmt::{self, Display};
use std::io::ErrorKind;

/// The lines of a failure. `Display` prints the first alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What happened: lower case, no final period, names in backticks.
    pub what: String,
    /// The file, option, tensor or op, with the place in it.
    pub location: Option<String>,
    /// What would have been accepted.
    pub expected: Option<String>,
    /// What was there instead.
    pub found: Option<String>,
    /// What the user can do.
    pub mend: Option<String>,
}

impl Report {
    /// A report that says what happened and no more.
    pub fn new(what: impl Into<String>) -> Report {
        Report { what: what.into(), ..Report::default() }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Report {}

/// A report, or an error that carries one: details are added one after the other.
pub trait Reported: Sized {
    /// The report.
    fn report(&self) -> &Report;

    /// The report, to be added to.
    fn report_mut(&mut self) -> &mut Report;

    /// Says where.
    #[must_use]
    fn at(mut self, location: impl Display) -> Self {
        self.report_mut().location = Some(location.to_string());
        self
    }

    /// Says what would have been accepted.
    #[must_use]
    fn expecting(mut self, expected: impl Display) -> Self {
        self.report_mut().expected = Some(expected.to_string());
        self
    }

    /// Says what was there instead.
    #[must_use]
    fn finding(mut self, found: impl Display) -> Self {
        self.report_mut().found = Some(found.to_string());
        self
    }

    /// Says what the user can do.
    #[must_use]
    fn mending(mut self, mend: impl Display) -> Self {
        self.report_mut().mend = Some(mend.to_string());
        self
    }

    /// Where it happened, where that is known.
    fn location(&self) -> Option<&str> {
        self.report().location.as_deref()
    }

    /// What would have been accepted, where that can be said.
    fn expected(&self) -> Option<&str> {
        self.report().expected.as_deref()
    }

    /// What was there instead, where that can be said.
    fn found(&self) -> Option<&str> {
        self.report().found.as_deref()
    }

    /// What the user can do, where there is something.
    fn mend(&self) -> Option<&str> {
        self.report().mend.as_deref()
    }
}

impl Reported for Report {
    fn report(&self) -> &Report {
        self
    }

    fn report_mut(&mut self) -> &mut Report {
        self
    }
}

/// What the user can do when the operating system refuses; `None` where there is nothing to say but the refusal.
pub fn remedy(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some("free some space and run again"),
        ErrorKind::FileTooLarge => Some("allow larger files (`ulimit -f`), or choose another file system"),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            Some("check the permissions, or choose another directory")
        }
        ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::InvalidInput => {
            Some("remove what stands there, or choose another directory")
        }
        _ => None,
    }
}
