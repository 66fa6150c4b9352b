//! Reads arrays of `.npz` files as numpy's `savez` writes them: a zip archive of stored `.npy` members.
//!
//! Rows are read from the file when they are asked for, so an array may be larger than memory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anelith_report::{Report, Reported};

use crate::error::{Error, Result};

const DIRECTORY_END: &[u8; 4] = b"PK\x05\x06";
const DIRECTORY_ENTRY: &[u8; 4] = b"PK\x01\x02";
const LOCAL_HEADER: &[u8; 4] = b"PK\x03\x04";

/// The end of the directory without its comment, and the longest comment.
const END_LEN: u64 = 22;
const MAX_COMMENT: u64 = u16::MAX as u64;

/// Longest `.npy` header that is read, and most bytes of a directory: far beyond what numpy writes.
const MAX_HEADER: u64 = 1 << 16;
const MAX_DIRECTORY: u64 = 1 << 20;

/// An open `.npz` file.
#[derive(Debug)]
pub(crate) struct Npz {
    path: PathBuf,
    file: File,
    len: u64,
    members: Vec<Member>,
}

/// A member as the directory lists it.
#[derive(Debug)]
struct Member {
    name: String,
    method: u64,
    size: u64,
    local: u64,
}

/// An array in row-major order.
#[derive(Debug, Clone)]
pub(crate) struct Array {
    /// The extents, outermost first.
    pub(crate) shape: Vec<usize>,
    /// Bytes of an element.
    width: u64,
    start: u64,
}

impl Npz {
    /// Reads the directory of the archive.
    ///
    /// # Errors
    /// `Machine` where the file cannot be read, `Input` where it is no archive, or a part of one.
    pub(crate) fn open(path: &Path) -> Result<Npz> {
        let cannot = |e: std::io::Error| {
            let report = Report::new(format!("cannot read `{}`", path.display()));
            let report = report.at(path.display()).finding(&e);
            match e.kind() {
                std::io::ErrorKind::NotFound => Error::input(report.mending("check the path given to --ids")),
                _ => Error::machine(report),
            }
        };
        let file = File::open(path).map_err(cannot)?;
        let len = file.metadata().map_err(cannot)?.len();
        let mut npz = Npz { path: path.to_owned(), file, len, members: Vec::new() };
        npz.members = npz.directory()?;
        Ok(npz)
    }

    fn broken(&self, what: &str) -> Error {
        let report = Report::new(format!("`{}` is no whole .npz file: {what}", self.path.display()));
        let report = report.at(self.path.display()).expecting("an archive as numpy.savez writes it");
        Error::input(report.finding(format!("{} bytes", self.len)).mending("write the file again"))
    }

