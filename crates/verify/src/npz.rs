//! Reads arrays of `.npz` files as numpy's `savez` and `savez_compressed` write them: a zip archive of `.npy` members.
//!
//! Elements are read from the file when they are asked for, in their order, so an array may be larger than memory.

use std::path::Path;

use anelith_report::{Report, Reported};

use crate::error::{Error, Result};
use crate::zip::{Archive, Content, number};

/// Longest `.npy` header that is read: far beyond what numpy writes.
const MAX_HEADER: u64 = 1 << 16;

/// An open `.npz` file.
#[derive(Debug)]
pub(crate) struct Npz(Archive);

/// An array in row-major order, whose next elements can be had.
#[derive(Debug)]
pub(crate) struct Array {
    /// The extents, outermost first.
    pub(crate) shape: Vec<usize>,
    /// Bytes of an element.
    width: u64,
    content: Content,
}

impl Npz {
    /// Reads the directory of the archive.
    ///
    /// # Errors
    /// `Machine` where the file cannot be read, `Input` where it is no archive, or a part of one.
    pub(crate) fn open(path: &Path) -> Result<Npz> {
        Ok(Npz(Archive::open(path)?))
    }

    /// The array `name`, whose elements must be of one of the numpy types `dtypes` (`<i4`, `<f4`), each with its bytes,
    /// and which must have `rank` axes; `None` where there is no such array.
    ///
    /// # Errors
    /// `Input` for another type, and an array whose elements are not all there.
    pub(crate) fn array(&mut self, name: &str, dtypes: &[(&str, u64)], rank: usize) -> Result<Option<Array>> {
        let file = format!("{name}.npy");
        let Some(mut content) = self.0.content(&file)? else { return Ok(None) };
        let header = header(&mut content, &file)?;
        let is_plain = header.contains("'fortran_order': False") || rank < 2;
        let dtype = dtypes.iter().find(|(dtype, _)| field(&header, "descr") == Some(&format!("'{dtype}'")));
        let shape = shape(&header).filter(|shape| shape.len() == rank && is_plain);
        let (Some((_, width)), Some(shape)) = (dtype, shape) else {
            let dtypes: Vec<&str> = dtypes.iter().map(|(dtype, _)| *dtype).collect();
            let expected = format!("elements {} in row-major order, {rank} axes", dtypes.join(" or "));
            let found: String = header.trim().chars().take(200).collect();
            let report = Report::new(format!("`{name}` cannot be used")).at(self.0.path().display());
            let report = report.expecting(expected).finding(found);
            return Err(Error::input(report.mending("convert the array before it is written")));
        };
        let count = shape.iter().try_fold(*width, |n, extent| n.checked_mul(*extent as u64));
        if count.is_none_or(|bytes| bytes > content.left) {
            return Err(self.0.broken(&format!("`{file}` ends too early")));
        }
        Ok(Some(Array { shape, width: *width, content }))
    }
}

/// The header of the `.npy` member `file`, after which its elements begin.
fn header(content: &mut Content, file: &str) -> Result<String> {
    let len = match content.bytes(8)?.as_slice() {
        b"\x93NUMPY\x01\x00" => number(&content.bytes(2)?, 0, 2),
        b"\x93NUMPY\x02\x00" => number(&content.bytes(4)?, 0, 4),
        _ => return Err(content.broken(&format!("`{file}` is no array"))),
    };
    if len > MAX_HEADER {
        return Err(content.broken(&format!("the header of `{file}` is too large")));
    }
    Ok(String::from_utf8_lossy(&content.bytes(len)?).into_owned())
}

impl Array {
    /// The little-endian bytes of the next `count` elements.
    ///
    /// # Errors
    /// `Input` where they cannot be unpacked, or are no longer there.
    pub(crate) fn elements(&mut self, count: usize) -> Result<Vec<u8>> {
        self.content.bytes(self.width * count as u64)
    }

    /// The next `count` elements of an array of integers.
    ///
    /// # Errors
    /// As [`Array::elements`].
    pub(crate) fn integers(&mut self, count: usize) -> Result<Vec<i64>> {
        let bytes = self.elements(count)?;
        Ok(match self.width {
            8 => bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
            _ => bytes.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes).into()).collect(),
        })
    }
}

/// The value of `name` in an `.npy` header, which is the literal of a Python dictionary, up to the next comma.
fn field<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{name}': "))?;
    rest.split_once(',').map(|(value, _)| value.trim())
}

/// The extents in an `.npy` header: `(96, 512)`, `(96,)`.
fn shape(header: &str) -> Option<Vec<usize>> {
    let (_, rest) = header.split_once("'shape': (")?;
    let (extents, _) = rest.split_once(')')?;
    let extents = extents.trim().trim_end_matches(',');
    extents.split(',').map(|extent| extent.trim().parse().ok()).collect()
}
