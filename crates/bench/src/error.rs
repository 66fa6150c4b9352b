//! The one error of this program.

use std::io;
use std::path::Path;

use thiserror::Error;

/// A result with the errors of this crate.
pub(crate) type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{0}")]
    Usage(String),
    /// A program that was to be measured did not do its work.
    #[error("{0}")]
    Failed(String),
    #[error("the conversion failed: {0}")]
    Convert(Box<anelith_convert::Error>),
    #[error("the checkpoint cannot be used: {0}")]
    Checkpoint(#[from] anelith_checkpoint::Error),
}

impl From<anelith_convert::Error> for Error {
    fn from(error: anelith_convert::Error) -> Error {
        Error::Convert(Box::new(error))
    }
}

impl Error {
    /// For `map_err`: an operating-system error while doing `action` to `path`.
    pub(crate) fn io(action: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let what = format!("cannot {action} `{}`", path.display());
        move |source| Error::Io { what, source }
    }
}
