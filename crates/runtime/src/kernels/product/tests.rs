//! Products against their slow twins: every set of instructions that this machine has.

use half::f16;

use super::super::exact::multiply_exact;
use super::super::matmul::matmul_transposed;
use super::*;
use crate::kernels::Bytes;
use crate::kernels::matrix::Prepared;
use crate::kernels::{prepare, take_apart};

mod edges;

/// Random numbers without a dependency: xorshift.
struct Random(u64);

impl Random {
    fn new(seed: usize) -> Random {
        Random((seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }

    /// Uniform in -1 to 1.
    fn number(&mut self) -> f32 {
        (self.bits() & 0xff_ffff) as f32 / (1u32 << 23) as f32 - 1.0
    }

    fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.number()).collect()
    }

    fn bytes(&mut self, count: usize) -> Bytes {
        Bytes::Owned((0..count).map(|_| self.bits() as u8).collect())
    }

    fn halves(&mut self, count: usize) -> Vec<f16> {
        (0..count).map(|_| f16::from_f32(self.number())).collect()
    }

    fn palettized(&mut self, shape: [usize; 2], bits: u32, rows_per_table: usize) -> Matrix {
        let tables = self.halves(shape[0].div_ceil(rows_per_table) << bits);
        self.indexing(shape, bits, rows_per_table, &tables)
    }

    fn indexing(
        &mut self,
        [rows, columns]: [usize; 2],
        bits: u32,
        rows_per_table: usize,
        tables: &[f16],
    ) -> Matrix {
        let indices = self.bytes(rows * columns * bits as usize / 8);
        Matrix::palettized(rows, columns, bits, rows_per_table, indices, tables).unwrap()
    }

    fn fp16(&mut self, rows: usize, columns: usize) -> Matrix {
        let bytes: Vec<u8> = self.halves(rows * columns).iter().flat_map(|h| h.to_le_bytes()).collect();
        Matrix::fp16(rows, columns, Bytes::Owned(bytes.into())).unwrap()
    }
}

fn product(isa: Isa, threads: usize, weight: &Matrix, x: &[f32]) -> Vec<f32> {
    let pool = Pool::new(threads);
    let mut out = vec![f32::NAN; x.len() / weight.columns() * weight.rows()];
    let mut rows = Rows::empty();
    rows.fill(isa, forms_for([weight]), x, weight.columns(), &pool).unwrap();
    multiply(isa, &pool, &rows, &mut [Product { weight, out: &mut out }]);
    out
}

/// The product in f64 of what `weight` unpacks to.
fn reference(weight: &Matrix, x: &[f32]) -> Vec<f64> {
    let columns = weight.columns();
    let w = unpacked(Isa::Generic, weight);
    let dot = |x: &[f32], w: &[f32]| x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
    x.chunks(columns).flat_map(|x| w.chunks(columns).map(move |w| dot(x, w))).collect()
}

/// How many times 1/8191 the steps of the weights are, where the largest is 1.
fn coarseness(weight: &Matrix) -> f64 {
    if matches!(weight.prepared(), Some(Prepared::Levels(_))) { 8191.0 / 2047.0 } else { 1.0 }
}

