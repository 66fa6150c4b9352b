//! Blobs of several weight files gathered for one, equal ones once.

use std::collections::HashMap;

use crate::digest::Digest;
use crate::dtype::DataType;
use crate::error::Result;

use super::layout::BlobLayout;

/// What equal blobs have in common.
type Key = (DataType, u64, Digest);

/// The blobs of a weight file to be, each a borrowed slice of the file that it comes from, so that however many
/// there are they take no memory of their own.
#[derive(Debug, Default)]
pub struct BlobPool<'d> {
    layout: BlobLayout,
    /// Offset and data of each planned blob.
    blobs: Vec<(u64, &'d [u8])>,
    /// Indices into `blobs`; several where different data have one digest.
    known: HashMap<Key, Vec<usize>>,
}

impl<'d> BlobPool<'d> {
    /// A pool without blobs.
    pub fn new() -> BlobPool<'d> {
        BlobPool::default()
    }

    /// The offset of the blob with these elements: that of an equal one, of the same type and byte for byte, or a
    /// new place behind all others. `data` are the packed elements.
    ///
    /// # Errors
    /// `Unsupported` when blobs cannot have that type or the file would be too long.
    pub fn add(&mut self, dtype: DataType, elements: u64, data: &'d [u8]) -> Result<u64> {
        let alike = self.known.entry((dtype, elements, Digest::of(data))).or_default();
        let equal = alike.iter().filter_map(|i| self.blobs.get(*i)).find(|(_, known)| *known == data);
        if let Some((offset, _)) = equal {
            return Ok(*offset);
        }
        let offset = self.layout.push(dtype, elements)?;
        alike.push(self.blobs.len());
        self.blobs.push((offset, data));
        Ok(offset)
    }

    /// The plan of the file.
    pub fn layout(&self) -> &BlobLayout {
        &self.layout
    }

    /// The data of the blobs, in plan order.
    pub fn data(&self) -> impl ExactSizeIterator<Item = &'d [u8]> {
        self.blobs.iter().map(|(_, data)| *data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_kept_once_only_if_type_and_bytes_are_the_same() {
        let mut pool = BlobPool::new();
        let mut add = |dtype, elements, data| pool.add(dtype, elements, data).expect("a place");
        let first = add(DataType::UInt8, 2, &[1, 2]);
        assert_eq!(first, 64);
        let others = [
            add(DataType::Int8, 2, &[1, 2]),
            add(DataType::Fp16, 1, &[1, 2]),
            add(DataType::UInt4, 3, &[1, 2]),
            add(DataType::UInt4, 4, &[1, 2]),
            add(DataType::UInt8, 2, &[1, 3]),
            add(DataType::UInt8, 0, &[]),
        ];
        assert!(others.is_sorted_by(|a, b| a < b) && others[0] > first, "{others:?}");
        assert_eq!(add(DataType::UInt8, 2, &[1, 2]), first);
        assert_eq!(add(DataType::UInt4, 4, &[1, 2]), others[3]);
        assert_eq!(pool.layout().count(), 7);
        assert_eq!(pool.data().map(<[u8]>::len).collect::<Vec<_>>(), [2, 2, 2, 2, 2, 2, 0]);
    }
}
