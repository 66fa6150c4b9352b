//! Tables of 256 entries in a form that takes half the lookups.
//!
//! An entry in fixed point has two bytes, and instructions that look up bytes need 16 lookups for each. The
//! entries of a table that ascends are close to their neighbours, so 16 of them share a base, and the step
//! from which they are counted up:
//!
//! ```text
//! entry 16·h + l = BASE · base[h] + step[h] · rung[16·h + l]
//! ```
//!
//! with eight bits for each of the three, which takes 16 lookups for the rung, and one each for step and base.

use super::fixed::MAX;

/// Entries of a table.
const ENTRIES: usize = 256;

/// Entries that share a base and a step.
const SIXTEEN: usize = 16;

/// What one of a base is worth: `BASE * i8::MIN` is one below the smallest entry, and even 32 products of it
/// with the largest activation are below 2^31.
pub(super) const BASE: i32 = 64;

/// The part of the noise of a table that rounding to steps may add to it.
const TOLERANCE: f32 = 1.0 / 16.0;

/// Tables in steps.
#[derive(Debug, Default)]
pub(super) struct Stepped {
    /// Of each table the rungs, the steps and the bases.
    bytes: Vec<u8>,
}

impl Stepped {
    /// Bytes of a table.
    const LEN: usize = ENTRIES + 2 * (ENTRIES / SIXTEEN);

    /// Tables of 256 multiples of their scales. `None` when one does not ascend, or steps are too coarse for it.
    pub(super) fn new(tables: &[Vec<f32>]) -> Option<Stepped> {
        let mut stepped = Stepped { bytes: Vec::with_capacity(tables.len() * Stepped::LEN) };
        tables.iter().all(|table| stepped.push(table)).then_some(stepped)
    }

    /// The rungs, the steps and the bases of table `i`.
    pub(super) fn table(&self, i: usize) -> &[u8] {
        &self.bytes[i * Stepped::LEN..][..Stepped::LEN]
    }

    /// The entries of table `i`.
    pub(super) fn entries(&self, i: usize) -> impl Iterator<Item = i16> {
        let (rungs, rest) = self.table(i).split_at(ENTRIES);
        let (steps, bases) = rest.split_at(ENTRIES / SIXTEEN);
        let value = |i: usize| {
            let base = BASE * i32::from(bases[i / SIXTEEN].cast_signed());
            (base + i32::from(steps[i / SIXTEEN]) * i32::from(rungs[i])) as i16
        };
        (0..ENTRIES).map(value)
    }

    /// Adds a table, and tells whether steps are fine enough for it.
    fn push(&mut self, table: &[f32]) -> bool {
        if table.len() != ENTRIES || !table.is_sorted() {
            return false;
        }
        let at = self.bytes.len();
        self.bytes.resize(at + Stepped::LEN, 0);
        let (rungs, rest) = self.bytes[at..].split_at_mut(ENTRIES);
        let (steps, bases) = rest.split_at_mut(ENTRIES / SIXTEEN);
        let mut added = 0.0;
        for (h, entries) in table.chunks_exact(SIXTEEN).enumerate() {
            let (base, step) = base_and_step(entries[0], entries[SIXTEEN - 1]);
            (bases[h], steps[h]) = ((base / BASE) as i8 as u8, step as u8);
            for (l, entry) in entries.iter().enumerate() {
                let i = SIXTEEN * h + l;
                let rung = rung(*entry, base, step);
                rungs[i] = rung as u8;
                let error = (base + step * rung) as f32 - entry;
                added += error * error / own_noise(table, i);
            }
        }
        // A product with zero noise would be NaN or infinite, and not allowed.
        added / ENTRIES as f32 <= TOLERANCE
    }
}

/// What ascending entries from `first` to `last` are counted from, a multiple of [`BASE`], and by.
fn base_and_step(first: f32, last: f32) -> (i32, i32) {
    let base = (first as i32).div_euclid(BASE) * BASE;
    let step = (last as i32 - base) / i32::from(u8::MAX) + 1;
    (base, step)
}

/// How many steps from `base` to the number nearest to `entry` that is not above [`MAX`].
fn rung(entry: f32, base: i32, step: i32) -> i32 {
    let nearest = ((entry - base as f32) / step as f32 + 0.5) as i32;
    nearest.min((MAX as i32 - base) / step)
}

/// The noise of the weights that entry `i` stands for: they lie between the middles to its neighbours. All
/// entries of an optimal table have the same part in its noise, so that of the table is the mean.
fn own_noise(table: &[f32], i: usize) -> f32 {
    let (below, above) = (i.saturating_sub(1), (i + 1).min(table.len() - 1));
    let width = (table[above] - table[below]) / (above - below) as f32;
    width * width / 12.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries whose distances grow towards the ends, as those for weights with a bell curve do.
    fn bell() -> Vec<f32> {
        let entry = |i: usize| {
            let x = (i as f32 - 127.5) / 127.5;
            MAX * (0.4 * x + 0.6 * x * x * x)
        };
        (0..ENTRIES).map(entry).collect()
    }

    #[test]
    fn entries_are_within_half_a_step_and_the_largest_within_one() {
        let table = bell();
        let stepped = Stepped::new(&[table.clone(), table.clone()]).unwrap();
        for t in 0..2 {
            for (i, (entry, exact)) in stepped.entries(t).zip(&table).enumerate() {
                let step = f32::from(stepped.table(t)[ENTRIES + i / SIXTEEN]);
                let allowed = if *exact > MAX - step { step } else { 0.5 * step };
                assert!((f32::from(entry) - exact).abs() <= allowed, "{i}: {entry} for {exact}");
                assert!((-8192..=8191).contains(&entry), "{i}: {entry}");
            }
        }
    }

    #[test]
    fn tables_that_lose_too_much_are_refused() {
        let mut descending = bell();
        descending.reverse();
        let mut outlier: Vec<f32> = (0..ENTRIES).map(|i| i as f32).collect();
        outlier[ENTRIES - 1] = MAX;
        let mut dense_end = bell();
        for (i, entry) in dense_end.iter_mut().rev().take(SIXTEEN).enumerate() {
            *entry = MAX - i as f32 * 0.01;
        }
        for (name, table) in [
            ("descending", descending),
            ("zeros", vec![0.0; ENTRIES]),
            ("an outlier", outlier),
            ("a dense end", dense_end),
        ] {
            assert!(Stepped::new(&[bell(), table]).is_none(), "{name}");
        }
    }
}
