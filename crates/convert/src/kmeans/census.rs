//! The distinct weights of a group and how often each occurs.

use half::f16;

use super::{Noise, NonFinite, fixed};

/// Number of fp16 bit patterns.
const PATTERNS: usize = 1 << 16;

/// The key of 0.0; that of -0.0 is one less.
const ZERO: usize = 0x8000;

/// Counts a group's distinct weights and labels them.
///
/// One counter per bit pattern beats sorting: a group touches few of them and
/// a bit set tells which, in order.
#[derive(Debug)]
pub(super) struct Census {
    /// Occurrences by key; all zero between two groups.
    tally: Vec<u64>,
    /// One bit per key that occurs; all zero between two groups.
    present: Vec<u64>,
    /// Table index by key; only the entries of the current group mean anything.
    labels: Vec<u8>,
    keys: Vec<u16>,
    values: Vec<i64>,
    counts: Vec<u64>,
}

/// The bit pattern made to sort as the value does.
fn key(value: f16) -> u16 {
    let bits = value.to_bits();
    let flip = if bits & 0x8000 == 0 { 0x8000 } else { 0xffff };
    bits ^ flip
}

/// The inverse of [`key`].
fn value(key: u16) -> f16 {
    let flip = if key & 0x8000 == 0 { 0xffff } else { 0x8000 };
    f16::from_bits(key ^ flip)
}

impl Census {
    pub(super) fn new() -> Self {
        Self {
            tally: vec![0; PATTERNS],
            present: vec![0; PATTERNS / 64],
            labels: vec![0; PATTERNS],
            keys: Vec::new(),
            values: Vec::new(),
            counts: Vec::new(),
        }
    }

    /// Counts weights that are not all of the group.
    pub(super) fn count(&mut self, weights: &[f16]) {
        for &weight in weights {
            let key = key(weight);
            self.tally[usize::from(key)] += 1;
            self.present[usize::from(key >> 6)] |= 1 << (key & 63);
        }
    }

    /// Counts the last `weights` of a group and puts its distinct values in order.
    pub(super) fn take(&mut self, weights: &[f16]) -> Result<(), NonFinite> {
        self.count(weights);
        self.merge_zeros();
        self.collect();
        // Infinities and NaNs sort outside of all finite values.
        let ends = [self.keys.first(), self.keys.last()];
        if ends.into_iter().flatten().all(|&k| value(k).is_finite()) {
            return Ok(());
        }
        let found = weights.iter().position(|w| !w.is_finite());
        let position = found.unwrap_or_default();
        let value = weights.get(position).copied().unwrap_or_default();
        Err(NonFinite { position, value })
    }

    /// Counts -0.0 as 0.0.
    fn merge_zeros(&mut self) {
        let negative = std::mem::take(&mut self.tally[ZERO - 1]);
        if negative > 0 {
            self.tally[ZERO] += negative;
            self.present[(ZERO - 1) / 64] &= !(1 << ((ZERO - 1) % 64));
            self.present[ZERO / 64] |= 1;
        }
    }

    /// Moves tally and bit set into the sorted lists.
    fn collect(&mut self) {
        self.keys.clear();
        self.values.clear();
        self.counts.clear();
        for (high, word) in self.present.iter_mut().enumerate() {
            let mut left = std::mem::take(word);
            while left != 0 {
                let key = (high << 6) | left.trailing_zeros() as usize;
                left &= left - 1;
                self.keys.push(key as u16);
                self.values.push(fixed::from_f16(value(key as u16)));
                self.counts.push(std::mem::take(&mut self.tally[key]));
            }
        }
    }

    /// The distinct weights in units, ascending.
    pub(super) fn values(&self) -> &[i64] {
        &self.values
    }

    /// How often each of [`Census::values`] occurs, at least once.
    pub(super) fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Labels every distinct weight with the nearest of the ascending
    /// `centroids` (at most 256), the lower of two equally near.
    pub(super) fn assign(&mut self, centroids: &[i64]) -> Noise {
        let mut noise = Noise::default();
        let mut nearest = 0;
        for ((&key, &value), &count) in self.keys.iter().zip(&self.values).zip(&self.counts) {
            while let [here, next, ..] = centroids[nearest..]
                && (next - value).abs() < (here - value).abs()
            {
                nearest += 1;
            }
            self.labels[usize::from(key)] = nearest as u8;
            noise.record(count, value, centroids[nearest]);
        }
        self.labels[ZERO - 1] = self.labels[ZERO];
        noise
    }

    /// Appends the label of each of `weights`, the group last taken.
    pub(super) fn append_labels(&self, weights: &[f16], indices: &mut Vec<u8>) {
        let label = |&weight: &f16| self.labels[usize::from(key(weight))];
        indices.extend(weights.iter().map(label));
    }
}
