//! The figure of the palettization report: squared error against variance.

use super::fixed::{self, UNIT};

/// Exact sums over palettized weights, in fixed point.
///
/// Integer sums do not depend on the order of adding, so the noise of a tensor
/// is the same however its groups were shared among threads. Sums of up to
/// 2^40 weights of any size fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Noise {
    count: u64,
    sum: i128,
    squares: i128,
    error: i128,
}

impl Noise {
    /// Counts weights, given in units as ascending distinct `values` and their `counts`, that the table replaces by
    /// `entry` units.
    pub(super) fn record(&mut self, values: &[i64], counts: &[u64], entry: i64) {
        let count = counts.iter().sum();
        let sums = match fixed::squares_fit(values, 0, count) && fixed::squares_fit(values, entry, count) {
            true => narrow_sums(values, counts, entry).map(i128::from),
            false => wide_sums(values, counts, entry),
        };
        self.count += count;
        self.sum += sums[0];
        self.squares += sums[1];
        self.error += sums[2];
    }

    /// Adds the weights of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
        self.error += other.error;
    }

    /// Number of weights.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Sum over the weights of (weight - table entry)^2.
    #[must_use]
    pub fn squared_error(&self) -> f64 {
        self.error as f64 * UNIT * UNIT
    }

    /// Sum over the weights of (weight - mean of all weights)^2.
    #[must_use]
    pub fn squared_deviation(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let (count, sum) = (self.count as f64, self.sum as f64);
        // Taking off the rounded mean first leaves nothing large to cancel.
        let mean = (sum / count).round();
        let centre = mean as i128;
        let about_centre = self.squares - 2 * centre * self.sum + i128::from(self.count) * centre * centre;
        let residue = (self.sum - i128::from(self.count) * centre) as f64;
        ((about_centre as f64 - residue * residue / count).max(0.0)) * UNIT * UNIT
    }

    /// Squared error relative to the weights' variance, in decibels (negative
    /// when the error is the smaller); `None` when there is no error or the
    /// weights do not vary.
    #[must_use]
    pub fn decibels(&self) -> Option<f64> {
        let (error, deviation) = (self.squared_error(), self.squared_deviation());
        (error > 0.0 && deviation > 0.0).then(|| 10.0 * (error / deviation).log10())
    }
}

/// Sums of the values, of their squares and of their squared differences from `entry`, which 63 bits must hold.
fn narrow_sums(values: &[i64], counts: &[u64], entry: i64) -> [i64; 3] {
    let mut sums = [0; 3];
    for (&value, &count) in values.iter().zip(counts) {
        let (times, difference) = (count as i64, value - entry);
        sums[0] += times * value;
        sums[1] += times * (value * value);
        sums[2] += times * (difference * difference);
    }
    sums
}

/// The same of any weights.
fn wide_sums(values: &[i64], counts: &[u64], entry: i64) -> [i128; 3] {
    let mut sums = [0; 3];
    for (&value, &count) in values.iter().zip(counts) {
        let (times, value) = (i128::from(count), i128::from(value));
        let difference = value - i128::from(entry);
        sums[0] += times * value;
        sums[1] += times * (value * value);
        sums[2] += times * (difference * difference);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: i64 = 1 << 24;

    #[test]
    fn states_error_against_variance() {
        let (mut first, mut second) = (Noise::default(), Noise::default());
        first.record(&[ONE], &[2], ONE);
        second.record(&[3 * ONE], &[2], 2 * ONE);
        let mut both = first;
        both.merge(&second);
        assert_eq!(both.count(), 4);
        assert_eq!(both.squared_error(), 2.0);
        assert_eq!(both.squared_deviation(), 4.0);
        let decibels = both.decibels().unwrap_or(0.0);
        assert!((decibels + 3.0103).abs() < 1e-4, "{decibels}");
    }

    #[test]
    fn has_no_figure_without_error_or_variance() {
        let mut noise = Noise::default();
        assert_eq!(noise.decibels(), None);
        noise.record(&[ONE], &[5], ONE);
        assert_eq!(noise.decibels(), None, "no error");
        noise.record(&[ONE], &[5], 0);
        assert_eq!(noise.decibels(), None, "no variance");
    }

    /// A spread of one unit on a mean of 65504 is not lost to cancellation.
    #[test]
    fn small_spread_on_a_large_mean_is_kept() {
        let large = 65504 * ONE;
        let mut noise = Noise::default();
        noise.record(&[large], &[1 << 30], large);
        noise.record(&[large + 2], &[1 << 30], large);
        let expected = (1u64 << 31) as f64 * UNIT * UNIT;
        assert_eq!(noise.squared_deviation(), expected);
    }
}
