//! What this process has staged and not yet committed, so that it can go when the process must end at once.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::remove;

static STAGES: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The paths at which something is staged. While the guard lives, nothing is staged, committed or abandoned.
pub(super) fn lock() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    STAGES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes everything that this process has staged. What is committed stays, and a commit under way is waited for.
///
/// Directories do not come back. A staged file does where another thread creates it between this and the end of the
/// process; it cannot be committed, and the next run clears it.
///
/// For a process that ends now: whatever thread stages, commits or drops something afterwards waits forever.
pub fn abandon() {
    let stages = lock();
    for path in stages.iter() {
        // Another thread may put a file into a directory while it is emptied; it will not do so often.
        (0..10).any(|_| remove(path).is_ok());
    }
    std::mem::forget(stages);
}
