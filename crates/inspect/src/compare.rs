//! How far the elements of one tensor are from those of another, read piece by piece.

use std::ops::AddAssign;

use crate::constants::{Dense, Groups, TILE};
use crate::error::Result;

/// A tensor that can be read from anywhere.
pub trait Elements {
    /// Fills `out` with the elements from `start` on, in row-major order.
    ///
    /// # Errors
    /// Those of the file that they lie in.
    fn read(&self, start: u64, out: &mut [f64]) -> Result<()>;
}

impl Elements for Dense<'_> {
    fn read(&self, start: u64, out: &mut [f64]) -> Result<()> {
        Dense::read(self, start, out);
        Ok(())
    }
}

/// Sums over pairs of elements.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
struct Sums {
    signal: f64,
    error: f64,
    count: u64,
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Sums) {
        self.signal += other.signal;
        self.error += other.error;
        self.count += other.count;
    }
}

/// How far one tensor is from another, the reference.
#[derive(Clone, PartialEq, Debug)]
pub struct Deviation {
    /// Pairs that were compared.
    pub elements: u64,
    /// Pairs that differ.
    pub differing: u64,
    /// Pairs of which one is infinite or not a number, and the other is something else; the figures leave them out.
    pub not_finite: u64,
    /// Mean of the squared differences.
    pub mean_square: f64,
    /// Ratio of the mean square of the reference to that of the differences, in dB; `None` where nothing differs.
    pub snr: Option<f64>,
    /// The largest difference; the first that is not finite counts as the largest.
    pub max: f64,
    /// The place of the largest difference, in row-major order.
    pub at: u64,
    /// What stands there: in the reference, and in the other.
    pub values: (f64, f64),
    /// The group of the smallest ratio: its number, and the ratio in dB.
    pub worst: Option<(u64, f64)>,
}

/// More groups than these are not looked at one by one; memory is some bytes for each.
const MAX_GROUPS: u64 = 1 << 20;

/// Compares `count` elements of `other` with those of `reference`; `groups` says for which to look for the worst.
///
/// # Errors
/// Those of reading.
pub fn compare(
    reference: &dyn Elements,
    other: &dyn Elements,
    count: u64,
    groups: Option<&Groups>,
) -> Result<Deviation> {
    let groups = groups.filter(|groups| groups.count() <= MAX_GROUPS);
    let mut of_groups = vec![Sums::default(); groups.map_or(0, |groups| groups.count() as usize)];
    let mut all = Deviation::none(count);
    let mut total = Sums::default();
    let (mut a, mut b) = (vec![0.0; TILE], vec![0.0; TILE]);
    let mut start = 0;
    while start < count {
        let length = (count - start).min(TILE as u64) as usize;
        reference.read(start, &mut a[..length])?;
        other.read(start, &mut b[..length])?;
        let mut offset = 0;
        let mut add = |group: u64, run: &mut [f64]| {
            let pairs = a[offset..offset + run.len()].iter().zip(run.iter());
            let sums = all.add(start + offset as u64, pairs);
            offset += run.len();
            if let Some(of_group) = of_groups.get_mut(group as usize) {
                *of_group += sums;
            }
            total += sums;
        };
        match groups {
            Some(groups) => groups.runs(start, &mut b[..length], add),
            None => add(0, &mut b[..length]),
        }
        start += length as u64;
    }
    all.mean_square = total.error / total.count.max(1) as f64;
    all.snr = total.snr();
    all.worst = worst(&of_groups);
    Ok(all)
}

impl Deviation {
    fn none(elements: u64) -> Deviation {
        Deviation {
            elements,
            differing: 0,
            not_finite: 0,
            mean_square: 0.0,
            snr: None,
            max: 0.0,
            at: 0,
            values: (0.0, 0.0),
            worst: None,
        }
    }

