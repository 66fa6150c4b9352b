//! One slice, written in parts by several threads.
#![allow(
    unsafe_code,
    reason = "that the parts do not overlap is known to who cuts them, not to the compiler"
)]

use std::marker::PhantomData;
use std::ops::Range;

/// A slice of which each thread writes elements that no other touches.
#[derive(Clone, Copy)]
pub(super) struct Disjoint<'a, T> {
    start: *mut T,
    length: usize,
    borrowed: PhantomData<&'a mut [T]>,
}

// SAFETY: what is shared is a borrowed slice of `T`; that its parts do not overlap is the contract of each access.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// Takes the slice for as long as parts of it are used.
    pub(super) fn new(slice: &'a mut [T]) -> Self {
        Disjoint { start: slice.as_mut_ptr(), length: slice.len(), borrowed: PhantomData }
    }

    /// Writes one element.
    ///
    /// # Panics
    /// When the element is behind the slice.
    ///
    /// # Safety
    /// No other thread accesses the element while this is borrowed.
    #[inline(always)]
    pub(super) unsafe fn set(&self, at: usize, value: T) {
        assert!(at < self.length, "element {at} of {}", self.length);
        // SAFETY: within the slice, and by contract not accessed elsewhere.
        unsafe { self.start.add(at).write(value) };
    }

    /// The elements of `range`.
    ///
    /// # Panics
    /// When the range ends behind the slice.
    ///
    /// # Safety
    /// Nobody else accesses the part for as long as it is held.
    pub(super) unsafe fn part(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.length, "{range:?} of {}", self.length);
        // SAFETY: within the slice, and by contract not accessed elsewhere.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
