//! Panics of the libraries below, which some files cause, as answers.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// What `work` answers; `None` where it panics. What it was about to change must not be used then.
pub(crate) fn contain<T>(work: impl FnOnce() -> T) -> Option<T> {
    let outer = CONTAINED.replace(true);
    let answer = catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(outer);
    answer.ok()
}

/// Whether a panic of this thread ends as an error of this crate, so that a panic hook need not report it if it is a
/// library's; one of our own code is a bug, which should be seen.
pub fn is_contained() -> bool {
    CONTAINED.get()
}
