//! `--json` and `--quiet` of the commands that make something and of those that answer.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::anelith::{ANSWER, Ran, arguments, convert, converted, demo, run};
use crate::checkpoint::Model;
use crate::files::{contents, copy};

/// The one document that standard output is.
#[track_caller]
fn document(ran: &Ran) -> Value {
    assert_eq!(ran.stdout.matches('\n').count(), 1, "{}", ran.stdout);
    serde_json::from_str(&ran.stdout).expect("standard output is JSON")
}

/// A conversion of the demo that succeeds.
#[track_caller]
fn converted_as(output: &Path, more: &[&str]) -> Value {
    document(&convert(&demo(), output, &[&["--json"], more].concat()).status(0))
}

fn actions(document: &Value) -> Vec<&str> {
    let steps = document["steps"].as_array().unwrap();
    steps.iter().map(|step| step["action"].as_str().unwrap()).collect()
}

/// Holds an output of a document against the disk.
#[track_caller]
fn assert_on_disk(output: &Value) {
    let path = Path::new(output["path"].as_str().unwrap());
    if path.is_file() {
        assert_eq!(output["bytes"], json!(fs::metadata(path).unwrap().len()), "{output}");
        assert_eq!((&output["files"], &output["functions"]), (&json!([]), &json!([])));
        return;
    }
    let found: Vec<Value> =
        contents(path).iter().map(|(name, data)| json!({ "path": name, "bytes": data.len() })).collect();
    assert_eq!(output["files"], json!(found));
    let bytes: u64 = contents(path).values().map(|data| data.len() as u64).sum();
    assert_eq!(output["bytes"], json!(bytes));
}

