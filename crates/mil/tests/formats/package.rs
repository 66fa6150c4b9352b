//! Packages: what is written is read again and stays the same; broken manifests are refused with the field.

use std::path::{Path, PathBuf};

use anelith_mil::blob::{WEIGHT_FILE, WeightFile};
use anelith_mil::disk::Staged;
use anelith_mil::package::{Package, weights_path, write_into};
use anelith_mil::proto;

use crate::shared;

fn written(dir: &Path) -> PathBuf {
    let path = dir.join("a.mlpackage");
    let staged = Staged::directory(&path).expect("a staged directory");
    write_into(staged.path(), b"model").expect("a package");
    std::fs::write(weights_path(staged.path()), b"weights").expect("a file");
    staged.commit().expect("a commit");
    path
}

#[test]
fn a_written_package_opens() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = written(dir.path());
    let package = Package::open(&path).expect("a package");
    assert_eq!(package.specification, b"model");
    assert_eq!(package.root, path.join("Data/com.apple.CoreML"));
    assert_eq!(package.model_path, package.root.join("model.mlmodel"));
    let weights = package.root.join(WEIGHT_FILE.trim_start_matches("@model_path/"));
    assert_eq!(std::fs::read(weights).expect("a file"), b"weights");
}

#[test]
fn the_manifest_depends_on_the_model_alone_and_has_core_mls_form() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let manifest = std::fs::read_to_string(written(dir.path()).join("Manifest.json")).expect("a manifest");
    let expected = r#"{
    "fileFormatVersion": "1.0.0",
    "itemInfoEntries": {
        "306be486-4680-805d-8816-9969a599dfcc": {
            "author": "com.apple.CoreML",
            "description": "CoreML Model Weights",
            "name": "weights",
            "path": "com.apple.CoreML/weights"
        },
        "ffecf5c2-3755-81ce-91cd-de4aba7514fc": {
            "author": "com.apple.CoreML",
            "description": "CoreML Model Specification",
            "name": "model.mlmodel",
            "path": "com.apple.CoreML/model.mlmodel"
        }
    },
    "rootModelIdentifier": "ffecf5c2-3755-81ce-91cd-de4aba7514fc"
}
"#;
    assert_eq!(manifest, expected);
}

#[test]
fn broken_manifests_are_refused_with_the_field() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = written(dir.path());
    let file = path.join("Manifest.json");
    let good = std::fs::read_to_string(&file).expect("a manifest");
    let cases = [
        (
            "\"1.0.0\"",
            "\"1.0\"",
            "malformed: `fileFormatVersion` is `1.0`, expected three numbers up to 1.0.0",
        ),
        ("\"1.0.0\"", "\"1.-1.0\"", "malformed: `fileFormatVersion` is `1.-1.0`"),
        ("\"1.0.0\"", "\"1.0.1\"", "not supported: `fileFormatVersion` is `1.0.1`"),
        ("\"1.0.0\"", "1", "`fileFormatVersion` is 1, expected a string"),
        ("itemInfoEntries", "items", "`itemInfoEntries` is missing, expected an object"),
        ("rootModelIdentifier\": \"", "rootModelIdentifier\": \"x", "expected a key of `itemInfoEntries`"),
        ("\"name\": \"weights\"", "\"name\": null", "`name` is null, expected a string"),
        ("\"author\"", "\"writer\"", "`author` is missing, expected a string"),
        (
            "com.apple.CoreML/weights",
            "../weights",
            "`path` is `../weights`, expected a path inside the package",
        ),
        ("com.apple.CoreML/weights", "/weights", "`path` is `/weights`, expected a path inside the package"),
        ("com.apple.CoreML/weights", "com.apple.CoreML/others", "com.apple.CoreML/others` is not there"),
        ("{", "[", "is not JSON"),
    ];
    for (from, to, expected) in cases {
        std::fs::write(&file, good.replacen(from, to, 1)).expect("a file");
        let error = Package::open(&path).expect_err(expected).to_string();
        assert!(error.contains("Manifest.json") && error.contains(expected), "{error}\nexpected {expected}");
    }
    for length in 0..good.len() - 2 {
        std::fs::write(&file, &good[..length]).expect("a file");
        assert!(Package::open(&path).is_err(), "cut to {length} bytes");
    }
    std::fs::remove_file(&file).expect("a file");
    let error = Package::open(&path).expect_err("a refusal").to_string();
    assert!(error.contains("`Manifest.json` is missing"), "{error}");
    std::fs::write(path.join("coremldata.bin"), "").expect("a file");
    let error = Package::open(&path).expect_err("a refusal").to_string();
    assert!(error.contains("it is a compiled model"), "{error}");
    let error = Package::open(&written_with_a_directory_for_a_model(dir.path())).expect_err("a refusal");
    assert!(error.to_string().contains("model.mlmodel is malformed: is a directory"), "{error}");
}

