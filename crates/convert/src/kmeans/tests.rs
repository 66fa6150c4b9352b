//! The clustering against its own contract, and in `optimum` against a plain dynamic programme.

mod optimum;

use super::*;
use optimum::found_cost;

/// A small generator of repeatable test weights.
struct Source(u64);

impl Source {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % bound
    }

    /// Uniform in -1 to 1.
    fn unit(&mut self) -> f64 {
        self.below(1 << 30) as f64 / f64::from(1 << 29) - 1.0
    }

    /// Close to a normal deviate.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() / 2.0
    }

    fn weight(&mut self, kind: usize) -> f16 {
        let normal = self.normal();
        match kind {
            0 => f16::from_f64(normal * 0.02),
            1 => f16::from_f64((normal * 3.0).round() / 4.0),
            2 => f16::from_f64(normal.powi(9).clamp(-65504.0, 65504.0)),
            3 => f16::from_bits(self.below(40) as u16 | (self.below(2) << 15) as u16),
            4 => [f16::MAX, f16::MIN, f16::from_f64(normal * 1e-4)][self.below(3) as usize],
            5 => f16::from_f64(1000.0 + normal),
            6 => f16::from_f64(self.below(64) as f64),
            _ => {
                let bits = (self.below(1 << 16)) as u16;
                let value = f16::from_bits(bits);
                if value.is_finite() { value } else { f16::NEG_ZERO }
            }
        }
    }
}

const KINDS: usize = 8;

/// Sorted distinct values in units with their counts, the obvious way.
fn distinct(weights: &[f16]) -> (Vec<i64>, Vec<u64>) {
    let mut counted = std::collections::BTreeMap::new();
    for &weight in weights {
        *counted.entry(fixed::from_f16(weight)).or_insert(0) += 1;
    }
    counted.into_iter().unzip()
}

/// Everything [`Clustering`] promises about one group.
fn check(weights: &[f16], bits: u32, found: &Clustering) {
    let slots = 1usize << bits;
    assert_eq!((found.table.len(), found.indices.len()), (slots, weights.len()));
    let used = found.indices.iter().max().map_or(0, |&i| usize::from(i) + 1);
    let table: Vec<f64> = found.table.iter().map(|e| e.to_f64()).collect();
    assert!(table[..used].is_sorted_by(|a, b| a < b), "{table:?}");
    assert!(found.table[used..].iter().all(|e| e.to_bits() == 0));
    let mut error = 0.0;
    for (weight, &index) in weights.iter().zip(&found.indices) {
        let distance = |entry: &f64| (entry - weight.to_f64()).abs();
        let own = distance(&table[usize::from(index)]);
        let nearest = table[..used].iter().position(|e| distance(e) <= own);
        assert_eq!(nearest, Some(usize::from(index)), "{weight} in {table:?}");
        error += own * own;
    }
    let stated = found.noise.squared_error();
    assert!((stated - error).abs() <= 1e-9 * error, "{stated} {error}");
    assert_eq!(found.noise.count(), weights.len() as u64);
}

#[test]
fn tables_and_indices_keep_their_promises() {
    let mut source = Source(3);
    for bits in 1..=8 {
        let mut reused = KMeans::new(bits);
        for case in 0..160 {
            let size = source.below(600) as usize;
            let weights: Vec<f16> = (0..size).map(|_| source.weight(case % KINDS)).collect();
            let found = reused.cluster(&weights).expect("finite weights");
            check(&weights, bits, &found);
            let (values, counts) = distinct(&weights);
            let fresh = KMeans::new(bits).cluster(&weights);
            assert_eq!(fresh.as_ref(), Ok(&found), "scratch memory leaks");
            let least = match values.len() > 1 << bits {
                true => found_cost(&values, &counts, 1 << bits) * fixed::UNIT * fixed::UNIT,
                false => 0.0,
            };
            let error = found.noise.squared_error();
            // Rounding moves a mean by at most half a step.
            let step = |&i: &u8| found.table[usize::from(i)].to_f64() / 2048.0;
            let moved = |i| (step(i).abs() + fixed::UNIT).powi(2);
            let rounding: f64 = found.indices.iter().map(moved).sum();
            assert!(error <= least + rounding, "{bits} {case}: {error} {least}");
            assert!(least > 0.0 || error == 0.0, "few values are kept exactly");
        }
    }
}

