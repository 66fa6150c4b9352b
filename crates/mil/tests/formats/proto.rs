//! Real models survive decoding and encoding; broken and foreign ones are refused with a reason.

use std::path::Path;

use anelith_mil::{
    DataType, Description, Feature, Flexibility, Function, Interface, Metadata, Model, Opset, Program, Type,
    proto, validate, validate_model,
};

use crate::shared;

fn encode(model: &Model) -> Vec<u8> {
    let info = validate_model(model).expect("a valid program");
    proto::encode(model, &info).expect("a model that can be encoded")
}

/// A model made by hand, with a rank of 0 written out, which takes two bytes and says nothing.
const EXPLICIT_ZERO: &str = "fp16-subnormal-cast";

#[test]
fn real_models_decode_and_encode_to_the_same_length() {
    let Some(shared) = shared::folder() else { return };
    let parts = ["reference/upstream", "vectors", "oracle/tiny"].into_iter();
    let is_model = |path: &Path| shared::has_extension(path, "mlmodel");
    let files: Vec<_> = parts.flat_map(|part| shared::find(&shared.join(part), is_model)).collect();
    assert!(files.len() > 40, "only {} models found", files.len());
    for file in files {
        let name = file.strip_prefix(&shared).expect("a file of the folder").display().to_string();
        let bytes = std::fs::read(&file).expect("a readable file");
        let model = proto::decode(&bytes, &name).unwrap_or_else(|e| panic!("{e}"));
        let again = encode(&model);
        assert_eq!(proto::decode(&again, &name).unwrap_or_else(|e| panic!("{e}")), model, "{name}");
        let spelled_out = if name.contains(EXPLICIT_ZERO) { 2 } else { 0 };
        assert_eq!(again.len() + spelled_out, bytes.len(), "{name}");
    }
}

fn feature(name: &str) -> Feature {
    Feature::new(name, DataType::Fp16, &[1, 8])
}

/// `y = relu(x)`, so to speak: a function that returns its input.
fn tiny() -> Model {
    let mut main = Function::new("main", Opset::Ios18);
    let x = main.add_var("x", Type::tensor(DataType::Fp16, &[1, 8]));
    main.inputs.push(x);
    main.outputs.push(x);
    let interface = Interface {
        name: "main".into(),
        inputs: vec![feature("x")],
        outputs: vec![feature("x")],
        states: Vec::new(),
    };
    Model {
        specification_version: 9,
        description: Description { functions: vec![interface], ..Description::default() },
        program: Program { functions: vec![main], ..Program::default() },
    }
}

#[test]
fn a_description_keeps_everything_in_both_forms() {
    let mut description = tiny().description;
    let main = &mut description.functions[0];
    main.inputs[0].optional = true;
    main.inputs[0].short_description = "tokens".into();
    main.inputs[0].flexibility = Some(Flexibility::Range(vec![(1, -1), (8, 8)]));
    main.outputs[0].flexibility = Some(Flexibility::Enumerated(vec![vec![1, 8], vec![4, 8]]));
    main.states.push(feature("kv"));
    description.metadata = Metadata {
        author: "someone".into(),
        user_defined: [("empty".to_owned(), String::new()), ("b".to_owned(), "c".to_owned())].into(),
        ..Metadata::default()
    };
    let mut several = description.clone();
    several.functions.push(Interface { name: "prefill".into(), ..several.functions[0].clone() });
    several.default_function = Some("prefill".into());
    for description in [description, several] {
        let bytes = proto::encode_description(&description);
        assert_eq!(proto::decode_description(&bytes, "coremldata.bin").expect("a description"), description);
    }
}

#[test]
fn empty_metadata_is_present_in_a_description_and_absent_in_a_model() {
    let model = tiny();
    assert!(proto::encode_description(&model.description).ends_with(&[0xa2, 0x06, 0x00]));
    let bytes = encode(&model);
    assert!(!bytes.windows(3).any(|w| w == [0xa2, 0x06, 0x00]));
}

#[test]
fn functions_are_written_in_name_order_and_names_may_recur_across_them() {
    let mut model = tiny();
    let mut other = model.program.functions[0].clone();
    other.name = "another".into();
    model.program.functions.push(other);
    let interface = Interface { name: "another".into(), ..model.description.functions[0].clone() };
    model.description.functions.push(interface);
    model.description.default_function = Some("main".into());
    let decoded = proto::decode(&encode(&model), "m").expect("a model");
    let names: Vec<_> = decoded.program.functions.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["another", "main"]);
}

#[test]
fn every_truncation_is_an_error_and_none_panics() {
    let bytes = encode(&tiny());
    for length in 0..bytes.len() {
        assert!(proto::decode(&bytes[..length], "m").is_err(), "cut to {length} bytes");
    }
}

#[test]
fn no_flipped_byte_panics() {
    let Some(shared) = shared::folder() else { return };
    let path = shared.join("oracle/tiny/multi.mlpackage/Data/com.apple.CoreML/model.mlmodel");
    let bytes = std::fs::read(path).expect("a readable file");
    for at in 0..bytes.len() {
        let mut broken = bytes.clone();
        broken[at] ^= 1 << (at % 8);
        let _ = proto::decode(&broken, "m");
    }
}

