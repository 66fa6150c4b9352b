//! Damaged checkpoints are refused, with what is wrong and where.

use std::fs;
use std::path::Path;

use anelith_checkpoint::Checkpoint;
use anelith_reference::{Error, Reference};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::model::Model;
use super::{Record, demo};

/// A copy of the demo model with other fields in its config.
fn with(fields: Value) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(demo().join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    fs::copy(demo().join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    dir
}

fn open(dir: &Path) -> Result<Reference, Error> {
    Reference::open(&Checkpoint::open(dir)?)
}

#[test]
fn tensors_that_do_not_fit_the_config_are_named() {
    let cases = [
        (json!({"num_hidden_layers": 5}), "model.layers.4.input_layernorm.weight"),
        (json!({"intermediate_size": 385}), "model.layers.0.mlp.gate_proj.weight"),
        (json!({"num_key_value_heads": 1}), "model.layers.0.self_attn.k_proj.weight"),
        (json!({"attention_bias": true}), "model.layers.0.self_attn.q_proj.bias"),
        (json!({"vocab_size": 1000}), "model.embed_tokens.weight"),
        (json!({"tie_word_embeddings": false}), "lm_head.weight"),
    ];
    for (fields, expected) in cases {
        let error = open(with(fields).path()).unwrap_err();
        assert!(matches!(error, Error::Checkpoint(_)) && error.to_string().contains(expected), "{error}");
        assert!(error.report().is_some_and(|report| report.mend.is_some()), "{error}");
    }
}

/// A file that is cut off after it was opened.
#[test]
fn a_file_that_ends_early_is_an_error() {
    let dir = with(json!({}));
    let reference = open(dir.path()).unwrap();
    let file = fs::File::options().write(true).open(dir.path().join("model.safetensors")).unwrap();
    file.set_len(300_000).unwrap();
    let error = reference.run(&[&[1, 2, 3]], &mut Record::default()).unwrap_err();
    assert!(
        matches!(error, Error::Checkpoint(_)) && error.to_string().contains("model.safetensors"),
        "{error}"
    );
}

/// A LLaMA with all its tensors, the heads as wide as derived.
fn complete() -> Model {
    let mut model = Model::new("llama", json!({"num_hidden_layers": 1}));
    model.add("model.embed_tokens.weight", &[41, 24], 1.0, 0.0);
    model.add("lm_head.weight", &[41, 24], 1.0, 0.0);
    for name in ["norm", "layers.0.input_layernorm", "layers.0.post_attention_layernorm"] {
        model.add(&format!("model.{name}.weight"), &[24], 0.1, 1.0);
    }
    let projections = [
        ("self_attn.q_proj", [24, 24]),
        ("self_attn.k_proj", [8, 24]),
        ("self_attn.v_proj", [8, 24]),
        ("self_attn.o_proj", [24, 24]),
        ("mlp.gate_proj", [37, 24]),
        ("mlp.up_proj", [37, 24]),
        ("mlp.down_proj", [24, 37]),
    ];
    for (name, shape) in projections {
        model.add(&format!("model.layers.0.{name}.weight"), &shape, 0.5, 0.0);
    }
    model
}

/// Runs `model` on three tokens and computes their logits.
fn compute(model: &Model) -> Result<(), Error> {
    let (_dir, checkpoint) = model.write();
    let reference = Reference::open(&checkpoint)?;
    let states = reference.run(&[&[1, 2, 3]], &mut Record::default())?;
    reference.logits(&states, &[0, 1, 2], &mut Record::default())
}

#[test]
fn weights_that_are_not_finite_are_named() {
    compute(&complete()).unwrap();
    let names: Vec<String> = complete().tensors.into_keys().collect();
    for name in names {
        let mut model = complete();
        let (shape, values) = model.tensors.get_mut(&name).unwrap();
        let width = *shape.last().unwrap();
        // In a matrix a value of row 1, in the embedding that of a token that is read.
        let at = if shape.len() == 2 { width + 3 } else { 5 };
        values[at] = f32::NAN;
        let error = compute(&model).unwrap_err();
        let report = error.report().unwrap();
        assert!(matches!(error, Error::Input(_)), "{error}");
        assert_eq!(report.what, format!("tensor `{name}` has the value NaN"));
        let place = format!("row {}, column {}", at / width, at % width);
        assert!(report.location.as_ref().unwrap().ends_with(&place), "{report:?}");
    }
}

#[test]
fn values_that_overflow_are_an_error_at_their_layer() {
    for (name, place) in [
        ("model.layers.0.mlp.down_proj.weight", "the hidden states after `model.layers.0`"),
        ("model.norm.weight", "the hidden states after `model.norm`"),
        ("lm_head.weight", "the logits"),
    ] {
        let mut model = complete();
        model.tensors.get_mut(name).unwrap().1.fill(f32::MAX);
        let error = compute(&model).unwrap_err();
        assert!(matches!(error, Error::Input(_)) && error.to_string().starts_with(place), "{error}");
    }
}

#[test]
fn an_element_type_that_is_no_weight_is_refused() {
    let dir = with(json!({}));
    let path = dir.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(6).position(|w| w == b"\"BF16\"").unwrap();
    bytes[at..at + 6].copy_from_slice(b"\"I16\" ");
    fs::write(&path, bytes).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::Checkpoint(_)) && error.to_string().contains("I16"), "{error}");
}
