//! A file mapped into memory: the one place in this crate that needs `unsafe`.

use std::ops::{Deref, Range};
use std::path::Path;

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

use crate::disk::open_part;
use crate::error::{Error, Result};

/// The contents of a file, read by the operating system when they are touched.
#[derive(Debug)]
pub(super) struct Map(Mmap);

impl Map {
    pub(super) fn open(path: &Path) -> Result<Map> {
        let file = open_part(path)?;
        // SAFETY: the map is read-only and private to this struct, so nothing in this process writes to it.
        // Another process could shorten or rewrite the file; weight files are only ever replaced whole, by a
        // rename, which leaves the mapped one as it is.
        #[allow(unsafe_code, reason = "mapping a file cannot be checked by the compiler")]
        let map = unsafe { Mmap::map(&file) };
        map.map(Map).map_err(Error::io("cannot map", path))
    }

    /// Lets the system take the pages of `range` from this process, which are read again where they are touched.
    #[cfg_attr(not(unix), allow(unused_variables, reason = "others are not told"))]
    pub(super) fn release(&self, range: Range<usize>) {
        // Advice is not a promise, so that failures do not matter.
        // SAFETY: nothing is ever written to the map, so that its pages are as good as those read again.
        #[cfg(unix)]
        #[allow(unsafe_code, reason = "the compiler does not know that the map is of a file")]
        let _ = unsafe { self.0.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
