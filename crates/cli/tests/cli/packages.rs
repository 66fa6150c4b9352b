//! `part`, `combine` and `compile`: the steps as commands of their own.

use std::fs;
use std::path::Path;
#[cfg(unix)]
use std::process::Command;

use tempfile::TempDir;

use crate::anelith::{Ran, arguments, convert, converted, demo, run};
use crate::files::{assert_same, contents, copy};

fn part(name: &str, output: &Path, more: &[&str]) -> Ran {
    run(arguments(&["part", "--part", name], &demo(), output, more))
}

/// `combine` or `compile` on the outputs in `dir`.
fn step(words: &[&str], dir: &Path, more: &[&str]) -> Ran {
    let dir = dir.to_str().unwrap();
    run([words, &["--input", dir, "--output", dir], more].concat())
}

const COMBINE: [&str; 2] = ["combine", "--monolithic"];
const COMPILE: [&str; 2] = ["compile", "monolithic"];

#[test]
fn the_parts_make_what_convert_makes() {
    let dir = TempDir::new().unwrap();
    let names = ["--context-length", "512", "--batch-size", "64", "--lut", "4"];
    part("monolithic", dir.path(), &names).status(0).prints("embeddings");
    part("monolithic_prefill", dir.path(), &[&names[..], &["--arch", "qwen3"]].concat()).status(0);
    step(&COMBINE, dir.path(), &["--lut", "4", "--prefix", "qwen"]).status(0).prints("combined.mlpackage");
    step(&COMPILE, dir.path(), &[]).status(0).prints("combined.mlmodelc");
    for name in [
        "qwen_monolithic.mlpackage",
        "qwen_monolithic_prefill.mlpackage",
        "qwen_monolithic_combined.mlpackage",
        "qwen_monolithic_combined.mlmodelc",
    ] {
        assert_same(&converted().join(name), &dir.path().join(name));
    }
    let ran = convert(&demo(), dir.path(), &["--restart", "5"]).status(0);
    assert_eq!(ran.stderr.matches("  up to date: ").count(), 4, "{}", ran.stderr);
    assert_same(converted(), dir.path());
}

#[test]
fn packages_are_combined_and_compiled_by_path() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let from = |name: &str| converted().join(name).to_str().unwrap().to_owned();
    let (package, bundle) = (at("x.mlpackage"), at("x.mlmodelc"));
    let parts = [from("qwen_monolithic.mlpackage"), from("qwen_monolithic_prefill.mlpackage")];
    run(["combine", &parts[0], &parts[1], &package, "--lut", "4"]).status(0);
    assert_same(&converted().join("qwen_monolithic_combined.mlpackage"), Path::new(&package));
    run(["compile", &package, &bundle]).status(0);
    let program = |dir: &Path| fs::read(dir.join("model.mil")).unwrap();
    let expected = program(&converted().join("qwen_monolithic_combined.mlmodelc"));
    assert!(program(Path::new(&bundle)) == expected, "model.mil differs");

    run(["compile", &package, &bundle, "--lut", "6"]).status(3).says("4 bits");
    run(["compile", &package, &bundle, "--prefix", "x"]).status(2).says("--prefix");
    run(["compile", &package]).status(2).says("no output is named");
    run(["compile", &package, &bundle, "--coremlc-version", "1"]).status(2).says("COMPONENT,COREMLC");
    run(["combine", &parts[0], &package]).status(2);
    run(["compile", &at("none.mlpackage"), &bundle]).status(3).says("none.mlpackage");
}

/// A directory that takes the place of another removes all it holds.
#[test]
fn what_is_no_package_is_never_replaced() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("letter.txt"), "irreplaceable").unwrap();
    let package = converted().join("qwen_monolithic.mlpackage").to_str().unwrap().to_owned();
    run(["compile", &package, dir.path().to_str().unwrap()]).status(2).says(".mlmodelc");
    let lookalike = dir.path().join("letters.mlmodelc");
    fs::create_dir(&lookalike).unwrap();
    fs::write(lookalike.join("letter.txt"), "irreplaceable").unwrap();
    run(["compile", &package, lookalike.to_str().unwrap()]).status(2).says("something else stands");
    assert!(dir.path().join("letter.txt").is_file() && lookalike.join("letter.txt").is_file());
}