#[test]
fn few_values_are_the_table() {
    let weights = [3.0, -0.0, 1.5, 0.0, 3.0].map(f16::from_f32);
    let found = KMeans::new(2).cluster(&weights).expect("finite weights");
    assert_eq!(found.table, [0.0, 1.5, 3.0, 0.0].map(f16::from_f32));
    assert!(found.table.iter().all(|entry| entry.to_bits() < 0x8000));
    assert_eq!(found.indices, [2, 0, 1, 0, 2]);
    assert_eq!(found.noise.squared_error(), 0.0);
}

#[test]
fn one_value_is_enough() {
    for bits in 1..=8 {
        let found = KMeans::new(bits).cluster(&[f16::NEG_ONE; 100]).expect("finite weights");
        check(&[f16::NEG_ONE; 100], bits, &found);
        assert_eq!((found.table[0], found.table[1]), (f16::NEG_ONE, f16::ZERO));
    }
}

/// In units of 2^-24 the runs are 1 1 2 2 and 3 3 4 4 4 5. The first mean, 1.5,
/// rounds to 2; then 3 is as far from 2 as from 4.
#[test]
fn ties_go_to_the_even_mean_and_the_lower_entry() {
    let weights = [1, 1, 2, 2, 3, 3, 4, 4, 4, 5].map(f16::from_bits);
    let found = KMeans::new(1).cluster(&weights).expect("finite weights");
    assert_eq!(found.table, [f16::from_bits(2), f16::from_bits(4)]);
    assert_eq!(found.indices, [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]);
    check(&weights, 1, &found);
}

#[test]
fn a_group_leaves_nothing_to_the_next() {
    let groups = [[1.0, 2.0, 5.0], [7.0, 7.0, -7.0]].map(|g| g.map(f16::from_f32));
    let tables = [[1.0, 2.0, 5.0, 0.0], [-7.0, 7.0, 0.0, 0.0]].map(|t| t.map(f16::from_f32));
    let mut kmeans = KMeans::new(2);
    for ((group, table), indices) in groups.iter().zip(tables).zip([[0, 1, 2], [1, 1, 0]]) {
        let found = kmeans.cluster(group).expect("finite weights");
        assert_eq!((found.table, found.indices), (table.to_vec(), indices.to_vec()));
    }
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let mut kmeans = KMeans::new(4);
    for value in [f16::INFINITY, f16::NEG_INFINITY, f16::NAN, -f16::NAN] {
        let weights = [f16::ONE, f16::MAX, value, value];
        let refused = kmeans.cluster(&weights).expect_err("not finite");
        assert_eq!((refused.position, refused.value.to_bits()), (2, value.to_bits()));
        let after = kmeans.cluster(&[f16::ONE]).expect("finite weights");
        assert_eq!((after.table[0], after.table[1]), (f16::ONE, f16::ZERO));
    }
}

/// What `solve` found, adopted, labels as it did; both append.
#[test]
fn an_adopted_table_gives_the_same_labels() {
    let mut source = Source(4);
    let mut kmeans = KMeans::new(3);
    for case in 0..80 {
        let size = source.below(200) as usize;
        let weights: Vec<f16> = (0..size).map(|_| source.weight(case % KINDS)).collect();
        let found = kmeans.cluster(&weights).expect("finite weights");
        let (mut table, mut indices) = (vec![f16::ONE], vec![7]);
        kmeans.sort(&weights[..size / 2]).expect("finite weights");
        kmeans.sort(&weights).expect("finite weights");
        kmeans.adopt(&found.table);
        kmeans.append_table(&mut table);
        assert_eq!(kmeans.label(&weights, &mut indices), found.noise);
        assert_eq!((table[0], &table[1..]), (f16::ONE, &found.table[..]));
        assert_eq!((indices[0], &indices[1..]), (7, &found.indices[..]));
    }
}
