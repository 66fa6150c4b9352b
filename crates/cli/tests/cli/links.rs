//! `--no-link`: whether the outputs share one weight file.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tempfile::TempDir;

use crate::anelith::{Ran, arguments, convert, converted, demo, run};
use crate::files::{assert_same, contents};

/// The weight files below `dir`, and how many names each has.
fn weights(dir: &Path) -> Vec<(String, u64)> {
    let names = contents(dir).into_keys().filter(|name| name.ends_with("weight.bin"));
    names.map(|name| (name.clone(), fs::metadata(dir.join(name)).unwrap().nlink())).collect()
}

#[track_caller]
fn assert_own(dir: &Path, count: usize) {
    let weights = weights(dir);
    assert!(weights.len() == count && weights.iter().all(|(_, names)| *names == 1), "{weights:?}");
}

#[test]
fn a_conversion_without_links_has_the_same_bytes_in_files_of_their_own() {
    let dir = TempDir::new().unwrap();
    convert(&demo(), dir.path(), &["--no-link", "--until", "5"]).status(0);
    assert_own(dir.path(), 4);
    assert_same(converted(), dir.path());
    let ran = convert(&demo(), dir.path(), &["--no-link", "--until", "5"]).status(0);
    assert_eq!(ran.stderr.matches("  up to date: ").count(), 5, "{}", ran.stderr);
}

#[test]
fn what_is_linked_is_copied_and_the_plan_says_so() {
    let dir = TempDir::new().unwrap();
    convert(&demo(), dir.path(), &["--until", "5"]).status(0).says("step 5");
    if weights(dir.path()).iter().all(|(_, names)| *names == 1) {
        eprintln!("skipped: this file system makes clones, so there are no links");
        return;
    }
    let dry = |more: &[&str]| convert(&demo(), dir.path(), &[&["--dry-run"], more].concat()).status(0);
    let to_be_copied =
        |ran: &Ran| ran.stdout.matches("done, to be copied, as it shares its weight.bin").count();
    let ran = dry(&[]).prints("stored once where the file system can");
    assert_eq!(to_be_copied(&ran), 0, "{}", ran.stdout);
    let ran = dry(&["--no-link"]).prints("stored in each package and the bundle");
    assert_eq!(to_be_copied(&ran), 3, "{}", ran.stdout);
    let ran = convert(&demo(), dir.path(), &["--no-link", "--until", "5"]).status(0);
    assert_eq!(ran.stderr.matches("shares its weight.bin with other files and is copied").count(), 3);
    assert_eq!(ran.stderr.matches("  up to date: ").count(), 2, "{}", ran.stderr);
    assert_own(dir.path(), 4);
    assert_same(converted(), dir.path());
}

#[test]
fn the_parts_take_the_option_too() {
    let dir = TempDir::new().unwrap();
    for part in ["monolithic", "monolithic_prefill"] {
        run(arguments(&["part", "--part", part], &demo(), dir.path(), &["--no-link"])).status(0);
    }
    let place = dir.path().to_str().unwrap();
    let steps = [&["combine", "--monolithic"], &["compile", "monolithic"]];
    for (step, title) in steps.into_iter().zip(["step 3: ", "step 4: "]) {
        let at = ["--input", place, "--output", place];
        run([&step[..], &at, &["--no-link"]].concat()).status(0).says(title).says("  done (");
    }
    assert_own(dir.path(), 4);

    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let parts = [at("qwen_monolithic.mlpackage"), at("qwen_monolithic_prefill.mlpackage")];
    let (package, bundle) = (at("x.mlpackage"), at("x.mlmodelc"));
    run(["combine", &parts[0], &parts[1], &package, "--no-link"]).status(0).says("step 3: ");
    run(["compile", &package, &bundle, "--no-link"]).status(0).says("step 4: ");
    assert_own(dir.path(), 6);
    // Who shares, waits for nothing and is told nothing.
    let ran = run(["compile", &package, &bundle]).status(0);
    assert_eq!(ran.stderr, "");
}
