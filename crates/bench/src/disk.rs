//! What files take on the disk, and what a plain copy of them takes.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// What a directory holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Used {
    /// Bytes on the disk as `du` counts them: whole blocks, directories included, a file of several links once.
    pub(crate) all: u64,
    /// Those of files directly in the directory: the copies of tokenizer and config, `meta.yaml`, the record.
    pub(crate) beside: u64,
    /// Length of the largest file named `weight.bin`.
    pub(crate) weights: u64,
}

/// What `dir` and all in it takes on the disk.
pub(crate) fn used(dir: &Path) -> Result<Used> {
    let mut counted = BTreeSet::new();
    let mut sum = Used::default();
    visit(dir, &mut |path, metadata| {
        if !counted.insert(identity(metadata, path)) {
            return;
        }
        let bytes = on_disk(metadata);
        sum.all += bytes;
        if metadata.is_file() && path.parent() == Some(dir) {
            sum.beside += bytes;
        }
        if path.file_name().is_some_and(|name| name == "weight.bin") {
            sum.weights = sum.weights.max(metadata.len());
        }
    })?;
    Ok(sum)
}

fn visit(path: &Path, see: &mut impl FnMut(&Path, &Metadata)) -> Result<()> {
    let metadata = fs::symlink_metadata(path).map_err(Error::io("read", path))?;
    see(path, &metadata);
    if metadata.is_dir() {
        for entry in fs::read_dir(path).map_err(Error::io("list", path))? {
            visit(&entry.map_err(Error::io("list", path))?.path(), see)?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn on_disk(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

#[cfg(unix)]
fn identity(metadata: &Metadata, _: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

/// Elsewhere neither blocks nor links are to be had: lengths, each name by itself.
#[cfg(not(unix))]
fn on_disk(metadata: &Metadata) -> u64 {
    metadata.len()
}

#[cfg(not(unix))]
fn identity(_: &Metadata, path: &Path) -> PathBuf {
    path.to_owned()
}

/// Reads all files of a directory, so that the page cache holds them.
pub(crate) fn warm(dir: &Path) -> Result<()> {
    let mut files = Vec::new();
    visit(dir, &mut |path, metadata| {
        if metadata.is_file() {
            files.push(path.to_owned());
        }
    })?;
    let mut buffer = vec![0; 1 << 20];
    for path in files {
        let mut file = File::open(&path).map_err(Error::io("open", &path))?;
        while file.read(&mut buffer).map_err(Error::io("read", &path))? > 0 {}
    }
    Ok(())
}

/// Waits until nothing is on its way to the disk, where there is a way to.
pub(crate) fn settle() {
    // Only the noise of a measurement depends on it.
    let _ = Command::new("sync").status();
}

/// Makes a file of so many bytes that no disk can store in fewer, in the page cache and on the disk.
pub(crate) fn fill(path: &Path, length: u64) -> Result<()> {
    let mut file = File::create(path).map_err(Error::io("create", path))?;
    let mut random = crate::normal::Random::new(0, "plain copy", 0);
    let mut left = length;
    let mut buffer = vec![0; 1 << 20];
    while left > 0 {
        for eight in buffer.chunks_exact_mut(8) {
            eight.copy_from_slice(&random.bits().to_le_bytes());
        }
        let piece = &buffer[..left.min(buffer.len() as u64) as usize];
        file.write_all(piece).map_err(Error::io("write", path))?;
        left -= piece.len() as u64;
    }
    file.sync_all().map_err(Error::io("write", path))
}

/// How long `cp` and `sync` of a file take.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<Duration> {
    let start = Instant::now();
    let mut command = Command::new("cp");
    if cfg!(target_os = "linux") {
        // A clone would copy nothing.
        command.arg("--reflink=never");
    }
    let status = command.arg(from).arg(to).status();
    let status = status.map_err(|source| Error::Io { what: "cannot run `cp`".into(), source })?;
    if !status.success() {
        return Err(Error::Failed(format!("`cp` of {} failed", from.display())));
    }
    let file = File::options().write(true).open(to).map_err(Error::io("open", to))?;
    file.sync_all().map_err(Error::io("write", to))?;
    Ok(start.elapsed())
}

/// Removes a directory or file, which need not exist.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Where the files of measurements are, below `dir`: made when first asked for.
pub(crate) fn place(dir: &Path, name: &str) -> Result<PathBuf> {
    fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    Ok(dir.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_counted_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let (one, two) = (dir.path().join("a.mlpackage"), dir.path().join("b.mlpackage"));
        fs::create_dir(&one).expect("a directory");
        fs::create_dir(&two).expect("a directory");
        fill(&one.join("weight.bin"), 300_000).expect("a file");
        fs::hard_link(one.join("weight.bin"), two.join("weight.bin")).expect("a link");
        fill(&dir.path().join("tokenizer.json"), 20_000).expect("a file");
        let used = used(dir.path()).expect("sizes");
        assert_eq!(used.weights, 300_000);
        assert!((300_000..600_000).contains(&used.all), "{used:?}");
        assert!((20_000..100_000).contains(&used.beside), "{used:?}");
    }

    #[test]
    fn what_is_copied_has_its_length() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("source");
        fill(&path, 1_500_001).expect("a file");
        assert_eq!(fs::metadata(&path).expect("a file").len(), 1_500_001);
        warm(dir.path()).expect("the file can be read");
        remove(&path).expect("the file can be removed");
        remove(&path).expect("no file is no error");
    }
}
