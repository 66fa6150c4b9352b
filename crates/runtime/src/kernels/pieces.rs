//! One mutable slice, written in pieces by several threads.
#![allow(
    unsafe_code,
    reason = "that the pieces do not overlap is known to who cuts them, not to the compiler"
)]

use std::marker::PhantomData;
use std::ops::Range;

/// A mutable slice of which threads that share it take pieces.
pub(crate) struct Pieces<'a, T> {
    start: *mut T,
    length: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: all that can be done with a shared `Pieces` is to take a piece, which hands a `&mut [T]` to the thread;
// that is sound for `T: Send`.
unsafe impl<T: Send> Sync for Pieces<'_, T> {}

impl<'a, T> Pieces<'a, T> {
    /// Takes the slice for as long as pieces of it are used.
    pub(crate) fn new(slice: &'a mut [T]) -> Pieces<'a, T> {
        Pieces { start: slice.as_mut_ptr(), length: slice.len(), slice: PhantomData }
    }

    /// The elements of `range`.
    ///
    /// # Panics
    /// When the range ends behind the slice.
    ///
    /// # Safety
    /// While a piece is in use, no other piece that overlaps it may be.
    #[allow(clippy::mut_from_ref, reason = "the contract keeps the pieces apart")]
    pub(crate) unsafe fn take(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.length, "a piece beyond the end");
        // SAFETY: the range is within the slice that `self` borrows mutably, and the caller keeps pieces apart.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
