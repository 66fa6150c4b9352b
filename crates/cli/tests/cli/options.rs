//! `--lut-embeddings`, `--lut-lmhead`, `--argmax` and `--dry-run`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::anelith::{ANSWER, arguments, convert, converted, demo, run};
use crate::checkpoint::Model;
use crate::files::contents;

fn combined(dir: &Path) -> String {
    dir.join("qwen_monolithic_combined.mlpackage").display().to_string()
}

#[test]
fn embedding_and_head_have_their_own_settings() {
    let dir = TempDir::new().unwrap();
    let flags = ["--lut", "6,16", "--lut-embeddings", "None", "--lut-lmhead", "8,tensor", "--only", "1"];
    let ran = convert(&demo(), dir.path(), &flags).status(0);
    let row = |component: &str| -> Vec<String> {
        let line = ran.stdout.lines().find(|l| l.starts_with(component)).expect("a row");
        line[component.len()..].split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(row("embeddings")[..2], ["fp16", "-"], "{}", ran.stdout);
    assert_eq!(row("layers")[..2], ["6", "16"], "{}", ran.stdout);
    assert_eq!(row("LM head")[..2], ["8", "tensor"], "{}", ran.stdout);
    let package = dir.path().join("qwen_monolithic.mlpackage").display().to_string();
    let bundle = dir.path().join("x.mlmodelc").display().to_string();
    let compiled = |lut: &str| run(["compile", &package, &bundle, "--lut", lut]);
    compiled("6").status(0);
    compiled("6,16").status(0);
    compiled("8").status(3).says("expected: 8 bits").says("found: 6 bits in groups of 16");
    compiled("none").status(3).says("expected: no palettization of decoder layers");

    convert(&demo(), dir.path(), &["--lut", "no", "--lut-lmhead", "4", "--only", "1"]).status(0);
    compiled("none").status(0);
    compiled("4").status(3).says("found: no palettization of decoder layers");
}

/// What `generate` answers with: the ids.
fn generated(dir: &Path) -> String {
    let meta = dir.join("meta.yaml").display().to_string();
    run(["generate", "--meta", &meta, "--ids", "1,40,77", "--max-tokens", "24", "--no-stop"]).status(0).stdout
}

/// Runs fixed tokens through `infer`, one call each.
fn outputs(package: &str, dir: &Path) -> Vec<Value> {
    let context = 512;
    let call = |position: usize| {
        let mask: Vec<Value> =
            (0..context).map(|c| if c <= position { json!(0) } else { json!("-inf") }).collect();
        json!({ "function": "infer", "inputs": {
            "input_ids": { "dtype": "int32", "shape": [1, 1], "data": [(position * 37 + 5) % 500] },
            "position_ids": { "dtype": "int32", "shape": [1], "data": [position] },
            "causal_mask": { "dtype": "fp16", "shape": [1, 1, 1, context], "data": mask },
            "current_pos": { "dtype": "int32", "shape": [1], "data": [position] },
        }})
    };
    let feeds = dir.join("feeds.json");
    fs::write(&feeds, Value::from((0..40).map(call).collect::<Vec<_>>()).to_string()).unwrap();
    let ran = run(["run", package, "--feeds", feeds.to_str().unwrap()]).status(0);
    let answers: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    answers.into_iter().map(|a| a["outputs"].clone()).collect()
}

fn numbers(output: &Value) -> Vec<f64> {
    output["data"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// The first place of the largest value, and that value.
fn largest(values: &[f64]) -> (f64, f64) {
    let first = |best: (f64, f64), (i, v): (usize, &f64)| if *v > best.1 { (i as f64, *v) } else { best };
    values.iter().enumerate().fold((0.0, f64::NEG_INFINITY), first)
}

#[test]
fn the_model_picks_the_token_that_its_logits_say() {
    let dir = TempDir::new().unwrap();
    let ran = convert(&demo(), dir.path(), &["--argmax"]).status(0).prints(ANSWER);
    ran.says("the same token in 16 of 16 splits");
    let meta = fs::read_to_string(dir.path().join("meta.yaml")).unwrap();
    assert!(meta.contains("\n    argmax_in_model: true\n"), "{meta}");
    assert_eq!(generated(dir.path()), generated(converted()));
    let chat = ["chat", "--meta", dir.path().to_str().unwrap(), "--prompt", "Who are you?"];
    run(chat).status(0).prints(ANSWER);
    for sampled in
        [["--temperature", "0.5"], ["--top-k", "3"], ["--seed", "1"], ["--repetition-penalty", "1.1"]]
    {
        run([&chat[..], &sampled].concat()).status(2).says(sampled[0]).says("without `--argmax`");
    }
    let picked = outputs(&combined(dir.path()), dir.path());
    let logits = outputs(&combined(converted()), dir.path());
    for (position, (picked, logits)) in picked.iter().zip(&logits).enumerate() {
        let expected: Vec<(f64, f64)> =
            (1..=16).map(|i| largest(&numbers(&logits[format!("logits{i}")]))).collect();
        let places: Vec<f64> = expected.iter().map(|(place, _)| *place).collect();
        let values: Vec<f64> = expected.iter().map(|(_, value)| *value).collect();
        assert_eq!(picked["argmax_idx"]["shape"], json!([16]));
        assert_eq!(numbers(&picked["argmax_idx"]), places, "position {position}");
        assert_eq!(numbers(&picked["argmax_val"]), values, "position {position}");
    }
}

#[test]
fn a_model_that_picks_tokens_must_be_what_meta_yaml_says() {
    let dir = TempDir::new().unwrap();
    crate::files::copy(converted(), dir.path());
    let path = dir.path().join("meta.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let claims = text.replace("    vocab_size:", "    argmax_in_model: true\n    vocab_size:");
    fs::write(&path, claims).unwrap();
    let ran = run(["chat", "--meta", path.to_str().unwrap(), "--prompt", "Hi"]).status(3);
    ran.says("does not return `argmax_idx` as meta.yaml says").says("expected: tensor<int32, [16]>");
}

#[test]
fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let dir = TempDir::new().unwrap();
    let output = dir.path().join("deep/out");
    let flags = ["--dry-run", "--lut-embeddings", "8,t", "--argmax"];
    let ran = convert(&demo(), &output, &flags).status(0);
    for words in [
        "step 1: convert the inference model: to do\n  qwen_monolithic.mlpackage/Manifest.json",
        "step 4: compile the combined model: to do\n",
        "qwen_monolithic_combined.mlmodelc/model.mil",
        "meta.yaml",
        "step 6: chat with the compiled model: to do\n",
        "component ",
    ] {
        assert!(ran.stdout.contains(words), "`{words}` is not in:\n{}", ran.stdout);
    }
    assert!(!ran.stdout.contains(" dB"), "{}", ran.stdout);
    let embedding = ran.stdout.lines().find(|l| l.starts_with("embeddings")).unwrap();
    assert_eq!(embedding.split_whitespace().nth(1), Some("8"), "{embedding}");
    assert!(!dir.path().join("deep").exists());

    let before = contents(converted());
    convert(&demo(), converted(), &["--dry-run"]).status(0).prints("done, to be reused");
    convert(&demo(), converted(), &["--dry-run", "--restart", "4"]).status(0).prints("step 4: compile");
    assert_eq!(contents(converted()), before);
    let ran = convert(&demo(), &output, &["--dry-run", "--until", "2"]).status(0).prints("step 2: ");
    assert!(!ran.stdout.contains("step 3") && !ran.stdout.contains("step 6"), "{}", ran.stdout);
    convert(&demo(), &output, &["--dry-run", "--until", "6"]).status(0).prints("step 6: ");
    let part = ["--part", "monolithic_prefill", "--dry-run"];
    run(arguments(&["part"], &demo(), &output, &part)).status(3).says("qwen_monolithic.mlpackage is missing");
    let part = ["--part", "monolithic", "--dry-run"];
    let ran = run(arguments(&["part"], &demo(), &output, &part)).status(0).prints("step 1: ");
    assert!(!ran.stdout.contains("step 2") && !ran.stdout.contains("step 6"), "{}", ran.stdout);
    assert!(!dir.path().join("deep").exists());
}

#[test]
fn a_dry_run_ends_as_the_run_would() {
    let dir = TempDir::new().unwrap();
    let output = dir.path().join("out");
    let nan = Model::demo().with_all("model.norm.weight", f32::NAN);
    for model in [nan, Model::demo().without("tokenizer.json"), Model::demo().with_weights_cut_to(1000)] {
        let dry = convert(model.path(), &output, &["--dry-run"]).status(3);
        assert!(!output.exists());
        let wet = convert(model.path(), &output, &[]).status(3);
        let error = |stderr: &str| stderr.lines().find(|l| l.starts_with("error: ")).map(str::to_owned);
        assert_eq!(error(&dry.stderr), error(&wet.stderr));
        let _ = fs::remove_dir_all(&output);
    }
}
