//! How a conversion tells its caller where it is, and learns that it should stop.

/// Watches a conversion. All methods may be called from any thread.
pub trait Progress: Sync {
    /// A stretch of work begins; `total` counts the bytes it will go through, 0 where that means nothing.
    fn begin(&self, what: &str, total: u64);

    /// So many more bytes are done.
    fn advance(&self, bytes: u64);

    /// The stretch is done.
    fn end(&self);

    /// Something the user should know but that stops nothing.
    fn warn(&self, message: &str);

    /// Whether the caller asks to stop.
    fn interrupted(&self) -> bool;
}

/// Watches nothing and never asks to stop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: u64) {}
    fn advance(&self, _: u64) {}
    fn end(&self) {}
    fn warn(&self, _: &str) {}
    fn interrupted(&self) -> bool {
        false
    }
}
