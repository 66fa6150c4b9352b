//! Optimal one-dimensional k-means of fp16 weights: the lookup table and the
//! indices of one palettization group.
//!
//! In one dimension the best clusters are runs of the sorted weights, so the
//! best of all partitions can be found, not just a good one (`partition`).
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
/// Holds the scratch memory (about a megabyte, more for groups of very many
/// distinct weights) to be used again for the next group. The result for a
/// group depends on that group alone.
#[derive(Debug)]
pub struct KMeans {
    slots: usize,
    census: Census,
    partitioner: Partitioner,
}

impl KMeans {
    /// Memory for tables of `2^bits` entries.
    ///
    /// # Panics
    /// When `bits` is 0 or above 8.
    #[must_use]
    pub fn new(bits: u32) -> Self {
        assert!((1..=8).contains(&bits), "{bits} bits: expected 1 to 8");
        Self { slots: 1 << bits, census: Census::new(), partitioner: Partitioner::default() }
    }

    /// Clusters one group into a table of `2^bits` entries and one index per weight.
    ///
    /// A group of at most `2^bits` distinct weights is kept exactly (-0.0
    /// counts as 0.0). Otherwise the clusters have the least possible squared
    /// error about their means, the means are rounded to fp16 (nearest, ties
    /// to even), and each weight takes the nearest rounded mean.
    ///
    /// # Errors
    /// When a weight is not finite.
    pub fn cluster(&mut self, weights: &[f16]) -> Result<Clustering, NonFinite> {
        self.census.take(weights)?;
        let centroids = self.centroids();
        let noise = self.census.assign(&centroids);
        let mut table: Vec<f16> = centroids.iter().map(|&c| fixed::to_f16(c)).collect();
        table.resize(self.slots, f16::ZERO);
        let mut indices = Vec::with_capacity(weights.len());
        self.census.append_labels(weights, &mut indices);
        Ok(Clustering { table, indices, noise })
    }

    /// Labels one group with the entries of the `table` that `cluster` has made of the same weights: the same result,
    /// without the search.
    pub fn label(&mut self, weights: &[f16], table: &[f16]) -> Result<Clustering, NonFinite> {
        self.census.take(weights)?;
        // Zeros behind the centroids stay out, except a first one behind negative centroids. That does no harm: there
        // are such zeros only where every weight has a centroid of its own.
        let units: Vec<i64> = table.iter().map(|entry| fixed::from_f16(*entry)).collect();
        let rising = units.windows(2).take_while(|pair| pair[0] < pair[1]).count();
        let noise = self.census.assign(&units[..units.len().min(rising + 1)]);
        let mut indices = Vec::with_capacity(weights.len());
        self.census.append_labels(weights, &mut indices);
        Ok(Clustering { table: table.to_vec(), indices, noise })
    }

    /// The table entries of the group in the census, ascending and distinct:
    /// a mean rounds to a value between the ends of its run, so two runs never
    /// round to the same one.
    fn centroids(&mut self) -> Vec<i64> {
        let (values, counts) = (self.census.values(), self.census.counts());
        if values.len() <= self.slots {
            return values.to_vec();
        }
        let ends = self.partitioner.partition(values, counts, self.slots);
        let mut start = 0;
        let mut centroids: Vec<i64> = Vec::with_capacity(ends.len());
        for end in ends {
            let (sum, count) = fixed::total(&values[start..end], &counts[start..end]);
            centroids.push(fixed::mean(sum, count));
            start = end;
        }
        centroids
    }
}
