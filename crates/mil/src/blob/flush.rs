//! Brings a file to the disk while it is being written.
//!
//! Left alone, a system keeps what is written in memory until the end, and the disk that idled before has it all to do
//! while the writer waits; and a process that waits for the disk cannot be interrupted.

use std::fs::File;
use std::io;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

/// Bytes that gather before they are brought to the disk.
const STRIDE: u64 = 1 << 26;

/// A thread that brings a file to the disk whenever enough has been written to it.
#[derive(Debug)]
pub(super) struct Flusher {
    requests: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
    /// Bytes written since the last request.
    waiting: u64,
}

impl Flusher {
    /// A flusher of `file`, which must be a handle of what is written to.
    pub(super) fn start(file: File) -> Flusher {
        let (requests, queue) = mpsc::sync_channel(1);
        let thread = thread::spawn(move || queue.iter().try_for_each(|()| file.sync_data()));
        Flusher { requests, thread, waiting: 0 }
    }

    /// So many more bytes were handed to the system.
    pub(super) fn written(&mut self, bytes: u64) {
        self.waiting += bytes;
        // While one request is under way and one waits, a third would add nothing.
        if self.waiting >= STRIDE && self.requests.try_send(()).is_ok() {
            self.waiting = 0;
        }
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
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_written_meanwhile_arrives() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let mut flusher = Flusher::start(file.reopen().expect("a second handle"));
        for _ in 0..100 {
            file.write_all(&[7; 100]).expect("a write");
            flusher.written(STRIDE / 3);
        }
        flusher.finish().expect("a healthy disk");
        assert_eq!(std::fs::read(file.path()).expect("the file"), [7; 10_000]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_error_of_the_disk_is_told() {
        // A pipe cannot be brought to a disk.
        let (reader, _writer) = io::pipe().expect("a pipe");
        let file = File::from(std::os::fd::OwnedFd::from(reader));
        let mut flusher = Flusher::start(file);
        flusher.written(STRIDE);
        flusher.finish().expect_err("no disk");
    }
}
