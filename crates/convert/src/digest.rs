//! How a step knows its inputs and outputs again: digests of files, directories and texts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anelith_mil::digest::{Digest, Digester};

use crate::error::{Error, Result, io};
use crate::progress::Progress;

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// The digests of files, each physical file read once however many names it has.
pub(crate) struct Digests<'p> {
    known: BTreeMap<Identity, Digest>,
    progress: &'p dyn Progress,
    is_patient: bool,
}

/// Length and time of the last change of a file: of one that somebody writes into, they differ.
pub(crate) type Stamp = (u64, Option<SystemTime>);

/// The stamp of the file at `path`.
///
/// # Errors
/// When there is none.
pub(crate) fn stamp(path: &Path) -> Result<Stamp> {
    let metadata = fs::metadata(path).map_err(io("read", path))?;
    Ok((metadata.len(), metadata.modified().ok()))
}

/// The digest of several parts; a part cannot run into the next.
pub(crate) fn digest_parts(parts: &[&str]) -> String {
    let mut digester = Digester::new();
    for part in parts {
        digester.update(&(part.len() as u64).to_le_bytes());
        digester.update(part.as_bytes());
    }
    digester.digest().to_string()
}

impl<'p> Digests<'p> {
    /// Knows no file yet; reading one ends where `progress` asks to stop.
    pub(crate) fn new(progress: &'p dyn Progress) -> Digests<'p> {
        Digests { known: BTreeMap::new(), progress, is_patient: false }
    }

    /// From now on reads files to their end: an output is in its place, and what is noted of it is worth the wait.
    pub(crate) fn be_patient(&mut self) {
        self.is_patient = true;
    }

    /// The digest of a file's contents.
    ///
    /// # Errors
    /// When the file cannot be read, or `Interrupted`.
    pub(crate) fn file(&mut self, path: &Path) -> Result<Digest> {
        let metadata = fs::metadata(path).map_err(io("read", path))?;
        let key = identity(&metadata);
        if let Some(known) = key.and_then(|k| self.known.get(&k)) {
            return Ok(*known);
        }
        let mut file = File::open(path).map_err(io("read", path))?;
        let mut digester = Digester::new();
        let mut buffer = vec![0; PIECE];
        loop {
            if !self.is_patient && self.progress.interrupted() {
                return Err(Error::Interrupted);
            }
            let n = file.read(&mut buffer).map_err(io("read", path))?;
            if n == 0 {
                break;
            }
            digester.update(&buffer[..n]);
        }
        let digest = digester.digest();
        self.known.extend(key.map(|key| (key, digest)));
        Ok(digest)
    }

    /// Learns the digest of a file that was just written, so that it need not be read.
    ///
    /// # Errors
    /// When the file is not there.
    pub(crate) fn learn(&mut self, path: &Path, digest: Digest) -> Result<()> {
        let metadata = fs::metadata(path).map_err(io("read", path))?;
        self.known.extend(identity(&metadata).map(|key| (key, digest)));
        Ok(())
    }

    /// The digest of a file, or of the names and contents of all files below a directory; `None` if there is none.
    /// Links and pipes in it count as such and are not followed.
    ///
    /// # Errors
    /// When a file cannot be read, or `Interrupted`.
    pub(crate) fn path(&mut self, path: &Path) -> Result<Option<String>> {
        if !path.exists() {
            return Ok(None);
        }
        // A link at the path itself leads to the output; one inside is no part of what a step writes.
        let path = &fs::canonicalize(path).map_err(io("read", path))?;
        let mut files = Vec::new();
        list(path, &mut files)?;
        files.sort();
        let mut parts = Vec::new();
        for file in &files {
            let name = file.strip_prefix(path).unwrap_or(file).to_string_lossy().into_owned();
            let metadata = fs::symlink_metadata(file).map_err(io("read", file))?;
            let is_file = metadata.is_file();
            parts.extend([name, if is_file { self.file(file)?.to_string() } else { "no file".to_owned() }]);
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Ok(Some(digest_parts(&parts)))
    }
}

fn list(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !fs::symlink_metadata(path).map_err(io("read", path))?.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(io("read", path))? {
        list(&entry.map_err(io("read", path))?.path(), files)?;
    }
    Ok(())
}

/// Device, number, length, and time of the last change in seconds and nanoseconds: the number alone may be that
/// of a file that has been replaced since.
type Identity = (u64, u64, u64, i64, i64);

#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> Option<Identity> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn a_directory_is_known_by_names_and_contents() {
        let dir = tempfile::tempdir().unwrap();
        let digest = || Digests::new(&Silent).path(dir.path()).unwrap().unwrap();
        fs::write(dir.path().join("a"), "1").unwrap();
        let one = digest();
        fs::write(dir.path().join("a"), "2").unwrap();
        let other = digest();
        fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        let renamed = digest();
        assert!(one != other && other != renamed && one != renamed);
        assert_eq!(Digests::new(&Silent).path(&dir.path().join("none")).unwrap(), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_not_taken_for_what_it_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("package")).unwrap();
        fs::write(at("outside"), "1").unwrap();
        fs::write(at("package/a"), "1").unwrap();
        std::os::unix::fs::symlink("package", at("link")).unwrap();
        let digest = |name: &str| Digests::new(&Silent).path(&at(name)).unwrap();
        let plain = digest("package");
        assert_eq!(digest("link"), plain);
        fs::remove_file(at("package/a")).unwrap();
        std::os::unix::fs::symlink("../outside", at("package/a")).unwrap();
        assert_ne!(digest("package"), plain);
        // A circle ends.
        std::os::unix::fs::symlink(".", at("package/b")).unwrap();
        assert!(digest("package").is_some());
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(digest_parts(&["ab", "c"]), digest_parts(&["a", "bc"]));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_was_learnt_is_not_read_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "1").unwrap();
        let mut digests = Digests::new(&Silent);
        digests.learn(&path, Digest::of(b"learnt")).unwrap();
        assert_eq!(digests.file(&path).unwrap(), Digest::of(b"learnt"));
        fs::write(&path, "longer").unwrap();
        assert_eq!(digests.file(&path).unwrap(), Digest::of(b"longer"));
    }
}
