//! What a run of values costs: its squared error about the fp16 value nearest
//! to its mean, which is its best table entry, from sums over the values
//! before each.
//!
//! All are integers in squared units, for most groups below 2^53: then nothing
//! is rounded anywhere.

use super::super::fixed;

/// How much worse than the optimum, relatively, rounding in the costs may make a partition.
const TOLERANCE: f64 = 1e-8;

/// Ends that [`Costs::least`] looks at together.
pub(super) const LANES: usize = 4;

/// The cost of a run of values.
pub(super) trait Costs {
    /// Number of values.
    fn count(&self) -> usize;

    /// Squared error of the values `start..end` about their table entry.
    fn cost(&self, start: usize, end: usize) -> f64;

    /// For each of the ends from `end` the least of `bases[i] + cost(first + i, end)`, `i` below `starts`; ends past
    /// the last value get anything. Starts that do not lie before an end do not count.
    fn least(&self, bases: &[f64], first: usize, starts: usize, end: usize) -> [f64; LANES] {
        std::array::from_fn(|lane| self.best(bases, first, starts, (end + lane).min(self.count())).1)
    }

    /// The start of the first least of `bases[i] + cost(first + i, end)`, `i` below `starts` rounded up to whole
    /// lanes, and that total. The bases ascend. Starts that do not lie before `end` do not count.
    fn best(&self, bases: &[f64], first: usize, starts: usize, end: usize) -> (usize, f64) {
        let mut found = (first, f64::INFINITY);
        for (start, base) in (first..end).zip(&bases[..starts]) {
            // Nor is any start after this one better.
            if *base >= found.1 {
                break;
            }
            let total = base + self.cost(start, end);
            if total < found.1 {
                found = (start, total);
            }
        }
        found
    }
}

/// The first of the least of `totals` and where it is.
fn first_least(totals: impl Iterator<Item = f64>) -> (usize, f64) {
    totals
        .enumerate()
        .fold((0, f64::INFINITY), |found, (i, total)| if total < found.1 { (i, total) } else { found })
}

/// The smaller of two, without the care for NaN that costs time.
#[inline(always)]
fn lower(a: f64, b: f64) -> f64 {
    if b < a { b } else { a }
}

