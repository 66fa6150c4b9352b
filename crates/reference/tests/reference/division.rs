//! Results do not depend on how the work is divided: among threads, windows, or rows of logits.

use anelith_reference::{Error, Stage};
use rayon::ThreadPoolBuilder;

use super::{Record, all_logits, demo, open};

fn ids(count: u32) -> Vec<u32> {
    (0..count).map(|i| (i * 37 + 5) % 1024).collect()
}

#[test]
fn threads_change_no_bit() {
    let (reference, ids) = (open(&demo()), ids(50));
    let with = |threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| all_logits(&reference, &[&ids]))
    };
    let alone = with(1);
    for threads in [2, 3, 8] {
        assert!(with(threads) == alone, "{threads} threads");
    }
}

#[test]
fn windows_do_not_see_each_other() {
    let (reference, ids) = (open(&demo()), ids(40));
    let (one, other) = ids.split_at(13);
    let together = all_logits(&reference, &[one, other]);
    let apart = [all_logits(&reference, &[one]), all_logits(&reference, &[other])].concat();
    assert!(together == apart);
}

#[test]
fn an_observer_sees_every_stage_and_every_weight() {
    let reference = open(&demo());
    let mut record = Record::default();
    let states = reference.run(&[&ids(5)], &mut record).unwrap();
    let stages: Vec<Stage> = record.states.iter().map(|(stage, _)| *stage).collect();
    let layers = (0..4).flat_map(|layer| [Stage::Attention(layer), Stage::Layer(layer)]);
    assert_eq!(stages, [Stage::Embedding].into_iter().chain(layers).chain([Stage::Norm]).collect::<Vec<_>>());
    assert!(record.states.iter().all(|(_, states)| (states.rows(), states.width()) == (5, 128)));
    assert_eq!(record.states.last().unwrap().1, states);
    // q, k, v, o of 4 and 2 heads of 32, and three projections of the MLP, in four layers.
    assert_eq!(reference.run_weights(), 4 * (2 * 128 * 128 + 2 * 64 * 128 + 3 * 384 * 128));
    assert_eq!(record.weights, reference.run_weights());

    reference.logits(&states, &[4, 0, 4], &mut record).unwrap();
    let rows: Vec<usize> = record.logits.iter().map(|(row, _)| *row).collect();
    assert_eq!(rows, [4, 0, 4]);
    assert_eq!(record.logits[0].1, record.logits[2].1);
    assert_eq!(reference.logits_weights(3), 1024 * 128);
    assert_eq!(record.weights, reference.run_weights() + reference.logits_weights(3));
}

#[test]
fn an_observer_can_stop_a_run() {
    let reference = open(&demo());
    let mut record = Record { limit: Some(reference.run_weights() / 2), ..Record::default() };
    let error = reference.run(&[&ids(5)], &mut record).unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{error}");
    assert!(record.states.len() < 5 && record.weights < reference.run_weights());
}

#[test]
fn a_row_that_is_not_there_is_an_error() {
    let reference = open(&demo());
    let states = reference.run(&[&ids(3)], &mut Record::default()).unwrap();
    let error = reference.logits(&states, &[0, 3], &mut Record::default()).unwrap_err();
    assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("row 3"), "{error}");
}
