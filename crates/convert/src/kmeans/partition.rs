//! The optimal partition of sorted weighted values into runs.
//!
//! `least[q][i]`, the least cost of the first `i` values in `q` runs, is the
//! minimum over `j` of `least[q - 1][j] + cost(j, i)`. The cost of a run, its
//! squared error about its mean, is Monge: the best `j` grows with `i` and
//! with `q`. So the rows are filled in halving steps, each search bounded by
//! the answers of its neighbours and of the row before: O(k n log n), less
//! where runs are short.

use super::fixed;

/// How much worse than the optimum, relatively, rounding in the costs may make
/// a partition. Beyond it the exact costs are used.
const TOLERANCE: f64 = 1e-8;

/// Scratch memory for [`Partitioner::partition`].
#[derive(Debug, Default)]
pub(super) struct Partitioner {
    /// Exact sums over the first `i` values, `i` from 0.
    moments: Vec<Moments>,
    centre: i64,
    rounded: Rounded,
    table: Table,
}

/// Count, sum and sum of squares of weights, taken about a centre.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: i128,
    sum: i128,
    squares: i128,
}

impl Partitioner {
    /// Splits the ascending distinct `values`, each with its number of
    /// occurrences, into exactly `runs` runs of least squared error; returns
    /// the end of each run (the position after its last value), the last being
    /// the number of values.
    ///
    /// `runs` must be at least 2 and below the number of values.
    pub(super) fn partition(&mut self, values: &[i64], counts: &[u64], runs: usize) -> Vec<usize> {
        self.sum_up(values, counts);
        self.rounded.read(&self.moments);
        let least = self.table.fill(&self.rounded, values.len(), runs);
        let spread = self.moments.last().map_or(0, |m| m.squares) as f64;
        // Differences of sums are off by at most about the last bit of the
        // whole: nothing for usual weights, everything where an outlier hides
        // the spread of the rest.
        if spread * f64::EPSILON * runs as f64 > least * TOLERANCE {
            let exact = Exact {
                values,
                centre: self.centre,
                moments: &self.moments,
            };
            self.table.fill(&exact, values.len(), runs);
        }
        self.table.ends(values.len(), runs)
    }

    /// Sums about the mean, where the squares are smallest and so lose least
    /// to rounding.
    fn sum_up(&mut self, values: &[i64], counts: &[u64]) {
        let (sum, count) = fixed::total(values, counts);
        self.centre = fixed::mean(sum, count);
        let mut total = Moments::default();
        self.moments.clear();
        self.moments.push(total);
        for (&value, &count) in values.iter().zip(counts) {
            let (value, count) = (i128::from(value - self.centre), i128::from(count));
            total.count += count;
            total.sum += count * value;
            total.squares += count * value * value;
            self.moments.push(total);
        }
    }
}

/// The cost of a run of values.
trait Costs {
    /// Squared error of the values `start..end` about their mean.
    fn cost(&self, start: usize, end: usize) -> f64;
}

/// Costs from sums rounded to `f64`: fast, and off by the last bits of the sum
/// over all values.
#[derive(Debug, Default)]
struct Rounded {
    sums: Vec<[f64; 3]>,
}

impl Rounded {
    fn read(&mut self, moments: &[Moments]) {
        let round = |m: &Moments| [m.count as f64, m.sum as f64, m.squares as f64];
        self.sums.clear();
        self.sums.extend(moments.iter().map(round));
    }
}

impl Costs for Rounded {
    #[inline(always)]
    fn cost(&self, start: usize, end: usize) -> f64 {
        let ([c0, s0, q0], [c1, s1, q1]) = (self.sums[start], self.sums[end]);
        let sum = s1 - s0;
        (q1 - q0) - sum * sum / (c1 - c0)
    }
}

/// Costs from exact sums about the first value of the run: slow, and off by
/// the last bits of the run's own sums only.
struct Exact<'a> {
    values: &'a [i64],
    centre: i64,
    moments: &'a [Moments],
}

impl Costs for Exact<'_> {
    fn cost(&self, start: usize, end: usize) -> f64 {
        let (from, to) = (&self.moments[start], &self.moments[end]);
        let first = i128::from(self.values[start] - self.centre);
        let (count, sum) = (to.count - from.count, to.sum - from.sum);
        let about_first = to.squares - from.squares - first * (2 * sum - first * count);
        let sum = (sum - first * count) as f64;
        (about_first as f64 - sum * sum / count as f64).max(0.0)
    }
}

/// The dynamic programme's two live rows and every split it chose.
#[derive(Debug, Default)]
struct Table {
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
    /// Fills the table for `count` values in `runs` runs and returns the least
    /// cost. Splits that no solution can use are left out.
    fn fill(&mut self, costs: &impl Costs, count: usize, runs: usize) -> f64 {
        self.columns = count + 1;
        self.splits.clear();
        self.splits.resize((runs - 1) * self.columns, 0);
        self.previous.clear();
        self.previous.resize(self.columns, f64::INFINITY);
        self.current.clone_from(&self.previous);
        for end in 1..=count {
            self.previous[end] = costs.cost(0, end);
        }
        for q in 2..=runs {
            // Each later run needs a value of its own.
            let last = count - (runs - q);
            let first = if q == runs { last } else { q };
            self.fill_row(
                costs,
                Row {
                    runs: q,
                    first,
                    last,
                },
            );
            std::mem::swap(&mut self.previous, &mut self.current);
        }
        self.previous[count]
    }

    /// Fills one row coarse to fine: each column lies between two filled ones.
    fn fill_row(&mut self, costs: &impl Costs, row: Row) {
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
                let (start, cost) =
                    best(costs, &self.previous, low..=high.clamp(low, end - 1), end);
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
