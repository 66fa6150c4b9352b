//! Bundles read back as they were written, and what is refused.

use std::path::Path;

use crate::disk::copy_file;
use crate::dtype::DataType;
use crate::error::Error;
use crate::model::{Description, Feature, Flexibility, Interface, Model};
use crate::text;
use crate::validate::ProgramInfo;

use super::{Compiler, Source, core_data, read, write};

/// A stateful function with a palettized weight, in the words of iOS 18.
const PROGRAM: &str = r#"program(1.3)
{
    func main<ios18>(tensor<fp16, [1, 8]> x, state<tensor<fp16, [1, 8]>> cache) {
            tensor<fp16, [8, 8]> w = constexpr_lut_to_dense(indices = tensor<uint4, [8, 8]>(BLOBFILE(path = string("@model_path/weights/weight.bin"), offset = uint64(64))), lut = tensor<fp16, [1, 1, 16, 1]>(BLOBFILE(path = string("@model_path/weights/weight.bin"), offset = uint64(192))))[name = string("w")];
            tensor<fp16, [8]> b = const()[name = string("b"), val = tensor<fp16, [8]>(BLOBFILE(path = string("@model_path/weights/other.bin"), offset = uint64(64)))];
            tensor<fp16, [1, 8]> old = read_state(input = cache)[name = string("old")];
            tensor<fp16, [1, 8]> y = linear(bias = b, weight = w, x = x)[name = string("y")];
            tensor<fp16, [1, 8]> sum = add(x = y, y = old)[name = string("sum")];
            write_state(data = sum, input = cache)[name = string("keep")];
            tensor<fp16, [1, 8]> odd = my_own_op(x = sum)[name = string("odd")];
        } -> (odd);
}"#;

fn model(program: &str) -> Model {
    let fp16 = |name: &str| Feature::new(name, DataType::Fp16, &[1, 8]);
    let main = Interface {
        name: "main".into(),
        inputs: vec![fp16("x")],
        outputs: vec![fp16("odd")],
        states: vec![fp16("cache")],
    };
    Model {
        specification_version: 9,
        description: Description { functions: vec![main], ..Description::default() },
        program: text::parse(program, "program").expect("the sample parses"),
    }
}

/// Writes the model to `dir/out`, its weights taken from `dir/in`.
fn write_into(dir: &Path, model: &Model) -> Result<(), Error> {
    let (from, to) = (dir.join("in"), dir.join("out"));
    std::fs::create_dir_all(from.join("weights")).expect("a folder");
    std::fs::create_dir_all(&to).expect("a folder");
    for file in ["weight.bin", "other.bin"] {
        std::fs::write(from.join("weights").join(file), file).expect("a file");
    }
    let source = Source {
        specification: b"abc",
        model_name: "model",
        weights_root: &from,
        class_name: "a-b.c",
        place: &|from, to| copy_file(from, to, &|_| true),
    };
    write(&to, model, &ProgramInfo { functions: Vec::new() }, &source, &Compiler::default())
}

fn refusal(model: &Model) -> Error {
    write_into(tempfile::tempdir().expect("a folder").path(), model).expect_err("the model is refused")
}

#[test]
fn a_stateful_model_reads_back_and_has_its_weights() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut model = model(PROGRAM);
    write_into(dir.path(), &model).expect("the model is written");
    let out = dir.path().join("out");
    for file in ["weight.bin", "other.bin"] {
        let copy = std::fs::read(out.join("weights").join(file)).expect("a weight file");
        assert_eq!(copy, file.as_bytes());
    }
    let again = read(&out).expect("the model reads");
    for (key, value) in [("coremlc-component-MIL", "3520.4.1"), ("coremlc-version", "3520.5.1")] {
        model.program.build_info.insert(key.into(), value.into());
    }
    let text = |m: &Model| text::print(&m.program, text::Dialect::V1_3);
    assert_eq!(text(&again), text(&model));
    assert_eq!(again.description, model.description);
}

#[test]
fn metadata_tells_of_states_and_palettes() {
    let dir = tempfile::tempdir().expect("a folder");
    write_into(dir.path(), &model(PROGRAM)).expect("the model is written");
    let json = std::fs::read_to_string(dir.path().join("out/metadata.json")).expect("metadata");
    for line in [
        r#"    "stateSchema" : ["#,
        r#"        "formattedType" : "State (Float16 1 × 8)""#,
        r#"      "Ios18.add" : 1,"#,
        r#"      "Ios18.constexprLutToDense" : 1,"#,
        r#"      "Ios18.readState" : 1,"#,
        r#"      "MyOwnOp" : 1"#,
        r#"    "computePrecision" : "Float16","#,
        r#"    "storagePrecision" : "Mixed (Float16, Palettized (4 bits))","#,
        r#"    "generatedClassName" : "a_b_c","#,
    ] {
        assert!(json.lines().any(|l| l == line), "no line {line} in {json}");
    }
    assert!(json.starts_with("[\n  {\n    \"metadataOutputVersion\" : \"3.0\",\n"), "{json}");
    assert!(json.contains("\"modelParameters\" : [\n\n    ],"), "{json}");
    assert!(!json.contains("defaultFunctionName"), "{json}");
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let files = ["model.mil", "coremldata.bin", "metadata.json", "analytics/coremldata.bin"];
    let written = || {
        let dir = tempfile::tempdir().expect("a folder");
        write_into(dir.path(), &model(PROGRAM)).expect("the model is written");
        files.map(|f| std::fs::read(dir.path().join("out").join(f)).expect("a file"))
    };
    assert_eq!(written(), written());
}

