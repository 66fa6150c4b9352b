//! Brings a file to the disk while it is being written.
//!
//! Left alone, a system keeps what is written in memory until the end, and the disk that idled before has it all to do
//! while the writer waits; and a process that waits for the disk cannot be interrupted.

use std::io;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

/// Bytes that gather before they are brought to the disk.
const STRIDE: u64 = 1 << 26;

/// The disk has failed; `Flusher::finish` says how.
#[derive(Debug)]
pub(super) struct Failed;

/// A thread that brings a file to the disk whenever enough has been written to it.
#[derive(Debug)]
pub(super) struct Flusher {
    requests: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
    /// Bytes written since the last request.
    waiting: u64,
}

impl Flusher {
    /// A flusher that calls `sync` to bring to the disk what has been written.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(super) fn start(mut sync: impl FnMut() -> io::Result<()> + Send + 'static) -> io::Result<Flusher> {
        let (requests, queue) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().spawn(move || queue.iter().try_for_each(|()| sync()))?;
        Ok(Flusher { requests, thread, waiting: 0 })
    }

    /// So many more bytes were handed to the system. Waits for a disk that does not keep up, so that no more than some
    /// strides are on their way to it.
    ///
    /// # Errors
    /// When the thread has met an error, which `finish` tells.
    pub(super) fn written(&mut self, bytes: u64) -> Result<(), Failed> {
        self.waiting += bytes;
        if self.waiting >= STRIDE {
            self.waiting = 0;
            // Waits while one request is under way and another in the queue.
            self.requests.send(()).map_err(|_| Failed)?;
        }
        Ok(())
    }

    /// Ends the thread.
    ///
    /// # Errors
    /// What it met: an error that the disk has reported to it is reported to nobody else.
    pub(super) fn finish(self) -> io::Result<()> {
        drop(self.requests);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn each_stride_is_brought_to_the_disk() {
        let synced = Arc::new(AtomicU32::new(0));
        let counter = synced.clone();
        let sync = move || {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        let mut flusher = Flusher::start(sync).expect("a thread");
        (0..100).for_each(|_| flusher.written(STRIDE / 4).expect("a healthy disk"));
        flusher.finish().expect("a healthy disk");
        assert_eq!(synced.load(Ordering::SeqCst), 25);
    }

    #[test]
    fn an_error_of_the_disk_ends_the_writing_and_is_told() {
        let mut flusher = Flusher::start(|| Err(io::Error::other("a broken disk"))).expect("a thread");
        let written = (0..10).find(|_| flusher.written(STRIDE).is_err());
        assert!(written.is_some());
        assert_eq!(flusher.finish().expect_err("an error").to_string(), "a broken disk");
    }
}
