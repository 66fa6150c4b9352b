//! One conversion at a time in one output directory.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anelith_checkpoint::tokenizer_file_names;
use anelith_mil::disk;
use anelith_report::{Report, Reported};

use crate::error::{Error, Result, io};
use crate::record::RECORD_FILE;
use crate::step::META_FILE;

/// The lock's file name in the output directory; beside outputs it stays after a run, empty and unlocked.
pub(crate) const LOCK_FILE: &str = ".anelith.lock";

/// How much of a lock file is read: a process and its command.
const NOTE_BYTES: u64 = 2000;

/// The lock files that this process holds.
static HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn held() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what this process has half-written, and the traces of its locks; for a process that ends now. What is in its
/// place stays, and other threads that would write more wait until the end.
pub fn abandon() {
    disk::abandon();
    for path in held().iter() {
        if let Ok(file) = File::options().write(true).open(path) {
            release(&file, path);
        }
    }
}

/// Empties a lock file, so that what a run leaves does not depend on its process id, and removes it where it is all
/// that the directory holds.
fn release(file: &File, path: &Path) {
    let _ = file.set_len(0);
    let entries = path.parent().and_then(|dir| fs::read_dir(dir).ok());
    if entries.is_some_and(|entries| entries.count() == 1) {
        let _ = fs::remove_file(path);
    }
}

/// Holds an output directory until it is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
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
        let mut file = open(&path)?;
        while !is_at(&file, &path) {
            // Whoever held it has removed it since it was opened.
            file = open(&path)?;
        }
        // Only for whoever comes meanwhile: a full disk stops the run where there is more to say about it.
        let command: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
        let _ = file.set_len(0);
        let _ = writeln!(file, "{}\n{}", std::process::id(), command.join(" ").escape_debug());
        held().insert(path.clone());
        let lock = Lock { file, path };
        let names: Vec<&str> = tokenizer_file_names().chain([RECORD_FILE, META_FILE]).collect();
        disk::clear_partials(dir, &names)?;
        Ok(lock)
    }
}

/// Opens and locks a lock file, which it creates where there is none.
fn open(path: &Path) -> Result<File> {
    let options = File::options().read(true).write(true).create(true).truncate(false).open(path);
    let file = options.map_err(io("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(taken(&file, path)),
        Err(TryLockError::Error(error)) => Err(io("lock", path)(error)),
    }
}

/// Whether `path` still leads to the file that was opened there.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |m: fs::Metadata| (m.dev(), m.ino());
    let opened = file.metadata().map(identity).ok();
    opened.is_some() && opened == fs::metadata(path).map(identity).ok()
}

/// Elsewhere a file that is open cannot be removed.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

/// Says which process holds the directory, since when, and what it was told to do.
fn taken(file: &File, path: &Path) -> Error {
    let mut note = String::new();
    let _ = file.take(NOTE_BYTES).read_to_string(&mut note);
    let (id, command) = note.trim().split_once('\n').unwrap_or((note.trim(), ""));
    let mut holder = match id {
        "" => "a process that did not say which".to_owned(),
        id => format!("process {id}"),
    };
    let modified = file.metadata().and_then(|m| m.modified()).ok();
    if let Some(age) = modified.and_then(|modified| modified.elapsed().ok()) {
        holder += &format!(", for {} s", age.as_secs());
    }
    if !command.is_empty() {
        holder += &format!(": {command}");
    }
    let dir = path.parent().unwrap_or(path);
    let report = Report::new("another run holds the output directory").at(dir.display());
    let report = report.expecting("one run at a time").finding(holder);
    Error::Machine(report.mending("wait for it to end, or choose another --output"))
}

impl Drop for Lock {
    fn drop(&mut self) {
        held().remove(&self.path);
        release(&self.file, &self.path);
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
        let holder = format!("process {}, for ", std::process::id());
        assert!(report.found.is_some_and(|found| found.starts_with(&holder)));
        drop(first);
        drop(Lock::acquire(dir.path()).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_a_directory_in_use_is_locked() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Lock::acquire_if_used(dir.path()).unwrap().is_none());
        assert!(!dir.path().join(LOCK_FILE).exists());
        let first = Lock::acquire(dir.path()).unwrap();
        assert!(matches!(Lock::acquire_if_used(dir.path()), Err(Error::Machine(_))));
        fs::write(dir.path().join("output"), "").unwrap();
        drop(first);
        assert!(Lock::acquire_if_used(dir.path()).unwrap().is_some());
        fs::remove_file(dir.path().join("output")).unwrap();
        drop(Lock::acquire(dir.path()).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "alone, it goes");
    }
}
