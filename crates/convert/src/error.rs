//! The one error type of this crate.

use std::io::ErrorKind;
use std::path::Path;

use anelith_checkpoint as checkpoint;
use anelith_mil as mil;
use anelith_report::{Report, Reported, remedy};
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

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

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

/// An operating system error while doing `action` to `path`; for `map_err`. A file that is not there is the input's
/// fault, not the machine's.
pub(crate) fn io(action: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let (action, path) = (action.to_owned(), path.to_path_buf());
    move |source| {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let report = Report::new(format!("cannot {action} `{name}`: {source}")).at(path.display());
        match source.kind() {
            ErrorKind::NotFound => Error::Input(report.mending("check the path, or make the file again")),
            kind => Error::Machine(Report { mend: remedy(kind).map(str::to_owned), ..report }),
        }
    }
}
