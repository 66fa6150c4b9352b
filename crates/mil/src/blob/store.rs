//! Reads weight files; every rule of the format is checked before a byte is handed out.

use std::collections::BTreeMap;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::LFS_POINTER;
use crate::error::{Error, Result};
use crate::program::Program;
use crate::types::TensorType;
use crate::value::BlobRef;

use super::map::Map;
use super::record::{ALIGNMENT, BadRecord, METADATA_LEN, Record, align, read_header};
use super::relative_path;

/// An open weight file.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    map: Arc<Map>,
    count: u32,
}

impl WeightFile {
    /// Maps the file at `path` and checks its header.
    ///
    /// # Errors
    /// `Io`; `Malformed` when there is no header, as in a Git LFS pointer; `Unsupported` when it is of another version.
    pub fn open(path: &Path) -> Result<WeightFile> {
        let what = path.display().to_string();
        if path.is_dir() {
            return Err(Error::malformed(what, "is a directory, expected a weight file"));
        }
        let map = Map::open(path)?;
        if map.starts_with(LFS_POINTER) {
            let problem = "is a Git LFS pointer instead of the weights; fetch them with `git lfs pull`";
            return Err(Error::malformed(what, problem));
        }
        let Some(header) = map.first_chunk::<METADATA_LEN>() else {
            let problem = format!("is {} bytes long, expected a header of {METADATA_LEN}", map.len());
            return Err(Error::malformed(what, problem));
        };
        let count = read_header(header, &what)?;
        Ok(WeightFile { path: path.to_path_buf(), map: Arc::new(map), count })
    }

    /// The length of the file in bytes.
    pub fn byte_len(&self) -> u64 {
        self.map.len() as u64
    }

    /// The number of blobs that the header announces.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The record whose metadata start at `offset`.
    ///
    /// # Errors
    /// `Malformed` when there is no record, or its data lie outside the file; `Unsupported` when the element
    /// type is one that the IR lacks.
    pub fn record(&self, offset: u64) -> Result<Record> {
        let record = self.metadata_at(offset).and_then(|bytes| Record::decode(bytes, offset));
        let record = record.and_then(|record| match self.slice(&record) {
            Some(_) => Ok(record),
            None => Err(BadRecord::malformed(format!(
                "data of {} bytes at {:#x} reach beyond the end of the file ({} bytes)",
                record.byte_len,
                record.data_offset,
                self.map.len()
            ))),
        });
        record.map_err(|bad| bad.into_error(self.place(offset)))
    }

    /// The packed elements of a record of this file.
    ///
    /// # Errors
    /// `Malformed` when the record is not of this file.
    pub fn data(&self, record: &Record) -> Result<&[u8]> {
        self.slice(record)
            .ok_or_else(|| Error::malformed(self.place(record.offset), "the record is not of this file"))
    }

    /// All records in file order, as many as the header announces; ends after the first error.
    pub fn records(&self) -> impl Iterator<Item = Result<Record>> + '_ {
        let mut next = Some(METADATA_LEN as u64);
        (0..self.count).map_while(move |_| {
            let record = self.record(next?);
            next = record.as_ref().ok().and_then(|r| align(r.data_offset.checked_add(r.byte_len)?));
            Some(record)
        })
    }

    fn place(&self, offset: u64) -> String {
        format!("{}: blob at {offset:#x}", self.path.display())
    }

    fn metadata_at(&self, offset: u64) -> Result<&[u8; METADATA_LEN], BadRecord> {
        if !offset.is_multiple_of(ALIGNMENT) || offset == 0 {
            let problem = format!("the offset is not a multiple of {ALIGNMENT} behind the header");
            return Err(BadRecord::malformed(problem));
        }
        let from = usize::try_from(offset).ok().and_then(|at| self.map.get(at..));
        from.and_then(|bytes| bytes.first_chunk()).ok_or_else(|| {
            let length = self.map.len();
            BadRecord::malformed(format!("the file ends at {length:#x}, before the blob's metadata do"))
        })
    }

    fn slice(&self, record: &Record) -> Option<&[u8]> {
        self.map.get(range(record)?)
    }

    /// Where the data lie of the blob at `offset`, which a program declares as `ty`.
    fn place_of(&self, offset: u64, ty: &TensorType) -> Result<Range<usize>> {
        let record = self.record(offset)?;
        let wrong = |problem: String| Err(Error::malformed(self.place(offset), problem));
        if record.dtype != ty.dtype {
            return wrong(format!("elements are {}, but the program declares {}", record.dtype, ty.dtype));
        }
        if Some(record.elements) != ty.element_count() {
            let found = record.elements;
            return wrong(format!("holds {found} elements, but the program declares {ty}"));
        }
        self.data(&record)?;
        range(&record).ok_or_else(|| Error::malformed(self.place(offset), "the record is not of this file"))
    }

    fn bytes(&self, offset: u64, ty: &TensorType) -> Result<&[u8]> {
        let range = self.place_of(offset, ty)?;
        Ok(self.map.get(range).unwrap_or_default())
    }
}

