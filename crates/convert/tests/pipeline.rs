//! Steps alone and together: what is reused, what is built again, and what a stopped run leaves.

#![allow(clippy::result_large_err, reason = "tests pass the library's errors on as they are")]

#[allow(dead_code, reason = "each test binary uses a part of the fixture")]
mod fixture;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anelith_convert::{Action, Error, Options, Pipeline, Plan, Preview, Progress, Selection, Silent, Step};
use anelith_mil::Model;
use anelith_report::Report;
use serde_json::json;

use fixture::{Synthetic, Watch, Written};

fn model() -> Written {
    Synthetic::tiny("qwen3").with(json!({ "vocab_size": 300 })).weights().write()
}

/// Runs `selection` as a process of its own would; the numbers of the steps that were built, or the error.
fn run(options: &Options, selection: Selection) -> Result<Vec<u32>, Error> {
    run_watched(options, selection, &Silent)
}

fn run_watched(options: &Options, selection: Selection, progress: &dyn Progress) -> Result<Vec<u32>, Error> {
    let checkpoint = anelith_checkpoint::Checkpoint::open(&options.model)?;
    let outcome = Pipeline::new(&checkpoint, options, progress)?.run(selection, progress)?;
    Ok(outcome
        .steps
        .iter()
        .filter(|(_, action)| *action == Action::Build)
        .map(|(step, _)| step.number())
        .collect())
}

fn built(options: &Options, selection: Selection) -> Vec<u32> {
    run(options, selection).expect("a run")
}

/// Every file below `dir` with its contents.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.insert(path.clone(), fs::read(&path).expect("a file"));
            }
        }
    }
    files.into_iter().map(|(path, bytes)| (path.strip_prefix(dir).expect("below").into(), bytes)).collect()
}

/// Fails with the names of the files in which two directories differ.
fn assert_same(a: &Path, b: &Path, case: &str) {
    let (a, b) = (contents(a), contents(b));
    let names = a.keys().chain(b.keys()).filter(|name| a.get(*name) != b.get(*name));
    let names: Vec<String> = names.map(|n| n.display().to_string()).collect();
    assert!(names.is_empty(), "{case}: {names:?}");
}

fn report(error: Error) -> Report {
    match error {
        Error::Usage(report) | Error::Input(report) | Error::Machine(report) => report,
        other => panic!("{other}"),
    }
}

#[test]
fn only_what_is_missing_or_stale_is_built() {
    let written = model();
    let options = written.options("4");
    let out = written.out();
    assert_eq!(built(&options, Selection::needed()), [1, 2, 3, 4, 5]);
    let first = contents(&out);
    assert_eq!(built(&options, Selection::needed()), [0u32; 0]);
    assert_eq!(contents(&out), first, "a run that does nothing changes nothing");

    let batch = Options { batch: 4, ..options.clone() };
    assert_eq!(built(&batch, Selection::needed()), [2, 3, 4, 5]);
    let context = Options { context: 64, ..batch.clone() };
    assert_eq!(built(&context, Selection::needed()), [1, 2, 3, 4, 5]);
    let lut = Options { lut: "none".parse().expect("a lut"), ..context.clone() };
    assert_eq!(built(&lut, Selection::needed()), [1, 2, 3, 4, 5]);
    let embeddings = Options { lut_embeddings: Some("6".parse().expect("a lut")), ..lut.clone() };
    assert_eq!(built(&embeddings, Selection::needed()), [1, 2, 3, 4, 5]);
    let lmhead = Options { lut_lmhead: Some("6,t".parse().expect("a lut")), ..lut.clone() };
    assert_eq!(built(&lmhead, Selection::needed()), [1, 2, 3, 4, 5]);
    let argmax = Options { argmax: true, ..lmhead.clone() };
    assert_eq!(built(&argmax, Selection::needed()), [1, 3, 4, 5], "prefill has no head");
    let says_the_same = Options { lut_embeddings: Some("no".parse().expect("a lut")), ..argmax.clone() };
    assert_eq!(built(&says_the_same, Selection::needed()), [0u32; 0], "other words for the same");
    assert_eq!(built(&lut, Selection::needed()), [1, 2, 3, 4, 5]);
    fs::write(written.model.join("tokenizer.json"), "{\"version\": \"1.0\"}\n").expect("a file");
    assert_eq!(built(&lut, Selection::needed()), [5]);
    fs::write(out.join("tokenizer.json"), "{}").expect("a file");
    assert_eq!(built(&lut, Selection::needed()), [5], "a copy that was changed");
    fs::write(written.model.join("README.md"), "---\nlicense: mit\n---\n").expect("a file");
    assert_eq!(built(&lut, Selection::needed()), [5]);
    fs::remove_dir_all(out.join("qwen_monolithic_combined.mlmodelc")).expect("a bundle");
    assert_eq!(built(&lut, Selection::needed()), [4]);
    let manifest = out.join("qwen_monolithic.mlpackage/Manifest.json");
    fs::write(&manifest, "{}").expect("a file");
    assert_eq!(
        built(&lut, Selection::needed()),
        [1],
        "what is made again is what it was, so the rest stands"
    );
    fs::remove_file(out.join(anelith_convert::RECORD_FILE)).expect("a record");
    assert_eq!(built(&lut, Selection::needed()), [1, 2, 3, 4, 5], "nothing says what the outputs are");

    let other = Synthetic::tiny("qwen3").weights();
    fs::write(written.model.join("config.json"), serde_json::to_vec(&other.config).expect("json"))
        .expect("a file");
    let refused = run(&lut, Selection::needed()).expect_err("config and weights differ");
    assert!(refused.to_string().contains("model.embed_tokens.weight"), "{refused}");
}

