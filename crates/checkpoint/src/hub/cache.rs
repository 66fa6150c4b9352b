//! The directory of one model in a cache, laid out as `huggingface_hub` lays it out, so that both use one copy.
//!
//! `blobs/DIGEST` are the files, `snapshots/COMMIT/NAME` are links to them, `refs/REVISION` say which commit a branch or
//! tag was last seen at, `.no_exist/COMMIT/NAME` are files that a commit is known not to have. Blobs grow as
//! `blobs/DIGEST.incomplete` by whoever holds the lock `../.locks/MODEL/DIGEST.lock`.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind::{NotFound, Unsupported};
use std::path::{Path, PathBuf};

use super::id::{ModelId, Revision, is_commit};
use super::listing::RemoteFile;
use crate::error::{Error, Result};
use crate::files::model_file_names;
use crate::tensors::weight_files;

/// The longest file that says which commit a revision stands for.
const MAX_REF_BYTES: u64 = 1000;

/// What a cache holds of one model.
#[derive(Debug)]
pub(super) struct Repository {
    dir: PathBuf,
    locks: PathBuf,
}

impl Repository {
    pub(super) fn new(cache: &Path, id: &ModelId) -> Repository {
        Repository { dir: cache.join(id.folder()), locks: cache.join(".locks").join(id.folder()) }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.dir.join("snapshots").join(commit)
    }

    pub(super) fn blob(&self, file: &RemoteFile) -> PathBuf {
        self.dir.join("blobs").join(&file.etag)
    }

    /// Where a blob grows.
    pub(super) fn partial(&self, file: &RemoteFile) -> PathBuf {
        self.dir.join("blobs").join(format!("{}.incomplete", file.etag))
    }