#[test]
fn a_conversion_is_one_document_that_agrees_with_the_disk() {
    let dir = TempDir::new().unwrap();
    let ran = convert(&demo(), dir.path(), &["--json", "--lut", "6,16", "--lut-lmhead", "8,t"]).status(0);
    let ran = ran.says("step 0: check").says("step 6: chat with the compiled model");
    let document = document(&ran);
    assert_eq!(actions(&document), ["run"; 6]);
    let steps = document["steps"].as_array().unwrap();
    let outputs = steps.iter().flat_map(|step| step["outputs"].as_array().unwrap());
    outputs.clone().for_each(assert_on_disk);
    // Nothing is left that no step tells of, but for what the next run reads.
    let told = |name: &str| {
        let path = dir.path().join(name).display().to_string();
        outputs.clone().any(|output| output["path"] == json!(path))
    };
    let names = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let untold: Vec<String> = names.filter(|name| !name.starts_with('.') && !told(name)).collect();
    assert_eq!(untold, Vec::<String>::new());
    assert!(steps.iter().all(|step| step["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0)));
    assert_eq!(steps[0]["outputs"][0]["functions"], json!(["main"]));
    assert_eq!(steps[3]["outputs"][0]["functions"], json!(["infer", "prefill"]));

    assert_eq!(document["lut"]["layers"], json!({ "bits": 6, "group": 16 }));
    assert_eq!(document["lut"]["lm_head"], json!({ "bits": 8, "group": "tensor" }));
    assert_eq!(document["meta"], json!(dir.path().join("meta.yaml").display().to_string()));
    let weights = dir.path().join("qwen_monolithic_combined.mlmodelc/weights/weight.bin");
    assert_eq!(document["weight_bytes"], json!(fs::metadata(weights).unwrap().len()));
    let head = &document["weights"]["components"][2];
    assert_eq!(head["component"], json!("lm_head"));
    assert_eq!((&head["bits"], &head["group"]), (&json!(8), &json!("tensor")));
    assert!(head["error_db"].as_f64().unwrap() < -30.0, "{head}");
    assert_eq!(document["check"][0], json!({ "subject": "architecture", "found": "qwen3", "warning": null }));
    let chat = &document["chat"];
    assert_eq!((&chat["prompt"], &chat["answer"]), (&json!("Who are you?"), &json!(ANSWER)));
    assert_eq!((&chat["stop"], &chat["not_asked"]), (&json!("stop_token"), &Value::Null));
    assert!(chat["prefill_and_infer"]["found"].as_str().unwrap().starts_with("KL "), "{chat}");
}

#[test]
fn steps_that_are_reused_or_skipped_say_so() {
    let dir = TempDir::new().unwrap();
    let first = converted_as(dir.path(), &["--until", "2", "--skip-check"]);
    assert_eq!(actions(&first), ["run", "run", "skip", "skip", "skip", "skip"]);
    assert_eq!(
        (&first["check"], &first["chat"], &first["bundle"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!(first["steps"][2]["outputs"], json!([]));
    let whole = converted_as(dir.path(), &[]);
    assert_eq!(actions(&whole), ["reuse", "reuse", "run", "run", "run", "run"]);
    assert_eq!(whole["steps"][0]["seconds"], Value::Null);
    assert_on_disk(&whole["steps"][0]["outputs"][0]);
    assert_eq!(whole["weights"], first["weights"]);
    let again = converted_as(dir.path(), &["--restart", "5"]);
    assert_eq!(actions(&again), ["reuse", "reuse", "reuse", "reuse", "run", "run"]);
    let only = converted_as(dir.path(), &["--only", "4"]);
    assert_eq!(actions(&only), ["skip", "skip", "skip", "run", "skip", "skip"]);
    assert_eq!((&only["package"], &only["meta"]), (&Value::Null, &Value::Null));
    assert_on_disk(&only["steps"][3]["outputs"][0]);
    let chat = converted_as(dir.path(), &["--only", "6"]);
    assert_eq!(actions(&chat), ["skip", "skip", "skip", "reuse", "reuse", "run"]);
    assert_eq!(chat["chat"]["answer"], json!(ANSWER));
}

#[cfg(unix)]
#[test]
fn outputs_that_get_weights_of_their_own_are_copied() {
    let dir = TempDir::new().unwrap();
    converted_as(dir.path(), &["--until", "2"]);
    let copied = converted_as(dir.path(), &["--until", "2", "--no-link"]);
    // The last name of a file needs no copy.
    assert_eq!(actions(&copied)[..2], ["copy", "reuse"]);
    let warnings = copied["warnings"].as_array().unwrap();
    assert!(warnings[0].as_str().unwrap().contains("shares its weight.bin"), "{warnings:?}");
}

/// The document without what a clock, the disk and the memory say, and without the name of the directory.
fn timeless(mut document: Value, dir: &Path) -> Value {
    fn clear(value: &mut Value) {
        match value {
            Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| {
                match key.ends_with("seconds") || key.ends_with("per_second") {
                    true => *value = Value::Null,
                    false => clear(value),
                }
            }),
            Value::Array(items) => items.iter_mut().for_each(clear),
            _ => {}
        }
    }
    clear(&mut document);
    for finding in document["check"].as_array_mut().unwrap() {
        if ["disk", "memory"].contains(&finding["subject"].as_str().unwrap()) {
            finding["found"] = Value::Null;
        }
    }
    serde_json::from_str(&document.to_string().replace(dir.to_str().unwrap(), "DIR")).unwrap()
}

#[test]
fn but_for_times_every_run_gives_the_same_document() {
    let run = |more: &[&str]| {
        let dir = TempDir::new().unwrap();
        timeless(converted_as(dir.path(), more), dir.path())
    };
    let first = run(&["--threads", "1"]);
    assert_eq!(first, run(&["--threads", "3"]));
    assert_eq!(first, run(&["--quiet"]));
}

#[test]
fn a_dry_run_tells_what_the_run_then_does() {
    let dir = TempDir::new().unwrap();
    let output = dir.path().join("out");
    let plan = converted_as(&output, &["--dry-run", "--argmax"]);
    assert!(!output.exists());
    let done = converted_as(&output, &["--argmax"]);
    assert_eq!((&plan["dry_run"], &done["dry_run"]), (&json!(true), &json!(false)));
    for key in ["model", "output", "prefix", "lut", "argmax", "package", "bundle", "meta", "weight_bytes"] {
        assert_eq!(plan[key], done[key], "{key}");
    }
    assert_eq!(actions(&plan), actions(&done));
    for (plan, done) in plan["steps"].as_array().unwrap().iter().zip(done["steps"].as_array().unwrap()) {
        assert_eq!(plan["seconds"], Value::Null);
        let outputs = |step: &Value| step["outputs"].as_array().unwrap().clone();
        assert_eq!(outputs(plan).len(), outputs(done).len(), "{plan}");
        for (plan, done) in outputs(plan).iter().zip(&outputs(done)) {
            assert_eq!(plan["path"], done["path"]);
            let files = |output: &Value| output["files"].as_array().unwrap().clone();
            assert_eq!(files(plan).len(), files(done).len(), "{plan}");
            for (plan, done) in files(plan).iter().zip(&files(done)) {
                assert_eq!(plan["path"], done["path"]);
                assert!(plan["bytes"].is_null() || plan["bytes"] == done["bytes"], "{plan} {done}");
            }
        }
    }
    assert_eq!(plan["weights"]["components"][0]["error_db"], Value::Null);
    let before = contents(&output);
    let again = converted_as(&output, &["--dry-run", "--argmax"]);
    assert_eq!(actions(&again), ["reuse", "reuse", "reuse", "reuse", "reuse", "run"]);
    assert!(contents(&output) == before);
}

#[test]
fn a_quiet_run_says_what_it_warns_of_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().to_str().unwrap();
    let silent = |ran: Ran| {
        let ran = ran.status(0);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    };
    silent(convert(&demo(), dir.path(), &["--quiet"]));
    silent(convert(&demo(), dir.path(), &["--quiet", "--dry-run"]));
    silent(run(arguments(&["part", "--part", "monolithic", "--quiet"], &demo(), dir.path(), &[])));
    silent(run(["combine", "--monolithic", "--input", out, "--quiet"]));
    silent(run(["compile", "monolithic", "--input", out, "--quiet"]));

    let ran =
        convert(&demo(), dir.path(), &["--quiet", "--json", "--only", "1", "--skip-anemll-dedup"]).status(0);
    let warning = "--skip-anemll-dedup has no effect: every weight is stored once from the start";
    assert_eq!(ran.stderr, format!("warning: {warning}\n"));
    assert_eq!(document(&ran)["warnings"], json!([warning]));
}

#[test]
fn a_failure_leaves_standard_output_empty_and_its_words_as_they_are() {
    let infinite = Model::demo().with_all("model.norm.weight", 60_000.0);
    let broken = Model::demo().without("tokenizer.json");
    let errors = |ran: &Ran| {
        let lines = ran.stderr.lines().skip_while(|line| !line.starts_with("error: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    for (model, status) in [(infinite, 4), (broken, 3)] {
        let dir = TempDir::new().unwrap();
        let plain = convert(model.path(), dir.path(), &[]).status(status);
        let again = TempDir::new().unwrap();
        let ran = convert(model.path(), again.path(), &["--json"]).status(status);
        assert_eq!(ran.stdout, "");
        assert!(!errors(&ran).is_empty());
        assert_eq!(errors(&ran), errors(&plain));
        let quiet = convert(model.path(), again.path(), &["--json", "--quiet"]).status(status);
        assert_eq!((quiet.stdout.as_str(), errors(&quiet)), ("", errors(&plain)));
    }
    run(["compile", "none.mlpackage", "x.mlmodelc", "--json", "--quiet"]).status(3).says("none.mlpackage");
}

#[test]
fn the_parts_are_documents_too() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let part = |name: &str, step: usize| {
        let ran = run(arguments(&["part", "--part", name, "--json"], &demo(), dir.path(), &[])).status(0);
        let document = document(&ran);
        let ran: Vec<usize> = (0..6).filter(|i| actions(&document)[*i] == "run").collect();
        assert_eq!(ran, [step - 1]);
        assert_on_disk(&document["steps"][step - 1]["outputs"][0]);
    };
    part("monolithic", 1);
    part("monolithic_prefill", 2);

    let combined = document(&run(["combine", "--monolithic", "--input", &at(""), "--json"]).status(0));
    assert_eq!((&combined["step"], &combined["action"]), (&json!(3), &json!("run")));
    assert!(combined["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(combined["outputs"][0]["functions"], json!(["infer", "prefill"]));
    assert_on_disk(&combined["outputs"][0]);
    let parts = [at("qwen_monolithic.mlpackage"), at("qwen_monolithic_prefill.mlpackage")];
    let by_path = document(&run(["combine", &parts[0], &parts[1], &at("x.mlpackage"), "--json"]).status(0));
    assert_eq!(by_path["inputs"], json!(parts));
    assert_eq!(by_path["outputs"][0]["files"], combined["outputs"][0]["files"]);

    let ran = run(["compile", "monolithic", "--input", &at(""), "--json"]).status(0);
    let compiled = document(&ran.says("xcrun coremlcompiler"));
    assert_eq!(compiled["outputs"][0]["path"], json!(at("qwen_monolithic_combined.mlmodelc")));
    assert_on_disk(&compiled["outputs"][0]);
    let by_path = document(&run(["compile", &parts[0], &at("x.mlmodelc"), "--json"]).status(0));
    assert_eq!(by_path["outputs"][0]["functions"], json!(["main"]));
    assert_on_disk(&by_path["outputs"][0]);
}

#[test]
fn what_a_bundle_warns_of_is_in_its_document() {
    let dir = TempDir::new().unwrap();
    let package = dir.path().join("x.mlpackage");
    copy(&converted().join("qwen_monolithic_combined.mlpackage"), &package);
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    fs::write(package.join("Data/com.apple.CoreML/weights/weight.bin"), pointer).unwrap();
    let bundle = dir.path().join("x.mlmodelc");
    let words = ["compile", package.to_str().unwrap(), bundle.to_str().unwrap(), "--json"];
    let document = document(&run(words).status(0).says("warning: "));
    assert!(document["warnings"][0].as_str().unwrap().contains("Git LFS pointer"), "{document}");
    assert_on_disk(&document["outputs"][0]);
}

fn meta() -> String {
    converted().join("meta.yaml").display().to_string()
}

#[test]
fn a_question_is_answered_in_a_document() {
    let ask = |more: &[&str]| {
        let words = ["chat", "--meta", &meta(), "--prompt", "Who are you?", "--json"];
        document(&run([&words[..], more].concat()).status(0))
    };
    let whole = ask(&[]);
    assert_eq!((&whole["prompt"], &whole["answer"]), (&json!("Who are you?"), &json!(ANSWER)));
    let length = |value: &Value| json!(value.as_array().unwrap().len());
    assert_eq!(whole["tokens"], length(&whole["ids"]));
    assert_eq!(whole["prompt_tokens"], length(&whole["prompt_ids"]));
    assert_eq!(whole["stop"], json!("stop_token"));
    assert_eq!((&whole["seed"], &whole["reused_tokens"]), (&Value::Null, &json!(0)));
    assert_eq!(whole["sampling"]["temperature"], json!(0.0));
    let time = |key: &str| whole[key].as_f64().unwrap();
    assert!(time("prefill_seconds") <= time("first_token_seconds"));
    assert!(time("prefill_tokens_per_second") > 0.0 && time("decode_tokens_per_second") > 0.0);

    let three = ask(&["--max-tokens", "3"]);
    assert_eq!((&three["stop"], &three["tokens"]), (&json!("max_tokens"), &json!(3)));
    assert_eq!(three["ids"].as_array().unwrap()[..], whole["ids"].as_array().unwrap()[..3]);
    let none = ask(&["--max-tokens", "0"]);
    assert_eq!((&none["first_token_seconds"], &none["answer"]), (&Value::Null, &json!("")));
    assert_eq!(none["decode_tokens_per_second"], Value::Null);

    // The same ids, continued.
    let ids =
        whole["prompt_ids"].as_array().unwrap().iter().map(Value::to_string).collect::<Vec<_>>().join(",");
    let continued = document(&run(["generate", "--meta", &meta(), "--ids", &ids, "--json"]).status(0));
    for key in ["prompt_ids", "ids", "answer", "stop", "tokens"] {
        assert_eq!(continued[key], whole[key], "{key}");
    }
    assert_eq!(continued["prompt"], Value::Null);
}

#[test]
fn a_conversation_is_no_document() {
    let ran = run(["chat", "--meta", &meta(), "--json", "--full"]).status(2);
    assert_eq!(ran.stdout, "");
    ran.says("--json").says("--full");
    let ran = run(["chat", "--meta", &meta(), "--json"]).status(2);
    assert_eq!(ran.stdout, "");
    ran.says("no question").says("--prompt");
}

#[test]
fn ids_are_continued_without_a_tokenizer() {
    let dir = TempDir::new().unwrap();
    copy(converted(), dir.path());
    fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    let meta = dir.path().to_str().unwrap();
    let words = ["generate", "--meta", meta, "--ids", "1,5,9", "--max-tokens", "4", "--no-stop", "--json"];
    let document = document(&run(words).status(0));
    assert_eq!((&document["answer"], &document["tokens"]), (&Value::Null, &json!(4)));
}

#[test]
fn run_sums_up_what_it_wrote_to_a_file() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let mut mask = vec![json!("-inf"); 512];
    mask[0] = json!(0.0);
    let feeds = json!([{"function": "infer", "inputs": {
        "input_ids": {"dtype": "int32", "shape": [1, 1], "data": [1]},
        "position_ids": {"dtype": "int32", "shape": [1], "data": [0]},
        "causal_mask": {"dtype": "fp16", "shape": [1, 1, 1, 512], "data": mask},
        "current_pos": {"dtype": "int32", "shape": [1], "data": [0]},
    }}]);
    fs::write(at("feeds.json"), feeds.to_string()).unwrap();
    let bundle = converted().join("qwen_monolithic_combined.mlmodelc").display().to_string();
    let (feeds, outputs) = (at("feeds.json"), at("outputs.json"));
    let call = ["run", &bundle, "--feeds", &feeds];
    let printed = run([&call[..], &["--json"]].concat()).status(0).stdout;
    assert_eq!(printed, run(call).status(0).stdout);
    let to_file = [&call[..], &["--json-output", &outputs]].concat();
    assert_eq!(run(to_file.clone()).status(0).stdout, "");
    let summary = document(&run([&to_file[..], &["--json"]].concat()).status(0));
    let written = fs::read_to_string(&outputs).unwrap();
    assert_eq!(written, printed);
    assert_eq!(summary["outputs"], json!({ "path": outputs, "bytes": written.len() }));
    let call = &summary["calls"][0];
    assert_eq!((&call["function"], &call["shapes"]["logits1"]), (&json!("infer"), &json!([1, 1, 64])));
}
