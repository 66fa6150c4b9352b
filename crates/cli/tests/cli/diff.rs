//! `diff`: a model that is damaged on purpose, found to the layer.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::anelith::{Ran, convert, converted, run};
use crate::checkpoint::Model;
use crate::files::copy;
use crate::golden;

const BUNDLE: &str = "qwen_monolithic_combined.mlmodelc";
const PACKAGE: &str = "qwen_monolithic_combined.mlpackage";

fn diff(a: &Path, b: &Path, more: &[&str]) -> Ran {
    run([&["diff", a.to_str().unwrap(), b.to_str().unwrap()], more].concat())
}

/// What differs from the sound demo.
fn differences(b: &Path) -> Value {
    serde_json::from_str(&diff(converted(), b, &["--json", "--top", "0"]).status(4).stdout).unwrap()
}

/// The model in `dir`, which the test makes, converted as the demo is.
fn converted_too(model: &Model, dir: &Path) {
    convert(model.path(), dir, &["--until", "5"]).status(0);
}

/// Names of the weights that differ, the largest difference first.
fn weights(found: &Value) -> Vec<&str> {
    found["weights"].as_array().unwrap().iter().map(|w| w["a"]["name"].as_str().unwrap()).collect()
}

#[track_caller]
fn nothing_but_weights(found: &Value) {
    assert_eq!(found["signature"], json!([]));
    for function in found["functions"].as_array().unwrap() {
        assert_eq!((&function["changes"], &function["paired_by"]), (&json!([]), &json!("names")));
    }
}

#[test]
fn equal_models_do_not_differ() {
    let text =
        diff(converted(), &converted().join(PACKAGE), &[]).status(0).prints("64 equal: no difference").stdout;
    assert!(!text.contains("1 difference") && !text.contains("differences"), "{text}");
    let found = diff(&converted().join(PACKAGE), &converted().join(BUNDLE), &["--json"]).status(0).stdout;
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!((&found["equal"], found["equal_weights"].as_u64()), (&json!(true), Some(64)));
}

#[test]
fn one_entry_of_one_table() {
    let dir = TempDir::new().unwrap();
    let bundle = dir.path().join("damaged.mlmodelc");
    copy(&converted().join(BUNDLE), &bundle);
    let path = converted().to_str().unwrap();
    let weight = run(["inspect", path, "--weight", "layers.2.mlp.down_proj", "--json"]).status(0).stdout;
    let weight: Value = serde_json::from_str(&weight).unwrap();
    let lut = weight["pieces"].as_array().unwrap().iter().find(|p| p["role"] == "lut").unwrap();
    let file = bundle.join("weights/weight.bin");
    let mut bytes = fs::read(&file).unwrap();
    // Entry 5 of table 3; its sign.
    let at = lut["data_offset"].as_u64().unwrap() as usize + (3 * 16 + 5) * 2 + 1;
    bytes[at] ^= 0x80;
    fs::write(&file, bytes).unwrap();
    let found = differences(&bundle);
    nothing_but_weights(&found);
    assert_eq!(weights(&found), ["model_layers_2_mlp_down_proj_weight_palettized"]);
    let change = &found["weights"][0];
    assert_eq!((&change["a"]["layer"], &change["a"]["component"]), (&json!(2), &json!("MLP")));
    // Rows 24 to 31 share the table.
    let row = change["deviation"]["at"][0].as_u64().unwrap();
    assert!((24..32).contains(&row), "{change}");
    assert_eq!(change["deviation"]["worst_group"], 3);
    let text = diff(converted(), &bundle, &[]).status(4).says("in ops: 0, in weights: 1").stdout;
    golden::check(
        "diff.table.txt",
        &text
            .replace(converted().to_str().unwrap(), "CONVERTED")
            .replace(dir.path().to_str().unwrap(), "DIR"),
    );
}

#[test]
fn two_projections_that_are_swapped() {
    let dir = TempDir::new().unwrap();
    let name = |p: &str| format!("model.layers.1.self_attn.{p}_proj.weight");
    let model = Model::demo().with_header(|header| {
        let offsets = |p: &str| header[&name(p)]["data_offsets"].clone();
        let (k, v) = (offsets("k"), offsets("v"));
        header[&name("k")]["data_offsets"] = v;
        header[&name("v")]["data_offsets"] = k;
    });
    converted_too(&model, dir.path());
    let found = differences(dir.path());
    nothing_but_weights(&found);
    let mut names = weights(&found);
    names.sort_unstable();
    assert_eq!(names, ["k", "v"].map(|p| format!("model_layers_1_self_attn_{p}_proj_weight_palettized")));
    // Nothing is left of them: what is there has nothing to do with what was.
    assert!(found["weights"][1]["deviation"]["snr_db"].as_f64().unwrap() < 3.0);
}

#[test]
fn a_wrong_rope_base() {
    let dir = TempDir::new().unwrap();
    converted_too(&Model::demo().with_config("rope_theta", json!(20000.0)), dir.path());
    let found = differences(dir.path());
    nothing_but_weights(&found);
    let mut names = weights(&found);
    names.sort_unstable();
    assert_eq!(names, ["rotary_cos", "rotary_sin"]);
    assert_eq!(found["weights"][0]["a"]["component"], "rotary tables");
    // All positions but the first turn otherwise.
    assert_ne!(found["weights"][0]["deviation"]["at"][1], 0);
}

#[test]
fn another_context_and_other_tables() {
    let dir = TempDir::new().unwrap();
    convert(&crate::anelith::demo(), dir.path(), &["--until", "5", "--context", "256", "--lut", "none"])
        .status(0);
    let found = differences(dir.path());
    let changed: Vec<&str> =
        found["signature"].as_array().unwrap().iter().map(|c| c["what"].as_str().unwrap()).collect();
    assert!(changed.contains(&"function infer: state `model_model_kv_cache_0`"), "{changed:?}");
    assert!(changed.contains(&"metadata: com.anemll.context_length"), "{changed:?}");
    let first = &found["weights"][2];
    assert_eq!((&first["a"]["storage"], &first["b"]["storage"]), (&json!("lut4"), &json!("fp16")));
    let snr = first["deviation"]["snr_db"].as_f64().unwrap();
    assert!((10.0..40.0).contains(&snr), "{first}");
    diff(converted(), dir.path(), &["--top", "3"]).status(4).prints("more; --top 0 lists all");
}

#[test]
fn functions_and_paths_that_are_not_there() {
    diff(converted(), converted(), &["--function", "train"]).status(2).says("infer or prefill");
    diff(converted(), converted(), &["--function", "infer"]).status(0).prints("ops of infer");
    diff(converted(), Path::new("no-such.mlpackage"), &[]).status(3).says("no-such.mlpackage does not exist");
    // A part has one function, which is called otherwise.
    diff(&converted().join("qwen_monolithic.mlpackage"), converted(), &[])
        .status(4)
        .prints("ops of main and infer");
    run(["diff", "x"]).status(2).says("<B>");
}
