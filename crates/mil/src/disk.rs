//! Files and directories that appear whole or not at all, and files that share their bytes or do not.
//!
//! What is written is staged under a name of its own beside its final place, `.NAME.partial`, and renamed
//! when it is complete and on the disk. The name is always the same, so what a killed run left behind is found
//! and cleared by the next; two processes must not stage the same path at once.

mod share;
mod stages;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
pub use share::{
    Names, Sharing, Watch, can_share, copy_directory, copy_file, is_same_file, names, share_file,
};
pub use stages::abandon;

/// How the file begins that stands in the place of a large one in a Git repository whose large files were not
/// fetched; users meet it, so readers tell it from garbage.
pub(crate) const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Writes `bytes` as the file `path`, replacing what is there at once. Missing parents are created.
///
/// # Errors
/// `Io`, with the path and what was tried.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let staged = Staged::file(path)?;
    fs::write(staged.path(), bytes).map_err(Error::io("cannot write", path))?;
    staged.commit()
}

/// A file or directory that is being written and is not yet in its place. Dropped without `commit`, it vanishes.
#[derive(Debug)]
pub struct Staged {
    target: PathBuf,
    partial: PathBuf,
    old: PathBuf,
    is_committed: bool,
}

impl Staged {
    /// An empty directory that will become `target`. Missing parents are created.
    ///
    /// An existing `target` stays until `commit` replaces it with all it holds; whether that may be is for
    /// the caller to know.
    ///
    /// # Errors
    /// `Io` when a file stands at `target`, `target` has no name, or the disk refuses.
    pub fn directory(target: &Path) -> Result<Staged> {
        Staged::prepare(target, |partial| {
            if target.exists() && !target.is_dir() {
                return Err(refusal("cannot replace", target, "it is not a directory"));
            }
            fs::create_dir(partial).map_err(Error::io("cannot create", partial))
        })
    }

    /// A file, yet to be created at `path()`, that will become `target`. Missing parents are created.
    ///
    /// # Errors
    /// `Io` when a directory stands at `target`, `target` has no name, or the disk refuses.
    pub fn file(target: &Path) -> Result<Staged> {
        Staged::prepare(target, |_| match target.is_dir() {
            true => Err(refusal("cannot replace", target, "it is a directory")),
            false => Ok(()),
        })
    }

    /// Makes room for what is staged, and lets `create` begin it while nothing can be abandoned.
    fn prepare(target: &Path, create: impl FnOnce(&Path) -> Result<()>) -> Result<Staged> {
        let name =
            target.file_name().ok_or_else(|| refusal("cannot write", target, "the path has no file name"))?;
        let beside = |suffix: &str| {
            let mut hidden = OsString::from(".");
            hidden.push(name);
            hidden.push(suffix);
            target.with_file_name(hidden)
        };
        let (partial, old) = (beside(".partial"), beside(".old"));
        let parent = parent_of(target);
        fs::create_dir_all(parent).map_err(Error::io("cannot create", parent))?;
        let mut stages = stages::lock();
        remove(&partial)?;
        recover(&old, target)?;
        create(&partial)?;
        stages.insert(partial.clone());
        Ok(Staged { target: target.to_path_buf(), partial, old, is_committed: false })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Waits until everything is on the disk, then puts it in place of `target`.
    ///
    /// A file replaces a file in one step. Directories cannot: the old one is renamed away first, so for a
    /// moment a reader finds nothing at `target`, but never a part of something. The old one is removed last; what
    /// cannot be removed of it stays for the next run to clear.
    ///
    /// # Errors
    /// `Io`. `target` is then what it was, with two exceptions: where the disk refuses to say that the renaming has
    /// reached it, `target` is the new one already; where it refuses both to rename the new directory and to rename the
    /// old one back (`cannot restore`), the old one waits as `.NAME.old` for the next run to put it back.
    pub fn commit(mut self) -> Result<()> {
        sync(&self.partial)?;
        // Until all is renamed: who abandons what is staged does it before or after, not in between.
        let _stages = stages::lock();
        let replaces_directory = self.target.is_dir();
        if replaces_directory {
            fs::rename(&self.target, &self.old).map_err(Error::io("cannot move away", &self.target))?;
        }
        if let Err(error) = fs::rename(&self.partial, &self.target) {
            if replaces_directory {
                fs::rename(&self.old, &self.target).map_err(Error::io("cannot restore", &self.target))?;
            }
            return Err(Error::io("cannot replace", &self.target)(error));
        }
        self.is_committed = true;
        sync_one(parent_of(&self.target))?;
        let _ = remove(&self.old);
        Ok(())
    }
}

/// The contents of a file (or pipe) of at most `limit` bytes.
///
/// # Errors
/// `Io`; `Unsupported` for a longer file, of which no more than that is read.
pub fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(Error::io("cannot open", path))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::io("cannot read", path))?;
    if bytes.len() as u64 > limit {
        let problem = format!("more than {limit} bytes, the most that is read of such a file");
        return Err(Error::unsupported(path.display().to_string(), problem));
    }
    Ok(bytes)
}