#[test]
fn packages_say_what_they_return() {
    let written = model();
    let checkpoint = written.open();
    let lut_embeddings = Some("6".parse().expect("a lut"));
    let options = Options { argmax: true, lut_embeddings, ..written.options("none") };
    let plan = Plan::new(&checkpoint, &options, &Silent).expect("a plan");
    let stated = |model: &Model, key: &str| {
        model.description.metadata.user_defined.get(&format!("com.anemll.{key}")).cloned()
    };
    assert_eq!(stated(&plan.infer, "argmax_in_model").as_deref(), Some("true"));
    assert_eq!(stated(&plan.prefill, "argmax_in_model"), None);
    assert_eq!(stated(&plan.infer, "lut_bits"), None, "the layers have none");
    let outputs = |model: &Model| -> Vec<String> {
        let features = &model.description.functions[0].outputs;
        features.iter().map(|f| format!("{} {} {:?}", f.name, f.dtype, f.shape)).collect()
    };
    assert_eq!(outputs(&plan.infer), ["argmax_idx int32 [16]", "argmax_val fp16 [16]"]);
    assert_eq!(outputs(&plan.prefill), ["output_hidden_states fp16 [1, 1, 16]"]);
    let logits = Options { argmax: false, ..options };
    let plan = Plan::new(&checkpoint, &logits, &Silent).expect("a plan");
    assert_eq!(stated(&plan.infer, "argmax_in_model"), None);
    assert_eq!(outputs(&plan.infer)[0], "logits1 fp16 [1, 1, 19]");
}

fn preview(options: &Options, selection: Selection) -> Result<Preview, Error> {
    let checkpoint = anelith_checkpoint::Checkpoint::open(&options.model)?;
    Pipeline::new(&checkpoint, options, &Silent)?.preview(selection, &Silent)
}

/// The numbers of the steps that a preview gives each action: build, recheck, reuse.
fn actions(options: &Options, selection: Selection) -> [Vec<u32>; 3] {
    let steps = preview(options, selection).expect("a preview").steps;
    let with = |action| steps.iter().filter(|s| s.action == action).map(|s| s.step.number()).collect();
    [Action::Build, Action::Recheck, Action::Reuse].map(with)
}

#[test]
fn a_preview_says_what_a_run_does() {
    let written = model();
    let options = written.options("4");
    assert_eq!(actions(&options, Selection::needed()), [vec![1, 2, 3, 4, 5], vec![], vec![]]);
    assert!(preview(&options, Selection::from(2)).is_err(), "nothing is there to start from");
    assert!(!options.output.exists(), "a preview writes nothing, not even the directory");
    built(&options, Selection::needed());
    let before = contents(&options.output);
    let argmax = Options { argmax: true, ..options.clone() };
    for (options, selection, expected) in [
        (&options, Selection::needed(), [vec![], vec![], vec![1, 2, 3, 4, 5]]),
        (&options, Selection::from(3), [vec![3, 4, 5], vec![], vec![1, 2]]),
        (&options, Selection::only(2), [vec![2], vec![], vec![]]),
        (&argmax, Selection::needed(), [vec![1, 5], vec![3, 4], vec![2]]),
    ] {
        assert_eq!(actions(options, selection), expected, "{selection:?} {}", options.argmax);
        assert_eq!(contents(&options.output), before, "{selection:?}");
    }
    assert_eq!(built(&argmax, Selection::needed()), [1, 3, 4, 5]);
    fs::write(options.output.join("qwen_monolithic.mlpackage/Manifest.json"), "{}").expect("a file");
    assert_eq!(actions(&argmax, Selection::needed()), [vec![1], vec![3, 4], vec![2, 5]]);
    assert_eq!(built(&argmax, Selection::needed()), [1], "it is made again as it was");
}