fn unpacked(isa: Isa, weight: &Matrix) -> Vec<f32> {
    let mut out = vec![f32::NAN; weight.rows() * weight.columns()];
    weight.unpack(isa, 0, &mut out);
    out
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

const WIDTHS: [u32; 6] = [1, 2, 3, 4, 6, 8];

/// Rows, columns and rows of activations: columns below, at and beyond a chunk and a block, with tails.
const SHAPES: [[usize; 3]; 14] = [
    [1, 8, 1],
    [5, 24, 2],
    [8, 64, 3],
    [9, 72, 5],
    [17, 200, 1],
    [33, 256, 4],
    [7, 264, 64],
    [70, 1000, 1],
    [30, 1000, 3],
    [12, 520, 65],
    [64, 512, 2],
    [3, 320, 131],
    [40, 1024, 1],
    [300, 64, 7],
];

/// Calls `check` with matrices of all shapes, widths and groupings, and activations.
fn for_each_palettized(check: impl FnMut(&Matrix, &[f32], String)) {
    for_each_of_bits(&WIDTHS, check);
}

/// Brings a weight into the form that products with `isa` are quicker with.
fn repack(isa: Isa, weight: &Matrix) {
    prepare(isa, &Pool::new(2), [weight], true);
    take_apart(isa, &Pool::new(2), [weight]);
}

/// As [`for_each_palettized`], with weights in the form that AVX2 is quicker with; none where there is no AVX2.
fn for_each_prepared(mut check: impl FnMut(&Matrix, &[f32], String)) {
    if !Isa::Avx2.is_here() {
        return;
    }
    for_each_of_bits(&[6, 8], |weight, x, name| {
        repack(Isa::Avx2, weight);
        // Rows shorter than a chunk stay as they are.
        assert_eq!(weight.prepared().is_some(), weight.columns() >= 64, "{name}");
        check(weight, x, format!("{name}, prepared"));
    });
}

fn for_each_of_bits(widths: &[u32], mut check: impl FnMut(&Matrix, &[f32], String)) {
    for (seed, [rows, columns, count]) in SHAPES.into_iter().enumerate() {
        for bits in widths.iter().copied() {
            for rows_per_table in [1, 3, 8, 16, rows] {
                let mut random = Random::new(seed);
                let weight = random.palettized([rows, columns], bits, rows_per_table);
                let x = random.numbers(count * columns);
                let name =
                    format!("[{rows}, {columns}] x {count}, {bits} bits, {rows_per_table} rows a table");
                check(&weight, &x, name);
            }
        }
    }
}

#[test]
fn fixed_point_is_near_the_numbers() {
    let is_near = |weight: &Matrix, x: &[f32], name| {
        // Each product is off by up to half a step of either factor, at random: a standard deviation below
        // 0.25 / 8191 of the largest product, which is 1; six of them.
        let tolerance = 1.5 / 8191.0 * coarseness(weight) * (weight.columns() as f64).sqrt();
        for (fast, slow) in product(Isa::Generic, 1, weight, x).iter().zip(reference(weight, x)) {
            assert!((f64::from(*fast) - slow).abs() < tolerance, "{name}: {fast} and {slow}");
        }
    };
    for_each_palettized(is_near);
    for_each_prepared(is_near);
}

#[test]
fn every_set_gives_the_same_bits() {
    let same = |isas: &[Isa], weight: &Matrix, x: &[f32], name| {
        let generic = product(Isa::Generic, 1, weight, x);
        for (isa, threads) in isas.iter().flat_map(|isa| [1, 3].map(|threads| (*isa, threads))) {
            assert_eq!(bits(&product(isa, threads, weight, x)), bits(&generic), "{isa:?}: {name}");
        }
    };
    let here: Vec<Isa> = Isa::here().collect();
    for_each_palettized(|weight, x, name| same(&here, weight, x, name));
    // Other sets look up entries, prepared or not.
    let prepared: Vec<Isa> = Isa::here().filter(|isa| matches!(isa, Isa::Generic | Isa::Avx2)).collect();
    for_each_prepared(|weight, x, name| same(&prepared, weight, x, name));
}

#[test]
fn rows_do_not_see_each_other() {
    for bits_ in WIDTHS {
        let mut random = Random::new(7);
        let weights = [random.palettized([19, 360], bits_, 8), random.fp16(19, 360)];
        let x = random.numbers(67 * 360);
        for (isa, weight) in Isa::here().flat_map(|isa| weights.iter().map(move |w| (isa, w))) {
            for count in [2, 3, 4, 5, 67] {
                let x = &x[..count * 360];
                let one_by_one: Vec<f32> = x.chunks(360).flat_map(|x| product(isa, 1, weight, x)).collect();
                assert_eq!(bits(&product(isa, 3, weight, x)), bits(&one_by_one), "{isa:?}, {count}");
            }
        }
    }
}

#[test]
fn fp16_weights_are_near_their_slow_twin() {
    for (seed, [rows, columns, count]) in SHAPES.into_iter().enumerate() {
        let mut random = Random::new(seed);
        let x = random.numbers(count * columns);
        let weight = random.fp16(rows, columns);
        let slow = reference(&weight, &x);
        for isa in Isa::here() {
            for (fast, slow) in product(isa, 2, &weight, &x).iter().zip(&slow) {
                // f32 has 24 bits, and a lane adds an eighth of the products of up to 1.
                let error = (f64::from(*fast) - slow).abs();
                assert!(
                    error < 1e-6 * columns as f64,
                    "{isa:?} [{rows}, {columns}] x {count}: {fast}, {slow}"
                );
            }
        }
    }
}

#[test]
fn extreme_activations() {
    for bits_ in WIDTHS {
        let mut random = Random::new(3);
        let weight = random.palettized([11, 600], bits_, 8);
        let mut outlier = random.numbers(600);
        outlier[300] = 1e4;
        let mut cases = vec![vec![0.0; 600], outlier, vec![1.0; 600], vec![-3e38; 600], vec![1e-40; 600]];
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = random.numbers(600);
            x[599] = bad;
            cases.push(x);
        }
        let check = |isa: Isa| {
            for (i, x) in cases.iter().enumerate() {
                let out = product(isa, 1, &weight, x);
                match i {
                    0 | 4 => assert!(out.iter().all(|v| *v == 0.0), "{isa:?}"),
                    5.. => assert!(out.iter().all(|v| v.is_nan()), "{isa:?}"),
                    _ => assert_eq!(bits(&out), bits(&product(Isa::Generic, 1, &weight, x)), "{isa:?}"),
                }
            }
        };
        Isa::here().for_each(check);
        if Isa::Avx2.is_here() {
            repack(Isa::Avx2, &weight);
            check(Isa::Avx2);
        }
    }
}

