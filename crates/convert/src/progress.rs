//! How a conversion tells its caller where it is, and learns that it should stop.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::step::Step;

/// What the threads of step 1 spend their time on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stage {
    /// Reading the checkpoint, rounding to fp16, and the digest by which it is known again.
    Read,
    /// Finding the distinct weights of a group and how often each occurs.
    Sort,
    /// Finding the lookup table of a group.
    Cluster,
    /// Finding the indices of a group and packing them.
    Pack,
    /// Writing, and waiting until all is on the disk.
    Write,
}

/// Watches a conversion. All methods may be called from any thread; by themselves they do nothing.
pub trait Progress: Sync {
    /// To find out whether what is there was made of this model, all of its weights are read: `total` bytes.
    fn compare(&self, _total: u64) {}

    /// They have been read.
    fn compared(&self) {}

    /// A step begins; `total` counts the bytes of weights it will go through, 0 where that means nothing.
    fn begin(&self, _step: Step, _total: u64) {}

    /// So many more bytes are done.
    fn advance(&self, _bytes: u64) {}

    /// A thread has spent so much time on a stage of step 1.
    fn spent(&self, _stage: Stage, _time: Duration) {}

    /// The step that began last is done and has left `output`.
    fn end(&self, _output: &Path) {}

    /// A step is not run: `output` is already what it would leave.
    fn reuse(&self, _step: Step, _output: &Path) {}

    /// Something the user should know but that stops nothing.
    fn warn(&self, _message: &str) {}

    /// Whether the caller asks to stop.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Tells a `Progress` what a thread spends its time on, when it is dropped.
pub(crate) struct Clock<'p> {
    progress: &'p dyn Progress,
    last: Instant,
    spent: BTreeMap<Stage, Duration>,
}

impl<'p> Clock<'p> {
    pub(crate) fn start(progress: &'p dyn Progress) -> Clock<'p> {
        Clock { progress, last: Instant::now(), spent: BTreeMap::new() }
    }

    /// The time since the last lap went into `stage`.
    pub(crate) fn lap(&mut self, stage: Stage) {
        let now = Instant::now();
        *self.spent.entry(stage).or_default() += now - self.last;
        self.last = now;
    }
}

impl Drop for Clock<'_> {
    fn drop(&mut self) {
        self.spent.iter().for_each(|(stage, time)| self.progress.spent(*stage, *time));
    }
}

/// Watches nothing and never asks to stop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}
