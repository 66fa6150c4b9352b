//! Normal deviates rounded to bf16, drawn as fast as they can be written.
//!
//! A bf16 has few values, so the chance of each is worked out once, and a draw is one look into a table (Walker's alias
//! method): the deviates are those of a normal distribution rounded to the nearest bf16, each value with its chance to
//! within 2^-32.

use half::bf16;

/// Bits of a draw that choose a cell; the others choose between the two values of it.
const CELL_BITS: u32 = 13;
const COIN_BITS: u32 = 32 - CELL_BITS;

/// Standard deviations from the mean at which the values end.
const REACH: f64 = 10.0;

/// A normal distribution over bf16 values.
#[derive(Debug)]
pub(crate) struct Normal {
    cells: Vec<Cell>,
}

/// Two values that share one cell of the table.
#[derive(Clone, Copy, Debug)]
struct Cell {
    /// Draws below it take the first value.
    threshold: u32,
    values: [bf16; 2],
}

impl Normal {
    pub(crate) fn new(mean: f64, deviation: f64) -> Normal {
        let values = values(mean, deviation);
        let mut chances = chances(&values, mean, deviation);
        let size = 1 << CELL_BITS;
        assert!(values.len() <= size, "a cell for each value");
        chances.resize(size, 0.0);
        let total: f64 = chances.iter().sum();
        chances.iter_mut().for_each(|chance| *chance *= size as f64 / total);
        Normal { cells: cells(&values, chances) }
    }

    /// The value that 32 random bits choose.
    pub(crate) fn draw(&self, bits: u32) -> bf16 {
        let cell = self.cells[(bits >> COIN_BITS) as usize];
        let coin = bits & ((1 << COIN_BITS) - 1);
        cell.values[usize::from(coin >= cell.threshold)]
    }
}

/// The bf16 values within reach, in order. Those within 2^-22 deviations of zero are left to their neighbours.
fn values(mean: f64, deviation: f64) -> Vec<bf16> {
    let mut values: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).filter(|v| v.is_finite()).collect();
    values.retain(|v| {
        let v = v.to_f64();
        v.abs() >= deviation * f64::from(2.0f32.powi(-22)) && (v - mean).abs() <= REACH * deviation
    });
    values.sort_by(|a, b| a.to_f64().total_cmp(&b.to_f64()));
    values
}

/// The chance of each value, up to a common factor: the density over all that is rounded to it.
fn chances(values: &[bf16], mean: f64, deviation: f64) -> Vec<f64> {
    let density = |x: f64| (-0.5 * ((x - mean) / deviation).powi(2)).exp();
    // Simpson's rule; a value's cell is a small part of a deviation.
    let over = |low: f64, high: f64| {
        (high - low) / 6.0 * (density(low) + 4.0 * density(f64::midpoint(low, high)) + density(high))
    };
    let at = |i: usize| values[i].to_f64();
    let last = values.len() - 1;
    let chance = |i: usize| {
        let low = if i == 0 { at(i) } else { f64::midpoint(at(i - 1), at(i)) };
        let high = if i == last { at(i) } else { f64::midpoint(at(i), at(i + 1)) };
        over(low, at(i)) + over(at(i), high)
    };
    (0..values.len()).map(chance).collect()
}

/// Fills each cell to one with the chances of at most two values. `chances` add up to their number.
fn cells(values: &[bf16], mut chances: Vec<f64>) -> Vec<Cell> {
    let value = |i: usize| values.get(i).copied().unwrap_or(bf16::ZERO);
    let threshold = |chance: f64| (chance * f64::from(1u32 << COIN_BITS)).round() as u32;
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..chances.len()).partition(|i| chances[*i] < 1.0);
    let mut cells: Vec<Cell> =
        (0..chances.len()).map(|i| Cell { threshold: 1 << COIN_BITS, values: [value(i); 2] }).collect();
    while let (Some(poor), Some(&rich)) = (small.pop(), large.last()) {
        cells[poor] = Cell { threshold: threshold(chances[poor]), values: [value(poor), value(rich)] };
        chances[rich] -= 1.0 - chances[poor];
        if chances[rich] < 1.0 {
            large.pop();
            small.push(rich);
        }
    }
    cells
}

/// Random numbers from a counter (Steele, Lea and Flood's SplitMix64): any place of the sequence can be its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of a seed and what it is for.
    pub(crate) fn new(seed: u64, name: &str, part: u64) -> Random {
        // FNV-1a
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Random(mix(mix(seed ^ hash).wrapping_add(part)))
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(normal: &Normal, count: usize) -> Vec<f64> {
        let mut random = Random::new(1, "sample", 0);
        (0..count).map(|_| normal.draw((random.bits() >> 32) as u32).to_f64()).collect()
    }

    #[test]
    fn moments_are_those_of_the_distribution() {
        for (mean, deviation) in [(0.0, 0.02), (1.0, 0.1)] {
            let count = 1 << 20;
            let drawn = sample(&Normal::new(mean, deviation), count);
            let moment = |power: i32| {
                drawn.iter().map(|x| ((x - mean) / deviation).powi(power)).sum::<f64>() / count as f64
            };
            // Five standard errors of each moment of a million draws; rounding adds less than one of them.
            for (power, expected, error) in [(1, 0.0, 1.0), (2, 1.0, 1.4), (3, 0.0, 3.9), (4, 3.0, 9.8)] {
                let found = moment(power);
                let allowed = 6.0 * error / f64::from(1 << 10);
                assert!((found - expected).abs() < allowed, "moment {power} of {mean}: {found}");
            }
        }
    }

    #[test]
    fn tails_are_there() {
        let normal = Normal::new(0.0, 0.02);
        let count = 1 << 20;
        let far =
            |limit: f64| sample(&normal, count).iter().filter(|x| x.abs() > limit * 0.02).count() as f64;
        // Both tails of the normal distribution: 2.7e-3 beyond 3, 6.3e-5 beyond 4 deviations; five standard errors.
        for (limit, chance) in [(3.0, 2.6998e-3), (4.0, 6.334e-5)] {
            let expected = chance * count as f64;
            // The nearest bf16 to the limit may lie on either side of it.
            let allowed = 5.0 * expected.sqrt() + 0.02 * expected;
            assert!((far(limit) - expected).abs() < allowed, "{} beyond {limit}, not {expected}", far(limit));
        }
    }

    #[test]
    fn a_group_has_as_many_distinct_values_as_one_made_by_torch() {
        // About 1,700 in 8 x 1024 weights of torch.randn * 0.02 as bf16.
        let mut group = sample(&Normal::new(0.0, 0.02), 8192);
        group.sort_by(f64::total_cmp);
        group.dedup();
        assert!((1550..1850).contains(&group.len()), "{}", group.len());
    }

    #[test]
    fn sequences_are_apart() {
        let first = |seed, name, part| Random::new(seed, name, part).bits();
        let all = [first(1, "a", 0), first(1, "a", 1), first(1, "b", 0), first(2, "a", 0)];
        for (i, one) in all.iter().enumerate() {
            assert!(!all[..i].contains(one), "sequence {i} begins as another");
        }
    }
}