    /// The `len` bytes at `start`.
    fn bytes(&mut self, start: u64, len: u64) -> Result<Vec<u8>> {
        if start.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(self.broken("it ends too early"));
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| self.broken("a part is too large"))?];
        let read = self.file.seek(SeekFrom::Start(start)).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|e| {
            let report = Report::new(format!("cannot read `{}`", self.path.display())).finding(e);
            Error::machine(report.at(self.path.display()))
        })?;
        Ok(bytes)
    }

    fn directory(&mut self) -> Result<Vec<Member>> {
        let tail_start = self.len.saturating_sub(END_LEN + MAX_COMMENT);
        let tail = self.bytes(tail_start, self.len - tail_start)?;
        let end = tail.windows(4).rposition(|w| w == DIRECTORY_END);
        let end = end.and_then(|at| tail.get(at..at + END_LEN as usize));
        let end = end.ok_or_else(|| self.broken("it has no directory"))?;
        let [count, size, start] = [(10, 2), (12, 4), (16, 4)].map(|(at, len)| number(end, at, len));
        if size > MAX_DIRECTORY {
            return Err(self.broken("its directory is too large"));
        }
        let entries = self.bytes(start, size)?;
        let mut at = 0;
        let mut members = Vec::new();
        for _ in 0..count {
            let entry = entries.get(at..).filter(|e| e.len() >= 46 && e.starts_with(DIRECTORY_ENTRY));
            let entry = entry.ok_or_else(|| self.broken("its directory is broken"))?;
            let [name, extra, comment] = [28, 30, 32].map(|field| number(entry, field, 2) as usize);
            let text = entry.get(46..46 + name).ok_or_else(|| self.broken("its directory is broken"))?;
            members.push(Member {
                name: String::from_utf8_lossy(text).into_owned(),
                method: number(entry, 10, 2),
                size: number(entry, 24, 4),
                local: number(entry, 42, 4),
            });
            at += 46 + name + extra + comment;
        }
        Ok(members)
    }

    /// The array `name`, whose elements must be of one of the numpy types `dtypes` (`<i4`, `<f4`), each with its bytes, and
    /// which must have `rank` axes; `None` where there is no such array.
    ///
    /// # Errors
    /// `Input` for a compressed member, another type, and an array whose elements are not all there.
    pub(crate) fn array(&mut self, name: &str, dtypes: &[(&str, u64)], rank: usize) -> Result<Option<Array>> {
        let file = format!("{name}.npy");
        let Some(member) = self.members.iter().find(|m| m.name == file) else { return Ok(None) };
        let (method, size, local) = (member.method, member.size, member.local);
        let wrong = |expected: String, found: String| {
            let report = Report::new(format!("`{name}` cannot be used")).at(self.path.display());
            Error::input(report.expecting(expected).finding(found).mending("write it with numpy.savez"))
        };
        if method != 0 {
            return Err(wrong(
                "an array that is not compressed".into(),
                "one of numpy.savez_compressed".into(),
            ));
        }
        let header = self.bytes(local, 30)?;
        if !header.starts_with(LOCAL_HEADER) {
            return Err(self.broken("a member has no header"));
        }
        let start = local + 30 + number(&header, 26, 2) + number(&header, 28, 2);
        let magic = self.bytes(start, 12)?;
        let (len, head) = match magic.get(..8) {
            Some(b"\x93NUMPY\x01\x00") => (number(&magic, 8, 2), 10),
            Some(b"\x93NUMPY\x02\x00") => (number(&magic, 8, 4), 12),
            _ => return Err(self.broken(&format!("`{file}` is no array"))),
        };
        if len > MAX_HEADER {
            return Err(self.broken(&format!("the header of `{file}` is too large")));
        }
        let header = String::from_utf8_lossy(&self.bytes(start + head, len)?).into_owned();
        let is_plain = header.contains("'fortran_order': False") || rank < 2;
        let dtype = dtypes.iter().find(|(dtype, _)| field(&header, "descr") == Some(&format!("'{dtype}'")));
        let shape = shape(&header).filter(|shape| shape.len() == rank && is_plain);
        let (Some((_, width)), Some(shape)) = (dtype, shape) else {
            let dtypes: Vec<&str> = dtypes.iter().map(|(dtype, _)| *dtype).collect();
            let expected = format!("elements {} in row-major order, {rank} axes", dtypes.join(" or "));
            let found: String = header.trim().chars().take(200).collect();
            let report = Report::new(format!("`{name}` cannot be used")).at(self.path.display());
            let report = report.expecting(expected).finding(found);
            return Err(Error::input(report.mending("convert the array before it is written")));
        };
        let array = Array { shape, width: *width, start: start + head + len };
        let count = array.shape.iter().try_fold(array.width, |n, d| n.checked_mul(*d as u64));
        let whole = count.and_then(|bytes| bytes.checked_add(head + len));
        if whole.is_none_or(|whole| whole > size || start + whole > self.len) {
            return Err(self.broken(&format!("`{file}` ends too early")));
        }
        Ok(Some(array))
    }

    /// The little-endian bytes of the elements `first..first + count` of an array.
    pub(crate) fn elements(&mut self, array: &Array, first: usize, count: usize) -> Result<Vec<u8>> {
        self.bytes(array.start + array.width * first as u64, array.width * count as u64)
    }

    /// The elements `0..count` of an array of integers.
    pub(crate) fn integers(&mut self, array: &Array, count: usize) -> Result<Vec<i64>> {
        let bytes = self.elements(array, 0, count)?;
        Ok(match array.width {
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

fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes.iter().skip(at).take(len).rev().fold(0, |n, b| n << 8 | u64::from(*b))
}
