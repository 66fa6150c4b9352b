//! Whole models: against recorded values of transformers, against a plain loop, in any division of the work, and
//! damaged.

mod damaged;
mod division;
mod model;
#[path = "../../../runtime/tests/packages/npz.rs"]
mod npz;
mod plain;
mod recorded;
mod stories;

use std::path::{Path, PathBuf};

use anelith_checkpoint::Checkpoint;
use anelith_reference::{Matrix, Observer, Reference, Stage};

/// A path in `../shared`; `None`, with a line on the terminal, where the folder is absent.
fn shared(path: &str) -> Option<PathBuf> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
    if root.is_dir() {
        return Some(root.join(path));
    }
    assert!(std::env::var_os("ANELITH_REQUIRE_SHARED").is_none(), "../shared is absent");
    println!("skipped: ../shared is absent");
    None
}

/// The model that comes with the repository.
fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo-qwen3")
}

fn open(model: &Path) -> Reference {
    Reference::open(&Checkpoint::open(model).unwrap()).unwrap()
}

/// Keeps all that it is shown.
#[derive(Default)]
struct Record {
    states: Vec<(Stage, Matrix)>,
    logits: Vec<(usize, Vec<f32>)>,
    weights: u64,
    /// Ask to stop once so many weights are done.
    limit: Option<u64>,
}

impl Observer for Record {
    fn hidden_states(&mut self, stage: Stage, states: &Matrix) {
        self.states.push((stage, states.clone()));
    }

    fn logits(&mut self, row: usize, logits: &[f32]) {
        self.logits.push((row, logits.to_vec()));
    }

    fn advance(&mut self, weights: u64) {
        self.weights += weights;
    }

    fn interrupted(&mut self) -> bool {
        self.limit.is_some_and(|limit| self.weights >= limit)
    }
}

/// The logits of every token of the windows, one after the other.
fn all_logits(reference: &Reference, windows: &[&[u32]]) -> Vec<f32> {
    let mut record = Record::default();
    let states = reference.run(windows, &mut record).unwrap();
    let rows: Vec<usize> = (0..states.rows()).collect();
    reference.logits(&states, &rows, &mut record).unwrap();
    record.logits.into_iter().flat_map(|(_, logits)| logits).collect()
}

/// The place of the largest logit.
fn best(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap()
}

/// The largest difference, as a part of the range of what is expected.
fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let [least, most] = [f32::min, f32::max].map(|f| expected.iter().copied().reduce(f).unwrap());
    found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max) / (most - least)
}
