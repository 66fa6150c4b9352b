//! `--model org/name` and `--revision`. Nothing here reaches a hub: that is for the tests of the crate `checkpoint`.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::anelith::{ANSWER, Ran, command, converted, demo};
use crate::files::{contents, copy};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A cache that holds the demo model as `acme/Demo`.
fn cache() -> TempDir {
    let dir = TempDir::new().unwrap();
    let model = dir.path().join("models--acme--Demo");
    copy(&demo(), &model.join("snapshots").join(COMMIT));
    fs::create_dir_all(model.join("refs")).unwrap();
    fs::write(model.join("refs/main"), COMMIT).unwrap();
    dir
}

fn convert(cache: &Path, output: &Path, more: &[&str]) -> Ran {
    let mut command = command(["convert", "--output"]);
    command.arg(output).args(more).env("HF_HUB_CACHE", cache);
    command.output().expect("the binary runs").into()
}

#[test]
fn a_model_in_the_cache_is_converted_under_its_own_name() {
    let (cache, dir) = (cache(), TempDir::new().unwrap());
    let before = contents(cache.path());
    let output = dir.path().join("out");
    let ran = convert(cache.path(), &output, &["--model", "acme/Demo"]).status(0).prints(ANSWER);
    ran.says(&format!("model: acme/Demo, main is {COMMIT}"));
    let meta = fs::read_to_string(output.join("meta.yaml")).unwrap();
    assert!(meta.contains("name: anemll-acme-Demo-ctx512-monolithic"), "{meta}");
    assert!(contents(cache.path()) == before);

    let again = convert(cache.path(), &output, &["--model", "acme/Demo", "--revision", COMMIT]).status(0);
    again.says("up to date").says(&format!("{COMMIT} is {COMMIT}"));
    convert(cache.path(), &dir.path().join("plan"), &["--model", "acme/Demo", "--dry-run"])
        .status(0)
        .prints("meta.yaml");
    assert!(!dir.path().join("plan").exists());
}

#[test]
fn what_cannot_be_had_is_said_before_anything_is_written() {
    let (cache, dir) = (cache(), TempDir::new().unwrap());
    let output = dir.path().join("out");
    let demo = demo();
    let demo = demo.to_str().unwrap();
    for (flags, status, words) in [
        (&["--model", "acme/Other"][..], 3, "offline, and the cache does not have `acme/Other` at `main`"),
        (&["--model", "acme/Demo", "--revision", "v2"], 3, "at `v2`"),
        (&["--model", "acme/Demo", "--revision", "../x"], 3, "none that git allows"),
        (&["--model", "acme/De--mo"], 3, "is no hub id"),
        (&["--model", demo, "--revision", "main"], 2, "--revision is for hub ids"),
        (&["--model", "./acme/Demo", "--revision", "main"], 2, "--revision is for hub ids"),
        (&["--model", "acme/Demo", "--context", "0"], 2, "context is out of range"),
    ] {
        convert(cache.path(), &output, flags).status(status).says(words);
    }
    assert!(!output.exists());
}

#[test]
fn a_weight_is_held_against_a_model_in_the_cache() {
    let cache = cache();
    let package = converted().to_str().unwrap();
    let inspect = |more: &[&str]| -> Ran {
        let mut command = command(["inspect", package, "--weight", "layers.1.self_attn.q_proj"]);
        command.args(more).env("HF_HUB_CACHE", cache.path()).output().expect("the binary runs").into()
    };
    inspect(&["--model", "acme/Demo"]).status(0).prints("of acme/Demo").prints("SNR");
    inspect(&["--model", "acme/Demo", "--revision", COMMIT]).status(0).prints("SNR");
    inspect(&["--model", "acme/Demo", "--revision", "v2"]).status(3).says("at `v2`");
    inspect(&["--model", "acme/Other"]).status(3).says("offline, and the cache does not have `acme/Other`");
    inspect(&["--revision", "main"]).status(2).says("--model");
}

#[test]
fn doctor_looks_at_a_revision_in_the_cache() {
    let cache = cache();
    let doctor = |more: &[&str]| -> Ran {
        let mut command = command(["doctor"]);
        command.args(more).env("HF_HUB_CACHE", cache.path()).output().expect("the binary runs").into()
    };
    doctor(&["--model", "acme/Demo", "--revision", COMMIT]).status(0).prints("acme-Demo");
    doctor(&["--model", "acme/Demo", "--revision", "v2"]).status(3).says("at `v2`");
    let mut command = command(["doctor", "--model", "acme/Other"]);
    let online: Ran = command.env("HF_HUB_OFFLINE", "0").output().expect("the binary runs").into();
    online.status(3).says("the cache does not have `acme/Other`").says("`anelith convert --model` does");
    doctor(&["--model", ".", "--revision", "v2"]).status(2).says("--revision is for hub ids");
}

#[test]
fn variables_that_cannot_be_meant_are_refused() {
    let (cache, dir) = (cache(), TempDir::new().unwrap());
    let secret = "https://me:hf_a@mirror";
    for (name, value) in [("HF_ENDPOINT", "mirror"), ("HF_ENDPOINT", secret), ("HF_TOKEN", "hf_a b")] {
        let mut command = command(["convert", "--model", "acme/Demo", "--output"]);
        let ran: Ran = command
            .arg(dir.path())
            .env("HF_HUB_CACHE", cache.path())
            .env(name, value)
            .output()
            .unwrap()
            .into();
        let ran = ran.status(3).says(&format!("where: {name}"));
        assert!(!ran.stderr.contains("hf_a"), "{}", ran.stderr);
    }
}