#[test]
fn a_run_stops_where_it_is_told_to() {
    let written = model();
    let options = written.options("4");
    assert_eq!(built(&options, Selection::needed().until(2)), [1, 2]);
    let out = written.out();
    let lacks = |step: Step| !anelith_convert::Outputs::new(&out, "qwen").path(step).exists();
    assert!([Step::Combine, Step::Compile, Step::Describe].into_iter().all(lacks));
    assert_eq!(actions(&options, Selection::needed().until(3)), [vec![3], vec![], vec![1, 2]]);
    assert_eq!(built(&options, Selection::needed().until(4)), [3, 4]);
    assert_eq!(built(&options, Selection::from(2).until(3)), [2, 3]);
    assert!(run(&options, Selection::from(6)).is_err(), "step 5 has not been run");
    assert_eq!(built(&options, Selection::needed().until(5)), [5]);
}

#[test]
fn a_preview_states_the_names_and_sizes_of_what_a_run_writes() {
    let mut model = Synthetic::tiny("qwen3").with(json!({ "vocab_size": 345, "hidden_size": 64 })).weights();
    model.files.insert("chat_template.jinja".into(), b"{{ messages }}".to_vec());
    let written = model.write();
    let lut = |text: &str| Some(text.parse().expect("a lut"));
    let options = Options { lut_embeddings: lut("8,t"), lut_lmhead: lut("none"), ..written.options("4,32") };
    let preview = preview(&options, Selection::needed()).expect("a preview");
    let checkpoint = written.open();
    let pipeline = Pipeline::new(&checkpoint, &options, &Silent).expect("a pipeline");
    let outcome = pipeline.run(Selection::needed(), &Silent).expect("a run");
    let files = contents(&options.output);
    let mut named: Vec<PathBuf> = Vec::new();
    for file in preview.steps.iter().flat_map(|s| &s.files) {
        let found = &files[Path::new(&file.name)];
        assert_eq!(file.bytes.unwrap_or(found.len() as u64), found.len() as u64, "{}", file.name);
        named.push(file.name.clone().into());
    }
    named.sort();
    let written: Vec<PathBuf> =
        files.into_keys().filter(|name| !name.to_string_lossy().starts_with('.')).collect();
    assert_eq!(named, written);
    let mut report = outcome.report.expect("a report");
    report.components.iter_mut().for_each(|c| c.decibels = None);
    assert_eq!(preview.weights, report);
}

#[test]
fn a_preview_refuses_what_a_run_refuses() {
    let mut model = Synthetic::tiny("llama").weights();
    let (_, values) = model.tensors.get_mut("model.layers.1.mlp.up_proj.weight").expect("a tensor");
    values[17] = f32::NAN;
    let written = model.write();
    let error = preview(&written.options("4"), Selection::needed()).expect_err("not a number");
    assert!(error.to_string().contains("`model.layers.1.mlp.up_proj.weight`"), "{error}");
    let written = self::model();
    let options = written.options("4");
    let bundle = options.output.join("qwen_monolithic_combined.mlmodelc");
    fs::create_dir_all(&bundle).expect("a directory");
    fs::write(bundle.join("notes.txt"), "mine").expect("a file");
    let error = preview(&options, Selection::needed()).expect_err("something else is there");
    assert_eq!(error.to_string(), "something else stands at the output");
}

