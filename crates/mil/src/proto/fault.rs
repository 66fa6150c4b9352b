//! What is wrong with a message, and where in the model; becomes an `Error` at the top.

use crate::error::Error;

/// A problem found deep in a message; `At::at` adds the places on the way out.
#[derive(Debug)]
pub(super) struct Fault {
    unsupported: bool,
    places: Vec<String>,
    problem: String,
}

pub(super) type Decoded<T> = Result<T, Fault>;

impl Fault {
    /// The file breaks its format.
    pub(super) fn malformed(problem: impl Into<String>) -> Fault {
        Fault { unsupported: false, places: Vec::new(), problem: problem.into() }
    }

    /// The file is in order but holds something that the IR does not.
    pub(super) fn unsupported(problem: impl Into<String>) -> Fault {
        Fault { unsupported: true, places: Vec::new(), problem: problem.into() }
    }

    /// The error for the file `what`.
    pub(super) fn into_error(mut self, what: &str) -> Error {
        self.places.push(what.to_owned());
        self.places.reverse();
        let place = self.places.join(": ");
        if self.unsupported {
            Error::unsupported(place, self.problem)
        } else {
            Error::malformed(place, self.problem)
        }
    }
}

/// Adds a place to the fault of a result.
pub(super) trait At {
    /// `place` is called only when there is a fault.
    fn at(self, place: impl FnOnce() -> String) -> Self;
}

impl<T> At for Decoded<T> {
    fn at(self, place: impl FnOnce() -> String) -> Self {
        self.map_err(|mut fault| {
            fault.places.push(place());
            fault
        })
    }
}
