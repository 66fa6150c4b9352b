//! One safetensors file: its checked header, and its data read by position.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anelith_report::Reported;
use safetensors::tensor::{Metadata, TensorInfo};

use super::diagnose;
use crate::error::{Error, Result};

/// Bytes of the length that precedes the header.
const LENGTH_BYTES: u64 = 8;
/// The limit that the safetensors format itself sets.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Bytes at the beginning by which other formats are known.
const MAGIC_BYTES: usize = 24;

/// An open safetensors file whose length is what its header says.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    path: PathBuf,
    data_start: u64,
}

impl Source {
    /// Opens a file and checks its header; gives the tensors in it, by name.
    pub(super) fn open(path: &Path) -> Result<(Self, BTreeMap<String, TensorInfo>)> {
        // Looked at before it is opened: opening a pipe would wait for a writer.
        let metadata = std::fs::metadata(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::broken_link(path),
            _ => Error::io("read", path, &e),
        })?;
        Error::unless_file(path, &metadata)?;
        let file = File::open(path).map_err(|e| Error::io("open", path, &e))?;
        let mut source = Self { file, path: path.to_owned(), data_start: 0 };
        let header = source.read_header(metadata.len())?;
        source.data_start = LENGTH_BYTES + header.len() as u64;
        let tensors = source.parse_header(&header, metadata.len())?;
        Ok((source, tensors))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fills `buffer` from `offset` bytes into the data section.
    pub(super) fn read_data(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.read_at(self.data_start + offset, buffer)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        read_exact_at(&self.file, offset, buffer).map_err(|e| {
            Error::io("read", &self.path, &e).at(format!(
                "{}, {} bytes at offset {offset}",
                self.path.display(),
                buffer.len()
            ))
        })
    }

    fn read_header(&self, file_bytes: u64) -> Result<Vec<u8>> {
        self.refuse_lookalike(file_bytes)?;
        if file_bytes < LENGTH_BYTES {
            return Err(self.truncated(LENGTH_BYTES, file_bytes));
        }
        let mut length = [0; LENGTH_BYTES as usize];
        self.read_at(0, &mut length)?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER_BYTES {
            return Err(self
                .malformed("the header length is not credible", 0)
                .expecting(format!("at most {MAX_HEADER_BYTES} bytes"))
                .finding(format!("{length} bytes")));
        }
        if length > file_bytes - LENGTH_BYTES {
            return Err(self.truncated(LENGTH_BYTES + length, file_bytes));
        }
        let mut header = vec![0; length as usize];
        self.read_at(LENGTH_BYTES, &mut header)?;
        Ok(header)
    }

    /// Refuses a file of another format by that format's name.
    fn refuse_lookalike(&self, file_bytes: u64) -> Result<()> {
        let mut start = vec![0; MAGIC_BYTES.min(usize::try_from(file_bytes).unwrap_or(MAGIC_BYTES))];
        self.read_at(0, &mut start)?;
        let Some(found) = diagnose::lookalike(&start) else { return Ok(()) };
        Err(Error::malformed(format!("`{}` is {}", self.path.display(), found.name))
            .at(self.path.display())
            .expecting("a safetensors file")
            .finding(format!("a file that begins with `{}`", start.escape_ascii()))
            .mending(found.mend))
    }

    fn parse_header(&self, header: &[u8], file_bytes: u64) -> Result<BTreeMap<String, TensorInfo>> {
        let metadata: Metadata =
            serde_json::from_slice(header).map_err(|e| match diagnose::fault(header) {
                Some(fault) => {
                    self.malformed(&fault.what, LENGTH_BYTES).expecting(fault.expected).finding(fault.found)
                }
                None => self.malformed(&e.to_string(), LENGTH_BYTES),
            })?;
        let expected = self.data_start.saturating_add(metadata.data_len() as u64);
        if file_bytes < expected {
            return Err(self.truncated(expected, file_bytes));
        }
        if file_bytes > expected {
            return Err(self
                .malformed("data after the last tensor", expected)
                .expecting(format!("{expected} bytes"))
                .finding(format!("{file_bytes} bytes")));
        }
        let tensors = metadata.tensors().into_iter();
        Ok(tensors.map(|(name, info)| (name, info.clone())).collect())
    }

    fn truncated(&self, expected: u64, found: u64) -> Error {
        Error::malformed(format!(
            "`{}` is truncated: expected {expected} bytes, found {found}",
            self.path.display()
        ))
        .at(self.path.display())
        .expecting(format!("{expected} bytes"))
        .finding(format!("{found} bytes"))
        .mending("download the file again")
    }

    fn malformed(&self, why: &str, offset: u64) -> Error {
        let what = format!("`{}` is not a valid safetensors file: {why}", self.path.display());
        Error::malformed(what)
            .at(format!("{}, byte {offset}", self.path.display()))
            .mending("download the file again")
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                offset += n as u64;
                buffer = &mut buffer[n..];
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