#[test]
fn steps_alone_give_the_bytes_of_a_whole_run() {
    let written = model();
    let whole = written.options("4");
    built(&whole, Selection::needed());
    let apart = Options { output: written.out().with_file_name("apart"), ..whole.clone() };
    for step in Step::ALL {
        assert_eq!(built(&apart, Selection::only(step.number())), [step.number()]);
    }
    assert_same(&whole.output, &apart.output, "steps alone");
    for first in 1..=5 {
        let rest: Vec<u32> = (first..=5).collect();
        assert_eq!(built(&apart, Selection::from(first)), rest);
        assert_same(&whole.output, &apart.output, &format!("from step {first}"));
    }
    let threads = Options { output: written.out().with_file_name("threads"), ..whole.clone() };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(7).build().expect("threads");
    pool.install(|| built(&threads, Selection::needed()));
    assert_same(&whole.output, &threads.output, "seven threads");
}

#[cfg(unix)]
#[test]
fn all_outputs_share_one_weight_file() {
    use std::os::unix::fs::MetadataExt;
    let written = model();
    let options = written.options("4");
    built(&options, Selection::needed());
    let weights = contents(&options.output).into_keys().filter(|name| name.ends_with("weight.bin"));
    let files: Vec<u64> =
        weights.map(|name| fs::metadata(options.output.join(name)).expect("a file").ino()).collect();
    assert_eq!(files, [files[0]; 4]);
}

#[test]
fn earlier_steps_must_be_there_and_match() {
    let written = model();
    let options = written.options("4");
    let cases = [(Selection::from(3), 1), (Selection::only(2), 1), (Selection::only(4), 3)];
    for (selection, missing) in cases {
        let error = run(&options, selection).expect_err("nothing is there");
        assert!(matches!(error, Error::Input(_)));
        let report = report(error);
        assert!(report.what.ends_with("is missing"), "{}", report.what);
        let part = ["part --part monolithic, or ", "part --part monolithic_prefill, or "];
        let part = part.get(missing as usize - 1).copied().unwrap_or_default();
        let commands = format!("{part}convert --restart {missing}, or --only {missing}");
        assert_eq!(report.mend, Some(format!("run step {missing} again ({commands})")), "{selection:?}");
    }
    built(&options, Selection::needed());
    let other = Options { lut: "6".parse().expect("a lut"), ..options.clone() };
    for step in [2, 3, 4, 6] {
        let error = run(&other, Selection::only(step)).expect_err("what it depends on has 4 bits");
        assert!(matches!(error, Error::Input(_)), "step {step}: {error}");
        let report = report(error);
        assert!(
            report.what.starts_with("qwen_monolithic.mlpackage was made"),
            "step {step}: {}",
            report.what
        );
        assert_eq!(
            report.mend.as_deref(),
            Some("run step 1 again (part --part monolithic, or convert --restart 1, or --only 1)")
        );
    }
    let report = report(run(&other, Selection::from(2)).expect_err("other options"));
    assert!(report.what.starts_with("qwen_monolithic.mlpackage was made"), "{}", report.what);
    assert_eq!(built(&options, Selection::from(6)), [0u32; 0], "all are current");
}

#[test]
fn a_stopped_run_leaves_nothing_and_the_next_clears_up() {
    let written = model();
    let options = written.options("4");
    let leftover = written.out().join(".qwen_monolithic.mlpackage.partial");
    fs::create_dir_all(leftover.join("Data")).expect("a directory");
    for bytes in [0, 1000, 20_000] {
        let stopped = run_watched(&options, Selection::needed(), &Watch::stopping_after(bytes));
        assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
        let names: Vec<PathBuf> = contents(&written.out()).into_keys().collect();
        assert!(names.is_empty(), "stopped after {bytes} bytes: {names:?}");
        assert!(!leftover.exists());
    }
    assert_eq!(built(&options, Selection::needed()), [1, 2, 3, 4, 5]);
}

/// Tries to convert into the same directory while a conversion is under way.
struct Second<'o>(&'o Options);

impl Progress for Second<'_> {
    fn begin(&self, _: Step, _: u64) {
        let error = run(self.0, Selection::needed()).expect_err("the directory is taken");
        assert!(matches!(error, Error::Machine(_)), "{error}");
        assert_eq!(error.to_string(), "another run holds the output directory");
    }
}

#[test]
fn one_run_at_a_time() {
    let written = model();
    let options = written.options("4");
    run_watched(&options, Selection::needed(), &Second(&options)).expect("the first run goes on");
}

/// Replaces the weights of the model when step 1 begins.
struct Replacing<'w>(&'w Written);

impl Progress for Replacing<'_> {
    fn begin(&self, step: Step, _: u64) {
        if step == Step::Infer {
            let other = Synthetic::tiny("qwen3").with(json!({ "vocab_size": 300 })).weights();
            change_weights(self.0, other, 2.0);
        }
    }
}

