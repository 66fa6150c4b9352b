//! Packages that someone else made, combined by path.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anelith_convert::{Error, Progress, Sharing, Silent, combine_packages};
use anelith_mil::blob::{BlobLayout, BlobWriter, WEIGHT_FILE};
use anelith_mil::package::{Package, write_into};
use anelith_mil::{
    BlobRef, Bundle, Data, DataType, Description, Feature, Function, FunctionBuilder, Interface, Metadata,
    Model, OpKind, Opcode, Opset, Program, TensorType, Type, Value, VarId, proto, validate_model,
};
use half::f16;
use tempfile::TempDir;

const ELEMENTS: u64 = 16;

/// A program that adds weights to its input, each a vector filled with one byte, and the weights in file order.
struct Tiny {
    opset: Opset,
    weights: Vec<u8>,
    file: &'static str,
    states: Vec<(&'static str, u64)>,
    input: &'static str,
    /// The type of the input and, without weights, of the output.
    ty: (DataType, &'static [u64]),
    output: &'static str,
}

impl Tiny {
    fn new(weights: &[u8]) -> Tiny {
        Tiny {
            opset: Opset::Ios18,
            weights: weights.to_vec(),
            file: WEIGHT_FILE,
            states: Vec::new(),
            input: "x",
            ty: (DataType::Fp16, &[1, ELEMENTS]),
            output: "out",
        }
    }

    fn layout(&self) -> BlobLayout {
        let mut layout = BlobLayout::new();
        for _ in &self.weights {
            layout.push(DataType::Fp16, ELEMENTS).unwrap();
        }
        layout
    }

    fn function(&self, name: &str) -> Function {
        let mut f = FunctionBuilder::new(name, self.opset);
        let mut x = f.input(self.input, TensorType::new(self.ty.0, self.ty.1));
        for (name, length) in &self.states {
            f.state(name, TensorType::new(DataType::Fp16, &[*length]));
        }
        for record in self.layout().entries() {
            let blob = BlobRef { file: self.file.to_owned(), offset: record.offset };
            let weight = Value::blob(DataType::Fp16, &[ELEMENTS], blob);
            x = f.call(Opcode::Add, "sum", &[("x", x.into()), ("y", weight.into())]).unwrap();
        }
        x = f.call(Opcode::Identity, self.output, &[("x", x.into())]).unwrap();
        f.finish(vec![x])
    }

    /// Writes the package NAME.mlpackage of one function `main`.
    fn write(&self, dir: &Path, name: &str) -> PathBuf {
        let function = self.function("main");
        let version = i32::from(self.opset.release()) - 9;
        self.write_model(dir, name, &model(vec![function], version, None))
    }

    fn write_model(&self, dir: &Path, name: &str, model: &Model) -> PathBuf {
        let path = dir.join(name).with_extension("mlpackage");
        fs::create_dir_all(&path).unwrap();
        let info = validate_model(model).unwrap();
        write_into(&path, &proto::encode(model, &info).unwrap()).unwrap();
        let file = self.file.trim_start_matches("@model_path/");
        let weights = path.join("Data/com.apple.CoreML").join(file);
        let mut writer = BlobWriter::create(&weights, &self.layout()).unwrap();
        for (i, byte) in self.weights.iter().enumerate() {
            writer.begin(i).unwrap();
            writer.write(&[*byte; 2 * ELEMENTS as usize]).unwrap();
        }
        writer.finish().unwrap();
        path
    }
}

fn model(functions: Vec<Function>, version: i32, default: Option<&str>) -> Model {
    let interfaces = functions.iter().map(interface).collect();
    Model {
        specification_version: version,
        description: Description {
            functions: interfaces,
            default_function: default.map(str::to_owned),
            metadata: Metadata::default(),
        },
        program: Program { functions, ..Program::default() },
    }
}

fn interface(function: &Function) -> Interface {
    let feature = |id: &VarId| {
        let var = function.var(*id);
        let (Type::Tensor(ty) | Type::State(ty)) = &var.ty else { panic!("a tensor or a state") };
        let shape: Vec<i64> = ty.fixed_shape().unwrap().iter().map(|n| *n as i64).collect();
        Feature::new(&var.name, ty.dtype, &shape)
    };
    let is_state = |id: &&VarId| matches!(function.var(**id).ty, Type::State(_));
    Interface {
        name: function.name.clone(),
        inputs: function.inputs.iter().filter(|id| !is_state(id)).map(feature).collect(),
        outputs: function.outputs.iter().map(feature).collect(),
        states: function.inputs.iter().filter(is_state).map(feature).collect(),
    }
}

fn combine(infer: &Path, prefill: &Path, out: &Path) -> Bundle {
    combine_packages(infer, prefill, out, Sharing::Link, &Silent).unwrap_or_else(|e| panic!("{e}"));
    Bundle::open(out).unwrap_or_else(|e| panic!("{e}"))
}

/// The weights of a function in the order it adds them: offset, and the byte that fills it.
fn weights(bundle: &Bundle, function: &str) -> Vec<(u64, u8)> {
    let function = bundle.model.program.function(function).unwrap().clone();
    let alone = Program { functions: vec![function], ..Program::default() };
    let read = |(blob, ty): (&BlobRef, &TensorType)| {
        assert_eq!(blob.file, WEIGHT_FILE);
        let data = bundle.weights.bytes(blob, ty).unwrap();
        assert!(data.iter().all(|byte| *byte == data[0]));
        (blob.offset, data[0])
    };
    alone.blobs().map(read).collect()
}

fn weight_file(package: &Path) -> PathBuf {
    package.join("Data/com.apple.CoreML/weights/weight.bin")
}

fn refusal(infer: &Path, prefill: &Path, out: &Path) -> (Error, String) {
    let error = combine_packages(infer, prefill, out, Sharing::Link, &Silent).expect_err("a refusal");
    let text = match &error {
        Error::Usage(r) | Error::Input(r) | Error::Machine(r) => {
            let lines = [&r.location, &r.expected, &r.found, &r.mend];
            let lines: Vec<&str> = lines.into_iter().flatten().map(String::as_str).collect();
            format!("{}\n{}", r.what, lines.join("\n"))
        }
        other => other.to_string(),
    };
    (error, text)
}

#[test]
fn equal_weights_are_stored_once_and_every_function_finds_its_own() {
    let dir = TempDir::new().unwrap();
    let infer = Tiny::new(&[1, 2, 1, 3]).write(dir.path(), "a");
    let prefill = Tiny::new(&[4, 3, 2, 4]).write(dir.path(), "b");
    let out = dir.path().join("c.mlpackage");
    let bundle = combine(&infer, &prefill, &out);
    let (first, second) = (weights(&bundle, "infer"), weights(&bundle, "prefill"));
    assert_eq!(first, [(64, 1), (192, 2), (64, 1), (320, 3)]);
    assert_eq!(second, [(448, 4), (320, 3), (192, 2), (448, 4)]);
    let (_, file) = bundle.weights.files().next().unwrap();
    assert_eq!(file.count(), 4);
    assert_eq!(file.records().count(), 4);
    assert_eq!(bundle.model.description.default_name(), "infer");
    assert_eq!(bundle.model.specification_version, 9);

    let read = |package: &Path| {
        let specification = Package::open(package).unwrap().specification;
        (specification, fs::read(weight_file(package)).unwrap())
    };
    let again = dir.path().join("again.mlpackage");
    combine(&infer, &prefill, &again);
    assert_eq!(read(&out), read(&again));
}

#[test]
fn one_weight_file_is_kept_as_it_is() {
    let dir = TempDir::new().unwrap();
    // Equal blobs within the file stay: offsets hold, and the file can be shared.
    let infer = Tiny::new(&[1, 1]).write(dir.path(), "a");
    let prefill = Tiny::new(&[1, 1]).write(dir.path(), "b");
    let out = dir.path().join("c.mlpackage");
    combine(&infer, &prefill, &out);
    assert_eq!(fs::read(weight_file(&infer)).unwrap(), fs::read(weight_file(&out)).unwrap());
}

#[test]
fn weight_files_of_other_names_become_one() {
    let dir = TempDir::new().unwrap();
    let other = Tiny { file: "@model_path/weights/0-weight.bin", ..Tiny::new(&[2, 1]) };
    let infer = other.write(dir.path(), "a");
    let out = dir.path().join("c.mlpackage");
    for (prefill, expected) in [(Tiny::new(&[1]), vec![1]), (Tiny::new(&[]), vec![])] {
        let prefill = prefill.write(dir.path(), "b");
        let bundle = combine(&infer, &prefill, &out);
        assert_eq!(weights(&bundle, "infer"), [(64, 2), (192, 1)]);
        let bytes: Vec<u8> = weights(&bundle, "prefill").into_iter().map(|(_, byte)| byte).collect();
        assert_eq!(bytes, expected);
        let files = fs::read_dir(weight_file(&out).parent().unwrap()).unwrap();
        assert_eq!(files.count(), 1, "the names in the parts are not those of the whole");
    }
    let none = Tiny::new(&[]).write(dir.path(), "none");
    let bundle = combine(&none, &none, &dir.path().join("d.mlpackage"));
    assert_eq!(bundle.weights.files().count(), 0);
}

/// Apple's compiler takes functions of older opsets in models of specification version 9, and an op's meaning is its
/// opset's, so the function stays what it was.
#[test]
fn older_opsets_and_other_function_names_are_kept_and_renamed() {
    let dir = TempDir::new().unwrap();
    let old = Tiny { opset: Opset::Ios16, ..Tiny::new(&[1]) };
    let infer = old.write(dir.path(), "a");
    let tiny = Tiny::new(&[2]);
    let named = model(vec![tiny.function("predict")], 9, Some("predict"));
    let prefill = tiny.write_model(dir.path(), "b", &named);
    let bundle = combine(&infer, &prefill, &dir.path().join("c.mlpackage"));
    let functions = &bundle.model.program.functions;
    let found: Vec<_> = functions.iter().map(|f| (f.name.as_str(), f.opset)).collect();
    assert_eq!(found, [("infer", Opset::Ios16), ("prefill", Opset::Ios18)]);
    assert_eq!(weights(&bundle, "prefill"), [(192, 2)]);
}

#[test]
fn states_that_differ_are_refused_with_both_sides() {
    let dir = TempDir::new().unwrap();
    let with = |states: &[(&'static str, u64)]| Tiny { states: states.to_vec(), ..Tiny::new(&[1]) };
    let infer = with(&[("kv", 8), ("mask", 4)]).write(dir.path(), "a");
    let out = dir.path().join("c.mlpackage");
    let cases = [
        (with(&[("kv", 8), ("mask", 5)]), "`mask` fp16[5]"),
        (with(&[("kv", 8)]), "`kv` fp16[8] in"),
        (with(&[]), "no states in"),
        (Tiny { input: "kv", ..with(&[("mask", 4)]) }, "`mask` fp16[4], `kv` as an input in"),
    ];
    for (prefill, found) in cases {
        let prefill = prefill.write(dir.path(), "b");
        let (error, text) = refusal(&infer, &prefill, &out);
        assert!(matches!(error, Error::Input(_)), "{text}");
        let expected = format!("`kv` fp16[8], `mask` fp16[4] in {}", infer.display());
        for words in [expected.as_str(), found, &prefill.display().to_string()] {
            assert!(text.contains(words), "`{words}` is not in\n{text}");
        }
        assert!(!out.exists());
    }
    let turned = with(&[("mask", 4), ("kv", 8)]).write(dir.path(), "b");
    combine(&infer, &turned, &out);
}

#[test]
fn names_that_clash_are_refused_with_both_sides() {
    let dir = TempDir::new().unwrap();
    let tiny = |input, output, ty| Tiny { input, output, ty, ..Tiny::new(&[]) };
    let infer = tiny("x", "y", (DataType::Fp16, &[1, 4])).write(dir.path(), "a");
    let out = dir.path().join("c.mlpackage");
    let cases = [
        (tiny("x", "z", (DataType::Fp32, &[1, 4])), "input", "`x` fp16[1, 4]", "`x` fp32[1, 4]"),
        (tiny("x", "z", (DataType::Fp16, &[1, 1, 4])), "input", "`x` fp16[1, 4]", "`x` fp16[1, 1, 4]"),
        (tiny("w", "y", (DataType::Fp32, &[1, 4])), "output", "`y` fp16[1, 4]", "`y` fp32[1, 4]"),
        (tiny("w", "y", (DataType::Fp16, &[4])), "output", "`y` fp16[1, 4]", "`y` fp16[4]"),
    ];
    for (prefill, kind, expected, found) in cases {
        let prefill = prefill.write(dir.path(), "b");
        let (error, text) = refusal(&infer, &prefill, &out);
        assert!(matches!(error, Error::Input(_)), "{text}");
        let (one, other) = (infer.display(), prefill.display());
        for words in
            [format!("{expected} in {one}"), format!("{found} in {other}"), format!("rename the {kind}")]
        {
            assert!(text.contains(&words), "`{words}` is not in\n{text}");
        }
        assert!(!out.exists());
    }
    // Other extents are the purpose, and a name may be an output here and an input there, whatever its type.
    for other in [
        tiny("x", "y", (DataType::Fp16, &[64, 4])),
        tiny("y", "z", (DataType::Fp32, &[4])),
        tiny("w", "x", (DataType::Fp32, &[4])),
    ] {
        let prefill = other.write(dir.path(), "b");
        combine(&infer, &prefill, &out);
    }
}

/// iOS 16 compresses weights in ops whose parameters are attributes.
fn compressed(opset: Opset) -> Model {
    let mut function = Tiny { opset, ..Tiny::new(&[]) }.function("main");
    let mut op = function.ops[0].clone();
    op.kind = OpKind::from_name("constexpr_affine_dequantize");
    op.inputs.clear();
    let bytes = |shape: &[u64]| {
        let count = shape.iter().product::<u64>() as usize;
        Value { ty: Type::tensor(DataType::Int8, shape), data: Data::Bytes(vec![1; count]) }
    };
    op.attributes = BTreeMap::from([
        ("name".to_owned(), Value::string("packed")),
        ("quantized_data".to_owned(), bytes(&[4])),
        ("zero_point".to_owned(), bytes(&[])),
        ("scale".to_owned(), Value::fp16(f16::ONE)),
        ("axis".to_owned(), Value::i32(0)),
    ]);
    op.outputs = vec![function.add_var("packed", Type::tensor(DataType::Fp16, &[4]))];
    function.ops.insert(0, op);
    model(vec![function], i32::from(opset.release()) - 9, None)
}

#[test]
fn parts_that_cannot_be_combined_are_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let good = Tiny::new(&[1]).write(dir.path(), "good");
    let tiny = Tiny::new(&[2]);
    let broken = |name: &str, contents: Option<&[u8]>| {
        let path = Tiny::new(&[2]).write(dir.path(), name);
        match contents {
            Some(bytes) => fs::write(weight_file(&path), bytes).unwrap(),
            None => fs::remove_file(weight_file(&path)).unwrap(),
        }
        path
    };
    let both = model(vec![tiny.function("one"), tiny.function("two")], 9, Some("one"));
    let both = tiny.write_model(dir.path(), "both", &both);
    let old = tiny.write_model(dir.path(), "old", &compressed(Opset::Ios16));
    let bundle = dir.path().join("x.mlmodelc");
    fs::create_dir(&bundle).unwrap();
    fs::write(bundle.join("coremldata.bin"), "").unwrap();
    let network = dir.path().join("network.mlmodel");
    // `specificationVersion` 4, a feature of images, `neuralNetwork`.
    fs::write(&network, [0x08, 4, 0x12, 6, 0x0a, 4, 0x1a, 2, 0x22, 0, 0xa2, 0x1f, 0]).unwrap();
    let noise = dir.path().join("noise.mlmodel");
    fs::write(&noise, "this is no model").unwrap();
    let cases = [
        (both, "`one`, `two`"),
        (old, "`constexpr_affine_dequantize` of CoreML6"),
        (broken("absent", None), "weight.bin"),
        (broken("pointer", Some(b"version https://git-lfs.github.com/spec/v1\n")), "git lfs pull"),
        (broken("short", Some(&[2; 100])), "weight.bin"),
        (bundle, "compiled model"),
        (network, "`neuralNetwork`, expected an `mlProgram`"),
        (noise, "malformed"),
        (dir.path().to_path_buf(), "`Manifest.json` is missing"),
    ];
    for (bad, expected) in cases {
        let name = bad.file_name().unwrap().to_str().unwrap();
        let folder = TempDir::new().unwrap();
        for (infer, prefill) in [(&good, &bad), (&bad, &good)] {
            let out = folder.path().join("out.mlpackage");
            let (_, text) = refusal(infer, prefill, &out);
            assert!(text.contains(expected) && text.contains(name), "{name}: `{expected}` is not in\n{text}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{name} left something behind");
        }
    }
}

/// Asks to stop at the n-th look.
struct Impatient(AtomicU32);

impl Progress for Impatient {
    fn interrupted(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
    }
}

#[test]
fn an_interrupted_combination_leaves_nothing_behind() {
    let dir = TempDir::new().unwrap();
    let infer = Tiny::new(&[1, 2, 3]).write(dir.path(), "a");
    let prefill = Tiny::new(&[4, 5]).write(dir.path(), "b");
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.mlpackage");
    for looks in [0, 4, 7] {
        let progress = Impatient(AtomicU32::new(looks));
        let error =
            combine_packages(&infer, &prefill, &out, Sharing::Link, &progress).expect_err("an interruption");
        assert!(matches!(error, Error::Interrupted), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn metadata_of_two_origins_says_what_is_true_of_both() {
    let dir = TempDir::new().unwrap();
    let tiny = Tiny::new(&[1]);
    let write = |name: &str, what: &str, keys: &[(&str, &str)], author: &str| {
        let mut model = model(vec![tiny.function("main")], 9, None);
        let keys = keys.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        model.description.metadata = Metadata {
            short_description: what.to_owned(),
            author: author.to_owned(),
            user_defined: keys,
            ..Metadata::default()
        };
        tiny.write_model(dir.path(), name, &model)
    };
    let date = ("com.github.apple.coremltools.conversion_date", "2026-01-01");
    let infer = write("a", "encodes", &[("shared", "1"), date], "");
    let prefill = write("b", "decodes", &[("shared", "2"), ("own", "3")], "someone");
    let found = combine(&infer, &prefill, &dir.path().join("c.mlpackage")).model.description.metadata;
    assert_eq!(found.short_description, "infer: encodes; prefill: decodes");
    assert_eq!(found.author, "someone");
    let keys: Vec<_> = found.user_defined.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(keys, [("own", "3"), ("shared", "1")]);
}
