//! How a conversion tells its caller where it is, and learns that it should stop.

use std::path::Path;
use std::time::Duration;

use crate::step::Step;

/// What a thread of step 1 spends its time on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// Reading weights and making fp16 of them.
    Read,
    /// Bringing the weights of a group into order.
    Sort,
    /// Finding the best table of a group, and the index of each weight.
    Cluster,
    /// Packing indices into bits.
    Pack,
    /// Writing to `weight.bin`.
    Write,
}

/// Watches a conversion. All methods may be called from any thread.
pub trait Progress: Sync {
    /// A step begins; `total` counts the bytes of weights it will go through, 0 where that means nothing.
    fn begin(&self, step: Step, total: u64);

    /// So many more bytes are done.
    fn advance(&self, bytes: u64);

    /// The step that began last is done and has left `output`.
    fn end(&self, output: &Path);

    /// A step is not run: `output` is already what it would leave.
    fn reuse(&self, step: Step, output: &Path);

    /// Something the user should know but that stops nothing.
    fn warn(&self, message: &str);

    /// A thread has spent so much time on a stage of step 1.
    fn spent(&self, _: Stage, _: Duration) {}

    /// Whether the caller asks to stop.
    fn interrupted(&self) -> bool;
}

/// Watches nothing and never asks to stop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: Step, _: u64) {}
    fn advance(&self, _: u64) {}
    fn end(&self, _: &Path) {}
    fn reuse(&self, _: Step, _: &Path) {}
    fn warn(&self, _: &str) {}
    fn interrupted(&self) -> bool {
        false
    }
}