/// Writes other weights into the file of the model, in place: its length stays.
fn change_weights(written: &Written, mut other: Synthetic, value: f32) {
    for (_, values) in other.tensors.values_mut() {
        values[0] = value;
    }
    let other = other.write();
    let weights = other.model.join("model.safetensors");
    fs::write(written.model.join("model.safetensors"), fs::read(weights).expect("a file")).expect("a file");
}

#[test]
fn a_model_that_changes_while_it_is_read_is_refused() {
    let written = model();
    let options = written.options("4");
    run(&options, Selection::only(1)).expect("a run");
    change_weights(&written, Synthetic::tiny("qwen3").with(json!({ "vocab_size": 300 })).weights(), 1.0);
    // Step 1 is stale, which only the weights tell; they change again before they are converted.
    let error = run_watched(&options, Selection::needed(), &Replacing(&written)).expect_err("other weights");
    assert_eq!(report(error).what, "the model has changed while it was read");
    assert_eq!(
        built(&options, Selection::needed()),
        [1, 2, 3, 4, 5],
        "what it left is not taken for anything"
    );
}

/// Nothing is known of the weights before the first run; but somebody writes into them while it reads.
#[test]
fn a_model_that_changes_in_the_first_run_is_refused() {
    let written = model();
    let options = written.options("4");
    let refused =
        run_watched(&options, Selection::needed(), &Replacing(&written)).expect_err("other weights");
    assert_eq!(report(refused).what, "the model has changed while it was read");
    assert!(contents(&written.out()).is_empty(), "what was read is not kept");
}

/// Asks to stop as soon as the package of step 1 is in its place.
struct Late<'o>(&'o Options);

impl Progress for Late<'_> {
    fn interrupted(&self) -> bool {
        self.0.output.join("qwen_monolithic.mlpackage").exists()
    }
}

#[test]
fn a_package_that_is_in_its_place_is_in_the_record() {
    let written = model();
    let options = written.options("4");
    let stopped = run_watched(&options, Selection::needed(), &Late(&options)).expect_err("a request to stop");
    assert!(matches!(stopped, Error::Interrupted), "{stopped}");
    assert_eq!(built(&options, Selection::needed()), [2, 3, 4, 5], "step 1 was done");
}

/// `meta.yaml` as a YAML library reads it.
fn meta(options: &Options) -> (String, serde_json::Value) {
    let text = fs::read_to_string(options.output.join("meta.yaml")).expect("meta.yaml");
    let value = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    (text, value)
}

#[test]
fn meta_yaml_survives_any_name() {
    let names =
        ["Qwen3 0.6B", "a: b", "name: x", "it's \"so\"", "# no", "- x", "Größe-模型", "[1]", "true", "\\n"];
    for name in names {
        let model = Synthetic::tiny("llama").weights();
        let written = model.write_as(name);
        let readme = format!("---\nlicense: {name}\n---\n");
        fs::write(written.model.join("README.md"), readme).expect("a file");
        let options = Options { prefix: Some("123".into()), ..written.options("4") };
        built(&options, Selection::only(5));
        let (text, value) = meta(&options);
        let info = &value["model_info"];
        assert_eq!(info["name"], format!("anemll-{name}-ctx32-monolithic"), "{text}");
        assert_eq!(info["version"], "0.3.0");
        assert!(info["license"].is_string(), "{text}");
        let parameters = &info["parameters"];
        assert_eq!(parameters["context_length"], 32);
        assert_eq!(parameters["model_prefix"], "123");
        assert_eq!(parameters["model_type"], "monolithic");
        assert_eq!(parameters["lm_head_chunk_sizes"], json!([4, 4, 4, 4, 4, 4, 4, 4]));
        for key in ["name:", "version:", "architecture:", "context_length:", "batch_size:", "model_type:"] {
            let lines = text.lines().filter(|line| line.contains(key)).count();
            // A name or licence that has the key inside is itself on that one line, quoted.
            let own = usize::from(name.contains(key));
            assert_eq!(lines, 1 + own, "`{key}` in\n{text}");
        }
    }
}

