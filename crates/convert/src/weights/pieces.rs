//! How the planned weights are cut into pieces of work, and which of them are stored twice.

use std::collections::BTreeSet;
use std::ops::Range;

use anelith_mil::Data;

use super::{Entry, Stored, Weights};

/// Elements of a piece, unless less cannot be divided: enough that taking turns costs nothing, few enough that all
/// threads have work to the end.
const PIECE: usize = 1 << 18;

/// Elements of a piece at most. A group of more is clustered before, in a pass of its own.
const LARGEST_PIECE: usize = 1 << 21;

/// Elements of an entry that one thread works on: whole rows, whole bytes as they are stored and, unless the groups are
/// large, whole groups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    /// The number of the entry.
    pub(super) entry: usize,
    pub(super) elements: Range<usize>,
}

/// An earlier entry that has all weights of this one, stored alike: a tied matrix is stored twice, and worked on once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Twin {
    /// The number of the earlier entry.
    pub(super) entry: usize,
    /// Elements of it before those of this one.
    pub(super) skipped: usize,
}

impl Weights<'_> {
    /// The twin of each entry, if it has one; no twin has a twin.
    pub(super) fn twins(&self) -> Vec<Option<Twin>> {
        let twin = |i: usize| {
            let earlier = self.entries[..i].iter().enumerate();
            let mut found =
                earlier.filter_map(|(entry, e)| Some(Twin { entry, skipped: self.entries[i].within(e)? }));
            found.next()
        };
        (0..self.entries.len()).map(twin).collect()
    }

    /// All that must be worked on, in the order of the file: the entries in the weight file that have no twin.
    pub(super) fn pieces(&self, twins: &[Option<Twin>]) -> Vec<Piece> {
        let numbered = self.entries.iter().enumerate();
        let own = numbered.filter(|(i, entry)| twins[*i].is_none() && !entry.is_in_program());
        own.flat_map(|(i, entry)| entry.pieces(i, &self.cuts(i, twins))).collect()
    }

    /// Where entry `i` is cut in any case: at its ends, and at those of the entries of which it is the twin.
    fn cuts(&self, i: usize, twins: &[Option<Twin>]) -> BTreeSet<usize> {
        let copies =
            twins.iter().zip(&self.entries).filter_map(|(twin, entry)| Some((twin.as_ref()?, entry)));
        let ends = copies
            .filter(|(twin, _)| twin.entry == i)
            .flat_map(|(twin, entry)| [twin.skipped, twin.skipped + entry.elements() as usize]);
        ends.chain([0, self.entries[i].elements() as usize]).collect()
    }

    /// The largest piece, in elements.
    pub(super) fn largest_piece(&self) -> usize {
        self.entries.iter().map(Entry::step).max().unwrap_or(0)
    }
}

impl Entry {
    pub(super) fn elements(&self) -> u64 {
        self.rows * self.columns
    }

    /// Whether the program holds the values.
    pub(super) fn is_in_program(&self) -> bool {
        matches!(&self.stored, Stored::Dense(value) if !matches!(value.data, Data::Blob(_)))
    }

    /// Elements of a group; all, where there are no groups.
    pub(super) fn group(&self) -> usize {
        self.palette.map_or(self.elements(), |p| p.rows * self.columns) as usize
    }

    /// Whether a group is too large for a piece.
    pub(super) fn is_large(&self) -> bool {
        self.palette.is_some() && self.whole_bytes(self.group()) > LARGEST_PIECE
    }

    /// The parts of groups that these elements are: the number of the group, and which of the elements.
    pub(super) fn parts_of_groups(
        &self,
        elements: &Range<usize>,
    ) -> impl Iterator<Item = (usize, Range<usize>)> {
        let (group, Range { start, end }) = (self.group(), elements.clone());
        let numbers = start / group..end.div_ceil(group);
        numbers.map(move |number| {
            let (from, to) = ((number * group).max(start), ((number + 1) * group).min(end));
            (number, from - start..to - start)
        })
    }

    /// Bits of an element as it is stored.
    pub(super) fn bits(&self) -> usize {
        self.palette.map_or(16, |p| p.bits as usize)
    }

    /// The least multiple of so many elements that fills whole bytes; eight do so whatever the width of an element.
    fn whole_bytes(&self, elements: usize) -> usize {
        let fills = |times: &usize| (times * elements * self.bits()).is_multiple_of(8);
        [1, 2, 4].into_iter().find(fills).unwrap_or(8) * elements
    }

    /// Elements of a piece.
    fn step(&self) -> usize {
        let divisible = self.palette.is_none() || self.is_large();
        let unit = self.whole_bytes(if divisible { self.columns as usize } else { self.group() }).max(1);
        (PIECE / unit).max(1) * unit
    }

    fn pieces(&self, entry: usize, cuts: &BTreeSet<usize>) -> Vec<Piece> {
        let step = self.step();
        let runs = cuts.iter().zip(cuts.iter().skip(1));
        let pieces = runs
            .flat_map(|(&from, &to)| (from..to).step_by(step).map(move |start| start..to.min(start + step)));
        pieces.map(|elements| Piece { entry, elements }).collect()
    }

    /// How many elements of `other` come before those of this one, if it has all of them, in the same groups and at
    /// whole bytes, in the weight file.
    fn within(&self, other: &Entry) -> Option<usize> {
        let (ours, theirs) = (self.source.place()?, other.source.place()?);
        let form = |e: &Entry| (e.palette.map(|p| (p.bits, p.rows)), e.columns, e.is_in_program());
        if ours.0 != theirs.0 || form(self) != form(other) || self.is_in_program() {
            return None;
        }
        let skipped = ours.1.checked_sub(theirs.1)?;
        let (end, all) = (skipped + self.elements() as usize, other.elements() as usize);
        let is_whole = |elements: usize| (elements * self.bits()).is_multiple_of(8);
        let in_groups = self.palette.is_none() || skipped.is_multiple_of(self.group());
        let fits = end <= all && in_groups && is_whole(skipped) && (end == all || is_whole(end));
        fits.then_some(skipped)
    }
}
