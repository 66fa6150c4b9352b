//! One conversion at a time in one output directory.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anelith_mil::disk;
use anelith_report::{Report, Reported};

use crate::error::{Error, Result, io};

/// The lock's file name in the output directory; it stays there, unlocked, after a run.
pub(crate) const LOCK_FILE: &str = ".anelith.lock";

/// Holds an output directory until it is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Creates `dir` where it is missing, takes its lock, and clears what killed runs have left half-written.
    ///
    /// # Errors
    /// `Machine` when the directory cannot be written, or when another process holds it.
    pub(crate) fn acquire(dir: &Path) -> Result<Lock> {
        fs::create_dir_all(dir).map_err(|e| {
            let report = Report::new(format!("cannot create the output directory: {e}"));
            Error::Machine(report.at(dir.display()).mending("choose another directory for --output"))
        })?;
        Lock::take(dir)
    }

    /// Takes the lock of `dir` if that has one: a directory in which no conversion has run gets no lock file.
    ///
    /// # Errors
    /// Those of `acquire`.
    pub(crate) fn acquire_if_used(dir: &Path) -> Result<Option<Lock>> {
        if dir.join(LOCK_FILE).is_file() { Lock::take(dir).map(Some) } else { Ok(None) }
    }

    fn take(dir: &Path) -> Result<Lock> {
        let path = dir.join(LOCK_FILE);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io("open", &path))?;
        let held = match file.try_lock() {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(error)) => return Err(io("lock", &path)(error)),
        };
        if held {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let report = Report::new("another run holds the output directory").at(dir.display());
            let report = report.finding(match holder.trim() {
                "" => "a process that did not say which".to_owned(),
                id => format!("process {id}"),
            });
            return Err(Error::Machine(report.mending("wait for it to end, or choose another --output")));
        }
        let note = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        note(&mut file).map_err(io("write", &path))?;
        let lock = Lock { file };
        disk::clear_partials(dir)?;
        Ok(lock)
    }
}

impl Drop for Lock {
    /// Takes the process id out again, so that what a run leaves does not depend on it.
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_left_is_cleared_whatever_its_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join(".other_monolithic.mlpackage.partial");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("weight.bin"), "half").unwrap();
        let kept = dir.path().join("other_monolithic.mlpackage");
        fs::create_dir(&kept).unwrap();
        Lock::acquire(dir.path()).unwrap();
        assert!(!left.exists() && kept.exists());
    }

    #[test]
    fn the_second_run_is_told_who_holds_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::acquire(dir.path()).unwrap();
        let Err(Error::Machine(report)) = Lock::acquire(dir.path()) else { panic!("locked twice") };
        assert_eq!(report.found, Some(format!("process {}", std::process::id())));
        drop(first);
        Lock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn only_a_directory_in_use_is_locked() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Lock::acquire_if_used(dir.path()).unwrap().is_none());
        assert!(!dir.path().join(LOCK_FILE).exists());
        let first = Lock::acquire(dir.path()).unwrap();
        assert!(matches!(Lock::acquire_if_used(dir.path()), Err(Error::Machine(_))));
        drop(first);
        assert!(Lock::acquire_if_used(dir.path()).unwrap().is_some());
    }
}
