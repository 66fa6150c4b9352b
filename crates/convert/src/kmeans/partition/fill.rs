//! Least totals for many ends at once: of each end the least, over the starts
//! of its last run, of the cost up to the start and the cost of the run.
//!
//! As the best start grows with the end, the best start for an end in the
//! middle bounds those on both sides. A few ends with few starts are looked at
//! together.

use super::costs::{Costs, LANES};

/// Chunks of ends times starts that are cheaper to go through than to halve.
const SMALL: usize = 16;

/// Costs up to the starts of last runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bases<'a> {
    /// Ascending, infinite where not known, with some infinite ones behind.
    pub(super) costs: &'a [f64],
    /// The place of the first of them.
    pub(super) first: usize,
}

impl Bases<'_> {
    /// The first of the starts `low..=high` that is best for a last run that ends at `end`, and the cost.
    pub(super) fn best(&self, costs: &impl Costs, low: usize, high: usize, end: usize) -> (usize, f64) {
        let (start, cost) = costs.best(&self.costs[low - self.first..], low, high + 1 - low, end);
        // One beyond is better by rounding only.
        (start.min(high), cost)
    }

    /// Writes the least costs for the ends from `first`, whose best starts are within `low..=high`, into `least`, and
    /// a place not after the best start into `lows`.
    pub(super) fn fill(
        &self,
        costs: &impl Costs,
        first: usize,
        (low, high): (usize, usize),
        (least, lows): (&mut [f64], &mut [u16]),
    ) {
        let (ends, starts) = (least.len(), high + 1 - low);
        let chunks = ends.div_ceil(LANES);
        if chunks == 1 || chunks * starts <= SMALL {
            lows.fill(low as u16);
            for (i, least) in least.chunks_mut(LANES).enumerate() {
                let bases = &self.costs[low - self.first..];
                let found = costs.least(bases, low, starts, first + i * LANES);
                least.copy_from_slice(&found[..least.len()]);
            }
            return;
        }
        let middle = chunks / 2 * LANES - 1;
        let (start, cost) = self.best(costs, low, high, first + middle);
        (least[middle], lows[middle]) = (cost, start as u16);
        let (left, right) = least.split_at_mut(middle);
        let (left_lows, right_lows) = lows.split_at_mut(middle);
        self.fill(costs, first, (low, start), (left, left_lows));
        self.fill(costs, first + middle + 1, (start, high), (&mut right[1..], &mut right_lows[1..]));
    }
}
