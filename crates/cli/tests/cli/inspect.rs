//! `inspect`: a program at a glance, one weight, and the text.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::anelith::{Ran, command, converted, demo, run};
use crate::files::copy;
use crate::golden;

fn inspect(path: &Path, more: &[&str]) -> Ran {
    run([&["inspect", path.to_str().unwrap()], more].concat())
}

fn json(path: &Path, more: &[&str]) -> Value {
    serde_json::from_str(&inspect(path, &[more, &["--json"]].concat()).status(0).stdout).unwrap()
}

const BUNDLE: &str = "qwen_monolithic_combined.mlmodelc";
const Q_PROJ: &str = "layers.1.self_attn.q_proj";

/// What was printed, with the directory of the conversion called so.
fn named(ran: Ran) -> String {
    let ran = ran.status(0);
    let names = [(converted(), "CONVERTED"), (&demo(), "DEMO")];
    names.iter().fold(ran.stdout, |text, (path, name)| text.replace(path.to_str().unwrap(), name))
}

#[test]
fn what_is_printed() {
    golden::check("inspect.txt", &named(inspect(converted(), &[])));
    golden::check("inspect.json", &named(inspect(converted(), &["--json"])));
    let demo = demo();
    let weight = ["--weight", Q_PROJ, "--group", "2", "--model", demo.to_str().unwrap()];
    golden::check("inspect.weight.txt", &named(inspect(converted(), &weight)));
    golden::check("inspect.weight.json", &named(inspect(converted(), &[&weight[..], &["--json"]].concat())));
}

/// What is said of sizes is what the table of the conversion says, and the file of the weights.
#[test]
fn sizes_add_up() {
    let package = converted().join("qwen_monolithic_combined.mlpackage");
    let whole = json(&package, &[]);
    assert_eq!(whole["sizes"], json(&converted().join(BUNDLE), &[])["sizes"]);
    let sum = |field: &str| -> u64 {
        whole["sizes"].as_array().unwrap().iter().map(|s| s[field].as_u64().unwrap()).sum()
    };
    let file = &whole["files"][0];
    assert_eq!(sum("element_bytes") + sum("table_bytes"), file["referenced_bytes"].as_u64().unwrap());
    let length = fs::metadata(package.join("Data/com.apple.CoreML/weights/weight.bin")).unwrap().len();
    assert_eq!(file["bytes"].as_u64().unwrap(), length);
    let lm_head = whole["sizes"].as_array().unwrap().iter().find(|s| s["component"] == "LM head").unwrap();
    assert_eq!((lm_head["tensors"].as_u64(), lm_head["storage"].as_str()), (Some(16), Some("lut4")));
    assert_eq!(lm_head["bits_per_weight"].as_f64(), Some(4.25));

    let infer = json(&package, &["--function", "infer"]);
    assert_eq!(infer["functions"].as_array().unwrap().len(), 1);
    inspect(&package, &["--function", "train"]).status(2).says("infer or prefill");
}