/// The larger of two, as carelessly.
#[inline(always)]
fn higher(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

/// Costs from sums rounded to `f64`: fast, and off by the last bits of the sum
/// over all values.
#[derive(Debug, Default)]
pub(super) struct Rounded {
    centre: f64,
    /// Whether nothing was rounded, neither in the sums nor in any cost.
    whole: bool,
    /// Counts, sums and sums of squares about a centre of the first `i` values, `i` from 0; behind the last value
    /// once more for each lane.
    counts: Vec<f64>,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Rounded {
    /// Reads the ascending distinct `values` and how often each occurs.
    pub(super) fn sum_up(&mut self, values: &[i64], counts: &[u64]) {
        self.clear();
        let (centre, fits) = centre(values, counts);
        self.centre = centre as f64;
        if fits {
            self.sum_up_narrow(values, counts, centre);
        } else {
            self.whole = false;
            let mut total = Moments::default();
            self.push(0.0, 0.0, 0.0);
            for (&value, &count) in values.iter().zip(counts) {
                total.add(value - centre, count);
                self.push(total.count as f64, total.sum as f64, total.squares as f64);
            }
        }
        self.pad();
    }

    /// The same sums where 63 bits hold them.
    fn sum_up_narrow(&mut self, values: &[i64], counts: &[u64], centre: i64) {
        let (mut total, mut sum, mut squares) = (0, 0, 0);
        self.push(0.0, 0.0, 0.0);
        for (&value, &count) in values.iter().zip(counts) {
            let (value, count) = (value - centre, count as i64);
            let product = count * value;
            total += count;
            sum += product;
            squares += product * value;
            self.push(total as f64, sum as f64, squares as f64);
        }
        // What a cost is computed from is at most four times as large.
        self.whole = squares <= 1 << 51;
    }

    /// Takes only every `stride`-th place of `all` where a run may start or end.
    pub(super) fn thin(&mut self, all: &Self, stride: usize) {
        self.clear();
        self.centre = all.centre;
        let count = all.count();
        for i in (0..count).step_by(stride).chain([count]) {
            self.push(all.counts[i], all.sums[i], all.squares[i]);
        }
        self.pad();
    }

    /// Whether the costs of `runs` runs, which amount to `least`, are as good as exact.
    ///
    /// Differences of sums are off by at most about the last bit of the whole: nothing for usual weights, everything
    /// where an outlier hides the spread of the rest.
    pub(super) fn suffices(&self, runs: usize, least: f64) -> bool {
        self.whole || self.spread() * f64::EPSILON * runs as f64 <= least * TOLERANCE
    }

    /// The cost of all values in one run.
    pub(super) fn spread(&self) -> f64 {
        self.cost(0, self.count())
    }

    fn clear(&mut self) {
        self.counts.clear();
        self.sums.clear();
        self.squares.clear();
    }

    fn push(&mut self, count: f64, sum: f64, squares: f64) {
        self.counts.push(count);
        self.sums.push(sum);
        self.squares.push(squares);
    }

    fn pad(&mut self) {
        for list in [&mut self.counts, &mut self.sums, &mut self.squares] {
            let last = list.last().copied().unwrap_or_default();
            list.resize(list.len() + LANES, last);
        }
    }
}

impl Costs for Rounded {
    fn count(&self) -> usize {
        self.counts.len() - LANES - 1
    }

    #[inline(always)]
    fn cost(&self, start: usize, end: usize) -> f64 {
        let sums = |i: usize| [self.counts[i], self.sums[i], self.squares[i]];
        about_entry(sums(start), sums(end), self.centre)
    }

    #[inline]
    fn least(&self, bases: &[f64], first: usize, starts: usize, end: usize) -> [f64; LANES] {
        let lanes = |list: &[f64]| -> [f64; LANES] { std::array::from_fn(|lane| list[end + lane]) };
        let (counts, sums, squares) = (lanes(&self.counts), lanes(&self.sums), lanes(&self.squares));
        let range = first..first + starts;
        let starts =
            self.counts[range.clone()].iter().zip(&self.sums[range.clone()]).zip(&self.squares[range]);
        let mut least = [f64::INFINITY; LANES];
        for (base, ((count, sum), square)) in bases.iter().zip(starts) {
            for lane in 0..LANES {
                let end = [counts[lane], sums[lane], squares[lane]];
                let total = base + about_entry([*count, *sum, *square], end, self.centre);
                let better = (*count < end[0]) & (total < least[lane]);
                least[lane] = if better { total } else { least[lane] };
            }
        }
        least
    }

    #[inline]
    fn best(&self, bases: &[f64], first: usize, starts: usize, end: usize) -> (usize, f64) {
        let last = [self.counts[end], self.sums[end], self.squares[end]];
        let range = first..first + starts.next_multiple_of(LANES);
        let (bases, _) = bases[..range.len()].as_chunks::<LANES>();
        let (counts, _) = self.counts[range.clone()].as_chunks::<LANES>();
        let (sums, _) = self.sums[range.clone()].as_chunks::<LANES>();
        let (squares, _) = self.squares[range].as_chunks::<LANES>();
        let mut found = (0, [f64::INFINITY; LANES], f64::INFINITY);
        for (i, ((bases, counts), (sums, squares))) in
            bases.iter().zip(counts).zip(sums.iter().zip(squares)).enumerate()
        {
            // Nor is any start after this one better.
            if bases[0] >= found.2 {
                break;
            }
            let totals = totals(bases, counts, sums, squares, (last, self.centre));
            let least = totals.into_iter().fold(f64::INFINITY, lower);
            if least < found.2 {
                found = (i * LANES, totals, least);
            }
        }
        let (lane, least) = first_least(found.1.into_iter());
        (first + found.0 + lane, least)
    }
}

/// Costs of runs that start behind these sums and end behind the sums `last`, each with its base; infinite for empty
/// runs and less.
#[inline(always)]
fn totals<const N: usize>(
    bases: &[f64; N],
    counts: &[f64; N],
    sums: &[f64; N],
    squares: &[f64; N],
    (last, centre): ([f64; 3], f64),
) -> [f64; N] {
    std::array::from_fn(|i| {
        let total = bases[i] + about_entry([counts[i], sums[i], squares[i]], last, centre);
        if counts[i] < last[0] { total } else { f64::INFINITY }
    })
}

/// The cost of the run between two places, given count, sum and sum of squares about the `centre` before each.
#[inline(always)]
fn about_entry(start: [f64; 3], end: [f64; 3], centre: f64) -> f64 {
    let [count, sum, squares] = [end[0] - start[0], end[1] - start[1], end[2] - start[2]];
    let entry = nearest(sum / count + centre) - centre;
    squares - entry * ((sum + sum) - entry * count)
}

/// The fp16 value nearest to `mean`, ties to even, both in units.
#[inline(always)]
fn nearest(mean: f64) -> f64 {
    // Of numbers so many times as large as the power of two in the mean, those of 64 bits are as far apart as those of
    // fp16 at the mean; below 1024 the latter are one unit apart.
    const TIMES: f64 = 1.5 * (1_u64 << 42) as f64;
    let power = f64::from_bits(mean.to_bits() & (0x7ff << 52));
    let large = higher(power * TIMES, 1024.0 * TIMES);
    (mean + large) - large
}

/// Costs from exact sums: slow, and off by their own last bit only.
#[derive(Debug, Default)]
pub(super) struct Exact {
    centre: i64,
    values: Vec<i64>,
    /// Sums about the centre over the first `i` values, `i` from 0.
    moments: Vec<Moments>,
    /// The same without all bits above 64: enough for a result that has no more.
    low: Vec<[i64; 3]>,
    /// Whether 64 bits hold all sums of values.
    is_light: bool,
}

/// Weights in a group whose sum 64 bits hold, whatever they are: a value has 41.
const LIGHT: i128 = 1 << 21;

/// What 64 bits hold, with something to spare.
const NARROW: f64 = (1_u64 << 61) as f64;

impl Exact {
    /// Reads the ascending distinct `values` and how often each occurs.
    pub(super) fn sum_up(&mut self, values: &[i64], counts: &[u64]) {
        (self.centre, _) = centre(values, counts);
        let mut total = Moments::default();
        self.values.clear();
        self.values.extend_from_slice(values);
        self.moments.clear();
        self.moments.push(total);
        for (&value, &count) in values.iter().zip(counts) {
            total.add(value - self.centre, count);
            self.moments.push(total);
        }
        self.is_light = total.count < LIGHT;
        self.low.clear();
        self.low.extend(self.moments.iter().map(|m| [m.count as i64, m.sum as i64, m.squares as i64]));
    }

    /// The cost in 64 bits, for a run of no more than that.
    fn narrow(&self, start: usize, end: usize) -> Option<f64> {
        let (from, to) = (&self.low[start], &self.low[end]);
        let (count, width) = (to[0] - from[0], (self.values[end - 1] - self.values[start]) as f64);
        // No value is farther from the entry than the ends of the run are from each other.
        if !self.is_light || count as f64 * (width * width) > NARROW {
            return None;
        }
        let sum = to[1] - from[1];
        let entry = nearest(sum as f64 / count as f64 + self.centre as f64) as i64 - self.centre;
        // What is lost above 64 bits on the way would not be in the result.
        let about = entry.wrapping_mul((2 * sum).wrapping_sub(entry.wrapping_mul(count)));
        Some(to[2].wrapping_sub(from[2]).wrapping_sub(about) as f64)
    }

    fn wide(&self, start: usize, end: usize) -> f64 {
        let (from, to) = (&self.moments[start], &self.moments[end]);
        let (count, sum) = (to.count - from.count, to.sum - from.sum);
        let entry = nearest(sum as f64 / count as f64 + self.centre as f64) as i64 - self.centre;
        let entry = i128::from(entry);
        (to.squares - from.squares - entry * (2 * sum - entry * count)) as f64
    }
}

impl Costs for Exact {
    fn count(&self) -> usize {
        self.moments.len() - 1
    }

    fn cost(&self, start: usize, end: usize) -> f64 {
        self.narrow(start, end).unwrap_or_else(|| self.wide(start, end))
    }
}

/// Count, sum and sum of squares of weights.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: i128,
    sum: i128,
    squares: i128,
}

impl Moments {
    fn add(&mut self, value: i64, count: u64) {
        let (value, count) = (i128::from(value), i128::from(count));
        self.count += count;
        self.sum += count * value;
        self.squares += count * value * value;
    }
}

/// The mean, about which the squares are smallest and so lose least to
/// rounding, and whether 63 bits hold their sum.
fn centre(values: &[i64], counts: &[u64]) -> (i64, bool) {
    let (sum, count) = fixed::total(values, counts);
    let centre = fixed::mean(sum, count);
    (centre, fixed::squares_fit(values, centre, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_run_costs_the_same_in_64_bits() {
        let values: Vec<i64> =
            [-(65504 << 24), -70_000, -3, 0, 5, 900, 16_777, 60_000 << 24, 65_504 << 24].into();
        let counts = [1, 900, 30, 1, 77, 4000, 2, 8, 1];
        let mut exact = Exact::default();
        exact.sum_up(&values, &counts);
        let mut narrow = 0;
        for end in 1..=values.len() {
            for start in 0..end {
                if let Some(cost) = exact.narrow(start, end) {
                    assert_eq!(cost, exact.wide(start, end), "{start}..{end}");
                    narrow += 1;
                }
            }
        }
        assert!((9..45).contains(&narrow), "{narrow} of 45 runs");
    }

    /// Below, at and above the middle of each two neighbours.
    #[test]
    fn entries_are_rounded_as_the_table_is() {
        for bits in 0..0x7bff_u16 {
            let [low, high] = [bits, bits + 1].map(|bits| fixed::from_f16(half::f16::from_bits(bits)));
            let sum = 50 * (low + high);
            for sum in [sum - 1, sum, sum + 1, 1 - sum, -sum, -1 - sum] {
                let expected = fixed::mean(i128::from(sum), 100);
                assert_eq!(nearest(sum as f64 / 100.0), expected as f64, "{sum} / 100");
            }
        }
    }
}
