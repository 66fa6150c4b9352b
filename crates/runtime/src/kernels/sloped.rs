//! Tables of 64 entries in a form that takes half the lookups.
//!
//! An entry in fixed point has two bytes, and instructions that look up bytes need four lookups for each. Entries in
//! ascending order are not far from a line, so that one byte tells how far:
//!
//! ```text
//! entry i = slope · (i - MIDDLE) + step · rung[i]
//! ```

use super::fixed::MAX;

/// Entries of a table.
const ENTRIES: usize = 64;

/// Where the line is zero.
pub(super) const MIDDLE: i32 = 32;

/// The part of the noise of all tables that rounding to steps may add to it.
const TOLERANCE: f32 = 1.0 / 32.0;

/// Tables along lines.
#[derive(Debug, Default)]
pub(super) struct Sloped {
    /// Of each table the rungs, the step and the slope.
    bytes: Vec<u8>,
}

impl Sloped {
    /// Bytes of a table.
    const LEN: usize = ENTRIES + 2;

    /// Tables of 64 multiples of their scales, one after the other. `None` when one does not ascend, or a byte is too little for them.
    pub(super) fn new(tables: &[f32]) -> Option<Sloped> {
        let (tables, _) = tables.as_chunks::<ENTRIES>();
        let mut sloped = Sloped { bytes: Vec::with_capacity(tables.len() * Sloped::LEN) };
        let mut added = 0.0;
        for table in tables {
            added += sloped.push(table)?;
        }
        (added / tables.len() as f32 <= TOLERANCE).then_some(sloped)
    }

    /// The rungs, the step and the slope of table `i`.
    pub(super) fn table(&self, i: usize) -> &[u8] {
        &self.bytes[i * Sloped::LEN..][..Sloped::LEN]
    }

    /// The entries of table `i`.
    pub(super) fn entries(&self, i: usize) -> impl Iterator<Item = i16> {
        let (rungs, by) = self.table(i).split_at(ENTRIES);
        let (step, slope) = (i32::from(by[0]), i32::from(by[1]));
        let entry = move |(i, rung): (i32, &u8)| slope * (i - MIDDLE) + step * i32::from(rung.cast_signed());
        (0..).zip(rungs).map(move |place| entry(place) as i16)
    }

    /// Adds a table; the part of its noise that is added to it. `None` where it does not ascend, or one byte is too
    /// little for the steps.
    fn push(&mut self, table: &[f32; ENTRIES]) -> Option<f32> {
        if !table.is_sorted() {
            return None;
        }
        let slope = slope(table);
        let off = |i: usize| table[i] - (slope * (i as i32 - MIDDLE)) as f32;
        let farthest = (0..ENTRIES).fold(0f32, |max, i| max.max(off(i).abs()));
        let step = (farthest / i8::MAX as f32) as i32 + 1;
        let mut added = 0.0;
        for (i, entry) in table.iter().enumerate() {
            let line = slope * (i as i32 - MIDDLE);
            let rung = rung(off(i), line, step);
            self.bytes.push(rung as i8 as u8);
            let error = (line + step * rung) as f32 - entry;
            added += error * error / own_noise(table, i);
        }
        self.bytes.extend([step as u8, slope as u8]);
        // Where a table has no noise, this is NaN or infinite, which is more than is allowed.
        (step <= i32::from(u8::MAX)).then_some(added / ENTRIES as f32)
    }
}

/// The slope of the line that is nearest to the entries, by least squares.
fn slope(table: &[f32; ENTRIES]) -> i32 {
    let place = |i: usize| (i as i32 - MIDDLE) as f32;
    let (products, squares) = table.iter().enumerate().fold((0.0, 0.0), |(products, squares), (i, entry)| {
        (products + entry * place(i), squares + place(i) * place(i))
    });
    ((products / squares) as i32).clamp(0, i32::from(u8::MAX))
}

/// How many steps from `line` to the entry that is `off` it, so that none is beyond [`MAX`].
fn rung(off: f32, line: i32, step: i32) -> i32 {
    let nearest = (off / step as f32).round() as i32;
    nearest.clamp((-MAX as i32 - line).div_euclid(step) + 1, (MAX as i32 - line).div_euclid(step))
}

/// The noise of the weights that entry `i` stands for: they lie between the middles to its neighbours. All
/// entries of an optimal table have the same part in its noise, so that of the table is the mean.
fn own_noise(table: &[f32; ENTRIES], i: usize) -> f32 {
    let (below, above) = (i.saturating_sub(1), (i + 1).min(table.len() - 1));
    let width = (table[above] - table[below]) / (above - below) as f32;
    width * width / 12.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries whose distances grow towards the ends, as those for weights with a bell curve do.
    fn bell() -> [f32; ENTRIES] {
        let entry = |i: usize| {
            let x = (i as f32 - 31.5) / 31.5;
            MAX * (0.6 * x + 0.4 * x * x * x)
        };
        std::array::from_fn(entry)
    }

    #[test]
    fn entries_are_within_half_a_step_and_the_largest_within_one() {
        let table = bell();
        let sloped = Sloped::new(&[table, table].concat()).unwrap();
        for t in 0..2 {
            let step = f32::from(sloped.table(t)[ENTRIES]);
            assert!((1.0..32.0).contains(&step), "{step}");
            assert_eq!(sloped.entries(t).count(), ENTRIES);
            for (i, (entry, exact)) in sloped.entries(t).zip(&table).enumerate() {
                let allowed = if exact.abs() > MAX - step { step } else { 0.5 * step };
                assert!((f32::from(entry) - exact).abs() <= allowed, "{i}: {entry} for {exact}");
                assert!((-8191..=8191).contains(&entry), "{i}: {entry}");
            }
        }
    }

    #[test]
    fn tables_that_lose_too_much_are_refused() {
        let mut descending = bell();
        descending.reverse();
        let mut outlier: [f32; ENTRIES] = std::array::from_fn(|i| i as f32);
        outlier[ENTRIES - 1] = MAX;
        let mut dense_end = bell();
        for (i, entry) in dense_end.iter_mut().rev().take(16).enumerate() {
            *entry = MAX - i as f32 * 0.01;
        }
        for (name, table) in [
            ("descending", descending),
            ("zeros", [0.0; ENTRIES]),
            ("an outlier", outlier),
            ("a dense end", dense_end),
        ] {
            assert!(Sloped::new(&[bell(), table].concat()).is_none(), "{name}");
        }
    }
}
