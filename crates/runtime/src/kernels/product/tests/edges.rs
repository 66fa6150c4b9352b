//! Products of shapes and numbers at the edges of what there is, and what prepared weights take.

use super::*;

#[test]
fn prepared_rows_do_not_see_each_other() {
    for_each_prepared(|weight, x, name| {
        let one_by_one: Vec<f32> =
            x.chunks(weight.columns()).flat_map(|x| product(Isa::Avx2, 1, weight, x)).collect();
        assert_eq!(bits(&product(Isa::Avx2, 3, weight, x)), bits(&one_by_one), "{name}");
    });
}

#[test]
fn fp16_rows_of_any_length() {
    for (seed, columns) in [1, 3, 7, 9, 63, 65, 255, 257, 515].into_iter().enumerate() {
        for (rows, count) in [(1, 1), (5, 1), (9, 2), (6, 67)] {
            let mut random = Random::new(seed);
            let (weight, x) = (random.fp16(rows, columns), random.numbers(count * columns));
            let slow = reference(&weight, &x);
            for isa in Isa::here() {
                let fast = product(isa, 2, &weight, &x);
                let one_by_one: Vec<f32> =
                    x.chunks(columns).flat_map(|x| product(isa, 1, &weight, x)).collect();
                assert_eq!(bits(&fast), bits(&one_by_one), "{isa:?} [{rows}, {columns}] x {count}");
                for (fast, slow) in fast.iter().zip(&slow) {
                    assert!(
                        (f64::from(*fast) - slow).abs() < 1e-6 * columns as f64,
                        "{isa:?}: {fast}, {slow}"
                    );
                }
            }
        }
    }
}

#[test]
fn products_below_all_numbers_have_the_same_sign_in_any_company() {
    // Fused, a negative product that is too small for f32 is -0.
    let weight = Matrix::fp16(1, 8, Bytes::Owned([1u8, 0x80].repeat(8).into())).unwrap();
    for isa in Isa::here() {
        let one = product(isa, 1, &weight, &[1e-40; 8]);
        let two = product(isa, 1, &weight, &[1e-40; 16]);
        assert_eq!(bits(&two), bits(&[one[0], one[0]]), "{isa:?}");
    }
}

#[test]
fn rows_of_few_indices_and_tables_of_more_rows_than_there_are() {
    for (seed, (columns, bits_)) in [(1, 8), (2, 4), (4, 6), (4, 2), (8, 1), (8, 3)].into_iter().enumerate() {
        for (rows, per_table, count) in [(1, 1, 1), (1, 9, 5), (3, usize::MAX, 2), (17, 100, 1), (17, 4, 6)] {
            let mut random = Random::new(seed);
            let weight = random.palettized([rows, columns], bits_, per_table);
            let x = random.numbers(count * columns);
            let slow = product(Isa::Generic, 1, &weight, &x);
            for (slow, exact) in slow.iter().zip(reference(&weight, &x)) {
                assert!(
                    (f64::from(*slow) - exact).abs() < 1.0 / 8191.0 * columns as f64,
                    "{slow} and {exact}"
                );
            }
            for isa in Isa::here() {
                assert_eq!(bits(&product(isa, 2, &weight, &x)), bits(&slow), "{isa:?} {columns} of {bits_}");
                repack(isa, &weight);
                assert!(weight.prepared().is_none(), "a chunk for a few columns");
            }
        }
    }
}

#[test]
fn what_a_prepared_matrix_holds_is_counted() {
    for_each_prepared(|weight, _, name| {
        let Form::Palettized(palette) = weight.form() else { return };
        let made = match palette.prepared.get() {
            Some(Prepared::Levels(levels)) => levels.bytes().len(),
            Some(Prepared::Apart(apart)) => apart.bytes().len(),
            None => 0,
        };
        let tables = weight.rows().div_ceil(palette.rows_per_table) * (2 << palette.bits);
        assert!(weight.held_bytes() >= palette.indices.len() + tables + made, "{name}");
        assert!(weight.read_bytes() >= made, "{name}");
    });
}