#[test]
fn weight_files_stay_in_the_model() {
    let paths = [
        "weights/weight.bin",
        "@model_path/../secret",
        "@model_path/weights/../../secret",
        "@model_path//etc/passwd",
        "@model_path/",
        "@model_path/metadata.json",
    ];
    for path in paths {
        let error = refusal(&model(&PROGRAM.replace("@model_path/weights/other.bin", path)));
        let taken = path.ends_with("metadata.json");
        assert_eq!(matches!(error, Error::Unsupported { .. }), taken, "{path}: {error}");
        assert!(error.to_string().contains(&format!("weight file `{path}`")), "{error}");
    }
    match refusal(&model(&PROGRAM.replace("other.bin", "missing.bin"))) {
        Error::Io { path, .. } => assert!(path.ends_with("in/weights/missing.bin"), "{}", path.display()),
        other => panic!("{other}"),
    }
}

#[test]
fn nothing_is_overwritten() {
    let dir = tempfile::tempdir().expect("a folder");
    write_into(dir.path(), &model(PROGRAM)).expect("the first time");
    let again = write_into(dir.path(), &model(PROGRAM)).expect_err("the second time");
    assert!(matches!(&again, Error::Io { path, .. } if path.ends_with("model.mil")), "{again}");
}

#[test]
fn flexible_inputs_are_told_to_the_runtime() {
    let mut model = model(&PROGRAM.replace("tensor<fp16, [1, 8]> x", "tensor<fp16, [?, 8]> x"));
    let flexible = |model: &mut Model, flexibility| {
        model.description.functions[0].inputs[0].flexibility = Some(flexibility);
    };
    flexible(&mut model, Flexibility::Range(vec![(1, 4), (8, 8)]));
    let dir = tempfile::tempdir().expect("a folder");
    write_into(dir.path(), &model).expect("the model is written");
    let text = std::fs::read_to_string(dir.path().join("out/model.mil")).expect("text");
    let information =
        r#"((("DefaultShapes", {{"x", [1, 8]}}), ("RangeDims", {{"x", [[1, 4], [8, 8]]}})))] {"#;
    assert!(text.contains(information), "{text}");
    let again = read(&dir.path().join("out")).expect("the model reads");
    assert!(again.program.functions[0].attributes.is_empty());

    flexible(&mut model, Flexibility::Range(vec![(1, 1 << 40), (8, 8)]));
    assert!(refusal(&model).to_string().contains("input `x` is not supported: an extent of 2^31 or more"));
    flexible(&mut model, Flexibility::Enumerated(vec![vec![1, 8]]));
    assert!(refusal(&model).to_string().contains("input `x` is not supported: enumerated shapes"));
}

#[test]
fn what_cannot_be_compiled_is_refused() {
    let mut newer = model(PROGRAM);
    newer.specification_version = 10;
    assert!(refusal(&newer).to_string().contains("specification version 10, expected 6 to 9"));
    let mut nameless = model(PROGRAM);
    nameless.description.functions[0].name = "infer".into();
    assert!(refusal(&nameless).to_string().contains("function `infer`: description"));
    nameless.description.functions.clear();
    assert!(refusal(&nameless).to_string().contains("function `main`: program"));
    let mut defaultless = model(PROGRAM);
    defaultless.description.default_function = Some("infer".into());
    assert!(refusal(&defaultless).to_string().contains("the default function is not described"));
}

#[test]
fn core_data_is_read_with_care() {
    let good = core_data::encode(9, b"description", 2);
    let decoded = core_data::decode(&good, "c").expect("what was written reads");
    assert_eq!((decoded.specification_version, decoded.functions), (9, 2));
    assert_eq!(decoded.description, b"description");
    for end in 0..good.len() {
        let cut = core_data::decode(&good[..end], "c");
        // How many records there must be is for the description to say.
        let before_a_record = [94, 110].contains(&end);
        assert_eq!(cut.is_ok(), before_a_record, "{end} bytes");
    }
    let patched = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        core_data::decode(&bytes, "c").expect_err("a broken file").to_string()
    };
    let cases = [
        (patched(0, 1), "c is malformed: at byte 0: expected model type 502, found 257"),
        (patched(0, 202), "expected model type 502"),
        (patched(12, 1), "compiled version 9.1.0 at byte 12"),
        (patched(28, 255), "at byte 36: expected 255 bytes of compiled version"),
        (patched(35, 255), "bytes of compiled version"),
        (patched(36, b'x'), "variant `xeneric`"),
        (patched(43, 12), "specification version 12, expected 6 to 9"),
        (patched(50, 255), "at byte 43: expected a specification version"),
        (patched(94, 1), "at byte 94: expected a function record"),
    ];
    for (found, expected) in cases {
        assert!(found.contains(expected), "{found}");
    }
    let pipeline = core_data::decode(&[202, 0, 0, 0], "c").expect_err("a pipeline").to_string();
    assert!(pipeline.contains("a pipeline"), "{pipeline}");
}

#[test]
fn a_description_of_more_functions_than_there_are_records_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    write_into(dir.path(), &model(PROGRAM)).expect("the model is written");
    let out = dir.path().join("out");
    let path = out.join("coremldata.bin");
    let bytes = std::fs::read(&path).expect("a file");
    std::fs::write(&path, &bytes[..bytes.len() - 16]).expect("the last record is cut off");
    let error = read(&out).expect_err("a record is missing").to_string();
    assert!(error.contains("expected records of 1 functions, found 0"), "{error}");
    std::fs::write(&path, &bytes).expect("as before");
    std::fs::write(out.join("model.mil"), [0xff]).expect("no text");
    assert!(read(&out).expect_err("no text").to_string().contains("expected text"));
    std::fs::remove_file(out.join("model.mil")).expect("the file goes");
    assert!(matches!(read(&out), Err(Error::Io { .. })));
}