#[test]
fn a_prefix_is_found_when_one_fits_and_asked_for_when_several_do() {
    let dir = TempDir::new().unwrap();
    step(&COMBINE, dir.path(), &[]).status(3).says("no *_monolithic.mlpackage").says("step 1");
    step(&COMPILE, dir.path(), &[]).status(3).says("no *_monolithic_combined.mlpackage").says("step 3");
    step(&COMBINE, &dir.path().join("none"), &[]).status(3).says("cannot read the input directory");
    for prefix in ["a", "b"] {
        for part in ["monolithic", "monolithic_prefill"] {
            let from = converted().join(format!("qwen_{part}.mlpackage"));
            copy(&from, &dir.path().join(format!("{prefix}_{part}.mlpackage")));
        }
    }
    step(&COMBINE, dir.path(), &[]).status(2).says("a, b").says("--prefix");
    step(&COMBINE, dir.path(), &["--prefix", "a"]).status(0);
    step(&COMPILE, dir.path(), &[]).status(0).prints("a_monolithic_combined.mlmodelc");
    step(&COMBINE, dir.path(), &["--prefix", "../a"]).status(2).says("--prefix");
    step(&COMBINE, dir.path(), &["--prefix", "c"]).status(3).says("c_monolithic.mlpackage is missing");
    run(["combine", "--input", dir.path().to_str().unwrap()]).status(2).says("--monolithic");
}

#[test]
fn assertions_are_held_against_the_contents() {
    let dir = TempDir::new().unwrap();
    copy(converted(), dir.path());
    step(&COMBINE, dir.path(), &["--lut", "6"]).status(3).says("expected: 6 bits").says("found: 4 bits");
    step(&COMPILE, dir.path(), &["--lut", "none"]).status(3).says("no palettization");
    step(&COMPILE, dir.path(), &["--lut", "5"]).status(2).says("1, 2, 3, 4, 6 or 8");
    part("monolithic", dir.path(), &["--arch", "llama"])
        .status(3)
        .says("expected: llama")
        .says("found: qwen3");
}

#[test]
fn parts_of_different_models_are_not_combined() {
    let dir = TempDir::new().unwrap();
    part("monolithic", dir.path(), &[]).status(0);
    let other = TempDir::new().unwrap();
    for name in ["monolithic", "monolithic_prefill"] {
        part(name, other.path(), &["--lut", "none"]).status(0);
    }
    let prefill = "qwen_monolithic_prefill.mlpackage";
    copy(&other.path().join(prefill), &dir.path().join(prefill));
    step(&COMBINE, dir.path(), &[]).status(3).says("different weights").says("three paths");

    // Whoever names both packages means both.
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (infer, prefill, out) = (at("qwen_monolithic.mlpackage"), at(prefill), at("x.mlpackage"));
    #[cfg(unix)]
    {
        // A disk that is full half-way through the weights.
        let script = "trap '' XFSZ; ulimit -f 100; exec \"$0\" combine \"$1\" \"$2\" \"$3\"";
        let arguments = ["-c", script, env!("CARGO_BIN_EXE_anelith"), &infer, &prefill, &out];
        let ran: Ran = Command::new("sh").args(arguments).output().unwrap().into();
        ran.status(1).says("weight.bin").says("ulimit");
        let left = |name: &str| name.contains("x.mlpackage");
        assert!(!contents(dir.path()).keys().any(|name| left(name)), "half a package is left");
    }
    run(["combine", &infer, &prefill, &out]).status(0).prints("x.mlpackage");
    let size = |package: &str| {
        fs::metadata(Path::new(package).join("Data/com.apple.CoreML/weights/weight.bin")).unwrap().len()
    };
    assert!(size(&out) > size(&prefill), "the weights of one are missing");
    assert!(size(&out) < size(&infer) + size(&prefill), "the norms of both are there");
}
