//! What cannot be converted is refused before anything is written, by an error that names the field or option.

#![allow(clippy::result_large_err, reason = "tests pass the library's errors on as they are")]

#[allow(dead_code, reason = "each test binary uses a part of the fixture")]
mod fixture;

use anelith_checkpoint::Checkpoint;
use anelith_convert::{Error, Options, Pipeline, Selection, Silent};
use serde_json::{Value, json};

use fixture::Synthetic;

/// What is said to a model with `fields` and to options that `change` has changed.
fn refusal(fields: Value, change: impl FnOnce(&mut Options)) -> String {
    let written = Synthetic::tiny("qwen3").weights().write();
    let config = Synthetic::tiny("qwen3").with(fields).config;
    std::fs::write(written.model.join("config.json"), serde_json::to_vec(&config).expect("json"))
        .expect("a file");
    let mut options = written.options("4");
    change(&mut options);
    let refused = Checkpoint::open(&written.model)
        .map_err(Error::from)
        .and_then(|checkpoint| Pipeline::new(&checkpoint, &options, &Silent).map(|_| ()));
    assert!(!written.out().exists(), "a refused conversion writes nothing");
    match refused {
        Ok(()) => "accepted".to_owned(),
        Err(Error::Usage(report)) => format!("usage: {}", report.what),
        Err(Error::Input(report)) => format!("input: {}", report.what),
        Err(other) => other.to_string(),
    }
}

#[test]
fn contexts_and_batches() {
    let none = || json!({});
    let long = || json!({ "max_position_embeddings": i32::MAX });
    let yarn = |factor: f64| {
        let scaling =
            json!({ "rope_type": "yarn", "factor": factor, "original_max_position_embeddings": 1000 });
        json!({ "max_position_embeddings": 1000, "rope_scaling": scaling })
    };
    let beyond = "usage: the context is longer than the model's positions";
    let addressable = "usage: the context is longer than what Core ML can address";
    let cases: [(Value, u64, u64, &str); 14] = [
        (none(), 32, 8, "accepted"),
        (none(), 2048, 2048, "accepted"),
        (none(), 0, 1, "usage: context is out of range"),
        (none(), 32, 0, "usage: batch is out of range"),
        (none(), 32, 33, "usage: batch is out of range"),
        (none(), 2049, 8, beyond),
        (none(), u64::MAX, u64::MAX, beyond),
        (long(), 1 << 20, 8, "accepted"),
        (long(), 1 << 28, 8, addressable),
        (long(), i32::MAX as u64, 8, addressable),
        (yarn(4.0), 4000, 8, "accepted"),
        (yarn(4.0), 4001, 8, beyond),
        (yarn(1e30), i32::MAX as u64, 8, addressable),
        (yarn(1e30), u64::from(u32::MAX), 8, beyond),
    ];
    for (fields, context, batch, expected) in cases {
        let said = refusal(fields, |o| (o.context, o.batch) = (context, batch));
        assert_eq!(said, expected, "context {context}, batch {batch}");
    }
    let window = json!({ "use_sliding_window": true, "sliding_window": 31 });
    let said = refusal(window, |_| ());
    assert_eq!(said, "usage: the context is longer than the model's sliding attention window");
}

#[test]
fn numbers_that_fp16_cannot_hold() {
    let epsilon = "input: `rms_norm_eps` cannot be told from zero or infinity in fp16";
    for (value, expected) in [(1e-5, "accepted"), (6e-8, "accepted"), (1e-8, epsilon), (1e9, epsilon)] {
        assert_eq!(refusal(json!({ "rms_norm_eps": value }), |_| ()), expected, "{value}");
    }
    let yarn = |attention_factor: f64| {
        let scaling = json!({
            "rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 1000,
            "attention_factor": attention_factor,
        });
        json!({ "rope_scaling": scaling })
    };
    let said = refusal(yarn(1e6), |_| ());
    assert_eq!(said, "input: `attention_factor` makes rotary positions that cannot be computed");
    assert_eq!(refusal(yarn(1.5), |_| ()), "accepted");
    let said = refusal(json!({ "rope_theta": 1.2e-38, "head_dim": 1024 }), |o| o.context = 2048);
    assert_eq!(said, "input: `rope_theta` makes rotary positions that cannot be computed");
}

/// Sizes from a config are not believed: the tensors must be there, and nothing is allocated for them.
#[test]
fn sizes_that_the_weights_contradict() {
    for (key, value, tensor) in [
        ("vocab_size", 1 << 24, "model.embed_tokens.weight"),
        ("hidden_size", 1 << 24, "model.embed_tokens.weight"),
        ("intermediate_size", 1 << 24, "model.layers.0.mlp.gate_proj.weight"),
        ("head_dim", 1 << 16, "model.layers.0.self_attn.q_proj.weight"),
        ("num_hidden_layers", 10_000, "model.layers.2.input_layernorm.weight"),
        ("num_attention_heads", 1 << 16, "model.layers.0.self_attn.q_proj.weight"),
    ] {
        let said = refusal(json!({ key: value }), |_| ());
        assert!(said.contains(&format!("`{tensor}`")), "{key}: {said}");
    }
    let said = refusal(json!({ "vocab_size": 15 }), |_| ());
    assert_eq!(said, "input: the vocabulary is smaller than the number of LM-head splits");
}

#[test]
fn outputs_do_not_go_into_the_model() {
    let said = refusal(json!({}), |o| o.output.clone_from(&o.model));
    assert_eq!(said, "usage: the output directory is the model directory");
    // The way there does not exist, and would be made.
    let said = refusal(json!({}), |o| o.output = o.model.join("no-such/.."));
    assert_eq!(said, "usage: the output directory is the model directory");
    assert_eq!(
        refusal(json!({}), |o| o.prefix = Some("../x".into())),
        "usage: the prefix is no plain file name"
    );
}

#[test]
fn the_table_of_step_0() {
    let written = Synthetic::tiny("qwen3").weights().write();
    let checkpoint = written.open();
    let pipeline = Pipeline::new(&checkpoint, &written.options("4"), &Silent).expect("a pipeline");
    let findings = pipeline.check(Selection::needed(), &Silent).expect("findings");
    let subjects: Vec<&str> = findings.iter().map(|f| f.subject).collect();
    assert_eq!(subjects, ["architecture", "model", "tokenizer", "weight.bin", "disk", "memory"]);
    std::fs::remove_file(written.model.join("tokenizer.json")).expect("a file");
    let error = pipeline.check(Selection::needed(), &Silent).expect_err("no tokenizer");
    assert_eq!(error.to_string(), "no tokenizer.json in the model directory");
}
