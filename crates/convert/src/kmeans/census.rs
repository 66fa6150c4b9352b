//! The distinct weights of a group and how often each occurs.

use half::f16;

use super::{Noise, NonFinite, fixed};

/// Number of fp16 bit patterns.
const PATTERNS: usize = 1 << 16;

/// The bit pattern of -0.0.
const NEGATIVE_ZERO: u16 = 0x8000;

/// Weights that are counted at a time: no count of a pattern exceeds 32 bits.
const AT_ONCE: usize = u32::MAX as usize;

/// Counts a group's distinct weights and labels them.
///
/// One counter per bit pattern beats sorting: a group touches few of them and
/// a bit set tells which, in order.
#[derive(Debug)]
pub(super) struct Census {
    /// Occurrences by [`slot`]; all zero between two groups.
    tally: Box<[u32; PATTERNS]>,
    /// How many weights are in `tally`.
    tallied: usize,
    /// Occurrences that went before those in `tally`; empty for a group that is counted at once.
    earlier: Vec<u64>,
    /// One bit per pattern that occurs; all zero between two groups.
    present: Box<[u64; PATTERNS / 64]>,
    /// Table index by pattern; only the entries of the current group mean anything.
    labels: Box<[u8; PATTERNS]>,
    patterns: Vec<u16>,
    values: Vec<i64>,
    counts: Vec<u64>,
}

/// Where a pattern is counted. Of weights that once were bf16 nearly all patterns end in three zeros; rotated, they lie
/// together.
fn slot(pattern: u16) -> usize {
    usize::from(pattern.rotate_right(3))
}

impl Census {
    pub(super) fn new() -> Self {
        Self {
            tally: Box::new([0; PATTERNS]),
            tallied: 0,
            earlier: Vec::new(),
            present: Box::new([0; PATTERNS / 64]),
            labels: Box::new([0; PATTERNS]),
            patterns: Vec::new(),
            values: Vec::new(),
            counts: Vec::new(),
        }
    }

    /// Counts weights that are not all of the group.
    pub(super) fn count(&mut self, weights: &[f16]) {
        self.count_parts(weights, AT_ONCE);
    }

    /// Counts the last `weights` of a group and puts its distinct values in order.
    pub(super) fn take(&mut self, weights: &[f16]) -> Result<(), NonFinite> {
        self.count(weights);
        self.collect();
        // Infinities and NaNs sort outside of all finite values.
        let ends = [self.patterns.first(), self.patterns.last()];
        if ends.into_iter().flatten().all(|&pattern| f16::from_bits(pattern).is_finite()) {
            return Ok(());
        }
        let found = weights.iter().position(|w| !w.is_finite());
        let position = found.unwrap_or_default();
        let value = weights.get(position).copied().unwrap_or_default();
        Err(NonFinite { position, value })
    }

    /// Fills tally and bit set; no more than `at_once` weights are in the tally.
    fn count_parts(&mut self, weights: &[f16], at_once: usize) {
        for part in weights.chunks(at_once) {
            if self.tallied + part.len() > at_once {
                self.spill();
            }
            self.tallied += part.len();
            for weight in part {
                let pattern = weight.to_bits();
                self.tally[slot(pattern)] += 1;
                self.present[usize::from(pattern >> 6)] |= 1 << (pattern & 63);
            }
        }
    }

    /// Moves the tally to the earlier ones.
    fn spill(&mut self) {
        self.earlier.resize(PATTERNS, 0);
        for (earlier, count) in self.earlier.iter_mut().zip(self.tally.iter_mut()) {
            *earlier += u64::from(std::mem::take(count));
        }
        self.tallied = 0;
    }

    /// Moves tally and bit set into the sorted lists; -0.0 is counted as 0.0.
    fn collect(&mut self) {
        self.patterns.clear();
        self.values.clear();
        self.counts.clear();
        for high in (PATTERNS / 128..PATTERNS / 64).rev() {
            let mut left = std::mem::take(&mut self.present[high]);
            while left != 0 {
                let low = left.ilog2();
                left ^= 1 << low;
                self.list((high << 6) as u16 | low as u16);
            }
        }
        let negative_zeros = match self.patterns.pop_if(|pattern| *pattern == NEGATIVE_ZERO) {
            Some(_) => self.values.pop().and(self.counts.pop()),
            None => None,
        };
        self.present[0] |= u64::from(negative_zeros.is_some());
        for high in 0..PATTERNS / 128 {
            let mut left = std::mem::take(&mut self.present[high]);
            while left != 0 {
                let low = left.trailing_zeros();
                left &= left - 1;
                self.list((high << 6) as u16 | low as u16);
                if high == 0
                    && low == 0
                    && let Some(count) = self.counts.last_mut()
                {
                    *count += negative_zeros.unwrap_or_default();
                }
            }
        }
        self.earlier.clear();
        self.tallied = 0;
    }

    /// Appends a pattern to the lists and takes its count off the tally.
    fn list(&mut self, pattern: u16) {
        let slot = slot(pattern);
        let earlier = self.earlier.get(slot).copied().unwrap_or_default();
        self.patterns.push(pattern);
        self.values.push(fixed::from_f16(f16::from_bits(pattern)));
        self.counts.push(earlier + u64::from(std::mem::take(&mut self.tally[slot])));
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
        let mut start = 0;
        for (index, &centroid) in centroids.iter().enumerate() {
            let rest = &self.values[start..];
            let next = centroids.get(index + 1);
            let farther = |&value: &i64| next.is_some_and(|next| next - value < value - centroid);
            let end = start + rest.iter().position(farther).unwrap_or(rest.len());
            for &pattern in &self.patterns[start..end] {
                self.labels[usize::from(pattern)] = index as u8;
            }
            noise.record(&self.values[start..end], &self.counts[start..end], centroid);
            start = end;
        }
        self.labels[usize::from(NEGATIVE_ZERO)] = self.labels[0];
        noise
    }

    /// Appends the label of each of `weights`, the group last taken.
    pub(super) fn append_labels(&self, weights: &[f16], indices: &mut Vec<u8>) {
        let label = |weight: &f16| self.labels[usize::from(weight.to_bits())];
        indices.extend(weights.iter().map(label));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tensor of more than 4 G weights is counted in parts.
    #[test]
    fn parts_add_up() {
        let weights = [1.5, -0.0, 1.5, 0.0, -2.0, 1.5, -0.0].map(f16::from_f32);
        let mut whole = Census::new();
        let mut parts = Census::new();
        whole.take(&weights).expect("finite weights");
        for at_once in [1, 2, 3, 7] {
            parts.count_parts(&weights, at_once);
            parts.collect();
            assert_eq!((parts.values(), parts.counts()), (whole.values(), whole.counts()));
        }
        assert_eq!(whole.counts(), [1, 3, 3]);
    }
}
