//! `verify`: figures on standard output, gates as exit statuses.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::anelith::{convert, converted, demo, run};
use crate::checkpoint::Model;

/// `verify` of the demo with the built-in text, yet to be run.
fn command(more: &[&str]) -> std::process::Command {
    let meta = converted().join("meta.yaml");
    let model = demo();
    let places =
        ["verify".as_ref(), "--model".as_ref(), model.as_os_str(), "--meta".as_ref(), meta.as_os_str()];
    let more = more.iter().map(std::ffi::OsStr::new);
    crate::anelith::command(places.into_iter().chain(more))
}

/// `verify` of the demo with the beginning of that text.
fn verify(more: &[&str]) -> crate::anelith::Ran {
    command(&[&["--tokens", "20"], more].concat()).output().expect("the binary runs").into()
}

#[test]
fn a_conversion_is_measured_and_the_result_explained() {
    let ran = verify(&[]).status(0);
    for words in [
        "20 tokens of the beginning of Alice",
        "fp16 alone",
        "package in f32",
        "layer 3, MLP",
        "prefill and infer agree",
        "equal bit for bit",
        "nats",
    ] {
        assert!(ran.stdout.contains(words), "`{words}` is not in:\n{}", ran.stdout);
    }
    assert!(!ran.stdout.contains("drops"), "{}", ran.stdout);
}

#[test]
fn json_has_the_figures_by_name() {
    let ran = verify(&["--json", "--exact"]).status(0);
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    let number = |name: &str| found[name].as_f64().unwrap_or_else(|| panic!("{name}: {found}"));
    assert!(number("kl_mean") > 0.0 && number("kl_mean") <= number("kl_max"));
    assert!(number("same_top") > 0.5 && number("same_top") <= 1.0);
    assert_eq!((number("positions"), number("differing"), number("not_finite")), (20.0, 0.0, 0.0));
    assert_eq!(found["columns"]["exact"]["kl_mean"], found["kl_mean"]);
    assert_eq!(found["blocks"].as_array().unwrap().len(), 10);
    assert_eq!((&found["measured"], &found["first_drop"]), (&Value::from("exact"), &Value::Null));
    let documented = include_str!("../../../../docs/verify.md");
    for key in found.as_object().unwrap().keys().chain(found["blocks"][0].as_object().unwrap().keys()) {
        assert!(documented.contains(&format!("`{key}`")), "docs/verify.md says nothing of `{key}`");
    }
    let again = verify(&["--json", "--exact", "--threads", "1"]).status(0);
    assert_eq!(ran.stdout, again.stdout, "another number of threads changes nothing");
}

#[test]
fn a_gate_that_is_not_passed_is_status_4_after_the_figures() {
    let passed = verify(&["--exact", "--json", "--fail-if", "kld>10,differing>0"]).status(0);
    let found: Value = serde_json::from_str(&passed.stdout).unwrap();
    assert!(found["gates"].as_array().unwrap().iter().all(|gate| gate["passed"] == true));
    let failed = verify(&["--exact", "--json", "--fail-if", "kld>0.0001,same_top<0"]).status(4);
    let found: Value = serde_json::from_str(&failed.stdout).unwrap();
    assert_eq!(found["gates"][0]["passed"], false);
    failed.says("the model fails kld>0.0001").says("to mend");
}

#[test]
fn what_cannot_be_asked_is_usage() {
    verify(&["--fail-if", "klx>0.3"]).status(2).says("there is no metric `klx`").says("kl_mean");
    verify(&["--fail-if", "kld=0.3"]).status(2).says("compares nothing");
    verify(&["--exact", "--f32"]).status(2);
    verify(&["--text", "a", "--ids", "b"]).status(2);
    verify(&["--tokens", "1"]).status(2);
    run(["verify", "--help"]).status(0).prints("Examples:").prints("kl_p999").prints("excellent below 0.005");
}

#[test]
fn inputs_that_cannot_be_used_are_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    verify(&["--ids", &file("a.npz", b"PK")]).status(3).says("no whole .npz file");
    let directory = dir.path().to_str().unwrap();
    for kind in ["--text", "--ids"] {
        verify(&[kind, directory])
            .status(3)
            .says("directory")
            .says(&format!("check the path given to {kind}"));
    }
    verify(&["--ids", "no-such.npz"]).status(3).says("no-such.npz");
    verify(&["--text", &file("a.txt", b"\xff\xfe")]).status(3).says("not UTF-8");
    verify(&["--text", &file("empty.txt", b"")]).status(2).says("too short");
}

#[test]
fn another_model_than_the_checkpoint_is_refused() {
    let other = Model::demo().with_vocabulary(2048);
    let output = TempDir::new().unwrap();
    convert(other.path(), output.path(), &["--until", "5", "--lut", "none"]).status(0);
    let meta = output.path().join("meta.yaml");
    let model = demo();
    let words =
        ["verify".as_ref(), "--model".as_ref(), model.as_os_str(), "--meta".as_ref(), meta.as_os_str()];
    run(words).status(3).says("not the same model").says("1024 logits (vocab_size)").says("found: 2048");
}

/// Elsewhere a file that is mapped cannot go.
#[cfg(unix)]
#[test]
fn a_process_that_is_killed_leaves_no_weights() {
    let scratch = TempDir::new().unwrap();
    let mut command = command(&["--tokens", "1000"]);
    let mut child = command.env("TMPDIR", scratch.path()).stdout(Stdio::null()).spawn().unwrap();
    let is_empty = || fs::read_dir(scratch.path()).unwrap().next().is_none();
    while is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "weights without lookup tables are made");
    }
    while !is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "the weights go when they are mapped");
    }
    // At the end they went before, too, but that is the end.
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none(), "the weights go before anything is measured");
    child.kill().unwrap();
    child.wait().unwrap();
}
