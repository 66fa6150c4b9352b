//! Two sequences of ops side by side: which op of one is which of the other, in order.

use std::collections::{HashMap, VecDeque};

/// What an op is, as numbers that are equal where the text they stand for is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    /// The kind.
    pub(crate) kind: u32,
    /// The kind and the types of its results.
    pub(crate) types: u32,
    /// All of it: also what its arguments are.
    pub(crate) whole: u32,
}

impl Key {
    /// How much speaks for the two being the same op; 0 for another kind.
    fn score(self, other: Key) -> u32 {
        if self.whole == other.whole {
            5
        } else if self.types == other.types {
            3
        } else {
            u32::from(self.kind == other.kind)
        }
    }
}

/// More pairs than these are not scored one by one; it would take minutes.
const MAX_PAIRS: u64 = 1 << 32;

/// The pairs of places, increasing in both, whose scores are the most together. Memory is that of one row.
pub(crate) fn align(a: &[Key], b: &[Key]) -> Vec<(usize, usize)> {
    let same = |(x, y): &(&Key, &Key)| x.whole == y.whole;
    let front = a.iter().zip(b).take_while(same).count();
    let (rest_a, rest_b) = (&a[front..], &b[front..]);
    let back = rest_a.iter().rev().zip(rest_b.iter().rev()).take_while(same).count();
    let (middle_a, middle_b) = (&rest_a[..rest_a.len() - back], &rest_b[..rest_b.len() - back]);
    let mut pairs: Vec<_> = (0..front).map(|i| (i, i)).collect();
    if middle_a.len() as u64 * middle_b.len() as u64 > MAX_PAIRS {
        greedy(middle_a, middle_b, front, &mut pairs);
    } else {
        divide(middle_a, middle_b, (front, front), &mut pairs);
    }
    pairs.extend((0..back).map(|i| (a.len() - back + i, b.len() - back + i)));
    pairs
}

/// Hirschberg's way: cuts `a` in two, finds where `b` is best cut, and does both parts by themselves.
fn divide(a: &[Key], b: &[Key], (at_a, at_b): (usize, usize), pairs: &mut Vec<(usize, usize)>) {
    if a.is_empty() || b.is_empty() {
        return;
    }
    if let [only] = a {
        let best = b.iter().enumerate().map(|(j, key)| (only.score(*key), std::cmp::Reverse(j))).max();
        if let Some((score, std::cmp::Reverse(j))) = best
            && score > 0
        {
            pairs.push((at_a, at_b + j));
        }
        return;
    }
    let half = a.len() / 2;
    let (first, second) = a.split_at(half);
    let forward = row(first.iter(), b.iter(), b.len());
    let backward = row(second.iter().rev(), b.iter().rev(), b.len());
    let total = |j: &usize| forward[*j] + backward[b.len() - j];
    let cut = (0..=b.len()).rev().max_by_key(total).unwrap_or(0);
    divide(first, &b[..cut], (at_a, at_b), pairs);
    divide(second, &b[cut..], (at_a + half, at_b + cut), pairs);
}

/// The best score of all of `a` with the first 0, 1, ... of the `length` ops of `b`.
fn row<'k>(
    a: impl Iterator<Item = &'k Key>,
    b: impl Iterator<Item = &'k Key> + Clone,
    length: usize,
) -> Vec<u32> {
    let mut row = vec![0u32; length + 1];
    for x in a {
        let mut diagonal = row[0];
        for (j, y) in b.clone().enumerate() {
            let paired = diagonal + x.score(*y);
            diagonal = row[j + 1];
            row[j + 1] = paired.max(diagonal).max(row[j]);
        }
    }
    row
}

/// Pairs each op with the next one that is quite the same.
fn greedy(a: &[Key], b: &[Key], offset: usize, pairs: &mut Vec<(usize, usize)>) {
    let mut places: HashMap<u32, VecDeque<usize>> = HashMap::new();
    for (j, key) in b.iter().enumerate() {
        places.entry(key.whole).or_default().push_back(j);
    }
    let mut next = 0;
    for (i, key) in a.iter().enumerate() {
        let Some(queue) = places.get_mut(&key.whole) else { continue };
        while queue.front().is_some_and(|j| *j < next) {
            queue.pop_front();
        }
        if let Some(j) = queue.pop_front() {
            pairs.push((offset + i, offset + j));
            next = j + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A letter is a kind; upper and lower case differ in their arguments.
    fn keys(text: &str) -> Vec<Key> {
        let key = |c: char| {
            let kind = u32::from(c.to_ascii_lowercase());
            Key { kind, types: kind, whole: u32::from(c) }
        };
        text.chars().map(key).collect()
    }

    #[test]
    fn equal_sequences_and_insertions() {
        assert_eq!(align(&keys("abc"), &keys("abc")), [(0, 0), (1, 1), (2, 2)]);
        assert_eq!(align(&keys("abc"), &keys("abxc")), [(0, 0), (1, 1), (2, 3)]);
        assert_eq!(align(&keys("axbc"), &keys("abc")), [(0, 0), (2, 1), (3, 2)]);
        assert!(align(&keys("ab"), &keys("")).is_empty() && align(&keys("a"), &keys("b")).is_empty());
    }

    #[test]
    fn changed_ops_stay_pairs() {
        assert_eq!(align(&keys("abcd"), &keys("aBcd")), [(0, 0), (1, 1), (2, 2), (3, 3)]);
        assert_eq!(align(&keys("zabcy"), &keys("qaBxcr")), [(1, 1), (2, 2), (3, 4)]);
    }

    #[test]
    fn the_fast_way_keeps_the_order() {
        let mut pairs = Vec::new();
        greedy(&keys("abab"), &keys("babb"), 10, &mut pairs);
        assert_eq!(pairs, [(10, 11), (11, 12), (13, 13)]);
    }
}
