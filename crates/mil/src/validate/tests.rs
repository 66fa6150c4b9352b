//! The rules that no text can break, and those of descriptions; the others are under `tests/invalid`.

use crate::dtype::DataType;
use crate::model::{Description, Feature, Flexibility, Interface, Model};
use crate::opset::{OpKind, Opset};
use crate::program::{Function, Op, Program, VarId};
use crate::text;
use crate::types::Type;
use crate::value::Value;

use super::{validate, validate_model};

/// What the error must say, and what breaks a sound thing.
type Case<T> = (&'static str, fn(&mut T));

/// `y = relu(x)` in an opset of a table that lacks `relu`, so that nothing but the rules of any op applies.
fn relu() -> Function {
    let mut main = Function::new("main", Opset::Ios18);
    let ty = Type::tensor(DataType::Fp16, &[8]);
    let x = main.add_var("x", ty.clone());
    let y = main.add_var("y", ty);
    main.inputs.push(x);
    main.ops.push(Op {
        kind: OpKind::Foreign("relu".into()),
        inputs: [("x".to_owned(), x.into())].into(),
        attributes: [("name".to_owned(), Value::string("y"))].into(),
        outputs: vec![y],
    });
    main.outputs.push(y);
    main
}

fn of(functions: Vec<Function>) -> Program {
    Program { functions, ..Program::default() }
}

#[test]
fn what_no_text_says_is_refused() {
    let cases: [Case<Function>; 13] = [
        ("`y` is read before it is assigned", |f| f.ops[0].inputs = [("x".into(), VarId(1).into())].into()),
        ("`x` is assigned twice", |f| f.ops[0].outputs = vec![VarId(0)]),
        ("inputs: variable `x` is assigned twice", |f| f.inputs.push(VarId(0))),
        ("variable number 7 does not exist", |f| f.ops[0].inputs = [("x".into(), VarId(7).into())].into()),
        ("outputs: variable number 7 does not exist", |f| f.outputs = vec![VarId(7)]),
        ("variable `x`: another variable has the same name", |f| f.vars[1].name = "x".into()),
        ("variable `a b`: the name is no identifier", |f| f.vars[0].name = "a b".into()),
        ("variable `tensor`: the name is a reserved word", |f| f.vars[0].name = "tensor".into()),
        ("function `program`: name: is a reserved word", |f| f.name = "program".into()),
        ("function ``: name: is no identifier", |f| f.name.clear()),
        ("`leaky relu` is no identifier", |f| f.ops[0].kind = OpKind::Foreign("leaky relu".into())),
        ("`x` does not hold what its type fp16 says", |f| {
            let short = Value { ty: Type::scalar(DataType::Fp16), ..Value::bool(true) };
            f.ops[0].inputs = [("x".into(), short.into())].into();
        }),
        ("attribute `a b`: the name is no identifier", |f| {
            f.attributes.insert("a b".into(), Value::bool(true));
        }),
    ];
    assert!(validate(&of(vec![relu()])).is_ok());
    for (expected, change) in cases {
        let mut main = relu();
        change(&mut main);
        let problems = validate(&of(vec![main])).expect_err(expected);
        assert!(problems[0].to_string().contains(expected), "{}\nexpected {expected}", problems[0]);
    }
    let twins = validate(&of(vec![relu(), relu()])).expect_err("two functions of one name");
    assert!(twins[0].to_string().contains("another function has the same name"));
}

#[test]
fn every_broken_function_is_told_of() {
    let [mut first, mut second] = [relu(), relu()];
    second.name = "other".into();
    for function in [&mut first, &mut second] {
        function.outputs.clear();
    }
    let problems = validate(&of(vec![first, second])).expect_err("two broken functions");
    let functions: Vec<_> = problems.iter().map(|p| p.function.as_str()).collect();
    assert_eq!(functions, ["main", "other"]);
}

#[test]
fn the_last_use_of_each_variable_is_known() {
    let text = "program(1.3) { func main<ios18>(fp16 x) {
        fp16 y = add(x = x, y = x)[name = string(\"y\")];
        fp16 z = mul(x = x, y = y)[name = string(\"z\")];
    } -> (z); }";
    let info = validate(&text::parse(text, "text").expect("a program")).expect("a valid program");
    let main = &info.functions[0];
    assert_eq!(main.last_uses, [Some(1), Some(1), Some(2)]);
    assert_eq!(main.definitions, [None, Some(0), Some(1)]);
}

/// Two functions that keep what they are given.
const STATEFUL: &str = r#"program(1.3)
{
    func infer<ios18>(state<tensor<fp16, [1, 8]>> kv, tensor<fp16, [1, 8]> x) {
            write_state(data = x, input = kv)[name = string("keep")];
            tensor<fp16, [1, 8]> y = read_state(input = kv)[name = string("y")];
        } -> (y);
    func prefill<ios18>(state<tensor<fp16, [1, 8]>> kv, tensor<fp16, [1, 8]> x) {
            write_state(data = x, input = kv)[name = string("keep")];
            tensor<fp16, [1, 8]> y = read_state(input = kv)[name = string("y")];
        } -> (y);
}"#;

fn stateful() -> Model {
    let feature = |name: &str| vec![Feature::new(name, DataType::Fp16, &[1, 8])];
    let interface = |name: &str| Interface {
        name: name.into(),
        inputs: feature("x"),
        outputs: feature("y"),
        states: feature("kv"),
    };
    let functions = vec![interface("infer"), interface("prefill")];
    let default_function = Some("infer".into());
    Model {
        specification_version: 9,
        description: Description { functions, default_function, ..Description::default() },
        program: text::parse(STATEFUL, "text").expect("the sample parses"),
    }
}

/// Leaves the states declared, but no op.
fn of_ios17(model: &mut Model) {
    model.specification_version = 8;
    for function in &mut model.program.functions {
        (function.opset, function.outputs) = (Opset::Ios17, vec![VarId(1)]);
        function.ops.clear();
    }
    model.description.functions.iter_mut().for_each(|f| f.outputs[0].name = "x".into());
}

#[test]
fn descriptions_that_differ_from_the_program_are_refused() {
    let cases: [Case<Model>; 22] = [
        ("function `infer`: program: the description does not describe it", |m| {
            m.description.functions.remove(0);
        }),
        ("function `more`: description: the program has no such function", |m| {
            m.description.functions[0].name = "more".into();
        }),
        ("function `infer`: description: the function is described twice", |m| {
            m.description.functions[1].name = "infer".into();
        }),
        ("function `chat`: description: the default function is not described", |m| {
            m.description.default_function = Some("chat".into());
        }),
        ("function `main`: description: the default function is not described", |m| {
            m.description.default_function = None;
        }),
        ("the opset is ios18, which specification version 8 does not have", |m| m.specification_version = 8),
        ("there are states, which specification version 8 does not have", of_ios17),
        ("functions are named, which specification version 8 does not have", |m| {
            of_ios17(m);
            m.program.functions.iter_mut().for_each(|f| f.inputs = vec![VarId(1)]);
            m.description.functions.iter_mut().for_each(|f| f.states.clear());
        }),
        ("input `x`: is not described", |m| m.description.functions[0].inputs.clear()),
        ("output `z`: is described, but the program has no such output", |m| {
            m.description.functions[0].outputs[0].name = "z".into();
        }),
        ("input `kv`: is described, but the program has no such input", |m| {
            let kv = m.description.functions[0].states.remove(0);
            m.description.functions[0].inputs.push(kv);
        }),
        ("output `y`: is described twice", |m| {
            let y = m.description.functions[0].outputs[0].clone();
            m.description.functions[0].outputs.push(y);
        }),
        ("is described as fp32 [1, 8], but the program has tensor<fp16, [1, 8]>", |m| {
            m.description.functions[0].inputs[0].dtype = DataType::Fp32;
        }),
        ("is described as fp16 [8, 1], but", |m| m.description.functions[0].outputs[0].shape = vec![8, 1]),
        ("is described as fp16 [1, 8, 1], but", |m| m.description.functions[0].inputs[0].shape.push(1)),
        ("is described as fp16 [1, -8], but", |m| m.description.functions[0].inputs[0].shape[1] = -8),
        ("state `kv`: is int32, expected fp16", |m| {
            m.description.functions[0].states[0].dtype = DataType::Int32;
        }),
        ("state `kv`: is optional or flexible", |m| m.description.functions[0].states[0].optional = true),
        ("state `kv`: is optional or flexible", |m| {
            m.description.functions[0].states[0].flexibility = Some(Flexibility::Range(vec![(1, 2)]));
        }),
        ("state `kv`: has shape [], expected fixed extents", |m| {
            m.description.functions[0].states[0].shape.clear();
        }),
        ("state `kv`: is fp16 [1, 4] here and fp16 [1, 8] in function `infer`", |m| {
            let text = STATEFUL.split("func prefill").collect::<Vec<_>>();
            let text = format!("{}func prefill{}", text[0], text[1].replace("[1, 8]", "[1, 4]"));
            m.program = text::parse(&text, "text").expect("the sample parses");
            let prefill = &mut m.description.functions[1];
            let features = prefill.inputs.iter_mut().chain(&mut prefill.outputs).chain(&mut prefill.states);
            features.for_each(|f| f.shape = vec![1, 4]);
        }),
        ("function `infer`: outputs: the function returns nothing", |m| {
            m.program.functions[0].outputs.clear();
        }),
    ];
    validate_model(&stateful()).expect("a valid model");
    for (expected, change) in cases {
        let mut model = stateful();
        change(&mut model);
        let error = validate_model(&model).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}\nexpected {expected}");
    }
}

/// What Apple's reader lets pass, and so do we.
#[test]
fn open_shapes_and_scalars_are_lenient() {
    let text = "program(1.3) { func main<ios18>(fp16 x, tensor<fp16, [1, ?]> z) {
        fp16 y = add(x = x, y = x)[name = string(\"y\")];
    } -> (y); }";
    let feature = |name: &str, shape: &[i64]| Feature::new(name, DataType::Fp16, shape);
    let main = Interface {
        name: "main".into(),
        inputs: vec![feature("z", &[1, 5]), feature("x", &[1])],
        outputs: vec![feature("y", &[])],
        states: Vec::new(),
    };
    let model = Model {
        specification_version: 9,
        description: Description { functions: vec![main], ..Description::default() },
        program: text::parse(text, "text").expect("a program"),
    };
    validate_model(&model).expect("a valid model");
}
