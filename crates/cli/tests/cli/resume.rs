//! Steps that are reused, rebuilt, run alone or refused.

use std::fs;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use tempfile::TempDir;

use crate::anelith::{ANSWER, convert, converted, demo};
use crate::checkpoint::Model;
use crate::files::{assert_same, contents, copy, stamps};

/// A copy of the converted demo, to be changed.
fn copy_of_converted() -> TempDir {
    let dir = TempDir::new().unwrap();
    copy(converted(), dir.path());
    dir
}

fn tamper(dir: &Path) {
    let model = dir.join("qwen_monolithic.mlpackage/Data/com.apple.CoreML/model.mlmodel");
    OpenOptions::new().append(true).open(model).unwrap().write_all(b"\0").unwrap();
}

fn count(text: &str, words: &str) -> usize {
    text.matches(words).count()
}

#[test]
fn a_second_run_changes_no_file() {
    let dir = copy_of_converted();
    let before = stamps(dir.path());
    let ran = convert(&demo(), dir.path(), &[]).status(0).prints(ANSWER);
    assert_eq!(count(&ran.stderr, "  up to date: "), 5, "{}", ran.stderr);
    assert_eq!(count(&ran.stderr, "  done ("), 0, "{}", ran.stderr);
    assert_same(converted(), dir.path());
    let after = stamps(dir.path());
    let rewritten: Vec<_> =
        before.iter().filter(|(name, stamp)| !name.ends_with(".lock") && after[*name] != **stamp).collect();
    assert!(rewritten.is_empty(), "{rewritten:?}");
}

#[test]
fn another_option_rebuilds_what_depends_on_it() {
    let dir = copy_of_converted();
    let ran = convert(&demo(), dir.path(), &["--batch", "32"]).status(0);
    assert_eq!(count(&ran.stderr, "  up to date: "), 1, "{}", ran.stderr);
    assert_eq!(count(&ran.stderr, "  done ("), 4, "{}", ran.stderr);
    assert_eq!(count(&ran.stderr, "warning"), 0, "what is replaced was ours: {}", ran.stderr);
    let ran = convert(&demo(), dir.path(), &["--lut", "6,16"]).status(0).prints(ANSWER);
    assert_eq!(count(&ran.stderr, "  done ("), 5, "{}", ran.stderr);
    convert(&demo(), dir.path(), &[]).status(0);
    assert_same(converted(), dir.path());
}

#[test]
fn another_model_rebuilds() {
    let dir = copy_of_converted();
    let model = Model::demo().with_config("rope_theta", 10_000.into());
    let ran = convert(model.path(), dir.path(), &["--only", "1"]).status(0);
    assert_eq!(count(&ran.stderr, "  done ("), 1, "{}", ran.stderr);
    convert(model.path(), dir.path(), &["--restart", "3"])
        .status(3)
        .says("prefill.mlpackage was made from another");
}

#[test]
fn a_changed_tokenizer_is_copied_again() {
    let dir = copy_of_converted();
    fs::write(dir.path().join("tokenizer_config.json"), "{}").unwrap();
    let ran = convert(&demo(), dir.path(), &[]).status(0);
    assert_eq!(count(&ran.stderr, "  up to date: "), 4, "{}", ran.stderr);
    assert_same(converted(), dir.path());
}

#[test]
fn steps_run_one_by_one_give_the_same_bytes() {
    let dir = TempDir::new().unwrap();
    for step in ["1", "2", "3", "4", "5"] {
        let ran = convert(&demo(), dir.path(), &["--only", step]).status(0);
        assert_eq!(count(&ran.stderr, "  done ("), 1, "{}", ran.stderr);
    }
    convert(&demo(), dir.path(), &["--only", "6"]).status(0).prints(ANSWER);
    assert_same(converted(), dir.path());
}

#[test]
fn restart_rebuilds_from_there_on() {
    let dir = copy_of_converted();
    let ran = convert(&demo(), dir.path(), &["--restart", "4"]).status(0).prints(ANSWER);
    assert_eq!(count(&ran.stderr, "  up to date: "), 3, "{}", ran.stderr);
    assert_eq!(count(&ran.stderr, "  done ("), 2, "{}", ran.stderr);
    assert_same(converted(), dir.path());
    convert(&demo(), dir.path(), &["--restart", "6"]).status(0).prints(ANSWER);
}

#[test]
fn a_run_ends_where_until_says_and_the_next_goes_on() {
    let dir = TempDir::new().unwrap();
    let ran = convert(&demo(), dir.path(), &["--until", "2"]).status(0);
    assert_eq!(count(&ran.stderr, "  done ("), 2, "{}", ran.stderr);
    assert!(ran.stdout.starts_with("component"), "nobody is asked, and the table is there: {}", ran.stdout);
    assert!(!dir.path().join("qwen_monolithic_combined.mlpackage").exists());
    let ran = convert(&demo(), dir.path(), &["--until", "5"]).status(0);
    assert_eq!(count(&ran.stderr, "  up to date: "), 2, "{}", ran.stderr);
    assert_eq!(count(&ran.stderr, "step 6"), 0, "{}", ran.stderr);
    assert_same(converted(), dir.path());
    let ran = convert(&demo(), dir.path(), &["--restart", "3", "--until", "4"]).status(0);
    assert_eq!(count(&ran.stderr, "  done ("), 2, "{}", ran.stderr);
    assert_eq!(count(&ran.stderr, "step 5"), 0, "{}", ran.stderr);
    convert(&demo(), dir.path(), &["--restart", "6", "--until", "6"]).status(0).prints(ANSWER);
    assert_same(converted(), dir.path());
}

