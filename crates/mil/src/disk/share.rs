//! One file under several names, or as many files: what takes space once, and what is copied.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use super::{Staged, remove};
use crate::error::{Error, Result};

/// Gets the number of bytes that were copied since the last call, at most a few MiB; `false` ends the copy.
pub type Watch<'a> = &'a dyn Fn(u64) -> bool;

/// How the contents of a file come to a second place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sharing {
    /// As `share_file` does it: both take space once where the file system can do that.
    #[default]
    Link,
    /// As `copy_file` does it: each has its own bytes.
    Copy,
}

impl Sharing {
    /// Gives the contents of `source` to `dest` too, replacing what is there.
    ///
    /// # Errors
    /// Those of `share_file` and `copy_file`.
    pub fn place(self, source: &Path, dest: &Path, watch: Watch<'_>) -> Result<()> {
        match self {
            Sharing::Link => share_file(source, dest, watch),
            Sharing::Copy => copy_file(source, dest, watch),
        }
    }
}

/// Gives the contents of `source` to `dest` too, replacing what is there; nothing happens if both are the same
/// file already. `dest` appears at once.
///
/// The contents take space once where the file system can do that: a copy-on-write clone comes first, since a later
/// write to one name leaves the other alone; then a hard link, and a copy where neither can be had, which alone is
/// watched. As the two may be one file, the rule for both names is: replace the file, never write into it.
///
/// What a hard link means for whoever has the two: `du` counts the file once. Deleting, renaming or moving one name
/// leaves the other what it was, and so does replacing the file under it, as everything in this library does. A copy
/// that is made elsewhere (another disk, an archive, another machine) is a file of its own. Only a program that writes
/// into the file in place changes it under both names; whoever has such programs wants `copy_file`.
///
/// # Errors
/// `Io` when `source` is missing or `dest` cannot be written; of kind `Interrupted` when `watch` ends the copy.
pub fn share_file(source: &Path, dest: &Path, watch: Watch<'_>) -> Result<()> {
    // A link is made to the file itself, not to a symbolic link that leads to it.
    let source = fs::canonicalize(source).map_err(Error::io("cannot open", source))?;
    if is_same_file(&source, dest) {
        return Ok(());
    }
    let staged = Staged::file(dest)?;
    if !clone(&source, staged.path()) {
        remove(staged.path())?;
        if fs::hard_link(&source, staged.path()).is_err() {
            copy_bytes(&source, staged.path(), watch)?;
        }
    }
    staged.commit()
}

/// Gives `dest` a copy of `source` that shares nothing with it, replacing what is there; `dest` may be `source`, or
/// another name of it, and is a file of its own afterwards. It appears at once.
///
/// Every byte goes through this process: neither a link nor a clone is made, and the system is not asked to copy, which
/// on some file systems would be a clone. A file system or disk that finds equal blocks by itself may still keep them
/// once; a write to one file does not reach the other there either.
///
/// # Errors
/// `Io` when `source` is missing or `dest` cannot be written; of kind `Interrupted` when `watch` ends the copy.
pub fn copy_file(source: &Path, dest: &Path, watch: Watch<'_>) -> Result<()> {
    let staged = Staged::file(dest)?;
    copy_bytes(source, staged.path(), watch)?;
    staged.commit()
}

/// Copies all files below the directory `source`, as `copy_file` copies one, into the existing empty directory `dest`.
/// After an error that holds part of them.
///
/// # Errors
/// Those of `copy_file`; `Unsupported` for what is neither a file nor a directory.
pub fn copy_directory(source: &Path, dest: &Path, watch: Watch<'_>) -> Result<()> {
    for entry in fs::read_dir(source).map_err(Error::io("cannot read", source))? {
        let entry = entry.map_err(Error::io("cannot read", source))?;
        let (from, to) = (entry.path(), dest.join(entry.file_name()));
        let kind = entry.file_type().map_err(Error::io("cannot read", &from))?;
        if kind.is_dir() {
            fs::create_dir(&to).map_err(Error::io("cannot create", &to))?;
            copy_directory(&from, &to, watch)?;
        } else if kind.is_file() {
            copy_bytes(&from, &to, watch)?;
        } else {
            let problem = "expected files and directories only";
            return Err(Error::unsupported(from.display().to_string(), problem));
        }
    }
    Ok(())
}

