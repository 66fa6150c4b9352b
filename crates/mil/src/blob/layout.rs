//! Where each blob of a weight file will lie, from types alone.

use crate::dtype::DataType;
use crate::error::{Error, Result};

use super::record::{METADATA_LEN, Record, align, number_of};

/// The plan of a weight file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BlobLayout {
    /// What the metadata will say, and the number of the element type.
    entries: Vec<(Record, u32)>,
}

impl BlobLayout {
    /// The plan of a file without blobs.
    pub fn new() -> BlobLayout {
        BlobLayout::default()
    }

    /// Plans a blob of `elements` elements behind all others; the answer is the offset of its metadata, to which
    /// the program refers.
    ///
    /// # Errors
    /// `Unsupported` when blobs cannot have that type or the file would be too long.
    pub fn push(&mut self, dtype: DataType, elements: u64) -> Result<u64> {
        let dtype_number = number_of(dtype).ok_or_else(|| {
            Error::unsupported("weight file", format!("a blob of {dtype}; such values must be immediate"))
        })?;
        let too_long =
            || Error::unsupported("weight file", format!("a blob of {elements} x {dtype} is too long"));
        if self.entries.len() >= u32::MAX as usize {
            return Err(Error::unsupported("weight file", "more than 2^32 - 1 blobs"));
        }
        let record = self.place(dtype, elements).ok_or_else(too_long)?;
        self.entries.push((record, dtype_number));
        Ok(record.offset)
    }

    fn place(&self, dtype: DataType, elements: u64) -> Option<Record> {
        let offset = align(self.file_len())?;
        let data_offset = offset.checked_add(METADATA_LEN as u64)?;
        let byte_len = dtype.byte_len(elements)?;
        data_offset.checked_add(byte_len)?;
        Some(Record { dtype, elements, byte_len, offset, data_offset })
    }

    /// The length of the file in bytes; that of the header when there are no blobs.
    pub fn file_len(&self) -> u64 {
        self.entries.last().map_or(METADATA_LEN as u64, |(last, _)| last.data_offset + last.byte_len)
    }

    /// The number of blobs.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// What the metadata of the blobs will say, in file order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Record> {
        self.entries.iter().map(|(record, _)| record)
    }

    /// The encoded metadata of the blobs, each with what it says, in file order.
    pub(super) fn metadata(&self) -> impl Iterator<Item = ([u8; METADATA_LEN], &Record)> + '_ {
        self.entries.iter().map(|(record, dtype_number)| (record.encode(*dtype_number), record))
    }
}