#[test]
fn the_template_goes_where_every_consumer_looks() {
    let config = "{\n  \"zebra\": 1,\n  \"model_max_length\": 1000000000000000019884624838656,\n  \"a\": {\"b\": []}\n}\n";
    let template = "{% if \"x\" %}\n\\é{% endif %}";
    let merged = |config: &str, template: Option<&[u8]>| {
        let mut model = Synthetic::tiny("qwen2").weights();
        model.files.insert("tokenizer_config.json".into(), config.as_bytes().to_vec());
        if let Some(template) = template {
            model.files.insert("chat_template.jinja".into(), template.to_vec());
        }
        let written = model.write();
        let options = written.options("none");
        run(&options, Selection::only(5))?;
        Ok::<_, Error>(fs::read_to_string(options.output.join("tokenizer_config.json")).expect("a file"))
    };
    assert_eq!(merged(config, None).expect("a run"), config);

    let text = merged(config, Some(template.as_bytes())).expect("a run");
    assert!(text.starts_with(config.trim_end_matches("\n}\n")), "all that was there stays as it was: {text}");
    let value: serde_json::Value = serde_json::from_str(&text).expect("json");
    assert_eq!(value["chat_template"], template);
    let keys: Vec<&String> = value.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["zebra", "model_max_length", "a", "chat_template"]);

    let own = "{\"chat_template\": \"own\"}";
    assert_eq!(merged(own, Some(template.as_bytes())).expect("a run"), own);
    for empty in ["{}", "{\"chat_template\": null}"] {
        let text = merged(empty, Some(template.as_bytes())).expect("a run");
        let value: serde_json::Value = serde_json::from_str(&text).expect("json");
        assert_eq!(value, json!({ "chat_template": template }));
    }
    let error = merged(config, Some(b"\xff")).expect_err("not text");
    assert!(matches!(error, Error::Input(_)), "{error}");
    let error = merged("[]", Some(b"x")).expect_err("no object");
    assert_eq!(error.to_string(), "tokenizer_config.json is not a JSON object");
}

#[test]
fn what_another_model_left_does_not_stay() {
    let mut model = Synthetic::tiny("qwen2").weights();
    let bare = model.write();
    for name in ["generation_config.json", "chat_template.jinja", "merges.txt"] {
        model.files.insert(name.into(), b"{}".to_vec());
    }
    let full = model.write();
    let options = bare.options("none");
    built(&Options { model: full.model.clone(), ..options.clone() }, Selection::needed());
    assert!(options.output.join("merges.txt").is_file());
    assert_eq!(built(&options, Selection::needed()), [5]);
    let fresh = Options { output: options.output.with_file_name("fresh"), ..options.clone() };
    built(&fresh, Selection::needed());
    let described = |dir: &Path| {
        contents(dir).into_iter().filter(|(name, _)| name.components().count() == 1).collect::<Vec<_>>()
    };
    assert_eq!(described(&options.output), described(&fresh.output));

    fs::write(options.output.join("merges.txt"), "").expect("a file");
    assert_eq!(built(&options, Selection::needed()), [5], "one that came later");
    assert!(!options.output.join("merges.txt").exists());
}

#[test]
fn another_models_files_are_not_overwritten() {
    let written = model();
    let options = written.options("4");
    let refused = |present: &[&str]| {
        let _ = fs::remove_dir_all(&options.output);
        fs::create_dir(&options.output).expect("a directory");
        for name in present {
            fs::write(options.output.join(name), "{}").expect("a file");
        }
        let before = contents(&options.output);
        let result = run(&options, Selection::only(5));
        if let Err(error) = &result {
            assert!(matches!(error, Error::Usage(_)), "{present:?}: {error}");
            assert_eq!(contents(&options.output), before, "{present:?}");
        }
        result.err().and_then(|error| report(error).found)
    };
    for (present, foreign) in [
        (&["config.json"][..], Some("config.json")),
        (&["tokenizer.json"], Some("tokenizer.json")),
        (&["merges.txt", "meta.yaml"], Some("merges.txt")),
        (&["adapter.safetensors", "meta.yaml", anelith_convert::RECORD_FILE], Some("adapter.safetensors")),
        (&["config.json", anelith_convert::RECORD_FILE], None),
        (&["config.json", "tokenizer.json", "meta.yaml"], None),
        (&["config.json", "other_monolithic.mlpackage"], None),
        (&["notes.txt", "tokenizer_config.json"], None),
    ] {
        let expected = foreign.map(|name| options.output.join(name).display().to_string());
        assert_eq!(refused(present), expected, "{present:?}");
    }
}
