//! The partitions against a plain dynamic programme, which tries every start for every end.

use super::*;

/// The least cost of the values in 1, 2 .. `runs` runs.
fn least_costs(values: &[i64], counts: &[u64], runs: usize) -> Vec<f64> {
    let n = values.len();
    // For each end the cost of the run from each start.
    let costs: Vec<Vec<f64>> = (1..=n).map(|end| run_costs(&values[..end], &counts[..end])).collect();
    let mut least: Vec<f64> = std::iter::once(0.0).chain(std::iter::repeat_n(f64::INFINITY, n)).collect();
    let mut answers = Vec::new();
    for _ in 0..runs {
        // From the last end down: what is before it is still of the row before.
        for end in (1..=n).rev() {
            let totals = least.iter().zip(&costs[end - 1]).map(|(before, cost)| before + cost);
            least[end] = totals.fold(f64::INFINITY, |a, b| if b < a { b } else { a });
        }
        least[0] = f64::INFINITY;
        answers.push(least[n]);
    }
    answers
}

/// Squared error about the best table entry of the values from each start to the last.
fn run_costs(values: &[i64], counts: &[u64]) -> Vec<f64> {
    let (mut count, mut sum, mut squares) = (0, 0, 0);
    let mut costs = vec![0.0; values.len()];
    for start in (0..values.len()).rev() {
        let value = i128::from(values[start]);
        count += counts[start];
        sum += i128::from(counts[start]) * value;
        squares += i128::from(counts[start]) * value * value;
        let entry = i128::from(fixed::mean(sum, count));
        costs[start] = (squares - entry * (2 * sum - entry * i128::from(count))) as f64;
    }
    costs
}

/// Cost in units of the partition that the production code finds.
pub(super) fn found_cost(values: &[i64], counts: &[u64], runs: usize) -> f64 {
    let mut partitioner = Partitioner::default();
    let ends = partitioner.partition(values, counts, runs);
    assert_eq!((ends.len(), ends.last()), (runs, Some(&values.len())));
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(ends).map(|(start, &end)| run_costs(&values[start..end], &counts[start..end])[0]).sum()
}

/// Holds the partitions into each number of `runs` that is below the number of values against the programme.
fn check_runs(name: &str, values: &[i64], counts: &[u64], runs: &[usize]) {
    let runs = || runs.iter().copied().filter(|runs| (2..values.len()).contains(runs));
    let least = least_costs(values, counts, runs().max().unwrap_or_default());
    for runs in runs() {
        let (found, least) = (found_cost(values, counts, runs), least[runs - 1]);
        assert!(found - least <= least * 1e-9, "{name}, {runs} runs: {found}, at the least {least}");
    }
}

/// As many runs as the tables of 1 to 8 bits have entries.
const TABLES: [usize; 8] = [2, 4, 8, 16, 32, 64, 128, 256];

#[test]
fn small_groups() {
    let mut source = Source(1);
    for case in 0..4000 {
        let (kind, size) = (case % KINDS, 3 + source.below(90) as usize);
        let weights: Vec<f16> = (0..size).map(|_| source.weight(kind)).collect();
        let (values, counts) = distinct(&weights);
        let any = 2 + source.below(size as u64) as usize;
        let runs = [&TABLES[..], &[3, any, values.len() - 1]].concat();
        check_runs(&format!("kind {kind}, case {case}"), &values, &counts, &runs);
    }
}

/// Groups of some hundred distinct values, for the tables of many entries.
#[test]
fn larger_groups() {
    let mut source = Source(5);
    for case in 0..32 {
        let kind = [0, 2, 5, 7][case % 4];
        let weights: Vec<f16> = (0..500).map(|_| source.weight(kind)).collect();
        let (values, counts) = distinct(&weights);
        check_runs(&format!("kind {kind}, case {case}"), &values, &counts, &TABLES);
    }
}

/// Values as they are in a group of 8 rows of 1,024 bf16 weights.
#[test]
fn groups_of_real_size() {
    let mut source = Source(6);
    for (name, scale) in [("normal", 0.0), ("heavy-tailed", 3.0)] {
        let mut weight = || {
            let weight = 0.02 * source.normal() * (1.0 + scale * source.unit().powi(6));
            f16::from_f32(half::bf16::from_f64(weight).to_f32())
        };
        let weights: Vec<f16> = (0..8192).map(|_| weight()).collect();
        let (values, counts) = distinct(&weights);
        assert!((1400..2200).contains(&values.len()), "{name}: {} values", values.len());
        check_runs(name, &values, &counts, &[16, 64, 256]);
    }
}

/// Shapes that starve one of the ways: equal gains, gains of all sizes, values that hide others.
#[test]
fn contrived_groups() {
    let even = |n: i64| (0..n).collect::<Vec<i64>>();
    let mut far = even(40);
    far.extend(even(40).iter().map(|value| (1 << 40) - 41 + value));
    let mut outlier = even(80);
    outlier.push(65504 << 24);
    let doubling: Vec<i64> = (0..39).map(|power| 1 << power).collect();
    let blocks: Vec<i64> = (0..96).map(|i| i % 3 + i / 3 * 1000).collect();
    let mirrored: Vec<i64> = (-50..=50).map(|i: i64| i * i * i).collect();
    let shapes = [
        ("even", even(120)),
        ("even and many", even(600)),
        ("two far clusters", far),
        ("an outlier", outlier),
        ("doubling", doubling),
        ("blocks", blocks),
        ("mirrored", mirrored),
    ];
    for (name, values) in shapes {
        let one = vec![1; values.len()];
        let turns: Vec<u64> = (0..values.len()).map(|i| [1, 1000][i % 2]).collect();
        let growing: Vec<u64> = (0..values.len()).map(|i| 1 << (i % 20)).collect();
        let runs = [&TABLES[..], &[3, 5, 50, 119, values.len() - 1]].concat();
        for (counted, counts) in [("once", one), ("in turns", turns), ("growing", growing)] {
            check_runs(&format!("{name}, {counted}"), &values, &counts, &runs);
        }
    }
}

/// Counts a whole tensor can reach, where sums leave 53 bits.
#[test]
fn large_counts() {
    let mut source = Source(2);
    for case in 0..200 {
        let weights: Vec<f16> = (0..60).map(|_| source.weight(case % KINDS)).collect();
        let (values, mut counts) = distinct(&weights);
        for count in &mut counts {
            let bound = 1 << source.below(30);
            *count = 1 + source.below(bound);
        }
        check_runs(&format!("case {case}"), &values, &counts, &[2, 4, 16]);
    }
}