#[test]
fn extreme_tables() {
    // The largest products that there are, all in one direction: sums of 32 of them just fit.
    for bits_ in WIDTHS {
        for entry in [f16::MAX, f16::MIN, f16::from_bits(1), f16::ZERO] {
            let weight = Matrix::palettized(
                9,
                512,
                bits_,
                3,
                Bytes::Owned(vec![0; 9 * 64 * bits_ as usize].into()),
                &{ vec![entry; 3 << bits_] },
            )
            .unwrap();
            let expected = f64::from(entry.to_f32()) * 512.0 * -2.0;
            for (isa, count) in Isa::here().flat_map(|isa| [1, 6].map(|count| (isa, count))) {
                for y in product(isa, 1, &weight, &vec![-2.0; count * 512]) {
                    let error = (f64::from(y) - expected).abs();
                    assert!(error <= expected.abs() * 1e-6, "{isa:?}: {y}, expected {expected}");
                }
            }
        }
    }
}

#[test]
fn unpacking_gives_the_entries() {
    for_each_palettized(|weight, _, name| {
        let Form::Palettized(palette) = weight.form() else { return };
        let width = palette.bits as usize;
        let expected: Vec<u32> = (0..weight.rows() * weight.columns())
            .map(|i| {
                let index = (0..width).fold(0, |index, bit| {
                    let at = i * width + bit;
                    index | usize::from(palette.indices[at / 8] >> (at % 8) & 1) << bit
                });
                let planes = palette.halves.table(i / weight.columns() / palette.rows_per_table);
                let high = planes[planes.len() / 2 + index];
                f16::from_le_bytes([planes[index], high]).to_f32().to_bits()
            })
            .collect();
        for isa in Isa::here() {
            assert_eq!(bits(&unpacked(isa, weight)), expected, "{isa:?}: {name}");
            let mut last = vec![0.0; weight.columns()];
            weight.unpack(isa, weight.rows() - 1, &mut last);
            assert_eq!(bits(&last), expected[expected.len() - weight.columns()..], "{isa:?}: {name}");
        }
    });
    let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let weight = Matrix::fp16(64, 1024, Bytes::Owned(all.into())).unwrap();
    for isa in Isa::here() {
        for (value, bits) in unpacked(isa, &weight).iter().zip(0..=u16::MAX) {
            let expected = f16::from_bits(bits).to_f32();
            assert!(value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan(), "{bits:x}");
        }
    }
}