    /// The commit that a revision stands for, as far as the cache knows.
    pub(super) fn commit_of(&self, revision: &Revision) -> Option<String> {
        if revision.is_commit() {
            return Some(revision.to_string());
        }
        let path = self.dir.join("refs").join(revision.as_str());
        let is_short = fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() <= MAX_REF_BYTES);
        let text = is_short.then(|| fs::read_to_string(&path).ok()).flatten()?;
        let commit = text.trim();
        is_commit(commit).then(|| commit.to_owned())
    }

    /// Notes the commit that a revision stands for. A cache that cannot be written stays as it is: it serves as well.
    pub(super) fn note_commit(&self, revision: &Revision, commit: &str) {
        if self.commit_of(revision).as_deref() == Some(commit) {
            return;
        }
        let path = self.dir.join("refs").join(revision.as_str());
        let mut staged = path.clone().into_os_string();
        staged.push(format!(".{}.tmp", std::process::id()));
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(&self.dir))?;
            fs::write(&staged, commit)?;
            fs::rename(&staged, &path)
        };
        if write().is_err() {
            let _ = fs::remove_file(&staged);
        }
    }

    /// Notes that a commit does not have a file, so that later runs need not ask. As `note_commit`, it may fail.
    pub(super) fn note_absent(&self, commit: &str, name: &str) {
        let dir = self.dir.join(".no_exist").join(commit);
        if fs::create_dir_all(&dir).is_ok() && !dir.join(name).exists() {
            let _ = fs::write(dir.join(name), "");
        }
    }

    /// Whether a commit's file is there, whole.
    pub(super) fn has(&self, commit: &str, file: &RemoteFile) -> bool {
        is_whole(&self.snapshot(commit).join(&file.name), file)
    }

    /// How many bytes of a file are still to come.
    pub(super) fn lacking(&self, file: &RemoteFile) -> u64 {
        if is_whole(&self.blob(file), file) {
            return 0;
        }
        let there = fs::metadata(self.partial(file)).map_or(0, |m| m.len());
        // A partial file that is too long is begun again.
        file.size.checked_sub(there).unwrap_or(file.size)
    }

    /// What the snapshot of `commit` lacks for a conversion, in words; `None` if it lacks nothing.
    pub(super) fn gap(&self, commit: &str) -> Option<String> {
        let dir = self.snapshot(commit);
        if !dir.is_dir() {
            return Some("no file of it".to_owned());
        }
        let required =
            model_file_names().filter(|(_, is_required)| *is_required).map(|(name, _)| dir.join(name));
        match weight_files(&dir) {
            Ok(weights) => required
                .chain(weights)
                .find(|path| !path.is_file())
                .map(|path| format!("no {}", name_of(&path))),
            Err(error) => Some(error.to_string()),
        }
    }

    /// The files that the cache does not have and that the commit may have.
    pub(super) fn unknown(&self, commit: &str) -> Vec<&'static str> {
        let known = |name: &str| {
            self.snapshot(commit).join(name).is_file()
                || self.dir.join(".no_exist").join(commit).join(name).exists()
        };
        model_file_names().map(|(name, _)| name).filter(|name| !known(name)).collect()
    }

    /// Gives a commit's file its name in the snapshot: a link to the blob, or a copy where there are no links.
    pub(super) fn link(&self, commit: &str, file: &RemoteFile) -> Result<()> {
        let path = self.snapshot(commit).join(&file.name);
        let depth = path.strip_prefix(&self.dir).map_or(0, |inner| inner.components().count() - 1);
        let target: PathBuf = ["..".to_owned()].iter().cycle().take(depth).collect();
        let target = target.join("blobs").join(&file.etag);
        make_dir(path.parent().unwrap_or(&self.dir))?;
        if path.symlink_metadata().is_ok() {
            // A link to another blob, or a copy that is not whole.
            fs::remove_file(&path).map_err(|e| Error::io("replace", &path, &e))?;
        }
        let blob = self.blob(file);
        symbolic_link(&target, &path)
            .or_else(|_| fs::hard_link(&blob, &path))
            .or_else(|_| fs::copy(&blob, &path).map(drop))
            .map_err(|e| Error::io("write", &path, &e))
    }

    /// Waits until nobody else downloads the file; the lock lasts as long as what is returned. `on_wait` is called if it
    /// has to be waited for. Where the file system knows no locks, there is none: the digest tells what has gone wrong.
    pub(super) fn lock(&self, file: &RemoteFile, on_wait: impl Fn()) -> Result<File> {
        make_dir(&self.locks)?;
        let path = self.locks.join(format!("{}.lock", file.etag));
        let failed = |e: std::io::Error| Error::io("lock", &path, &e);
        loop {
            let lock = File::options().read(true).write(true).create(true).truncate(false).open(&path);
            let lock = lock.map_err(failed)?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    on_wait();
                    lock.lock().map_err(failed)?;
                }
                Err(TryLockError::Error(e)) if e.kind() == Unsupported => return Ok(lock),
                Err(TryLockError::Error(e)) => return Err(failed(e)),
            }
            if is_named(&lock) {
                return Ok(lock);
            }
        }
    }
}

fn is_whole(path: &Path, file: &RemoteFile) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() == file.size)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Creates a directory with those above it.
pub(super) fn make_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|e| Error::io("create", dir, &e))
}

/// The nearest directory that exists of `path` and those above it.
pub(super) fn existing(path: &Path) -> &Path {
    path.ancestors().find(|p| p.exists() && !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != NotFound => Err(Error::io("remove", path, &e)),
        _ => Ok(()),
    }
}

/// Whether the file of a lock still has a name: who held it may have removed it meanwhile.
#[cfg(unix)]
fn is_named(lock: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    lock.metadata().map_or(true, |m| m.nlink() > 0)
}

#[cfg(not(unix))]
fn is_named(_: &File) -> bool {
    true
}

#[cfg(unix)]
fn symbolic_link(target: &Path, path: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

#[cfg(windows)]
fn symbolic_link(target: &Path, path: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(target, path)
}

#[cfg(not(any(unix, windows)))]
fn symbolic_link(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(Unsupported.into())
}
