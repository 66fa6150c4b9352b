//! `chat`, `generate` and `run` on the converted demo.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::anelith::{ANSWER, Ran, command, converted, run, run_with_input};
use crate::files::copy;

fn meta() -> String {
    converted().join("meta.yaml").to_str().unwrap().to_owned()
}

#[test]
fn one_question_gets_one_answer() {
    for precision in [&[][..], &["--f32"]] {
        let ran =
            run([&["chat", "--meta", &meta(), "--prompt", "Who are you?"], precision].concat()).status(0);
        assert_eq!(ran.stdout, format!("{ANSWER}\n"));
        assert_eq!(ran.stderr, "");
    }
    // The directory of meta.yaml does as well.
    run(["chat", "--meta", converted().to_str().unwrap(), "--prompt", "What is 7 plus 8?"])
        .status(0)
        .prints("7 plus 8 is 15.");
}

#[test]
fn standard_input_is_one_question() {
    let chat = ["chat", "--meta", &meta()];
    let asked = |input: &[u8]| run_with_input(chat, input);
    assert_eq!(asked(b"Who are you?\r\n\n").status(0).stdout, format!("{ANSWER}\n"));
    let both = ["chat", "--meta", &meta(), "--prompt", "-", "--json"];
    let both: Value =
        serde_json::from_str(&run_with_input(both, b"Who are\nyou?\n").status(0).stdout).unwrap();
    assert_eq!(both["prompt"], "Who are\nyou?");
    asked(b"").status(2).says("no question").says("standard input");
    asked(b" \n\n").status(2).says("--prompt");
    asked(b"\xff\xfe\n").status(3).says("UTF-8");
    // It is text, not a command.
    assert_ne!(asked(b"/help").status(0).stdout, "");
}

#[test]
fn a_full_conversation_remembers() {
    let chat = ["chat", "--meta", &meta(), "--full", "--stats"];
    let ran = run_with_input(chat, b"My name is Lena.\n\nWhat is my name?").status(0);
    assert!(ran.stdout.lines().nth(1).is_some_and(|line| line == "Your name is Lena."), "{}", ran.stdout);
    assert_eq!(ran.stdout.lines().count(), 2);
    // What the cache held of the second question's prompt was not run again.
    let reused: Vec<u32> = ran.stderr.lines().map(reused).collect();
    assert!(reused.len() == 2 && reused[0] == 0 && reused[1] > 15, "{}", ran.stderr);
    assert_eq!(run_with_input(chat, b"").status(0).stdout, "");
    run_with_input(chat, b"\xff\xfe\n").status(3).says("UTF-8");
    run(["chat", "--meta", &meta(), "--full", "--no-memory"]).status(2).says("--no-memory");
}

/// How many tokens a line of figures says were re-used.
fn reused(line: &str) -> u32 {
    let words = line.strip_suffix(" re-used]").and_then(|line| line.rsplit_once(' '));
    words.unwrap_or_else(|| panic!("{line}")).1.parse().unwrap()
}

#[test]
fn figures_are_told_where_they_are_asked_for() {
    let chat = ["chat", "--meta", &meta(), "--prompt", "Who are you?"];
    let ran = run([&chat[..], &["--stats"]].concat()).status(0);
    assert_eq!(ran.stdout, format!("{ANSWER}\n"));
    ran.says("[first token after 0.").says(" tokens/s, ").says(" of 512 tokens in the context, 0 re-used]");
    assert_eq!(run([&chat[..], &["--quiet"]].concat()).status(0).stderr, "");
}