#[test]
fn exact_products_are_those_of_unpacked_weights() {
    for (seed, [rows, columns, count]) in SHAPES.into_iter().chain([[700, 264, 1], [700, 264, 9]]).enumerate()
    {
        let mut random = Random::new(seed);
        let x = random.numbers(count * columns);
        let mut weights = vec![random.fp16(rows, columns)];
        weights.extend(WIDTHS.map(|bits| random.palettized([rows, columns], bits, 8)));
        for weight in weights {
            let mut expected = vec![0.0; rows * count];
            matmul_transposed(&unpacked(Isa::Generic, &weight), &x, columns, &mut expected);
            for (isa, threads) in Isa::here().flat_map(|isa| [1, 3].map(|threads| (isa, threads))) {
                let mut out = vec![f32::NAN; rows * count];
                multiply_exact(isa, &Pool::new(threads), &weight, &x, &mut out);
                assert_eq!(bits(&out), bits(&expected), "{isa:?} [{rows}, {columns}] x {count}");
            }
        }
    }
}

#[test]
fn several_products_and_rows_that_are_filled_again() {
    let (mut random, pool) = (Random::new(1), Pool::new(2));
    let weights =
        [random.palettized([100, 320], 4, 8), random.fp16(7, 320), random.palettized([640, 320], 8, 640)];
    for isa in Isa::here() {
        let (mut rows, both) = (Rows::empty(), forms_for(&weights));
        rows.fill(isa, both, &random.numbers(80 * 1000), 1000, &pool).unwrap();
        for count in [9, 1, 0] {
            let x = random.numbers(count * 320);
            rows.fill(isa, both, &x, 320, &pool).unwrap();
            let mut outs: Vec<Vec<f32>> = weights.iter().map(|w| vec![0.0; w.rows() * count]).collect();
            let mut products: Vec<Product<'_>> =
                weights.iter().zip(&mut outs).map(|(weight, out)| Product { weight, out }).collect();
            multiply(isa, &pool, &rows, &mut products);
            for (weight, out) in weights.iter().zip(&outs) {
                assert_eq!(bits(out), bits(&product(isa, 1, weight, &x)), "{isa:?}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_no_matrix() {
    let bytes = |count: usize| Bytes::Owned(vec![0; count].into());
    let table = |entries: usize| vec![f16::ONE; entries];
    assert!(Matrix::palettized(2, 8, 3, 1, bytes(6), &table(16)).is_some());
    assert!(Matrix::palettized(2, 8, 3, 1, bytes(7), &table(16)).is_none());
    assert!(Matrix::palettized(2, 8, 3, 1, bytes(6), &table(8)).is_none());
    assert!(Matrix::palettized(2, 8, 5, 1, bytes(10), &table(64)).is_none());
    assert!(Matrix::palettized(2, 4, 3, 1, bytes(3), &table(16)).is_none());
    assert!(Matrix::palettized(2, 8, 3, 0, bytes(6), &table(16)).is_none());
    assert!(Matrix::palettized(0, 8, 3, 1, bytes(0), &[]).is_none());
    assert!(Matrix::palettized(usize::MAX, 8, 3, 1, bytes(6), &table(16)).is_none());
    assert!(Matrix::palettized(2, 8, 3, 2, bytes(6), &[f16::INFINITY; 8]).is_none());
    assert!(Matrix::fp16(2, 3, bytes(11)).is_none());
    assert_eq!(Matrix::palettized(2, 8, 3, 1, bytes(6), &table(16)).unwrap().byte_len(), 6 + 32);
}
