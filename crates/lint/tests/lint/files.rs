//! Weight files and their contents.

use std::fs::{File, OpenOptions};
use std::path::Path;

use anelith_lint::{Options, Target, lint};
use anelith_mil::blob::{BlobLayout, BlobWriter, WeightStore};
use anelith_mil::{DataType, Model, text};
use half::f16;

/// A program that adds a weight of two elements, and the directory with its file.
fn model_with(dir: &Path, weight: [f32; 2]) -> Model {
    let mut layout = BlobLayout::new();
    layout.push(DataType::Fp16, 2).expect("a place");
    let path = dir.join("weights/weight.bin");
    std::fs::create_dir(dir.join("weights")).expect("a directory");
    let mut writer = BlobWriter::create(&path, &layout).expect("a file");
    let bytes: Vec<u8> = weight.iter().flat_map(|w| f16::from_f32(*w).to_le_bytes()).collect();
    writer.begin(0).expect("the blob");
    writer.write(&bytes).expect("its data");
    writer.finish().expect("a whole file");
    let source = "program(1.3)\n{\n    func main<ios18>(tensor<fp16, [2]> x) {
            tensor<fp16, [2]> w = const()[name = string(\"w\"), val = tensor<fp16, [2]>(BLOBFILE(path = string(\"@model_path/weights/weight.bin\"), offset = uint64(64)))];
            tensor<fp16, [2]> y = add(x = x, y = w)[name = string(\"y\")];
        } -> (y);\n}\n";
    let program = text::parse(source, "a test").expect("a program");
    Model { specification_version: 9, description: Default::default(), program }
}

/// The ids of what is found, but for the description, which is of no concern here.
fn ids(dir: &Path, model: &Model, targets: &[Target]) -> Vec<&'static str> {
    let files = WeightStore::open(dir, &model.program).expect("weights");
    let options = Options { targets: targets.to_vec(), ..Options::default() };
    let found = lint(model, Some(&files), &options).into_iter().map(|finding| finding.rule.id);
    found.filter(|id| *id != "valid").collect()
}

fn lengthen(file: &File, bytes: u64) {
    file.set_len(bytes).expect("a file with a hole");
}

#[test]
fn weight_files_have_a_limit_of_their_own_on_iphones() {
    let dir = tempfile::tempdir().expect("a directory");
    let model = model_with(dir.path(), [1.0, 2.0]);
    let file = OpenOptions::new().write(true).open(dir.path().join("weights/weight.bin")).expect("the file");
    let both = [Target::Macos15, Target::Ios18];
    for (bytes, on_macs, on_both) in [
        (1_000_000_000, [].as_slice(), [].as_slice()),
        (1_000_000_001, &[], &["file-size-ios"]),
        (1 << 31, &[], &["file-size-ios"]),
        ((1 << 31) + 1, &["file-size"], &["file-size", "file-size-ios"]),
    ] {
        lengthen(&file, bytes);
        assert_eq!(ids(dir.path(), &model, &[Target::Macos15]), on_macs, "{bytes}");
        assert_eq!(ids(dir.path(), &model, &both), on_both, "{bytes}");
    }
}

#[test]
fn weights_are_looked_at_where_they_lie() {
    for (weight, expected) in [
        ([1.0, 65_504.0], [].as_slice()),
        ([f32::NEG_INFINITY, 0.0], &["non-finite"]),
        ([0.0, f32::NAN], &["non-finite"]),
        ([0.0, -65_504.0], &["mask-min"]),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let model = model_with(dir.path(), weight);
        assert_eq!(ids(dir.path(), &model, &[Target::Macos15]), expected, "{weight:?}");
    }
}
