//! Why a server does not start.

use anelith_report::Report;

/// A server that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What it is told to do is not possible, or not safe.
    #[error("{0}")]
    Usage(Box<Report>),
    /// The machine failed: the address is taken, there are no threads.
    #[error("{0}")]
    Machine(Box<Report>),
    /// The model, its tokenizer or its template cannot be read.
    #[error(transparent)]
    Chat(#[from] anelith_chat::Error),
}

impl Error {
    pub(crate) fn usage(report: Report) -> Error {
        Error::Usage(Box::new(report))
    }

    pub(crate) fn machine(report: Report) -> Error {
        Error::Machine(Box::new(report))
    }
}
