//! The dynamic programme over the number of runs.
//!
//! `least[q][i]`, the least cost of the first `i` values in `q` runs, is the
//! minimum over `j` of `least[q - 1][j] + cost(j, i)`. As the best `j` grows
//! with `i` and with `q`, the rows are filled in halving steps, each search
//! bounded by the answers of its neighbours and of the row before:
//! O(k n log n), less where runs are short.

use super::Costs;

/// The dynamic programme's two live rows and every split it chose.
#[derive(Debug, Default)]
pub(super) struct Table {
    previous: Vec<f64>,
    current: Vec<f64>,
    /// Row `q - 2`, column `i`: where the last of `q` runs that end at `i`
    /// starts. 16 bits suffice: there are fewer fp16 values.
    splits: Vec<u16>,
    columns: usize,
}

/// One row to be filled: `runs` runs, ending at `first..=last`.
struct Row {
    runs: usize,
    first: usize,
    last: usize,
}

impl Table {
    /// The ends of `runs` runs of least cost. Splits that no solution can use
    /// are left out.
    pub(super) fn fill(&mut self, costs: &impl Costs, runs: usize) -> Vec<usize> {
        let count = costs.count();
        self.columns = count + 1;
        self.splits.clear();
        self.splits.resize((runs - 1) * self.columns, 0);
        self.previous.clear();
        self.previous.resize(self.columns, f64::INFINITY);
        self.current.clone_from(&self.previous);
        for end in 1..=count {
            self.previous[end] = costs.cost(0, end);
        }
        for runs_so_far in 2..=runs {
            // Each later run needs a value of its own.
            let last = count - (runs - runs_so_far);
            let mut row = Row { runs: runs_so_far, first: runs_so_far, last };
            if runs_so_far == runs {
                row.first = last;
            }
            self.fill_row(costs, &row);
            std::mem::swap(&mut self.previous, &mut self.current);
        }
        self.ends(count, runs)
    }

    /// Fills one row coarse to fine: each column lies between two filled ones.
    fn fill_row(&mut self, costs: &impl Costs, row: &Row) {
        let (before, rest) = self.splits.split_at_mut((row.runs - 2) * self.columns);
        let above = before.rchunks(self.columns).next();
        let splits = &mut rest[..self.columns];
        let length = row.last - row.first + 1;
        let mut step = length.next_power_of_two();
        while step > 0 {
            // Odd multiples of the step, counting the row's columns from 1.
            for place in (step..=length).step_by(2 * step) {
                let end = row.first + place - 1;
                let left = (place > step).then(|| splits[end - step]);
                let right = (place + step <= length).then(|| splits[end + step]);
                let low = left.max(above.map(|above| above[end]));
                let low = low.map_or(0, usize::from).max(row.runs - 1);
                let high = right.map_or(end - 1, usize::from);
                let (start, cost) = best(costs, &self.previous, low..=high.clamp(low, end - 1), end);
                splits[end] = start as u16;
                self.current[end] = cost;
            }
            step /= 2;
        }
    }

    /// The ends of the runs of the least cost for `count` values.
    fn ends(&self, count: usize, runs: usize) -> Vec<usize> {
        let mut ends = vec![count; runs];
        for q in (2..=runs).rev() {
            let split = self.splits[(q - 2) * self.columns + ends[q - 1]];
            ends[q - 2] = usize::from(split);
        }
        ends
    }
}

/// The first start of least total cost for a last run that ends at `end`.
#[inline(always)]
fn best(
    costs: &impl Costs,
    previous: &[f64],
    starts: std::ops::RangeInclusive<usize>,
    end: usize,
) -> (usize, f64) {
    let mut found = (*starts.start(), f64::INFINITY);
    for start in starts {
        let cost = previous[start] + costs.cost(start, end);
        if cost < found.1 {
            found = (start, cost);
        }
    }
    found
}