/// Bytes that are read and written at a time.
const PIECE: u64 = 1 << 20;

/// Bytes after which the disk is waited for: what is still on its way there keeps an interrupted process alive.
const SYNCED: u64 = 32 << 20;

/// Writes what `source` holds to the new file `dest`.
fn copy_bytes(source: &Path, dest: &Path, watch: Watch<'_>) -> Result<()> {
    let mut from = File::open(source).map_err(Error::io("cannot open", source))?;
    let mut to = File::create_new(dest).map_err(Error::io("cannot create", dest))?;
    let mut piece = Vec::with_capacity(PIECE as usize);
    let mut unsynced = 0;
    loop {
        piece.clear();
        let read =
            (&mut from).take(PIECE).read_to_end(&mut piece).map_err(Error::io("cannot read", source))?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&piece).map_err(Error::io("cannot copy to", dest))?;
        unsynced += read as u64;
        if unsynced >= SYNCED {
            to.sync_data().map_err(Error::io("cannot copy to", dest))?;
            unsynced = 0;
        }
        if !watch(read as u64) {
            return Err(Error::io("cannot copy to", dest)(io::ErrorKind::Interrupted.into()));
        }
    }
}

/// Makes `dest` a copy-on-write clone of `source`, if the file system has such; if not, part of a file may stay.
#[cfg(target_os = "linux")]
fn clone(source: &Path, dest: &Path) -> bool {
    let files = File::open(source).and_then(|source| Ok((source, File::create_new(dest)?)));
    files.is_ok_and(|(source, dest)| rustix::fs::ioctl_ficlone(dest, source).is_ok())
}

/// Makes `dest` a copy-on-write clone of `source`: the standard copy does so on APFS, and copies elsewhere.
#[cfg(target_os = "macos")]
fn clone(source: &Path, dest: &Path) -> bool {
    fs::copy(source, dest).is_ok()
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn clone(_: &Path, _: &Path) -> bool {
    false
}

/// The names under which `can_share` tries; `.NAME.partial`, so that `clear_partials` knows them.
pub(super) const PROBES: [&str; 2] = ["anelith-one", "anelith-other"];

/// Whether files in `dir` can take space once under several names, as `share_file` would have it: tried with two empty
/// files that are gone afterwards, or after the next `clear_partials` if the process is killed meanwhile. `None` where
/// nothing can be tried, because `dir` cannot be written. Whoever calls this must know that no other run is at work
/// there.
pub fn can_share(dir: &Path) -> Option<bool> {
    let [one, other] = PROBES.map(|name| dir.join(format!(".{name}.partial")));
    remove(&one).and_then(|()| remove(&other)).ok()?;
    File::create_new(&one).ok()?;
    let is_shared = clone(&one, &other) || {
        let _ = remove(&other);
        fs::hard_link(&one, &other).is_ok()
    };
    for path in [&one, &other] {
        let _ = remove(path);
    }
    Some(is_shared)
}

/// Which file a name leads to, and how many names that file has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Names {
    /// Device and number: the same for two names of one file.
    pub file: (u64, u64),
    /// How many hard links lead to the file; a clone has links of its own.
    pub count: u64,
}

/// What is known of the names of the file at `path`; `None` where there is none, and on systems that do not say.
#[cfg(unix)]
pub fn names(path: &Path) -> Option<Names> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok()?;
    Some(Names { file: (metadata.dev(), metadata.ino()), count: metadata.nlink() })
}

/// What is known of the names of the file at `path`; `None` where there is none, and on systems that do not say.
#[cfg(not(unix))]
pub fn names(_: &Path) -> Option<Names> {
    None
}

/// Whether two paths lead to one file.
#[cfg(unix)]
pub fn is_same_file(a: &Path, b: &Path) -> bool {
    names(a).is_some_and(|a| names(b).is_some_and(|b| a.file == b.file))
}

/// Whether two paths lead to one file.
#[cfg(not(unix))]
pub fn is_same_file(a: &Path, b: &Path) -> bool {
    fs::canonicalize(a).is_ok_and(|a| fs::canonicalize(b).is_ok_and(|b| a == b))
}