/// Where the data of a record lie in its file.
fn range(record: &Record) -> Option<Range<usize>> {
    let start = usize::try_from(record.data_offset).ok()?;
    let length = usize::try_from(record.byte_len).ok()?;
    Some(start..start.checked_add(length)?)
}

/// The packed elements of a blob; its file stays mapped as long as this lives.
#[derive(Clone, Debug)]
pub struct SharedBytes {
    map: Arc<Map>,
    range: Range<usize>,
}

impl SharedBytes {
    /// Tells the system that the bytes are not going to be read soon, so that they need not stay in the memory of this
    /// process. They can be read nevertheless.
    pub fn release(&self) {
        self.map.release(self.range.clone());
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.get(self.range.clone()).unwrap_or_default()
    }
}

/// The weight files of one program.
#[derive(Debug)]
pub struct WeightStore {
    files: BTreeMap<String, WeightFile>,
}

impl WeightStore {
    /// Opens every file that `program` refers to, with `@model_path` standing for `root`, and checks every blob
    /// against the type that the program declares.
    ///
    /// # Errors
    /// `Io` for a missing file; `Malformed` for one that breaks the format or differs from the program, or a
    /// name that leads out of `root`.
    pub fn open(root: &Path, program: &Program) -> Result<WeightStore> {
        let mut store = WeightStore { files: BTreeMap::new() };
        for (blob, ty) in program.blobs() {
            if !store.files.contains_key(&blob.file) {
                let file = WeightFile::open(&root.join(relative_path(&blob.file)?))?;
                store.files.insert(blob.file.clone(), file);
            }
            store.bytes(blob, ty)?;
        }
        Ok(store)
    }

    /// The packed elements at `blob`, declared as `ty`.
    ///
    /// # Errors
    /// `Malformed` when the blob breaks the format or is of another type, or when the program that the store
    /// was opened for does not refer to that file.
    pub fn bytes(&self, blob: &BlobRef, ty: &TensorType) -> Result<&[u8]> {
        self.file(blob)?.bytes(blob.offset, ty)
    }

    /// As [`WeightStore::bytes`], for whoever keeps them longer than the store.
    ///
    /// # Errors
    /// As [`WeightStore::bytes`].
    pub fn shared(&self, blob: &BlobRef, ty: &TensorType) -> Result<SharedBytes> {
        let file = self.file(blob)?;
        Ok(SharedBytes { map: Arc::clone(&file.map), range: file.place_of(blob.offset, ty)? })
    }

    fn file(&self, blob: &BlobRef) -> Result<&WeightFile> {
        let file = self.files.get(&blob.file);
        file.ok_or_else(|| Error::malformed(blob.file.clone(), "the program refers to no such weight file"))
    }

    /// The open files, by the names that the program uses.
    pub fn files(&self) -> impl Iterator<Item = (&str, &WeightFile)> {
        self.files.iter().map(|(name, file)| (name.as_str(), file))
    }
}
