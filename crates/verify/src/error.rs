//! The one error type of this crate.

use anelith_chat as chat;
use anelith_checkpoint as checkpoint;
use anelith_convert as convert;
use anelith_mil as mil;
use anelith_reference as reference;
use anelith_report::Report;
use anelith_runtime as runtime;
use thiserror::Error;

/// Why a model could not be verified. That it is far from its checkpoint is no error.
#[derive(Debug, Error)]
pub enum Error {
    /// What was asked for: tokens that the model does not have, a metric that there is not.
    #[error(transparent)]
    Usage(Box<Report>),
    /// A file that is not what it should be, or does not belong to the others.
    #[error(transparent)]
    Input(Box<Report>),
    /// The machine: a file that cannot be read or written, memory.
    #[error(transparent)]
    Machine(Box<Report>),
    /// The model directory.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// meta.yaml or the tokenizer.
    #[error(transparent)]
    Chat(#[from] chat::Error),
    /// The package or the bundle.
    #[error(transparent)]
    Mil(#[from] mil::Error),
    /// The package cannot be run.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn usage(report: Report) -> Error {
        Error::Usage(Box::new(report))
    }

    pub(crate) fn input(report: Report) -> Error {
        Error::Input(Box::new(report))
    }

    pub(crate) fn machine(report: Report) -> Error {
        Error::Machine(Box::new(report))
    }
}

impl From<reference::Error> for Error {
    fn from(error: reference::Error) -> Error {
        match error {
            reference::Error::Usage(report) => Error::Usage(report),
            reference::Error::Input(report) => Error::Input(report),
            reference::Error::Machine(report) => Error::Machine(report),
            reference::Error::Checkpoint(error) => Error::Checkpoint(error),
            reference::Error::Interrupted => Error::Interrupted,
        }
    }
}

impl From<convert::Error> for Error {
    fn from(error: convert::Error) -> Error {
        match error {
            convert::Error::Usage(report) => Error::usage(report),
            convert::Error::Input(report) => Error::input(report),
            convert::Error::Machine(report) => Error::machine(report),
            convert::Error::Checkpoint(error) => Error::Checkpoint(error),
            convert::Error::Mil(error) => Error::Mil(error),
            convert::Error::Interrupted => Error::Interrupted,
        }
    }
}
