//! How the LM head is split along the vocabulary.

use crate::options::{Group, Lut};

/// A run of vocabulary rows that one convolution computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadSplit {
    /// The first row.
    pub first: u64,
    /// How many rows.
    pub rows: u64,
}

/// What the inference function computes of the LM head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    /// The runs, in order.
    pub(crate) splits: &'a [HeadSplit],
    /// Whether it returns place and value of each run's largest logit in place of all logits.
    pub(crate) argmax: bool,
}

/// Splits `vocab` rows into `count` runs, each token in exactly one.
///
/// Without palettization as evenly as possible, the first runs one longer. With it in units of the group, so
/// that no table spans two runs; the rows that fill no unit go to the last run. A vocabulary of fewer units
/// than runs is split evenly after all.
pub(crate) fn split_vocabulary(vocab: u64, count: u64, lut: Lut) -> Vec<HeadSplit> {
    let unit = match lut.group() {
        Some(Group::Channels(n)) => u64::from(n),
        None | Some(Group::Tensor) => 1,
    };
    let unit = if vocab / unit < count { 1 } else { unit };
    let units = vocab / unit;
    let mut first = 0;
    let run = |i| {
        let mut rows = (units / count + u64::from(i < units % count)) * unit;
        if i == count - 1 {
            rows += vocab % unit;
        }
        let split = HeadSplit { first, rows };
        first += rows;
        split
    };
    (0..count).map(run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(vocab: u64, count: u64, lut: &str) -> Vec<u64> {
        let splits = split_vocabulary(vocab, count, lut.parse().unwrap());
        let mut next = 0;
        for s in &splits {
            assert_eq!(s.first, next, "runs follow each other");
            next += s.rows;
        }
        assert_eq!(next, vocab, "no token is left out");
        splits.iter().map(|s| s.rows).collect()
    }

    #[test]
    fn real_vocabularies() {
        assert_eq!(rows(151_936, 16, "4"), [9496; 16]);
        assert_eq!(rows(128_256, 8, "none"), [16032; 8]);
        // 151936 = 9496 units of 16: the first 8 of 16 runs get one unit more.
        let wide = rows(151_936, 16, "4,16");
        assert_eq!((wide[0], wide[8], wide[15]), (9504, 9488, 9488));
    }

    #[test]
    fn remainders_go_to_the_first_runs_or_to_the_last() {
        assert_eq!(rows(10, 4, "none"), [3, 3, 2, 2]);
        assert_eq!(rows(35, 4, "4"), [8, 8, 8, 11]);
        assert_eq!(rows(30, 4, "4"), [8, 8, 7, 7], "three units for four runs: the even split");
        assert_eq!(rows(10, 4, "4,0"), [3, 3, 2, 2]);
    }
}
