//! The one error type of this crate.

use anelith_checkpoint as checkpoint;
use anelith_report::{Report, Reported};
use thiserror::Error;

/// Why a checkpoint could not be computed.
#[derive(Debug, Error)]
pub enum Error {
    /// Tokens, or rows, that the model does not have.
    #[error(transparent)]
    Usage(Box<Report>),
    /// Weights that cannot be computed with.
    #[error(transparent)]
    Input(Box<Report>),
    /// The machine: memory.
    #[error(transparent)]
    Machine(Box<Report>),
    /// The model directory.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The lines of the error; an interruption has none.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Error::Usage(report) | Error::Input(report) | Error::Machine(report) => Some(report),
            Error::Checkpoint(error) => Some(error.report()),
            Error::Interrupted => None,
        }
    }
}