/// What [`read_file`] gives of a part of a package or bundle, which is no pipe.
///
/// # Errors
/// Those of [`read_file`], and of [`open_part`].
pub(crate) fn read_part(path: &Path, limit: u64) -> Result<Vec<u8>> {
    open_part(path)?;
    read_file(path, limit)
}

/// Opens a part of a package or bundle. Others have made it, and whoever opens a pipe waits for a writer, for ever.
///
/// # Errors
/// `Io`; `Malformed` for what is no file.
pub(crate) fn open_part(path: &Path) -> Result<File> {
    let metadata = fs::metadata(path).map_err(Error::io("cannot open", path))?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() { "a directory" } else { "a pipe or device" };
        return Err(Error::malformed(path.display().to_string(), format!("is {kind}, expected a file")));
    }
    File::open(path).map_err(Error::io("cannot open", path))
}

/// Whether the file at `path` is a Git LFS pointer in place of the file it stands for.
///
/// # Errors
/// `Io`, with the path; `Malformed` for what is no file.
pub fn is_lfs_pointer(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    let file = open_part(path)?;
    file.take(LFS_POINTER.len() as u64).read_to_end(&mut start).map_err(Error::io("cannot read", path))?;
    Ok(start == LFS_POINTER)
}

/// Clears up in `dir` what killed runs have left of packages, bundles and the `files` of these names: what was in the
/// making goes, and what was to be replaced comes back where it has not been. Whoever calls this must know that no
/// other run is at work there.
///
/// # Errors
/// `Io`, with the path.
pub fn clear_partials(dir: &Path, files: &[&str]) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::io("cannot read", dir))? {
        let entry = entry.map_err(Error::io("cannot read", dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((name, role)) = name.strip_prefix('.').and_then(|name| name.rsplit_once('.')) else {
            continue;
        };
        let is_output = name.ends_with(".mlpackage") || name.ends_with(".mlmodelc");
        if !is_output && !files.contains(&name) && !share::PROBES.contains(&name) {
            continue;
        }
        match role {
            "partial" => remove(&entry.path())?,
            "old" => recover(&entry.path(), &dir.join(name))?,
            _ => {}
        }
    }
    Ok(())
}

/// Puts the old directory back if a run was killed after it had moved that away and before the new one was in place.
fn recover(old: &Path, target: &Path) -> Result<()> {
    if fs::symlink_metadata(old).is_err() {
        return Ok(());
    }
    if fs::symlink_metadata(target).is_ok() {
        return remove(old);
    }
    fs::rename(old, target).map_err(Error::io("cannot restore", target))
}

impl Drop for Staged {
    fn drop(&mut self) {
        let mut stages = stages::lock();
        stages.remove(&self.partial);
        if !self.is_committed {
            // There is no one left to tell; the next run clears what stays.
            let _ = remove(&self.partial);
        }
    }
}

fn refusal(action: &'static str, path: &Path, problem: &str) -> Error {
    Error::io(action, path)(io::Error::new(io::ErrorKind::InvalidInput, problem.to_owned()))
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Removes a file, a symbolic link (not what it leads to) or a directory with all it holds, if there is one.
fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
    };
    removed.map_err(Error::io("cannot remove", path))
}

/// Waits until a file, or a directory with all it holds, is on the disk.
fn sync(path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).map_err(Error::io("cannot read", path))?.is_dir() {
        for entry in fs::read_dir(path).map_err(Error::io("cannot read", path))? {
            sync(&entry.map_err(Error::io("cannot read", path))?.path())?;
        }
    }
    sync_one(path)
}

fn sync_one(path: &Path) -> Result<()> {
    // Only Unix can open a directory to wait for it.
    if cfg!(not(unix)) && path.is_dir() {
        return Ok(());
    }
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::io("cannot write to disk", path))
}

#[cfg(test)]
mod tests;
