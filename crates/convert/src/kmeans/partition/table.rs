//! The dynamic programme over the number of runs.
//!
//! The least cost of the first `i` values in `q` runs is the least, over the
//! start `j` of the last run, of that of the first `j` values in `q - 1` runs
//! and `cost(j, i)`.
//!
//! The ends of the best runs interleave with those of the best partition into
//! another number of runs: with `d` more of them, end `q` lies between ends
//! `q - d` and `q` of the other. So a partition into nearly as many runs leaves
//! few places to fill.

use super::costs::{Costs, LANES};
use super::fill::Bases;

/// The dynamic programme's rows, one after the other.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    /// Least costs by the place where the row's runs end, with some infinite ones behind each row.
    least: Vec<f64>,
    /// Places not behind the start of the last of those runs. 16 bits suffice: there are fewer fp16 values.
    lows: Vec<u16>,
}

/// The places where a run may end, and where in the lists those of the first are.
#[derive(Debug, Clone, Copy)]
struct Row {
    first: usize,
    last: usize,
    offset: usize,
}

impl Row {
    /// Where in the lists the row's part ends.
    fn behind(&self) -> usize {
        self.offset + self.last + 1 - self.first
    }
}

impl Table {
    /// Writes into `ends` those of `runs` runs of least cost.
    ///
    /// `near` are the ends of the best partition into another number of runs, or empty.
    pub(super) fn fill(&mut self, costs: &impl Costs, near: &[usize], runs: usize, ends: &mut Vec<usize>) {
        let count = costs.count();
        self.lay_out(near, runs, count);
        for end in self.rows[0].first..=self.rows[0].last {
            self.least[end - self.rows[0].first] = costs.cost(0, end);
        }
        for pair in self.rows.windows(2) {
            let (before, row) = (pair[0], pair[1]);
            let (known, rest) = self.least.split_at_mut(row.offset);
            let bases = Bases { costs: &known[before.offset..], first: before.first };
            let places = row.offset..row.behind();
            let starts = (before.first, before.last.min(row.last - 1));
            bases.fill(costs, row.first, starts, (&mut rest[..places.len()], &mut self.lows[places]));
        }
        ends.clear();
        ends.resize(runs, count);
        for q in (1..runs).rev() {
            ends[q - 1] = self.start(costs, q, ends[q]);
        }
    }

    /// Where the run starts that ends row `q` at `end`.
    fn start(&self, costs: &impl Costs, q: usize, end: usize) -> usize {
        let (before, row) = (self.rows[q - 1], self.rows[q]);
        let place = row.offset + end - row.first;
        let mut start = usize::from(self.lows[place]);
        let last = before.last.min(end - 1);
        let total = |start: usize| self.least[before.offset + start - before.first] + costs.cost(start, end);
        while start < last && total(start) > self.least[place] {
            start += 1;
        }
        start
    }

    /// The rows, without the places that no solution can use.
    fn lay_out(&mut self, near: &[usize], runs: usize, count: usize) {
        // End `q` of the other partition; beyond its own it has none inside.
        let other = |q: isize| match usize::try_from(q) {
            Err(_) | Ok(0) => 0,
            Ok(q) => near.get(q - 1).copied().unwrap_or(count),
        };
        let more = runs as isize - near.len() as isize;
        self.rows.clear();
        let (mut before, mut offset) = (0, 0);
        for q in 1..=runs {
            let place = q as isize;
            // Each run needs a value of its own.
            let (mut first, mut last) = (before + 1, count - (runs - q));
            if !near.is_empty() {
                first = first.max(other(place.min(place - more)));
                last = last.min(other(place.max(place - more)));
            }
            if q == runs {
                first = last;
            }
            let row = Row { first, last, offset };
            offset = row.behind() + LANES;
            before = first;
            self.rows.push(row);
        }
        self.least.clear();
        self.least.resize(offset, f64::INFINITY);
        self.lows.resize(offset, 0);
    }
}