    /// Takes in pairs of elements from `start` on.
    fn add<'v>(&mut self, start: u64, pairs: impl Iterator<Item = (&'v f64, &'v f64)>) -> Sums {
        let mut sums = Sums::default();
        for (at, (a, b)) in (start..).zip(pairs) {
            let difference = if a == b || (a.is_nan() && b.is_nan()) { 0.0 } else { (a - b).abs() };
            if a.is_finite() && b.is_finite() {
                sums += Sums { signal: a * a, error: difference * difference, count: 1 };
            } else {
                self.not_finite += u64::from(difference != 0.0);
            }
            if difference == 0.0 {
                continue;
            }
            self.differing += 1;
            let difference = if difference.is_nan() { f64::INFINITY } else { difference };
            if difference > self.max {
                (self.max, self.at, self.values) = (difference, at, (*a, *b));
            }
        }
        sums
    }

    /// What is larger for a larger deviation: pairs that are not finite, then how little of the reference is left.
    pub fn size(&self) -> (u64, f64) {
        (self.not_finite, self.snr.map_or(f64::NEG_INFINITY, |snr| -snr))
    }
}

impl Sums {
    fn snr(&self) -> Option<f64> {
        (self.error > 0.0).then(|| 10.0 * (self.signal / self.error).log10())
    }
}

/// The group of which the least is left.
fn worst(groups: &[Sums]) -> Option<(u64, f64)> {
    if groups.len() < 2 {
        return None;
    }
    let mut worst: Option<(u64, f64)> = None;
    for (i, snr) in (0..).zip(groups.iter().map(Sums::snr)) {
        if let Some(snr) = snr.filter(|snr| worst.is_none_or(|(_, so_far)| *snr < so_far)) {
            worst = Some((i, snr));
        }
    }
    worst
}

/// The coordinates of the element at `at` of a tensor of `shape`.
pub fn coordinates(shape: &[u64], mut at: u64) -> Vec<u64> {
    let mut found = vec![0; shape.len()];
    for (found, extent) in found.iter_mut().zip(shape).rev() {
        *found = at % (*extent).max(1);
        at /= (*extent).max(1);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Given(Vec<f64>);

    impl Elements for Given {
        fn read(&self, start: u64, out: &mut [f64]) -> Result<()> {
            out.copy_from_slice(&self.0[start as usize..start as usize + out.len()]);
            Ok(())
        }
    }

    fn of(a: &[f64], b: &[f64], groups: Option<&Groups>) -> Deviation {
        compare(&Given(a.to_vec()), &Given(b.to_vec()), a.len() as u64, groups).unwrap()
    }

    #[test]
    fn figures_of_known_tensors() {
        let groups = Groups::new(&[2, 2], &[2, 1]).unwrap();
        let found = of(&[1.0, 2.0, 3.0, 4.0], &[1.0, 2.0, 3.0, 3.0], Some(&groups));
        assert_eq!((found.differing, found.max, found.at, found.values), (1, 1.0, 3, (4.0, 3.0)));
        assert_eq!(found.mean_square, 0.25);
        assert!((found.snr.unwrap() - 10.0 * 30f64.log10()).abs() < 1e-12);
        let (worst, snr) = found.worst.unwrap();
        assert!(worst == 1 && (snr - 10.0 * 25f64.log10()).abs() < 1e-12);
        assert_eq!(of(&[1.0], &[1.0], None), Deviation::none(1));
        assert_eq!(of(&[0.0], &[1.0], None).snr, Some(f64::NEG_INFINITY));
    }

    #[test]
    fn what_is_not_finite_is_counted_and_left_out() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let found = of(&[nan, inf, 1.0, nan], &[nan, inf, nan, 2.0], None);
        assert_eq!((found.not_finite, found.differing, found.max, found.at), (2, 2, inf, 2));
        assert_eq!((found.mean_square, found.snr), (0.0, None));
        assert!(found.size() > of(&[1.0], &[9.0], None).size());
    }

    #[test]
    fn tiles_are_joined_and_places_are_coordinates() {
        let long = vec![1.0; TILE * 2 + 5];
        let mut other = long.clone();
        other[TILE + 7] = 0.0;
        let found = of(&long, &other, None);
        assert_eq!((found.at, found.differing, found.elements), (TILE as u64 + 7, 1, TILE as u64 * 2 + 5));
        assert_eq!(coordinates(&[2, 3, 4], 23), [1, 2, 3]);
        assert!(coordinates(&[], 0).is_empty());
    }
}
