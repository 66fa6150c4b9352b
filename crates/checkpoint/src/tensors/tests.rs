//! Real weights are read exactly; every way in which a file can lie about itself is an error that names it.

use std::fs;

use anelith_report::Reported;
use half::f16;

use super::*;
use crate::{Checkpoint, ErrorKind};

/// A safetensors file from a header in JSON and its data.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn f32_file(name: &str, values: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let header = format!(
        r#"{{"{name}":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{}]}}}}"#,
        values.len(),
        data.len()
    );
    file(&header, &data)
}

fn directory(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

fn open_error(files: &[(&str, Vec<u8>)]) -> Error {
    Tensors::open(directory(files).path()).unwrap_err()
}

#[test]
fn broken_files_are_refused_with_what_was_expected() {
    let info =
        |shape: &str, offsets: &str| format!(r#"{{"dtype":"F16","shape":{shape},"data_offsets":{offsets}}}"#);
    let one = |shape: &str, offsets: &str| format!(r#"{{"w":{}}}"#, info(shape, offsets));
    let two =
        |first: &str, second: &str| format!(r#"{{"a":{},"b":{}}}"#, info("[2]", first), info("[2]", second));
    let good = file(&one("[2]", "[0,4]"), &[0; 4]);
    let mut huge = good.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut long = good.clone();
    long[..8].copy_from_slice(&1000_u64.to_le_bytes());
    let max = u64::MAX;
    let cases: [(&str, Vec<u8>, &str); 20] = [
        ("empty", vec![], "truncated: expected 8 bytes, found 0"),
        ("no length", vec![1, 0, 0], "truncated: expected 8 bytes, found 3"),
        ("truncated header", good[..20].to_vec(), "truncated: expected"),
        ("truncated data", good[..good.len() - 1].to_vec(), "truncated: expected"),
        ("huge header length", huge, "header length is not credible"),
        ("header beyond the end", long, "truncated: expected 1008 bytes"),
        ("trailing data", [&good[..], &[0]].concat(), "data after the last tensor"),
        ("not JSON", file("{", &[]), "not a valid safetensors file"),
        ("overlap", file(&two("[0,4]", "[2,6]"), &[0; 6]), "tensor `b` overlaps with tensor `a`"),
        ("gap", file(&two("[0,4]", "[6,10]"), &[0; 10]), "tensor `b` leaves a hole after tensor `a`"),
        ("gap before all", file(&one("[2]", "[2,6]"), &[0; 6]), "tensor `w` leaves a hole after the header"),
        ("negative size", file(&one("[-2]", "[0,4]"), &[0; 4]), "the entry of tensor `w` cannot be read"),
        (
            "unknown dtype",
            file(r#"{"w":{"dtype":"Q4","shape":[2],"data_offsets":[0,4]}}"#, &[0; 4]),
            "the entry of tensor `w` cannot be read",
        ),
        ("GGUF", b"GGUF\x03\0\0\0\0\0\0\0".to_vec(), "is a GGUF file"),
        ("ZIP", b"PK\x03\x04\0\0\0\0\0\0\0\0".to_vec(), "is a ZIP file"),
        ("web page", b"<!DOCTYPE html>".to_vec(), "is a web page"),
        ("shape against offsets", file(&one("[3]", "[0,4]"), &[0; 4]), "tensor `w` does not fit"),
        ("reversed offsets", file(&one("[2]", "[4,0]"), &[0; 4]), "tensor `w`"),
        ("overflow", file(&one(&format!("[{max},{max}]"), "[0,4]"), &[0; 4]), "tensor `w`"),
        (
            "git lfs pointer",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_vec(),
            "Git LFS pointer",
        ),
    ];
    for (case, bytes, named) in cases {
        let error = open_error(&[("model.safetensors", bytes)]);
        assert_eq!(error.kind(), ErrorKind::Malformed, "{case}: {error}");
        assert!(error.to_string().contains(named), "{case}: {error}");
        assert!(error.location().is_some_and(|l| l.contains("model.safetensors")), "{case}");
        let is_whole = error.mend().is_some() && error.expected().is_some() && error.found().is_some();
        assert!(is_whole, "{case}: {:?}", error.report());
    }
}

#[test]
fn a_header_length_that_looks_like_another_format_is_no_such() {
    // 0x3c bytes of header: the file begins with `<`.
    let header = r#"{"w":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}      "#;
    assert_eq!(header.len(), 0x3c);
    let dir = directory(&[("model.safetensors", file(header, &[0; 4]))]);
    assert_eq!(Tensors::open(dir.path()).unwrap().names().count(), 1);
}

fn index(map: &str) -> (&'static str, Vec<u8>) {
    let text = format!(r#"{{"metadata":{{"total_size":8}},"weight_map":{map}}}"#);
    ("model.safetensors.index.json", text.into_bytes())
}

#[test]
fn shards_are_read_through_their_index() {
    let dir = directory(&[
        index(r#"{"a":"one.safetensors","b":"two.safetensors"}"#),
        ("one.safetensors", f32_file("a", &[1.0])),
        (
            "two.safetensors",
            file(
                r#"{"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"c":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
                &[0, 0, 0, 64, 0, 0, 0, 0],
            ),
        ),
    ]);
    let tensors = Tensors::open(dir.path()).unwrap();
    assert_eq!(tensors.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(tensors.files().len(), 3);
    assert!(tensors.warnings()[0].contains("`c`"), "{:?}", tensors.warnings());
    let unlisted = tensors.get("c", &[1]).unwrap_err();
    assert_eq!(unlisted.found(), Some("it in `two.safetensors`, which the index does not say"));
    let mut values = vec![7.0];
    tensors.get("b", &[1]).unwrap().read_f32(0..1, &mut values).unwrap();
    assert_eq!(values, [2.0]);
}

#[test]
fn broken_indexes_are_refused_with_the_name_of_what_is_wrong() {
    use ErrorKind::{Malformed, Missing};
    let shard = || ("one.safetensors", f32_file("a", &[1.0]));
    let cases = [
        (r#"{"a":"one.safetensors","b":"gone.safetensors"}"#, Missing, "`gone.safetensors`"),
        (r#"{"a":"one.safetensors","b":"one.safetensors"}"#, Missing, "tensor `b` is not in"),
        (r#"{"a":"../one.safetensors"}"#, Malformed, "not a plain file name"),
        (r#"{"a":"/etc/passwd"}"#, Malformed, "not a plain file name"),
        (r#"{"a":""}"#, Malformed, "not a plain file name"),
        (r#"{"a":3}"#, Malformed, "not a valid index"),
    ];
    for (map, kind, named) in cases {
        let error = open_error(&[index(map), shard()]);
        assert_eq!(error.kind(), kind, "{map}: {error}");
        assert!(error.to_string().contains(named), "{map}: {error}");
    }
    let both = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    let second = ("two.safetensors", file(both, &[0; 2]));
    let twice = open_error(&[index(r#"{"a":"one.safetensors","b":"two.safetensors"}"#), shard(), second]);
    assert!(twice.to_string().starts_with("tensor `a` is in two shards"), "{twice}");
    let swapped = [
        index(r#"{"a":"two.safetensors","b":"one.safetensors"}"#),
        shard(),
        ("two.safetensors", f32_file("b", &[1.0])),
    ];
    assert_eq!(open_error(&swapped).found(), Some("it in `one.safetensors`"));
    let bin = open_error(&[("pytorch_model.bin", vec![]), ("x.gguf", vec![])]);
    assert_eq!(bin.found(), Some("pytorch_model.bin, x.gguf"));
    assert_eq!(open_error(&[]).kind(), Missing);
    let ambiguous = open_error(&[shard(), ("two.safetensors", f32_file("b", &[1.0]))]);
    assert_eq!(ambiguous.found(), Some("2 .safetensors files and no index"));
    assert!(Tensors::open(directory(&[shard()]).path()).unwrap().names().any(|name| name == "a"));
}

#[test]
fn a_tensor_is_given_only_in_its_own_shape_and_in_a_float_type() {
    let name = "model.layers.3.mlp.down_proj.weight";
    let header = format!(
        r#"{{"{name}":{{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}},"q":{{"dtype":"U8","shape":[4],"data_offsets":[12,16]}}}}"#
    );
    let dir = directory(&[("model.safetensors", file(&header, &[0; 16]))]);
    let tensors = Tensors::open(dir.path()).unwrap();
    let shape = tensors.get(name, &[3, 2]).unwrap_err();
    assert_eq!(
        shape.to_string(),
        "tensor `model.layers.3.mlp.down_proj.weight` has shape [2, 3], expected [3, 2]"
    );
    let dtype = tensors.get("q", &[4]).unwrap_err();
    assert_eq!(dtype.kind(), ErrorKind::Unsupported);
    assert_eq!(dtype.to_string(), "tensor `q` has element type U8, expected F32, F16 or BF16");
    let missing = tensors.get("model.norm.weight", &[2]).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Missing);
    assert!(missing.to_string().contains("`model.norm.weight`"), "{missing}");

    let tensor = tensors.get(name, &[2, 3]).unwrap();
    assert_eq!((tensor.dtype(), tensor.element_count()), (Dtype::Bf16, 6));
    #[expect(clippy::reversed_empty_ranges, reason = "a caller may hand over any range")]
    for range in [0..7, 7..7, 4..2] {
        let error = tensor.read_f32(range, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Caller);
    }
}

#[test]
fn values_round_to_nearest_even_and_what_fp16_cannot_hold_is_named() {
    let read = |values: &[f32], range: std::ops::Range<usize>| {
        let dir = directory(&[("model.safetensors", f32_file("w", values))]);
        let tensor = Tensors::open(dir.path())?.get("w", &[values.len()])?;
        let mut out = Vec::new();
        tensor.read_f16(range, &mut out).map(|()| out)
    };
    // 1 + 2^-11 lies between two halves, as does 1 + 3 * 2^-11: ties go down and up to the even one.
    let ties = [1.0 + 0.000_488_281_25, 1.0 + 3.0 * 0.000_488_281_25, 65_519.0, -0.0, 1e-9];
    let bits: Vec<u16> = read(&ties, 0..5).unwrap().iter().map(|x| x.to_bits()).collect();
    assert_eq!(bits, [0x3c00, 0x3c02, 0x7bff, 0x8000, 0]);

    let mut values = vec![0.5; 70_000];
    values[69_000] = 1e6;
    let error = read(&values, 0..70_000).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.to_string(), "tensor `w` has the value 1000000 at [69000], which is not finite in fp16");
    assert!(error.expected().is_some_and(|e| e.contains("65504")));
    assert_eq!(read(&values, 0..69_000).unwrap().len(), 69_000);
    for bad in [f32::NAN, f32::INFINITY, 65_520.0, -65_520.0] {
        assert!(read(&[bad], 0..1).is_err(), "{bad}");
    }
}

#[test]
fn f16_and_bf16_files_give_the_same_values_as_their_bits_say() {
    let cases = [
        ("F16", [0x00, 0x3c, 0xff, 0x7b, 0x01, 0x00], [1.0, 65_504.0, 5.960_464_5e-8]),
        ("BF16", [0x80, 0x3f, 0x7f, 0x47, 0x49, 0xc0], [1.0, 65_280.0, -3.140_625]),
    ];
    for (dtype, data, expected) in cases {
        let header = format!(r#"{{"w":{{"dtype":"{dtype}","shape":[3],"data_offsets":[0,6]}}}}"#);
        let dir = directory(&[("model.safetensors", file(&header, &data))]);
        let tensor = Tensors::open(dir.path()).unwrap().get("w", &[3]).unwrap();
        let (mut wide, mut narrow) = (Vec::new(), Vec::new());
        tensor.read_f32(0..3, &mut wide).unwrap();
        assert_eq!(wide, expected, "{dtype}");
        tensor.read_f16(1..3, &mut narrow).unwrap();
        assert_eq!(narrow, expected[1..].iter().map(|&v| f16::from_f32(v)).collect::<Vec<_>>());
    }
}

#[test]
fn pieces_of_a_tensor_equal_the_whole_from_any_thread() {
    let values: Vec<f32> = (0..200_000).map(|i| i as f32 / 8192.0).collect();
    let dir = directory(&[("model.safetensors", f32_file("w", &values))]);
    let tensor = Tensors::open(dir.path()).unwrap().get("w", &[200_000]).unwrap();
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (tensor, values) = (tensor.clone(), &values);
            scope.spawn(move || {
                let range = part * 50_000..(part + 1) * 50_000;
                let mut out = Vec::new();
                tensor.read_f32(range.clone(), &mut out).unwrap();
                assert_eq!(out, values[range]);
            });
        }
    });
}

#[test]
fn a_file_cut_short_after_opening_is_an_io_error() {
    let dir = directory(&[("model.safetensors", f32_file("w", &[1.0, 2.0]))]);
    let tensor = Tensors::open(dir.path()).unwrap().get("w", &[2]).unwrap();
    let path = dir.path().join("model.safetensors");
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 4).unwrap();
    let error = tensor.read_f32(0..2, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
}

#[test]
fn real_checkpoints_open() {
    let shared = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
    if !shared.exists() {
        let required = std::env::var_os("ANELITH_REQUIRE_SHARED").is_some();
        assert!(!required, "../shared is absent");
        println!("skipped: ../shared is absent");
        return;
    }
    for (folder, name) in [
        ("reference/checkpoints/qwen2.5", "qwen2.5"),
        ("data/stories260K", "stories260K"),
        ("demo-model/demo-qwen3/../demo-qwen3/", "demo-qwen3"),
    ] {
        let checkpoint = Checkpoint::open(shared.join(folder)).unwrap();
        assert_eq!(checkpoint.model_name(), name);
        let config = &checkpoint.config;
        let shape = [config.vocab_size, config.hidden_size];
        let embedding = checkpoint.tensors.get("model.embed_tokens.weight", &shape).unwrap();
        let (mut narrow, mut wide) = (Vec::new(), Vec::new());
        embedding.read_f16(0..embedding.element_count(), &mut narrow).unwrap();
        embedding.read_f32(0..embedding.element_count(), &mut wide).unwrap();
        assert_eq!(narrow.len(), wide.len());
        assert!(narrow.iter().zip(&wide).all(|(n, w)| f16::from_f32(*w) == *n));
        assert!(wide.iter().any(|w| *w != 0.0));
    }
}

#[test]
fn what_is_not_a_model_directory_is_said() {
    let dir = directory(&[("file", vec![])]);
    let gone = dir.path().join("gone");
    let error = Checkpoint::open(&gone).unwrap_err();
    assert_eq!(error.to_string(), format!("Model directory does not exist: {}", gone.display()));
    assert_eq!(error.kind(), ErrorKind::Missing);
    let file = Checkpoint::open(dir.path().join("file")).unwrap_err();
    assert!(file.to_string().contains("is not a directory"), "{file}");
    let empty = Checkpoint::open(dir.path()).unwrap_err();
    assert_eq!(empty.to_string(), "no config.json in the model directory");
    fs::write(dir.path().join("config.json"), [0xff]).unwrap();
    let binary = Checkpoint::open(dir.path()).unwrap_err();
    assert_eq!(binary.to_string(), "config.json is not UTF-8 text");
}
