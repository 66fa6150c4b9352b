//! Products of row-major matrices, in parallel and in a fixed order of summation.
//!
//! Every element of a result is summed in the same order whatever the tiling and the number of threads:
//! [`matmul_transposed`] keeps `LANES` partial sums and adds them at the end, [`matmul`] adds term by term.

use rayon::prelude::*;

/// Partial sums of a dot product; as many as let the compiler use vector registers.
const LANES: usize = 8;

/// Rows that share one pass over another row.
const TILE: usize = 4;

/// Rows of the second operand that stay in the cache while the rows of the first go by.
const BLOCK: usize = 32;

/// Multiplications below which one thread is quicker than two.
const PARALLEL: usize = 1 << 15;

/// `out[m][n] = Σ_k a[m][k] · b[n][k]`: rows of `a` times rows of `b`, both `k` long.
///
/// # Panics
/// When `k` is 0, or a length is not the product of its extents.
pub(crate) fn matmul_transposed(a: &[f32], b: &[f32], k: usize, out: &mut [f32]) {
    let (m, n) = (a.len() / k, b.len() / k);
    assert!(m * k == a.len() && n * k == b.len() && m * n == out.len(), "extents do not match");
    if out.is_empty() {
        return;
    }
    // A product with one row is a row of products, whichever side the row is on.
    let (a, b, m, n) = if n == 1 { (b, a, 1, m) } else { (a, b, m, n) };
    if out.len().saturating_mul(k) < PARALLEL {
        return rows_times_rows(a, b, k, out);
    }
    let threads = rayon::current_num_threads();
    if m == 1 {
        let rows = n.div_ceil(threads);
        let parts = out.par_chunks_mut(rows).zip(b.par_chunks(rows * k));
        parts.for_each(|(out, b)| rows_times_rows(a, b, k, out));
    } else {
        let rows = m.div_ceil(threads);
        let parts = out.par_chunks_mut(rows * n).zip(a.par_chunks(rows * k));
        parts.for_each(|(out, a)| rows_times_rows(a, b, k, out));
    }
}

/// [`matmul_transposed`] on one thread.
#[inline(always)]
pub(super) fn rows_times_rows(a: &[f32], b: &[f32], k: usize, out: &mut [f32]) {
    let n = b.len() / k;
    for (block, rows) in b.chunks(BLOCK * k).enumerate() {
        let columns = block * BLOCK..block * BLOCK + rows.len() / k;
        for (x, line) in a.chunks_exact(k).zip(out.chunks_exact_mut(n)) {
            row_times_rows(x, rows, &mut line[columns.clone()]);
        }
    }
}

/// The dot products of `x` with each row of `rows`.
#[inline(always)]
fn row_times_rows(x: &[f32], rows: &[f32], out: &mut [f32]) {
    let k = x.len();
    let mut tiles = out.chunks_exact_mut(TILE);
    let mut rest = rows;
    for tile in &mut tiles {
        let (now, later) = rest.split_at(TILE * k);
        let (ab, cd) = now.split_at(2 * k);
        let ((a, b), (c, d)) = (ab.split_at(k), cd.split_at(k));
        tile.copy_from_slice(&dot_tile(x, [a, b, c, d]));
        rest = later;
    }
    for (out, row) in tiles.into_remainder().iter_mut().zip(rest.chunks_exact(k)) {
        *out = dot_tile(x, [row])[0];
    }
}

/// The dot products of `x` with `T` rows of the same length.
#[inline(always)]
fn dot_tile<const T: usize>(x: &[f32], rows: [&[f32]; T]) -> [f32; T] {
    let mut sums = [[0f32; LANES]; T];
    let (body, tail) = x.as_chunks::<LANES>();
    let chunks = rows.map(|r| r.as_chunks::<LANES>());
    for (i, x) in body.iter().enumerate() {
        for (sum, (row, _)) in sums.iter_mut().zip(&chunks) {
            let row = &row[i];
            for lane in 0..LANES {
                sum[lane] += x[lane] * row[lane];
            }
        }
    }
    for (sum, (_, row)) in sums.iter_mut().zip(&chunks) {
        for (lane, (x, w)) in tail.iter().zip(*row).enumerate() {
            sum[lane] += x * w;
        }
    }
    sums.map(total)
}

/// The sum of the lanes, in a tree.
fn total(sum: [f32; LANES]) -> f32 {
    let [a, b, c, d, e, f, g, h] = sum;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// `out[m][n] = Σ_k a[m][k] · b[k][n]`, with `n` columns in `b` and `k` in `a`.
///
/// # Panics
/// When an extent is 0, or a length is not the product of its extents.
pub(crate) fn matmul(a: &[f32], b: &[f32], k: usize, out: &mut [f32]) {
    let (m, n) = (a.len() / k, b.len() / k);
    assert!(m * k == a.len() && n * k == b.len() && m * n == out.len(), "extents do not match");
    let row = |(out, a): (&mut [f32], &[f32])| {
        out.fill(0.0);
        for (&scale, row) in a.iter().zip(b.chunks_exact(n)) {
            for (sum, v) in out.iter_mut().zip(row) {
                *sum += scale * v;
            }
        }
    };
    if out.len().saturating_mul(k) < PARALLEL || m == 1 {
        out.chunks_exact_mut(n).zip(a.chunks_exact(k)).for_each(row);
    } else {
        out.par_chunks_exact_mut(n).zip(a.par_chunks_exact(k)).for_each(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random numbers without a dependency: xorshift, uniform in -1 to 1.
    fn random(count: usize, seed: u64) -> Vec<f32> {
        let mut s = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            (s >> 40) as f32 / (1u32 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// The slow twin: one `f64` sum an element.
    fn reference(m: usize, n: usize, term: impl Fn(usize, usize) -> f64) -> Vec<f64> {
        (0..m * n).map(|i| term(i / n, i % n)).collect()
    }

    fn assert_near(fast: &[f32], slow: &[f64], k: usize) {
        for (f, s) in fast.iter().zip(slow) {
            assert!((f64::from(*f) - s).abs() < 1e-6 * k as f64, "{f} and {s} with k = {k}");
        }
    }

    const SHAPES: [(usize, usize, usize); 10] = [
        (300, 1, 129),
        (1, 1, 1),
        (1, 5, 7),
        (3, 4, 8),
        (2, 37, 19),
        (65, 3, 33),
        (1, 300, 129),
        (64, 70, 40),
        (7, 131, 64),
        (200, 9, 31),
    ];

    #[test]
    fn both_products_agree_with_their_slow_twin() {
        for (m, n, k) in SHAPES {
            let (a, b) = (random(m * k, 1), random(n * k, 2));
            let mut out = vec![f32::NAN; m * n];
            matmul_transposed(&a, &b, k, &mut out);
            let dot = |i: usize, j: usize| {
                (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b[j * k + p])).sum::<f64>()
            };
            assert_near(&out, &reference(m, n, dot), k);

            matmul(&a, &b, k, &mut out);
            let dot = |i: usize, j: usize| {
                (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b[p * n + j])).sum::<f64>()
            };
            assert_near(&out, &reference(m, n, dot), k);
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        for (m, n, k) in SHAPES {
            let (a, b) = (random(m * k, 3), random(n * k, 4));
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut out = vec![0.0; 2 * m * n];
                let (x, y) = out.split_at_mut(m * n);
                pool.install(|| {
                    matmul_transposed(&a, &b, k, x);
                    matmul(&a, &b, k, y);
                });
                out
            };
            assert_eq!(run(1), run(3), "{m} x {n} x {k}");
        }
    }
}
