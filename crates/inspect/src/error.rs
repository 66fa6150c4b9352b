//! The one error type of this crate.

use anelith_checkpoint as checkpoint;
use anelith_mil as mil;
use anelith_report::{Report, Reported};
use thiserror::Error;

/// Why a program could not be looked at or compared.
#[derive(Debug, Error)]
pub enum Error {
    /// A name that the program does not have, or that is no one's alone.
    #[error(transparent)]
    Usage(Box<Report>),
    /// A program or checkpoint that contradicts itself, or the other.
    #[error(transparent)]
    Input(Box<Report>),
    /// The program's files.
    #[error(transparent)]
    Mil(#[from] mil::Error),
    /// The checkpoint's files.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A name that cannot be answered.
    pub(crate) fn usage(report: Report) -> Error {
        Error::Usage(Box::new(report))
    }

    /// Files that do not fit what is asked of them.
    pub(crate) fn input(report: Report) -> Error {
        Error::Input(Box::new(report))
    }

    /// A constant called `name` that cannot be unpacked.
    pub(crate) fn constant(name: &str, problem: &str) -> Error {
        let report = Report::new(format!("the constant `{name}` cannot be unpacked: {problem}"));
        Error::input(report.at(name).mending("make the program again"))
    }
}
