//! Files beside the weights that say what cannot be: each is refused, or warned of, in step 0.

use std::fs;
use std::path::Path;

use anelith_chat::Meta;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::anelith::{convert, converted, run};
use crate::checkpoint::Model;

/// The demo with a file of this text.
fn model(file: &str, text: &str) -> Model {
    let model = Model::demo();
    fs::write(model.path().join(file), text).unwrap();
    model
}

#[test]
fn what_is_written_of_sampling_can_be_read() {
    let numbers = ["0", "0.0", "-0.0", "1", "1.0", "0.95", "1e-30", "1e-7", "1e30", "1e300", "-1", "50.0"];
    let others = ["2", "1e16", "2147483647", "2147483648", "18446744073709551616", "true", "\"50\"", "[]"];
    let dir = TempDir::new().unwrap();
    for value in numbers.into_iter().chain(others) {
        for key in ["do_sample", "temperature", "top_k", "top_p"] {
            let text = format!("{{\"{key}\": {value}}}");
            let ran = convert(model("generation_config.json", &text).path(), dir.path(), &["--only", "5"]);
            if ran.status == Some(3) {
                ran.says("generation_config.json").says(key).says("expected: ").says("found: ");
                continue;
            }
            ran.status(0);
            let sampling = Meta::open(dir.path()).unwrap().recommended_sampling.unwrap_or_default();
            let number: Option<f64> = serde_json::from_str::<Value>(value).unwrap().as_f64();
            let expected = number.filter(|x| *x != 0.0);
            match key {
                "temperature" => assert_eq!(sampling.temperature, expected, "{text}"),
                "top_p" => assert_eq!(sampling.top_p, expected, "{text}"),
                "top_k" => {
                    let count = number.filter(|x| *x >= 0.0).map(|x| x as usize);
                    assert_eq!(sampling.top_k, count, "{text}");
                }
                _ => assert_eq!(sampling.do_sample, Some(true), "{text}"),
            }
        }
    }
}

/// tokenizer.json of the demo, whose token of id `from` gets the id `to`.
fn renumbered(from: Option<u64>, to: u64) -> Model {
    let model = Model::demo();
    let path = model.path().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let added = tokenizer["added_tokens"].as_array_mut().unwrap();
    match from {
        None => {
            let mut token = added[0].clone();
            (token["content"], token["id"]) = (json!("<far>"), json!(to));
            added.push(token);
        }
        Some(from) => {
            let content = added.iter().find(|t| t["id"] == from).unwrap()["content"].clone();
            added.retain(|t| t["id"] != from);
            let vocab = tokenizer["model"]["vocab"].as_object_mut().unwrap();
            vocab.remove(content.as_str().unwrap());
            vocab.insert(content.as_str().unwrap().to_owned(), json!(to));
            let mut token = tokenizer["added_tokens"][0].clone();
            (token["content"], token["id"]) = (content, json!(to));
            tokenizer["added_tokens"].as_array_mut().unwrap().push(token);
        }
    }
    fs::write(&path, serde_json::to_vec(&tokenizer).unwrap()).unwrap();
    model
}

#[test]
fn tokens_beyond_the_vocabulary_are_found_in_step_0() {
    let dir = TempDir::new().unwrap();
    let output = dir.path().join("out");
    let only = ["--only", "5"];
    let ran = convert(renumbered(None, 1024).path(), &output, &only).status(0);
    ran.says("1024 (\"<far>\")").says("vocab_size 1024");
    // The chat template of the demo begins every prompt with this one.
    let output = dir.path().join("refused");
    let ran = convert(renumbered(Some(1), 2000).path(), &output, &only).status(3);
    ran.says("prompts need a token").says("ids below 1024").says("2000").says("to mend: ");
    assert!(!output.exists());
}

#[test]
fn messages_say_what_to_do() {
    let dir = TempDir::new().unwrap();
    let output = dir.path().join("out");
    let conflict = r#"{"model_type": "qwen3", "rope_theta": 5e5, "rope_parameters": {"rope_theta": 1e4}}"#;
    for (file, text, words) in [
        ("tokenizer.json", "{}", "`model`"),
        ("config.json", conflict, "`rope_theta` 500000.0, `rope_parameters.rope_theta` 10000.0"),
        ("config.json", r#"{"model_type": "llama", "text_config": {}}"#, "the field `text_config`"),
        ("config.json", r#"{"model_type":"#, "begins with `{\"model_type\":`"),
    ] {
        let ran = convert(model(file, text).path(), &output, &[]).status(3);
        ran.says(words).says("expected: ").says("found: ").says("to mend: ");
    }
    let demo = Model::demo();
    let (model, out) = (demo.path().to_str().unwrap(), output.to_str().unwrap());
    run(["part", "--part", "monolithic_prefill", "--model", model, "--output", out])
        .status(3)
        .says("part --part monolithic,")
        .says("found: ");
    let config = demo.path().join("config.json");
    let other = dir.path().join("out.mlpackage");
    let paths = [config.to_str().unwrap(), config.to_str().unwrap(), other.to_str().unwrap()];
    run(["combine", paths[0], paths[1], paths[2]]).status(3).says("to mend: ");
}

#[cfg(unix)]
#[test]
fn a_config_that_links_to_itself_is_the_inputs_fault() {
    let demo = Model::demo().without("config.json");
    std::os::unix::fs::symlink("config.json", demo.path().join("config.json")).unwrap();
    convert(demo.path(), Path::new("never"), &[]).status(3).says("is a link");
}

#[test]
fn feeds_may_name_dtypes_as_numpy_does() {
    let dir = TempDir::new().unwrap();
    let feeds = dir.path().join("feeds.json");
    let package = converted().join("qwen_monolithic_combined.mlmodelc");
    let call = |dtype: &str| {
        let input = json!({"x": {"dtype": dtype, "shape": [1], "data": [0]}});
        fs::write(&feeds, json!([{"function": "infer", "inputs": input}]).to_string()).unwrap();
        run(["run", package.to_str().unwrap(), "--feeds", feeds.to_str().unwrap()]).status(3)
    };
    call("float16").says("input `x`").says("to mend: ");
    call("int64").says("fp16, fp32, int8").says("expected: ").says("found: ").says("to mend: ");
}
