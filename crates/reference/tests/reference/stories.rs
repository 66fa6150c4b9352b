//! A trained LLaMA, against what transformers computes: greedy continuations, logits, and perplexities of real text.

use std::fs;

use serde_json::Value;
use tokenizers::Tokenizer;

use super::{all_logits, best, open, shared};

const MODEL: &str = "data/stories260K";

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// What was recorded; `None` without `../shared`.
fn recorded() -> Option<Value> {
    let text = fs::read_to_string(shared(MODEL)?.join("reference.json")).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}

#[test]
fn continuations_and_their_first_logits_are_those_of_transformers() {
    let Some(recorded) = recorded() else { return };
    let reference = open(&shared(MODEL).unwrap());
    let vocab = reference.config().vocab_size;
    for prompt in recorded["prompts"].as_array().unwrap() {
        let (start, text) = (ids(&prompt["input_ids"]).len(), ids(&prompt["greedy_ids"]));
        assert!(text.len() >= start + 200);
        let logits = all_logits(&reference, &[&text[..text.len() - 1]]);
        let rows: Vec<&[f32]> = logits.chunks(vocab).collect();
        let found: Vec<u32> = rows[start - 1..].iter().map(|row| best(row) as u32).collect();
        assert_eq!(found, text[start..], "{}", prompt["prompt"]);
        for pair in prompt["top5_first"].as_array().unwrap() {
            let (id, expected) = (pair[0].as_u64().unwrap() as usize, pair[1].as_f64().unwrap());
            let found = f64::from(rows[start - 1][id]);
            // They are recorded with five decimals.
            assert!((found - expected).abs() < 1e-4, "{}, token {id}: {found}", prompt["prompt"]);
        }
    }
}

/// Text, first characters of it that were taken, and the file that holds it.
const TEXTS: [(&str, &str); 3] = [
    ("tinystories-valid-30k.txt", "tinystories-valid-30k.txt"),
    ("tinystories-sample-4k.txt", "tinystories-sample-4k.txt"),
    ("wikitext2-raw-test.txt", "wikitext2-raw-test-300k.txt"),
];

/// Windows of 511 tokens, each after one BOS, go through the model together.
#[test]
fn perplexities_are_those_of_transformers() {
    let Some(recorded) = recorded() else { return };
    let model = shared(MODEL).unwrap();
    let tokenizer = Tokenizer::from_file(model.join("tokenizer.json")).unwrap();
    let reference = open(&model);
    for (name, file) in TEXTS {
        let expected = &recorded["perplexity"][name];
        let text = fs::read_to_string(shared("data/corpora").unwrap().join(file)).unwrap();
        let chars = expected["chars"].as_u64().unwrap() as usize;
        let text: String = text.replace("\r\n", "\n").chars().take(chars).collect();
        let tokens = tokenizer.encode(text, false).unwrap().get_ids().to_vec();
        assert_eq!(tokens.len() as u64, expected["tokens"].as_u64().unwrap(), "{name}");
        let windows: Vec<Vec<u32>> = tokens.chunks(511).map(|window| [&[1], window].concat()).collect();
        let windows: Vec<&[u32]> = windows.iter().map(Vec::as_slice).collect();
        let logits = all_logits(&reference, &windows);
        let next = windows.iter().flat_map(|window| window[1..].iter().map(Some).chain([None]));
        let losses = logits.chunks(reference.config().vocab_size).zip(next);
        let sum: f64 = losses.filter_map(|(logits, next)| Some(loss(logits, *next? as usize))).sum();
        let (found, expected) = ((sum / tokens.len() as f64).exp(), expected["ppl"].as_f64().unwrap());
        println!("{name}: perplexity {found:.5}, recorded {expected}");
        // They are recorded with four decimals, or five digits.
        assert!((found / expected - 1.0).abs() < 2e-5, "{name}: {found} for {expected}");
    }
}

/// The negative logarithm of the probability of a token.
fn loss(logits: &[f32], token: usize) -> f64 {
    let largest = f64::from(logits[best(logits)]);
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - largest).exp()).sum();
    largest + sum.ln() - f64::from(logits[token])
}