/// A length-delimited field with a number below 16 or, in two bytes, above.
fn field(number: u8, contents: &[u8]) -> Vec<u8> {
    let length = u8::try_from(contents.len()).expect("short contents");
    assert!(length < 128);
    let tag = if number < 16 { vec![number << 3 | 2] } else { vec![(number << 3 | 2) | 0x80, number >> 4] };
    [tag, vec![length], contents.to_vec()].concat()
}

/// A model whose program has `main`, written by hand: `operations` are encoded operations.
fn by_hand(operations: &[Vec<u8>]) -> Vec<u8> {
    let operations: Vec<u8> = operations.iter().flat_map(|op| field(3, op)).collect();
    let block = [field(1, b"CoreML8"), field(2, &operations)].concat();
    let function = [field(2, b"CoreML8"), field(3, &block)].concat();
    let entry = [field(1, b"main"), field(2, &function)].concat();
    let program = [vec![0x08, 1], field(2, &entry)].concat();
    let length = u8::try_from(program.len()).expect("a short program");
    [vec![0x08, 9, 0xb2, 0x1f, length], program].concat()
}

#[test]
fn what_the_ir_cannot_hold_is_named() {
    let int32 = field(1, &[0x08, 23]);
    let result = |name: &[u8]| field(3, &[field(1, name), field(2, &int32)].concat());
    let argument = |name: &[u8]| field(1, &field(1, name));
    let input = [field(1, b"x"), field(2, &argument(b"nowhere"))].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![0x08, 10], "m is not supported: specification version 10, expected 6 to 9"),
        (vec![0x08, 0], "m is malformed: specification version 0, expected 6 to 9"),
        (vec![0x08, 9], "m is not supported: a model of no kind, expected an `mlProgram`"),
        (vec![0x08, 9, 0x50, 1], "m is not supported: an updatable model (`isUpdatable`)"),
        (
            vec![0x08, 9, 0xd2, 0x0c, 0],
            "m is not supported: the model is a `pipeline`, expected an `mlProgram`",
        ),
        (vec![0x08, 9, 0x18, 1], "m is not supported: field 3 of `Model` is unknown"),
        (
            by_hand(&[[field(1, b"cond"), field(4, &[])].concat()]),
            "m is not supported: nested blocks (control flow) (field 4 of `Operation`)",
        ),
        (
            by_hand(&[[field(1, b"relu"), field(2, &input), result(b"y")].concat()]),
            "m: function `main`: op 0 `y` (relu): input `x` is malformed: variable `nowhere` is used before it is \
             defined",
        ),
        (
            by_hand(&[[field(1, b"a"), result(b"y")].concat(), [field(1, b"b"), result(b"y")].concat()]),
            "m: function `main`: op 1 `y` (b) is malformed: variable `y` is defined a second time",
        ),
        (
            by_hand(&[[field(1, b"a"), field(2, &input), field(2, &input)].concat()]),
            "m is malformed: `Operation` has two entries for `x`",
        ),
        (
            by_hand(&[[field(1, b"a"), field(3, &field(1, b"y"))].concat()]),
            "m: function `main`: op 0 `y` (a): variable `y` is malformed: the type is missing",
        ),
    ];
    for (bytes, expected) in cases {
        let error = proto::decode(&bytes, "m").expect_err(expected).to_string();
        assert_eq!(error, expected);
    }
}

/// Each takes two bytes in the file and over a hundred in memory.
#[test]
fn more_messages_than_memory_should_hold_are_refused() {
    let features = [0x0a, 0x00].repeat((1 << 23) + 1);
    let error = proto::decode_description(&features, "d").expect_err("a refusal").to_string();
    assert_eq!(error, "d is not supported: more than 8388608 messages");
}

#[test]
fn features_of_other_kinds_are_refused() {
    let with_type = |ty: &[u8]| field(1, &[field(1, b"image"), field(3, ty)].concat());
    let cases = [
        (with_type(&field(4, &[])), "d is not supported: an image feature (field 4 of `FeatureType`)"),
        (with_type(&[]), "d: function `main`: feature `image` is malformed: has no type"),
        (
            with_type(&field(5, &[0x10, 1])),
            "d: function `main`: feature `image` is malformed: data type number is 1, expected 65552 (fp16), \
             65568 (fp32), 65600 (fp64), 131080 (int8) or 131104 (int32)",
        ),
    ];
    for (bytes, expected) in cases {
        let error = proto::decode_description(&bytes, "d").expect_err(expected).to_string();
        assert_eq!(error, expected);
    }
}

#[test]
fn a_description_that_no_model_can_have_is_not_written() {
    let info = validate(&Program::default()).expect("a valid program");
    let refusal = |change: fn(&mut Description)| {
        let mut model = tiny();
        change(&mut model.description);
        proto::encode(&model, &info).expect_err("a refusal").to_string()
    };
    assert!(refusal(|d| d.functions[0].inputs[0].dtype = DataType::Bool).contains("feature `x` is bool"));
    assert!(refusal(|d| d.default_function = Some("infer".into())).contains("`infer` is not among"));
    assert!(refusal(|d| d.functions[0].name = "infer".into()).contains("found [`infer`]"));
}