#[test]
fn a_step_without_its_inputs_names_them_and_the_step_that_makes_them() {
    let dir = copy_of_converted();
    fs::remove_dir_all(dir.path().join("qwen_monolithic_prefill.mlpackage")).unwrap();
    for option in ["--restart", "--only"] {
        convert(&demo(), dir.path(), &[option, "3"])
            .status(3)
            .says("error: qwen_monolithic_prefill.mlpackage is missing")
            .says("step 2");
    }
    let empty = TempDir::new().unwrap();
    for (step, missing) in [
        ("2", "qwen_monolithic.mlpackage is missing"),
        ("3", "qwen_monolithic.mlpackage is missing"),
        ("4", "qwen_monolithic_combined.mlpackage is missing"),
        ("6", "qwen_monolithic_combined.mlmodelc is missing"),
    ] {
        convert(&demo(), empty.path(), &["--only", step]).status(3).says(missing);
    }
}

#[test]
fn a_tampered_output_is_rebuilt_and_never_built_upon() {
    let dir = copy_of_converted();
    tamper(dir.path());
    convert(&demo(), dir.path(), &["--restart", "3"])
        .status(3)
        .says(
            "qwen_monolithic.mlpackage was made from another model, with other options, or by something else",
        )
        .says("--restart 1");
    let ran = convert(&demo(), dir.path(), &[]).status(0);
    assert_eq!(count(&ran.stderr, "  done ("), 1, "{}", ran.stderr);
    assert_eq!(count(&ran.stderr, "made by something else, or changed since"), 1, "{}", ran.stderr);
    assert_same(converted(), dir.path());
}

#[test]
fn what_is_left_of_an_output_is_rebuilt() {
    let dir = copy_of_converted();
    for (part, restart) in
        [("combined.mlpackage/Manifest.json", "3"), ("combined.mlmodelc/coremldata.bin", "4")]
    {
        fs::remove_file(dir.path().join(format!("qwen_monolithic_{part}"))).unwrap();
        convert(&demo(), dir.path(), &["--restart", restart]).status(0);
        assert_same(converted(), dir.path());
    }
}

#[test]
fn a_lost_or_broken_record_costs_time_only() {
    for record in [None, Some("{\"1 x\": ")] {
        let dir = copy_of_converted();
        let path = dir.path().join(".anelith.json");
        match record {
            None => fs::remove_file(&path).unwrap(),
            Some(text) => fs::write(&path, text).unwrap(),
        }
        convert(&demo(), dir.path(), &[]).status(0);
        assert_same(converted(), dir.path());
    }
}

#[test]
fn the_weights_are_one_file_under_four_names() {
    let weights: Vec<_> =
        contents(converted()).into_keys().filter(|name| name.ends_with("weight.bin")).collect();
    assert_eq!(weights.len(), 4, "{weights:?}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let files = weights.iter().map(|name| fs::metadata(converted().join(name)).unwrap());
        let inodes: std::collections::BTreeSet<u64> = files.map(|m| m.ino()).collect();
        // One file under four names, or four clones, whose blocks the file system shares.
        assert!([1, 4].contains(&inodes.len()), "{inodes:?}");
    }
}

#[test]
fn what_a_killed_run_left_goes_even_where_all_is_up_to_date() {
    let dir = copy_of_converted();
    let package = dir.path().join("qwen_monolithic.mlpackage");
    copy(&package, &dir.path().join(".qwen_monolithic.mlpackage.old"));
    fs::create_dir(dir.path().join(".qwen_monolithic_combined.mlmodelc.partial")).unwrap();
    fs::write(dir.path().join(".tokenizer.json.partial"), "{").unwrap();
    let ran = convert(&demo(), dir.path(), &[]).status(0);
    assert_eq!(count(&ran.stderr, "  up to date: "), 5, "{}", ran.stderr);
    assert_same(converted(), dir.path());
    // Killed between the two renames of a replacement.
    fs::rename(&package, dir.path().join(".qwen_monolithic.mlpackage.old")).unwrap();
    let ran = convert(&demo(), dir.path(), &[]).status(0);
    assert_eq!(count(&ran.stderr, "  up to date: "), 5, "{}", ran.stderr);
    assert_same(converted(), dir.path());
}

#[test]
fn step_5_goes_on_where_it_was_stopped() {
    let dir = TempDir::new().unwrap();
    // It had copied two files, and no record says so.
    for name in ["tokenizer.json", "config.json"] {
        fs::copy(demo().join(name), dir.path().join(name)).unwrap();
    }
    convert(&demo(), dir.path(), &["--only", "5"]).status(2).says("files of another model");
    fs::write(dir.path().join(".anelith.lock"), "4711\n").unwrap();
    convert(&demo(), dir.path(), &["--only", "5"]).status(0);
    assert!(dir.path().join("meta.yaml").is_file());
}