/// From the name to the bytes in the file.
#[test]
fn a_weight_leads_to_its_bytes() {
    let found = json(converted(), &["--weight", Q_PROJ]);
    assert_eq!((found["layer"].as_u64(), found["component"].as_str()), (Some(1), Some("attention")));
    let piece =
        |role: &str| found["pieces"].as_array().unwrap().iter().find(|p| p["role"] == role).unwrap().clone();
    let bytes = fs::read(converted().join(BUNDLE).join("weights/weight.bin")).unwrap();
    let (metadata, data) = (piece("lut")["metadata_offset"].clone(), piece("lut")["data_offset"].clone());
    let (metadata, data) = (metadata.as_u64().unwrap() as usize, data.as_u64().unwrap() as usize);
    assert_eq!(bytes[metadata..metadata + 4], 0xdead_beef_u32.to_le_bytes());
    let first = half_to_f64(u16::from_le_bytes([bytes[data], bytes[data + 1]]));
    assert_eq!(found["palette"]["table"][0].as_f64(), Some(first));
    let used: u64 =
        found["palette"]["histogram"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(used, 128 * 128);
    for name in
        ["model_layers_1_self_attn_q_proj", "model.layers.1.self_attn.q_proj.weight", "1.self_attn.q_proj"]
    {
        assert_eq!(json(converted(), &["--weight", name]), found, "{name}");
    }
}

/// A normal number of fp16.
fn half_to_f64(bits: u16) -> f64 {
    let (sign, exponent, fraction) = (bits >> 15, i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    (1.0 - 2.0 * f64::from(sign)) * (1.0 + fraction / 1024.0) * f64::from(exponent - 15).exp2()
}

#[test]
fn names_that_are_not_clear_are_refused() {
    inspect(converted(), &["--weight", "q_proj"])
        .status(2)
        .says("`q_proj` means several weights")
        .says("model_layers_0_self_attn_q_proj_weight_palettized");
    inspect(converted(), &["--weight", "layers.9.self_attn.q_proj"]).status(2).says("near: ");
    inspect(converted(), &["--weight", Q_PROJ, "--group", "16"]).status(2).says("0 to 15");
    inspect(converted(), &["--model", "x"]).status(2).says("--weight");
    inspect(converted(), &["--text", "--json"]).status(2).says("--json");
    inspect(&converted().join("none"), &[]).status(3).says("does not exist");
}

/// Names and shapes must fit the checkpoint; a tied LM head is rows of the embedding.
#[test]
fn a_weight_is_held_against_its_tensor() {
    let demo = demo();
    let demo = demo.to_str().unwrap();
    let head = json(converted(), &["--weight", "lm_head16_3", "--model", demo]);
    assert_eq!(head["source"]["tensor"], "model.embed_tokens.weight");
    assert_eq!(
        (head["source"]["first_row"].as_u64(), head["source"]["elements"].as_u64()),
        (Some(128), Some(8192))
    );
    assert!(head["source"]["snr_db"].as_f64().unwrap() > 15.0, "{head}");
    let norm = json(converted(), &["--weight", "layers.2.input_layernorm", "--model", demo]);
    assert_eq!(norm["source"]["dtype"], "bf16");
    assert!(norm["source"]["max_difference"].as_f64().unwrap() < 1e-3);
    inspect(converted(), &["--weight", "rotary_cos", "--model", demo])
        .status(3)
        .says("no tensor of the checkpoint");
    let smaller = crate::checkpoint::Model::demo().with_vocabulary(2048);
    inspect(converted(), &["--weight", "embed_tokens", "--model", smaller.path().to_str().unwrap()])
        .status(3)
        .says("has not the shape")
        .says("expected: [2048, 128]")
        .says("found: [1024, 128]");
    inspect(converted(), &["--weight", Q_PROJ, "--model", "no-such-dir"]).status(3).says("no-such-dir");
}

#[test]
fn the_text_is_the_program() {
    let text = inspect(&converted().join(BUNDLE), &["--text"]).status(0).stdout;
    let program = fs::read_to_string(converted().join(BUNDLE).join("model.mil")).unwrap();
    assert!(text == program + "\n", "the text differs from model.mil");
    let infer = inspect(converted(), &["--text", "--function", "infer"]).status(0).stdout;
    assert!(infer.contains("func infer<ios18>") && !infer.contains("func prefill"));
    assert!(text.len() > infer.len());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for more in [&["--text"][..], &["--json"]] {
        let path = converted().to_str().unwrap();
        let mut command: Command = command([&["inspect", path], more].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 16];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let ran: Ran = child.wait_with_output().unwrap().into();
        assert!(ran.status(0).stderr.is_empty());
    }
}

#[test]
fn a_program_that_is_not_valid_can_be_read() {
    let dir = TempDir::new().unwrap();
    let bundle = dir.path().join("x.mlmodelc");
    copy(&converted().join(BUNDLE), &bundle);
    let text = fs::read_to_string(bundle.join("model.mil")).unwrap();
    fs::write(bundle.join("model.mil"), text.replacen("layer_norm(", "layer_normal(", 1)).unwrap();
    fs::remove_file(bundle.join("weights/weight.bin")).unwrap();
    inspect(&bundle, &[]).status(3);
    inspect(&bundle, &["--text", "--function", "infer"]).status(0).prints("layer_normal(");
}

#[test]
fn names_do_not_command_the_terminal() {
    let ran =
        inspect(converted(), &["--weight", "\u{1b}[2Jx"]).status(2).says("no weight is called `\\u{1b}[2Jx`");
    assert!(!ran.stderr.contains('\u{1b}'));
}

#[test]
fn damaged_bundles_are_refused() {
    let dir = TempDir::new().unwrap();
    let bundle = dir.path().join("x.mlmodelc");
    copy(&converted().join(BUNDLE), &bundle);
    for (file, keep) in [("weights/weight.bin", 9000), ("model.mil", 5000), ("coremldata.bin", 100)] {
        let path = bundle.join(file);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..keep]).unwrap();
        inspect(&bundle, &[]).status(3).says(file.rsplit('/').next().unwrap());
        // The text is that of the program, whatever has become of the weights.
        inspect(&bundle, &["--text"]).status(if file.starts_with("weights") { 0 } else { 3 });
        fs::write(&path, whole).unwrap();
    }
    inspect(&bundle, &[]).status(0);
}
