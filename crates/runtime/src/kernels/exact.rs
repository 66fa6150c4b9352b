//! The product that gives the numbers of [`matmul_transposed`](super::matmul_transposed), from stored weights.
#![allow(unsafe_code, reason = "threads write parts of a result")]

use super::disjoint::Disjoint;
use super::isa::Isa;
use super::matmul::rows_times_rows;
use super::matrix::Matrix;
use super::pool::Pool;

/// Numbers that are unpacked at a time: 64 KiB.
const TILE: usize = 16 << 10;

/// `out[r][t] = Σ_k weight[r][k] · x[t][k]`, summed as `matmul_transposed(weight as f32, x, columns, out)` does,
/// bit for bit; the weight is unpacked tile by tile.
///
/// # Panics
/// When extents do not match.
pub(crate) fn multiply_exact(isa: Isa, pool: &Pool, weight: &Matrix, x: &[f32], out: &mut [f32]) {
    let (rows, columns) = (weight.rows(), weight.columns());
    let count = x.len() / columns;
    assert!(count * columns == x.len() && rows * count == out.len(), "extents do not match");
    let step = (TILE / columns).clamp(1, rows);
    assert!(isa.is_here(), "{isa:?} where there is none");
    let out = Disjoint::new(out);
    pool.run(rows.div_ceil(step), &|part| {
        let rows = part * step..((part + 1) * step).min(rows);
        let mut tile = vec![0f32; rows.len() * columns];
        weight.unpack(isa, rows.start, &mut tile);
        // SAFETY: each part has its own rows.
        let out = unsafe { out.part(rows.start * count..rows.end * count) };
        // A product with one row is a row of products, whichever side the row is on.
        let (a, b) = if count == 1 { (x, &tile[..]) } else { (&tile[..], x) };
        #[cfg(target_arch = "x86_64")]
        if matches!(isa, Isa::Avx2 | Isa::Avx512) {
            // SAFETY: the machine has the set.
            return unsafe { rows_times_rows_avx2(a, b, columns, out) };
        }
        rows_times_rows(a, b, columns, out);
    });
}

/// [`rows_times_rows`] in registers of eight lanes: the same numbers, for multiplications stay apart from
/// additions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn rows_times_rows_avx2(a: &[f32], b: &[f32], columns: usize, out: &mut [f32]) {
    rows_times_rows(a, b, columns, out);
}
