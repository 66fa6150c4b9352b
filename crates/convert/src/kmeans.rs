//! Optimal one-dimensional k-means of fp16 weights: the lookup table and the
//! indices of one palettization group.
//!
//! In one dimension the best clusters are runs of the sorted weights, so the
//! best of all tables can be found, not just a good one (`partition`).
//! Every fp16 value is a multiple of 2^-24 and is handled as that integer
//! (`fixed`), so sums, centroids and errors are exact and do not depend on the
//! order or the machine.

mod census;
mod fixed;
mod noise;
mod partition;
#[cfg(test)]
mod tests;

use half::f16;

use census::Census;
pub use noise::Noise;
use partition::Partitioner;

/// A weight that no table can hold.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("weight {position} of the group is `{value}`: palettization needs finite weights")]
pub struct NonFinite {
    /// Position in the slice that was to be clustered.
    pub position: usize,
    /// The infinity or NaN found there.
    pub value: f16,
}

/// One lookup table and the indices into it.
#[derive(Debug, Clone, PartialEq)]
pub struct Clustering {
    /// `2^bits` entries: the centroids, ascending and distinct, then zeros
    /// where there are fewer centroids.
    pub table: Vec<f16>,
    /// One index per weight: the entry nearest to it, the lower one of two
    /// equally near.
    pub indices: Vec<u8>,
    /// What the table does to the weights.
    pub noise: Noise,
}

/// Clusters groups of weights into tables of `2^bits` entries.
///
/// A group takes three steps, in this order: [`KMeans::sort`];
/// [`KMeans::solve`], or [`KMeans::adopt`] where its table is known already;
/// [`KMeans::label`]. Holds the scratch memory (about a megabyte, more for
/// groups of very many distinct weights) to be used again for the next group.
/// The result for a group depends on that group alone.
#[derive(Debug)]
pub struct KMeans {
    slots: usize,
    census: Census,
    partitioner: Partitioner,
    /// The used entries of the table in units, ascending and distinct.
    centroids: Vec<i64>,
}

impl KMeans {
    /// Memory for tables of `2^bits` entries.
    ///
    /// # Panics
    /// When `bits` is 0 or above 8.
    #[must_use]
    pub fn new(bits: u32) -> Self {
        assert!((1..=8).contains(&bits), "{bits} bits: expected 1 to 8");
        let slots = 1 << bits;
        let centroids = Vec::with_capacity(slots);
        Self { slots, census: Census::new(), partitioner: Partitioner::default(), centroids }
    }

    /// Clusters one group: `sort`, `solve` and `label` in one.
    ///
    /// # Errors
    /// When a weight is not finite.
    pub fn cluster(&mut self, weights: &[f16]) -> Result<Clustering, NonFinite> {
        let (mut table, mut indices) = (Vec::with_capacity(self.slots), Vec::with_capacity(weights.len()));
        self.sort(weights)?;
        self.solve();
        self.append_table(&mut table);
        let noise = self.label(weights, &mut indices);
        Ok(Clustering { table, indices, noise })
    }

    /// Takes in a piece of a group that is too large to be in memory as a whole; its last piece goes to `sort`.
    pub fn count(&mut self, weights: &[f16]) {
        self.census.count(weights);
    }

    /// Takes in a group, or the last piece of one: its distinct weights in order and how often each occurs.
    ///
    /// # Errors
    /// When a weight is not finite.
    pub fn sort(&mut self, weights: &[f16]) -> Result<(), NonFinite> {
        self.centroids.clear();
        self.census.take(weights)
    }

    /// Finds the table of the group last sorted.
    ///
    /// A group of at most `2^bits` distinct weights is kept exactly (-0.0
    /// counts as 0.0). Otherwise no `2^bits` fp16 entries give a smaller
    /// squared error: they are the means, rounded to fp16 (nearest, ties to
    /// even), of the runs of sorted weights that cost least when every weight
    /// takes its run's rounded mean. A mean rounds to a value between the ends
    /// of its run, so all entries differ. Where 53 bits do not hold the sums of
    /// squares, as for most whole tensors, that is so to one part in 10^8.
    pub fn solve(&mut self) {
        let (values, counts) = (self.census.values(), self.census.counts());
        self.centroids.clear();
        if values.len() <= self.slots {
            self.centroids.extend_from_slice(values);
            return;
        }
        let mut start = 0;
        for &end in self.partitioner.partition(values, counts, self.slots) {
            let (sum, count) = fixed::total(&values[start..end], &counts[start..end]);
            self.centroids.push(fixed::mean(sum, count));
            start = end;
        }
    }

    /// Takes the `table` that was found for the same weights before, or for a group of which they are a piece,
    /// instead of finding it again.
    pub fn adopt(&mut self, table: &[f16]) {
        self.centroids.clear();
        for entry in table.iter().map(|&entry| fixed::from_f16(entry)) {
            // Zeros behind the centroids stay out, except a first one behind negative centroids. That does no harm:
            // there are such zeros only where every weight has a centroid of its own.
            if self.centroids.last().is_some_and(|&last| entry <= last) {
                break;
            }
            self.centroids.push(entry);
        }
    }

    /// Appends the table: `2^bits` entries.
    pub fn append_table(&self, table: &mut Vec<f16>) {
        let unused = self.slots.saturating_sub(self.centroids.len());
        table.extend(self.centroids.iter().map(|&centroid| fixed::to_f16(centroid)));
        table.extend(std::iter::repeat_n(f16::ZERO, unused));
    }

    /// Appends one index per weight: that of the nearest table entry, the
    /// lower one of two equally near. Tells what the table does to the
    /// weights.
    ///
    /// `weights` is the group last sorted; indices of other weights mean
    /// nothing.
    ///
    /// # Panics
    /// When the group last sorted has neither been solved nor adopted a table.
    pub fn label(&mut self, weights: &[f16], indices: &mut Vec<u8>) -> Noise {
        let noise = self.census.assign(&self.centroids);
        self.census.append_labels(weights, indices);
        noise
    }
}
