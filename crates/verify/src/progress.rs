//! How a verification tells its caller where it is, and learns that it should stop.

use anelith_convert as convert;
use anelith_reference as reference;

use crate::error::{Error, Result};

/// Watches a verification. Methods may be called from any thread; by themselves they do nothing.
pub trait Progress: Sync {
    /// A part of the work begins, of so many units.
    fn begin(&self, _what: &'static str, _units: u64) {}

    /// So many more units are done.
    fn advance(&self, _units: u64) {}

    /// The part that began last is done.
    fn end(&self) {}

    /// Whether the caller asks to stop. Asked often.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Watches nothing and never asks to stop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}

/// One unit is done; stops where the caller wants that.
pub(crate) fn step(progress: &dyn Progress) -> Result<()> {
    progress.advance(1);
    if progress.interrupted() { Err(Error::Interrupted) } else { Ok(()) }
}

/// Tells what `convert` and `reference` say of themselves.
pub(crate) struct Relay<'p>(pub(crate) &'p dyn Progress);

impl convert::Progress for Relay<'_> {
    fn advance(&self, bytes: u64) {
        self.0.advance(bytes);
    }

    fn interrupted(&self) -> bool {
        self.0.interrupted()
    }
}

impl reference::Observer for Relay<'_> {
    fn advance(&mut self, weights: u64) {
        self.0.advance(weights);
    }

    fn interrupted(&mut self) -> bool {
        self.0.interrupted()
    }
}
