//! The optimal partition of sorted weighted values into runs.
//!
//! The cost of a run, its squared error about its mean, is Monge. So the best
//! start of the last run grows with its end, and what one more run gains falls
//! with the number of runs. The second makes `levy` work, which is fast and
//! nearly always finds the partition; the first makes `table` fast enough for
//! the rest.

mod levy;
mod table;

use super::fixed;
use levy::Levy;
use table::Table;

/// How much worse than the optimum, relatively, rounding in the costs may make
/// a partition. Beyond it the exact costs are used.
const TOLERANCE: f64 = 1e-8;

/// Numbers of runs below this are found faster by the table.
const FEW_RUNS: usize = 10;

/// Scratch memory for [`Partitioner::partition`].
#[derive(Debug, Default)]
pub(super) struct Partitioner {
    /// Exact sums over the first `i` values, `i` from 0.
    moments: Vec<Moments>,
    centre: i64,
    rounded: Rounded,
    search: Search,
    ends: Vec<usize>,
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
    pub(super) fn partition(&mut self, values: &[i64], counts: &[u64], runs: usize) -> &[usize] {
        self.sum_up(values, counts);
        self.rounded.read(&self.moments);
        let spread = self.moments.last().map_or(0, |m| m.squares) as f64;
        let search = &mut self.search;
        let (ends, least) = search.solve(&self.rounded, spread, runs);
        // Differences of sums are off by at most about the last bit of the
        // whole: nothing for usual weights, everything where an outlier hides
        // the spread of the rest.
        if spread * f64::EPSILON * runs as f64 <= least * TOLERANCE {
            self.ends = ends;
            return &self.ends;
        }
        let exact = Exact { values, centre: self.centre, moments: &self.moments };
        self.ends = search.solve(&exact, spread, runs).0;
        &self.ends
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

/// Both ways to the least cost.
#[derive(Debug, Default)]
struct Search {
    levy: Levy,
    table: Table,
}

impl Search {
    /// The ends of `runs` runs of least cost, and that cost.
    ///
    /// `spread` is the cost of all values in one run.
    fn solve(&mut self, costs: &impl Costs, spread: f64, runs: usize) -> (Vec<usize>, f64) {
        let quick = match runs {
            ..FEW_RUNS => None,
            _ => self.levy.search(costs, spread, runs),
        };
        let ends = quick.unwrap_or_else(|| self.table.fill(costs, runs));
        let starts = std::iter::once(&0).chain(&ends);
        let least = starts.zip(&ends).map(|(&start, &end)| costs.cost(start, end));
        let least = least.sum();
        (ends, least)
    }
}

/// The cost of a run of values.
trait Costs {
    /// Number of values.
    fn count(&self) -> usize;

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
    fn count(&self) -> usize {
        self.sums.len() - 1
    }

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
    fn count(&self) -> usize {
        self.values.len()
    }

    fn cost(&self, start: usize, end: usize) -> f64 {
        let (from, to) = (&self.moments[start], &self.moments[end]);
        let first = i128::from(self.values[start] - self.centre);
        let (count, sum) = (to.count - from.count, to.sum - from.sum);
        let about_first = to.squares - from.squares - first * (2 * sum - first * count);
        let sum = (sum - first * count) as f64;
        (about_first as f64 - sum * sum / count as f64).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two ways that share nothing but the costs, at the sizes of real groups.
    #[test]
    fn levy_and_table_agree() {
        let bell = |i: i64| (40_000.0 / (1.0 + (i as f64 / 300.0).powi(2))) as u64;
        let values: Vec<i64> = (-900..900).map(|i| i * 4099 + i * i % 101).collect();
        let counts: Vec<u64> = (-900..900).map(|i| 1 + bell(i) + i.unsigned_abs() % 7).collect();
        let mut partitioner = Partitioner::default();
        partitioner.sum_up(&values, &counts);
        partitioner.rounded.read(&partitioner.moments);
        let spread = partitioner.rounded.cost(0, values.len());
        let Search { levy, table } = &mut partitioner.search;
        for runs in [2, 3, 7, 16, 64, 256] {
            let costs = &partitioner.rounded;
            let quick = levy.search(costs, spread, runs);
            assert_eq!(quick, Some(table.fill(costs, runs)), "{runs} runs");
        }
    }

    /// Equal steps with equal counts: the gains of many numbers of runs are
    /// equal, so no levy singles one out and the table must answer.
    #[test]
    fn numbers_that_no_levy_gives_are_found() {
        let values: Vec<i64> = (0..120).collect();
        let counts = vec![1; 120];
        for runs in [16, 50, 90, 119] {
            let mut partitioner = Partitioner::default();
            let ends = partitioner.partition(&values, &counts, runs);
            let starts = std::iter::once(&0).chain(ends);
            let lengths: Vec<usize> = starts.zip(ends).map(|(s, e)| e - s).collect();
            let even = |&length: &usize| length.abs_diff(120 / runs) <= 1;
            assert!(lengths.iter().all(even), "{runs}: {lengths:?}");
            assert!(lengths.iter().all(|&l| l >= 120 / runs), "{runs}: {lengths:?}");
        }
    }
}