/// The document of an answer to `question`.
fn document(question: &str, more: &[&str]) -> Value {
    let ran = run([&["chat", "--meta", &meta(), "--prompt", question, "--json"], more].concat()).status(0);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn a_seed_gives_an_answer_again() {
    let hot = ["--temperature", "3", "--top-p", "0.99", "--max-tokens", "24"];
    let first = document("Tell me a story.", &hot);
    let seed = first["seed"].as_u64().unwrap();
    let with = |seed: u64| document("Tell me a story.", &[&hot[..], &["--seed", &seed.to_string()]].concat());
    assert_eq!(with(seed)["ids"], first["ids"]);
    assert_ne!(with(seed + 1)["ids"], first["ids"]);
    let sampling =
        json!({"temperature": 3.0, "top_k": 0, "top_p": 0.99, "min_p": 0.0, "repetition_penalty": 1.0});
    assert_eq!(first["sampling"], sampling);
    // A conversation draws from one seed after the other.
    let meta = meta();
    let full = [&["chat", "--meta", &meta, "--full", "--seed", "5"], &hot[..]].concat();
    let said = run_with_input(&full, b"Hi\nHi\n").status(0).stdout;
    let first = document("Hi", &[&hot[..], &["--seed", "5"]].concat());
    let first = first["answer"].as_str().unwrap();
    assert!(said.starts_with(&format!("{first}\n")), "{said}");
    assert_ne!(said, format!("{first}\n{first}\n"));
}

#[test]
fn models_are_sampled_as_their_makers_recommend() {
    let dir = TempDir::new().unwrap();
    copy(converted(), dir.path());
    let path = dir.path().join("meta.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let recommended =
        "    recommended_sampling:\n      do_sample: true\n      temperature: 0.6\n      top_k: 20\n";
    fs::write(&path, text.replace("    vocab_size:", &format!("{recommended}    vocab_size:"))).unwrap();
    let ask = |more: &[&str]| -> Value {
        let words = ["chat", "--meta", path.to_str().unwrap(), "--prompt", "Who are you?", "--json"];
        serde_json::from_str(&run([&words[..], more].concat()).status(0).stdout).unwrap()
    };
    let sampling = &ask(&[])["sampling"];
    assert_eq!((&sampling["temperature"], &sampling["top_k"]), (&json!(0.6), &json!(20)));
    let other = &ask(&["--top-k", "3", "--repetition-penalty", "1.1"])["sampling"];
    assert_eq!((&other["temperature"], &other["top_k"]), (&json!(0.6), &json!(3)));
    assert_eq!(other["repetition_penalty"], json!(1.1));
    let greedy = ask(&["--greedy"]);
    assert_eq!((&greedy["answer"], &greedy["seed"]), (&json!(ANSWER), &Value::Null));
}

#[test]
fn sampling_that_cannot_be_is_refused_by_name() {
    let refused =
        |more: &[&str]| run([&["chat", "--meta", &meta(), "--prompt", "x"], more].concat()).status(2);
    refused(&["--temperature", "nan"]).says("where: --temperature").says("0 to 100");
    refused(&["--temperature", "1", "--min-p", "2"]).says("where: --min-p");
    refused(&["--repetition-penalty", "0"]).says("where: --repetition-penalty");
    refused(&["--top-k", "5"]).says("where: --top-k").says("--temperature above 0");
    refused(&["--greedy", "--top-p", "0.5"]).says("--greedy");
}

#[test]
fn instructions_come_before_the_question() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("system.txt");
    fs::write(&file, "Be kind.\n").unwrap();
    let plain = document("Who are you?", &[]);
    let told = document("Who are you?", &["--system", "Be kind."]);
    assert!(told["prompt_tokens"].as_u64() > plain["prompt_tokens"].as_u64());
    let read = document("Who are you?", &["--system", &format!("@{}", file.display())]);
    assert_eq!(read["prompt_ids"], told["prompt_ids"]);
    run(["chat", "--meta", &meta(), "--prompt", "x", "--system", "@none.txt"]).status(3).says("@none.txt");
}

#[test]
fn a_full_context_is_told() {
    let words = |count: usize| "a ".repeat(count);
    let length =
        |count| document(&words(count), &["--max-tokens", "0"])["prompt_tokens"].as_u64().unwrap() as usize;
    let (ten, eleven) = (length(10), length(11));
    let count = 10 + (512 - ten) / (eleven - ten);
    let ran = run(["chat", "--meta", &meta(), "--prompt", &words(count)]).status(0);
    ran.says("the context of 512 tokens is full, and the answer ends there\n");
    let lines = "Who are you?\n".repeat(24);
    let ran = run_with_input(["chat", "--meta", &meta(), "--full"], lines.as_bytes()).status(0);
    // The demo knows no conversations of this length, so its later answers are none.
    assert!(ran.stdout.starts_with(&format!("{ANSWER}\n{ANSWER}\n")), "{}", ran.stdout);
    ran.says("earlier turns no longer fit the context");
}

#[test]
fn an_answer_ends_where_it_is_told_to() {
    let ran = run(["chat", "--meta", &meta(), "--prompt", "Who are you?", "--max-tokens", "3"]).status(0);
    let answer = ran.stdout.trim_end();
    assert!(!answer.is_empty() && answer.len() < ANSWER.len() && ANSWER.starts_with(answer), "{answer}");
}

#[test]
fn chat_says_what_it_cannot_use() {
    let dir = TempDir::new().unwrap();
    let at = |path: &str| dir.path().join(path).to_str().unwrap().to_owned();
    run(["chat", "--meta", &at("none.yaml"), "--prompt", "x"]).status(3).says("none.yaml");
    run(["chat", "--meta", &at(""), "--prompt", "x"]).status(3).says("meta.yaml");
    copy(converted(), dir.path());
    run(["chat", "--meta", &at("meta.yaml"), "--prompt", &"word ".repeat(600)]).status(2).says("512");
    fs::remove_dir_all(at("qwen_monolithic_combined.mlmodelc")).unwrap();
    let package = ["chat", "--meta", &at("meta.yaml"), "--prompt", "Who are you?"];
    run(package).status(0).prints(ANSWER);
    fs::remove_dir_all(at("qwen_monolithic_combined.mlpackage")).unwrap();
    run(package).status(3).says("combined.mlmodelc");
    fs::write(at("meta.yaml"), "model_info: [").unwrap();
    run(["chat", "--meta", &at("meta.yaml"), "--prompt", "x"]).status(3).says("meta.yaml");
}

/// The template library panics on it; that is its own affair.
#[test]
fn a_library_that_panics_ends_in_one_error() {
    let dir = TempDir::new().unwrap();
    copy(converted(), dir.path());
    fs::write(dir.path().join("chat_template.jinja"), "{% import 'chat_template' as t|max %}").unwrap();
    let ran = run(["chat", "--meta", dir.path().to_str().unwrap(), "--prompt", "x"]);
    let ran = ran.status(3).says("chat_template.jinja");
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

#[test]
fn a_broken_bundle_is_refused_whatever_is_missing() {
    let dir = TempDir::new().unwrap();
    copy(converted(), dir.path());
    let bundle = dir.path().join("qwen_monolithic_combined.mlmodelc");
    for file in ["weights/weight.bin", "model.mil", "coremldata.bin"] {
        let path = bundle.join(file);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        run(["chat", "--meta", dir.path().to_str().unwrap(), "--prompt", "x"]).status(3);
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn generate_continues_ids_greedily() {
    let ids = |more: &[&str]| -> Vec<u32> {
        let ran = run([&["generate", "--meta", &meta(), "--ids", "1,5,9"], more].concat()).status(0);
        ran.stdout.split_whitespace().map(|id| id.parse().unwrap()).collect()
    };
    let eight = ids(&["--max-tokens", "8", "--no-stop"]);
    assert_eq!(eight.len(), 8);
    let five = ids(&["--max-tokens", "5", "--no-stop"]);
    assert_eq!(five, eight[..5]);
    assert!(ids(&["--max-tokens", "0"]).is_empty());
    run(["generate", "--meta", &meta(), "--ids", "1,x"]).status(2).says("--ids");
    run(["generate", "--meta", &meta(), "--ids", "1,1024"]).status(2).says("1024");
}

#[test]
fn a_reader_that_goes_away_ends_the_chat() {
    let ids: Vec<String> = vec!["generate".into(), "--meta".into(), meta(), "--ids".into(), "1".into()];
    let mut child = command(&ids).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    Ran::from(child.wait_with_output().unwrap()).status(0);
}

/// `run` on the bundle with these feeds.
fn run_feeds(feeds: &str) -> Ran {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("feeds.json");
    fs::write(&path, feeds).unwrap();
    let bundle = converted().join("qwen_monolithic_combined.mlmodelc");
    run(["run", bundle.to_str().unwrap(), "--feeds", path.to_str().unwrap(), "--f32"])
}

/// A call of `infer` with one token at position 0.
fn one_token() -> Value {
    let mut mask = vec![json!("-inf"); 512];
    mask[0] = json!(0.0);
    json!([{"function": "infer", "inputs": {
        "input_ids": {"dtype": "int32", "shape": [1, 1], "data": [1]},
        "position_ids": {"dtype": "int32", "shape": [1], "data": [0]},
        "causal_mask": {"dtype": "fp16", "shape": [1, 1, 1, 512], "data": mask},
        "current_pos": {"dtype": "int32", "shape": [1], "data": [0]},
    }}])
}

#[test]
fn run_calls_functions_and_prints_json() {
    let ran = run_feeds(&one_token().to_string()).status(0);
    let outputs: Value = serde_json::from_str(&ran.stdout).unwrap();
    let logits = outputs[0]["outputs"].as_object().unwrap();
    let sizes: u64 = logits.values().map(|l| l["shape"][2].as_u64().unwrap()).sum();
    assert_eq!((logits.len(), sizes), (16, 1024));
}

#[test]
fn bad_feeds_are_refused_by_call_and_input() {
    let changed = |pointer: &str, value: Value| {
        let mut feeds = one_token();
        *feeds.pointer_mut(pointer).unwrap() = value;
        feeds.to_string()
    };
    for (feeds, words) in [
        ("nonsense".to_owned(), "not JSON"),
        ("{}".to_owned(), "not a list"),
        ("[1]".to_owned(), "call 0"),
        (json!([{"function": "infer"}]).to_string(), "no `inputs`"),
        (json!([{"function": "infer", "inputs": {}}]).to_string(), "input"),
        (changed("/0/function", json!("train")), "train"),
        (changed("/0/inputs/input_ids/dtype", json!("int4")), "int4"),
        (changed("/0/inputs/input_ids/data", json!([1, 2])), "input_ids"),
        (changed("/0/inputs/input_ids/data", json!([1.5])), "no int32"),
        (changed("/0/inputs/input_ids/shape", json!([4_294_967_296u64, 4_294_967_296u64])), "input_ids"),
        (changed("/0/inputs/input_ids/data", json!([1024])), "1024"),
        (changed("/0/inputs/current_pos/data", json!([512])), ""),
        (changed("/0/inputs/causal_mask/data/0", json!("nothing")), "causal_mask"),
        (changed("/0/inputs/causal_mask/shape", json!([1, 1, 512, 1])), "causal_mask"),
    ] {
        let ran = run_feeds(&feeds);
        assert_eq!(ran.status, Some(3), "{words}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(words), "`{words}` is not in:\n{}", ran.stderr);
    }
    run(["run", "none.mlpackage", "--feeds", "none.json"]).status(3).says("none.mlpackage");
}

#[test]
fn bench_counts_the_weights_of_a_bundle_and_of_a_package() {
    let dir = TempDir::new().unwrap();
    copy(converted(), dir.path());
    let bench = ["bench", "--meta", dir.path().to_str().unwrap(), "--json", "--repeats", "1"];
    let few = ["--prompt", "4", "--generate", "2"];
    let count = || {
        let ran = run([&bench[..], &few[..]].concat()).status(0);
        serde_json::from_str::<Value>(&ran.stdout).unwrap()["weight_bytes"].as_u64().unwrap()
    };
    let bundle = count();
    let is_bundle = |path: &std::path::Path| path.extension().is_some_and(|e| e == "mlmodelc");
    let entries = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| is_bundle(path)).for_each(|path| fs::remove_dir_all(path).unwrap());
    assert_eq!(count(), bundle);
    assert!(bundle > 0);
}