fn written_with_a_directory_for_a_model(dir: &Path) -> PathBuf {
    let path = written(dir);
    let model = path.join("Data/com.apple.CoreML/model.mlmodel");
    std::fs::remove_file(&model).expect("a file");
    std::fs::create_dir(&model).expect("a folder");
    path
}

#[test]
fn a_model_that_was_not_fetched_is_told_from_garbage() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("model.mlmodel");
    std::fs::write(&path, "version https://git-lfs.github.com/spec/v1\n").expect("a file");
    let error = Package::open(&path).expect_err("a refusal").to_string();
    assert!(error.contains("git lfs pull"), "{error}");
}

/// A sparse file costs nothing, and reading it would take all memory.
#[test]
fn files_of_impossible_size_are_not_read() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = written(dir.path());
    for name in ["Data/com.apple.CoreML/model.mlmodel", "Manifest.json"] {
        let file = std::fs::File::options().write(true).open(path.join(name)).expect("a file");
        file.set_len(1 << 40).expect("a sparse file");
        let error = Package::open(&path).expect_err("a refusal").to_string();
        assert!(error.contains(name) && error.contains("more than"), "{error}");
    }
}

/// A pipe that nobody writes to would be waited for.
#[cfg(unix)]
#[test]
fn pipes_in_the_place_of_files_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = written(dir.path());
    let weights = path.join("Data/com.apple.CoreML/weights/weight.bin");
    for part in [path.join("Data/com.apple.CoreML/model.mlmodel"), path.join("Manifest.json"), weights] {
        let _ = std::fs::remove_file(&part);
        let made = std::process::Command::new("mkfifo").arg(&part).status().expect("mkfifo runs");
        assert!(made.success());
        let error = match part.ends_with("weight.bin") {
            true => WeightFile::open(&part).map(drop),
            false => Package::open(&path).map(drop),
        };
        let error = error.expect_err("a refusal").to_string();
        assert!(error.contains("is a pipe or device"), "{error}");
    }
    let alone = Package::open(&path.join("Manifest.json")).expect_err("a refusal").to_string();
    assert!(alone.contains("expected a package"), "{alone}");
}

#[test]
fn real_packages_open() {
    let Some(shared) = shared::folder() else { return };
    let is_model = |path: &Path| ["mlpackage", "mlmodel"].iter().any(|e| shared::has_extension(path, e));
    let (mut packages, mut bare) = (0, 0);
    for path in
        ["oracle", "reference", "vectors"].iter().flat_map(|f| shared::find(&shared.join(f), is_model))
    {
        let package = Package::open(&path).unwrap_or_else(|e| panic!("{e}"));
        if path.is_dir() {
            proto::decode(&package.specification, "model.mlmodel").unwrap_or_else(|e| panic!("{e}"));
            packages += 1;
        } else {
            bare += 1;
        }
    }
    assert!(packages > 40 && bare >= 4, "only {packages} packages and {bare} models opened");
}
