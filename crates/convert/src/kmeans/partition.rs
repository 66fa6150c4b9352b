//! The optimal partition of sorted weighted values into runs.
//!
//! The cost of a run is its squared error about its table entry, the fp16
//! value nearest to its mean. That is Monge: of two runs of which one contains
//! the other, swap the ends, and let the one with the lower entry begin; what
//! changes entry gets a nearer one, or an equally near one. So the best start
//! of the last run grows with its end, and what one more run gains falls with
//! the number of runs. The second makes `levy` work, which is fast and nearly
//! always finds the partition, or one into nearly as many runs, which leaves
//! little to `table`.

mod costs;
mod fill;
mod levy;
mod table;

use costs::{Costs, Exact, Rounded};
use levy::Levy;
use table::Table;

/// Scratch memory for [`Partitioner::partition`].
#[derive(Debug, Default)]
pub(super) struct Partitioner {
    rounded: Rounded,
    exact: Exact,
    levy: Levy,
    table: Table,
    ends: Vec<usize>,
}

impl Partitioner {
    /// Splits the ascending distinct `values`, each with its number of
    /// occurrences, into exactly `runs` runs of least squared error; returns
    /// the end of each run (the position after its last value), the last being
    /// the number of values.
    ///
    /// `runs` must be at least 2 and below the number of values.
    pub(super) fn partition(&mut self, values: &[i64], counts: &[u64], runs: usize) -> &[usize] {
        self.rounded.sum_up(values, counts);
        let guess = self.levy.guess(&self.rounded, runs);
        let Self { rounded, exact, levy, table, ends } = self;
        solve((levy, table), rounded, guess, runs, ends);
        if !rounded.suffices(runs, total(rounded, ends)) {
            exact.sum_up(values, counts);
            // Rounded as the costs were, the levy is about right.
            let guess = levy.last().unwrap_or(guess);
            solve((levy, table), exact, guess, runs, ends);
        }
        ends
    }
}

/// Writes into `ends` those of `runs` runs of least cost.
fn solve(
    (levy, table): (&mut Levy, &mut Table),
    costs: &impl Costs,
    guess: f64,
    runs: usize,
    ends: &mut Vec<usize>,
) {
    let near = levy.search(costs, guess, runs);
    if near.len() == runs {
        ends.clear();
        ends.extend_from_slice(near);
    } else {
        table.fill(costs, near, runs, ends);
    }
}

/// The cost of the runs with these `ends`.
fn total(costs: &impl Costs, ends: &[usize]) -> f64 {
    let starts = std::iter::once(&0).chain(ends);
    starts.zip(ends).map(|(&start, &end)| costs.cost(start, end)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table without a partition to start from knows nothing of levies.
    #[test]
    fn levy_and_table_agree() {
        let bell = |i: i64| (40_000.0 / (1.0 + (i as f64 / 300.0).powi(2))) as u64;
        let values: Vec<i64> = (-900..900).map(|i| i * 4099 + i * i % 101).collect();
        let counts: Vec<u64> = (-900..900).map(|i| 1 + bell(i) + i.unsigned_abs() % 7).collect();
        let Partitioner { mut rounded, mut levy, mut table, .. } = Partitioner::default();
        rounded.sum_up(&values, &counts);
        for runs in [2, 3, 7, 16, 64, 256] {
            let guess = levy.guess(&rounded, runs);
            let (mut quick, mut slow) = (Vec::new(), Vec::new());
            solve((&mut levy, &mut table), &rounded, guess, runs, &mut quick);
            table.fill(&rounded, &[], runs, &mut slow);
            assert_eq!(quick, slow, "{runs} runs");
        }
    }

    /// Equal steps with equal counts: the gains of many numbers of runs are
    /// equal, so no levy singles one out and the table must answer.
    #[test]
    fn numbers_that_no_levy_gives_are_found() {
        let values: Vec<i64> = (0..120).map(|i| i << 20).collect();
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
