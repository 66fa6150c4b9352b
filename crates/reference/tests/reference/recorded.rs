//! The reference checkpoints, against what transformers computes.

use super::npz::Npz;
use super::{Record, all_logits, best, open, shared, worst};

const CHECKPOINTS: [&str; 5] = ["llama", "llama-plain", "qwen2.5", "qwen3", "qwen3-tied"];

/// Of the range of the logits. Rounding to f32 in another order makes a hundredth of it.
const TOLERANCE: f32 = 1e-4;

fn ids(expected: &Npz, name: &str) -> Vec<u32> {
    expected.i32s(name).into_iter().map(|id| id as u32).collect()
}

#[test]
fn hidden_states_and_logits_are_those_of_transformers() {
    for name in CHECKPOINTS {
        let Some(model) = shared(&format!("reference/checkpoints/{name}")) else { return };
        let expected = Npz::open(&model.join("expected.npz"));
        let (reference, ids) = (open(&model), ids(&expected, "input_ids"));
        let states = reference.run(&[&ids], &mut Record::default()).unwrap();
        let found = [states.values().to_vec(), all_logits(&reference, &[&ids])];
        for (array, found) in ["last_hidden", "logits"].into_iter().zip(found) {
            let worst = worst(&found, &expected.f32s(array));
            println!("{name} {array}: differs by {worst:.1e} of the range");
            assert!(worst <= TOLERANCE, "{name} {array}: differs by {worst} of the range");
        }
    }
}

/// The two best logits come as near as 0.0009.
#[test]
fn greedy_paths_are_those_of_transformers() {
    for name in CHECKPOINTS {
        let Some(model) = shared(&format!("reference/checkpoints/{name}")) else { return };
        let expected = Npz::open(&model.join("expected.npz"));
        let (prompt, greedy) = (ids(&expected, "greedy_prompt"), ids(&expected, "greedy"));
        let text = [&prompt[..], &greedy].concat();
        let logits = all_logits(&open(&model), &[&text[..text.len() - 1]]);
        let vocab = logits.len() / (text.len() - 1);
        let found: Vec<u32> =
            logits.chunks(vocab).skip(prompt.len() - 1).map(|logits| best(logits) as u32).collect();
        assert_eq!(found, greedy, "{name}");
    }
}
