//! How fast memory is read: the bound of every product with one row of activations.

use std::hint::black_box;
use std::time::Instant;

use super::pool::Pool;

/// Bytes that are read in one pass: more than any cache holds.
const BYTES: usize = 256 << 20;

/// Passes, of which the best counts.
const PASSES: usize = 5;

/// Numbers of a part of the work: 1 MiB.
const PART: usize = 1 << 17;

/// Bytes a second that `pool` reads from memory.
pub(crate) fn read_bandwidth(pool: &Pool) -> f64 {
    // Not zeros: those would all be one page of the kernel's until written.
    let data = vec![1u64; BYTES / size_of::<u64>()];
    let parts: Vec<&[u64]> = data.chunks(PART).collect();
    let pass = || {
        let start = Instant::now();
        pool.run(parts.len(), &|i| {
            black_box(parts[i].iter().fold(0u64, |sum, v| sum.wrapping_add(*v)));
        });
        BYTES as f64 / start.elapsed().as_secs_f64()
    };
    (0..PASSES).map(|_| pass()).fold(0.0, f64::max)
}
