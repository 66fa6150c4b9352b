//! `convert` as a whole: the answer, the files, and that they depend on nothing else.

use std::fs;
#[cfg(target_os = "linux")]
use std::io::{Read, Write};
use std::process::Stdio;

use serde_json::json;
use tempfile::TempDir;

use crate::anelith::{ANSWER, arguments, command, convert, converted, demo, run};
use crate::checkpoint::Model;
use crate::files::{assert_same, contents};

#[test]
fn the_demo_answers_at_4_bits_and_at_16() {
    for lut in ["4", "none"] {
        let dir = TempDir::new().unwrap();
        let ran = convert(&demo(), dir.path(), &["--lut", lut]).status(0).prints(ANSWER).prints("embeddings");
        let table = ran.stdout.find("component").unwrap();
        assert!(
            table > ran.stdout.find(ANSWER).unwrap(),
            "the run does not end with the table:\n{}",
            ran.stdout
        );
        let meta = fs::read_to_string(dir.path().join("meta.yaml")).unwrap();
        assert!(meta.contains(&format!("\n    lut_bits: {lut}\n")), "{meta}");
    }
}

#[test]
fn what_the_directory_holds_at_the_end() {
    let names: Vec<String> = fs::read_dir(converted())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    for name in [
        "qwen_monolithic.mlpackage",
        "qwen_monolithic_prefill.mlpackage",
        "qwen_monolithic_combined.mlpackage",
        "qwen_monolithic_combined.mlmodelc",
        "tokenizer.json",
        "tokenizer_config.json",
        "config.json",
        "chat_template.jinja",
        "meta.yaml",
    ] {
        assert!(names.iter().any(|n| n == name), "{name} is not in {names:?}");
    }
    let partial = contents(converted()).into_keys().find(|name| name.contains(".partial"));
    assert_eq!(partial, None);
}

/// The result of a conversion with each number of threads, and once with all cores.
#[test]
fn two_runs_and_any_number_of_threads_give_the_same_bytes() {
    for lut in [&["--lut", "4"][..], &["--lut", "8,t", "--lut-lmhead", "6,16"], &["--lut", "none"]] {
        let run = |more: &[&str]| {
            let dir = TempDir::new().unwrap();
            convert(&demo(), dir.path(), &[lut, &["--until", "5"], more].concat()).status(0);
            dir
        };
        let first = run(&[]);
        for threads in ["1", "2", "3", "7"] {
            assert_same(first.path(), run(&["--threads", threads]).path());
        }
    }
}

#[test]
fn a_model_answers_the_same_on_any_number_of_threads() {
    let meta = converted().join("meta.yaml").display().to_string();
    for threads in ["1", "5"] {
        run(["chat", "--meta", &meta, "--prompt", "Who are you?", "--threads", threads])
            .status(0)
            .prints(ANSWER);
    }
    run(["chat", "--meta", &meta, "--threads", "0"]).status(2).says("0 is not in 1..=1024");
}

/// How many threads a chat has that waits for a question.
#[cfg(target_os = "linux")]
fn threads_of_a_chat(threads: &str) -> usize {
    let meta = converted().join("meta.yaml").display().to_string();
    let mut chat = command(["chat", "--meta", &meta, "--full", "--threads", threads]);
    let mut chat = chat.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    chat.stdin.as_mut().unwrap().write_all(b"Who are you?\n").unwrap();
    // The first byte of an answer: by now all threads are there.
    chat.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let count = fs::read_dir(format!("/proc/{}/task", chat.id())).unwrap().count();
    drop(chat.stdin.take());
    chat.wait_with_output().unwrap();
    count
}

/// As many as asked for serve the kernels, and as many the ops that have none, which sleep meanwhile.
#[cfg(target_os = "linux")]
#[test]
fn as_many_threads_are_started_as_asked_for() {
    assert_eq!(threads_of_a_chat("9") - threads_of_a_chat("4"), 2 * 5);
}

#[test]
fn every_step_is_told_once_and_in_order() {
    let dir = TempDir::new().unwrap();
    let ran = convert(&demo(), dir.path(), &[]).status(0);
    let steps: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("step ")).collect();
    let expected = [
        "step 0: check",
        "step 1: convert the inference model",
        "step 2: convert the prefill model",
        "step 3: combine both into one model",
        "step 4: compile the combined model",
        "step 5: copy tokenizer and config, write meta.yaml",
        "step 6: chat with the compiled model",
    ];
    assert_eq!(steps, expected);
    let done = ran.stderr.lines().filter(|line| line.starts_with("  done (")).count();
    assert_eq!(done, 5, "{}", ran.stderr);
    ran.says("xcrun coremlcompiler compile");
}

#[test]
fn a_model_that_does_not_answer_fails_the_gate() {
    let silent = Model::demo();
    let every_token: Vec<u32> = (0..1024).collect();
    let generation = json!({ "eos_token_id": every_token });
    fs::write(silent.path().join("generation_config.json"), generation.to_string()).unwrap();
    let infinite = Model::demo().with_all("model.norm.weight", 60_000.0);
    for (model, words) in [
        (silent, "error: the model gave an empty answer"),
        (infinite, "error: the model computes infinities or NaN in fp16"),
    ] {
        let dir = TempDir::new().unwrap();
        convert(model.path(), dir.path(), &[]).status(4).says(words).prints("component");
        assert!(dir.path().join("meta.yaml").is_file());
    }
}

#[test]
fn a_context_without_room_for_the_question_is_no_fault_of_the_model() {
    let dir = TempDir::new().unwrap();
    let short = ["--context", "4", "--batch", "4"];
    let ran = convert(&demo(), dir.path(), &short).status(0);
    ran.says("not asked: ").says("does not fit the context of 4").prints("component");
}

#[test]
fn a_broken_tokenizer_or_template_is_found_before_the_work() {
    for file in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"]
    {
        let model = Model::demo();
        fs::write(model.path().join(file), "{% if").unwrap();
        let dir = TempDir::new().unwrap();
        convert(model.path(), dir.path(), &[]).status(3).says(file);
        assert!(!dir.path().join("qwen_monolithic.mlpackage").exists(), "{file}");
    }
}

#[test]
fn what_upstream_understands_and_we_need_not_is_noted() {
    let dir = TempDir::new().unwrap();
    let foreign = ["--dynamic-prefill-slice", "--skip-anemll-dedup", "--force-mlprogram-compile"];
    let mut ran = convert(&demo(), dir.path(), &[&["--only", "1"], &foreign[..]].concat()).status(0);
    for option in foreign {
        ran = ran.says(&format!("warning: {option} has no effect: "));
    }
}

#[test]
fn an_output_that_nobody_reads_stops_no_conversion() {
    for closed in ["stdout", "stderr"] {
        let dir = TempDir::new().unwrap();
        let mut run = command(arguments(&["convert"], &demo(), dir.path(), &[]));
        let mut child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        match closed {
            "stdout" => drop(child.stdout.take()),
            _ => drop(child.stderr.take()),
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{closed} closed: {output:?}");
        assert_same(converted(), dir.path());
    }
}
