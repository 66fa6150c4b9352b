//! Models that cannot be converted and places that cannot be written: status, words, and nothing left behind.

use std::fs;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::anelith::{convert, demo};
use crate::checkpoint::Model;

fn tensor(name: &str) -> String {
    format!("model.layers.1.self_attn.{name}.weight")
}

#[test]
fn a_model_that_cannot_be_converted_is_refused_by_name() {
    let quantized = json!({"quant_method": "gptq", "bits": 4});
    let cases: Vec<(&str, Model, &[&str])> = vec![
        (
            "unknown architecture",
            Model::demo().with_config("model_type", json!("phi3")),
            &["Unknown architecture `phi3` in config.json", "llama, qwen2, qwen3"],
        ),
        ("quantized", Model::demo().with_config("quantization_config", quantized), &["quantiz"]),
        ("activation", Model::demo().with_config("hidden_act", json!("gelu")), &["hidden_act", "gelu"]),
        ("no config", Model::demo().without("config.json"), &["config.json"]),
        ("no weights", Model::demo().without("model.safetensors"), &["model.safetensors"]),
        ("no tokenizer", Model::demo().without("tokenizer.json"), &["no tokenizer.json", "to mend: "]),
        ("truncated", Model::demo().with_weights_cut_to(1_000_000), &["model.safetensors"]),
        ("truncated header", Model::demo().with_weights_cut_to(100), &["model.safetensors"]),
        ("no header", Model::demo().with_weights_cut_to(3), &["model.safetensors"]),
        ("empty weights", Model::demo().with_weights_cut_to(0), &["model.safetensors"]),
        (
            "missing tensor",
            // Under another name its bytes are still somebody's.
            Model::demo().with_header(|header| {
                let found = header.remove(&tensor("q_proj")).unwrap();
                header.insert("model.layers.1.rotary_emb.inv_freq".into(), found);
            }),
            &["model.layers.1.self_attn.q_proj.weight"],
        ),
        (
            "misshapen tensor",
            Model::demo().with_header(|header| {
                header[&tensor("q_proj")]["shape"] = json!([64, 256]);
            }),
            &["model.layers.1.self_attn.q_proj.weight", "[64, 256]", "[128, 128]"],
        ),
        (
            "unknown tensor",
            Model::demo().with_config("num_hidden_layers", json!(3)),
            &["model.layers.3.", "is unknown to the family qwen3"],
        ),
    ];
    let dir = TempDir::new().unwrap();
    let output = dir.path().join("out");
    for (what, model, words) in cases {
        let ran = convert(model.path(), &output, &[]);
        assert_eq!(ran.status, Some(3), "{what}: {}", ran.stderr);
        assert!(ran.stderr.lines().any(|line| line.starts_with("error: ")), "{what}: {}", ran.stderr);
        for words in words {
            assert!(ran.stderr.contains(words), "{what}: `{words}` is not in:\n{}", ran.stderr);
        }
        assert!(!output.exists(), "{what}: something was written");
    }
}

#[test]
fn the_model_must_be_a_directory() {
    let dir = TempDir::new().unwrap();
    convert(&demo().join("config.json"), dir.path(), &[]).status(3).says("config.json");
    convert(dir.path(), &dir.path().join("out"), &[]).status(3).says("config.json");
}

#[test]
fn without_the_check_a_missing_tokenizer_stops_step_5() {
    let model = Model::demo().without("tokenizer.json");
    let dir = TempDir::new().unwrap();
    convert(model.path(), dir.path(), &["--skip-check"]).status(3).says("no tokenizer.json");
    assert!(dir.path().join("qwen_monolithic_combined.mlmodelc/model.mil").is_file());
    assert!(!dir.path().join("meta.yaml").exists());
}

#[test]
fn an_output_that_cannot_be_written_is_the_machines_failure() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "kept").unwrap();
    convert(&demo(), &file, &[]).status(1).says("cannot create the output directory");
    convert(&demo(), &file.join("below"), &[]).status(1).says("cannot create the output directory");
    assert_eq!(fs::read(&file).unwrap(), b"kept");
    // Nobody can make directories here, not even the superuser.
    if cfg!(target_os = "linux") {
        let nowhere = Path::new("/proc/anelith");
        convert(&demo(), nowhere, &[])
            .status(1)
            .says("the disk has no room for the outputs")
            .says("where: /proc");
        convert(&demo(), nowhere, &["--skip-check"]).status(1).says("/proc/anelith");
    }
}

#[test]
fn something_else_in_the_place_of_an_output_is_not_replaced() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("qwen_monolithic.mlpackage"), "kept").unwrap();
    convert(&demo(), dir.path(), &[]).status(3).says("qwen_monolithic.mlpackage").says("found: a file");
    assert_eq!(fs::read(dir.path().join("qwen_monolithic.mlpackage")).unwrap(), b"kept");
    fs::create_dir(dir.path().join("meta.yaml")).unwrap();
    convert(&demo(), dir.path(), &["--only", "5"]).status(3).says("meta.yaml").says("to mend: ");
}

#[test]
fn one_run_at_a_time_in_a_directory() {
    let dir = TempDir::new().unwrap();
    let mut lock = File::create(dir.path().join(".anelith.lock")).unwrap();
    writeln!(lock, "4711").unwrap();
    lock.lock().unwrap();
    convert(&demo(), dir.path(), &["--only", "1"])
        .status(1)
        .says("another run holds the output directory")
        .says("found: process 4711");
    // Beside the demo's own model nothing was made, and the lock is still the other's.
    assert_eq!(crate::files::contents(dir.path()).into_keys().collect::<Vec<_>>(), [".anelith.lock"]);
    drop(lock);
    convert(&demo(), dir.path(), &["--only", "1"]).status(0);
}

/// A disk that is full, as far as a limit on the size of files can play that.
#[cfg(unix)]
#[test]
fn a_write_that_fails_leaves_no_half_output() {
    use std::process::Command;

    let dir = TempDir::new().unwrap();
    let script = "trap '' XFSZ; ulimit -f 100; exec \"$0\" convert --model \"$1\" --output \"$2\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_anelith")]).arg(demo()).arg(dir.path());
    let ran: crate::anelith::Ran = shell.output().unwrap().into();
    let left = crate::files::contents(dir.path());
    ran.status(1).says("weight.bin");
    assert!(left.is_empty(), "{:?}", left.keys());
    convert(&demo(), dir.path(), &[]).status(0);
    crate::files::assert_same(crate::anelith::converted(), dir.path());
}
