//! Each rule on a call it accepts and on one it refuses.

use super::*;

type Case<'a> = (&'a str, Vec<(&'a str, Type, Option<Value>)>, Result<&'a str, &'a str>);

fn check(rule: fn(&Call<'_>) -> Inferred, cases: Vec<Case<'_>>) {
    for (what, args, expected) in cases {
        let mut call = Call::default();
        for (name, ty, value) in &args {
            call.arguments.entry(name).or_default().push(KnownArgument {
                ty,
                value: value.as_ref(),
                constant: value.is_some(),
            });
        }
        match (rule(&call), expected) {
            (Ok(types), Ok(text)) => assert_eq!(types[0].to_string(), text, "{what}"),
            (Err(problem), Err(part)) => assert!(problem.contains(part), "{what}: {problem}"),
            (got, _) => panic!("{what}: got {got:?}, expected {expected:?}"),
        }
    }
}

fn fp16(shape: &[u64]) -> Type {
    Type::tensor(DataType::Fp16, shape)
}

fn arg(name: &str, value: Value) -> (&str, Type, Option<Value>) {
    (name, value.ty.clone(), Some(value))
}

#[test]
fn broadcasting() {
    check(
        elementwise,
        vec![
            ("scalar", vec![("x", fp16(&[2, 3]), None), ("y", fp16(&[]), None)], Ok("tensor<fp16, [2, 3]>")),
            ("both", vec![("x", fp16(&[2, 1]), None), ("y", fp16(&[3]), None)], Ok("tensor<fp16, [2, 3]>")),
            ("clash", vec![("x", fp16(&[2]), None), ("y", fp16(&[3]), None)], Err("do not broadcast")),
            (
                "types",
                vec![("x", fp16(&[2]), None), ("y", Type::tensor(DataType::Fp32, &[2]), None)],
                Err("expected equal types"),
            ),
        ],
    );
}

#[test]
fn reshaping() {
    let x = || ("x", fp16(&[2, 6]), None);
    check(
        reshape,
        vec![
            ("rest", vec![x(), arg("shape", Value::i32s(&[3, -1]))], Ok("tensor<fp16, [3, 4]>")),
            ("keep", vec![x(), arg("shape", Value::i32s(&[0, -1]))], Ok("tensor<fp16, [2, 6]>")),
            ("keep more", vec![x(), arg("shape", Value::i32s(&[0, 2, -1]))], Ok("tensor<fp16, [2, 2, 3]>")),
            ("two", vec![x(), arg("shape", Value::i32s(&[-1, -1]))], Err("does not hold the 12 elements")),
            ("more", vec![x(), arg("shape", Value::i32s(&[5, 3]))], Err("does not hold the 12 elements")),
        ],
    );
}

#[test]
fn slices() {
    let x = || ("x", fp16(&[1, 8]), None);
    let bounds = |b: &[i32], e: &[i32]| vec![x(), arg("begin", Value::i32s(b)), arg("end", Value::i32s(e))];
    let open = Type::tensor(DataType::Int32, &[2]);
    check(
        slice_by_index,
        vec![
            ("half", bounds(&[0, 4], &[1, 8]), Ok("tensor<fp16, [1, 4]>")),
            ("from the end", bounds(&[0, -3], &[1, 8]), Ok("tensor<fp16, [1, 3]>")),
            ("beyond", bounds(&[0, 4], &[1, 9]), Err("reaches beyond")),
            ("run time", vec![x(), ("begin", open.clone(), None), ("end", open, None)], Err("run time")),
        ],
    );
}

#[test]
fn convolutions() {
    let call = |x: &[u64], w: &[u64]| vec![("x", fp16(x), None), ("weight", fp16(w), None)];
    check(
        conv,
        vec![
            ("1x1", call(&[1, 64, 1, 32], &[128, 64, 1, 1]), Ok("tensor<fp16, [1, 128, 1, 32]>")),
            ("channels", call(&[1, 64, 1, 1], &[128, 32, 1, 1]), Err("takes 32")),
            ("rank", call(&[1, 64, 1, 1], &[128, 64, 1]), Err("weight has 3 dimensions, expected 4")),
        ],
    );
}

#[test]
fn lookup_tables() {
    let call = |indices: DataType, lut: &[u64]| {
        vec![("indices", Type::tensor(indices, &[16, 64]), None), ("lut", fp16(lut), None)]
    };
    check(
        lut_to_dense,
        vec![
            ("grouped", call(DataType::UInt4, &[2, 1, 16, 1]), Ok("tensor<fp16, [16, 64]>")),
            ("entries", call(DataType::UInt4, &[2, 1, 8, 1]), Err("does not match uint4")),
            ("groups", call(DataType::UInt4, &[3, 1, 16, 1]), Err("do not divide")),
        ],
    );
}

#[test]
fn products() {
    let call = |x: &[u64], y: &[u64]| vec![("x", fp16(x), None), ("y", fp16(y), None)];
    let mut transposed = call(&[1, 4, 2, 32], &[1, 4, 256, 32]);
    transposed.push(arg("transpose_y", Value::bool(true)));
    check(
        matmul,
        vec![
            ("transposed", transposed, Ok("tensor<fp16, [1, 4, 2, 256]>")),
            ("inner", call(&[2, 3], &[4, 5]), Err("inner extents 3 and 4")),
        ],
    );
}

#[test]
fn a_written_state_keeps_its_type() {
    let state = Type::State(TensorType::new(DataType::Fp16, &[4]));
    check(
        |call| write_state(call).map(|_| vec![Type::scalar(DataType::Bool)]),
        vec![
            ("same", vec![("input", state.clone(), None), ("data", fp16(&[4]), None)], Ok("bool")),
            ("other", vec![("input", state, None), ("data", fp16(&[5]), None)], Err("as the state")),
        ],
    );
}

#[test]
fn places_along_an_axis() {
    let x = || ("x", fp16(&[2, 3]), None);
    let ints = |shape: &[u64]| ("indices", Type::tensor(DataType::Int32, shape), None);
    let keep = || arg("keep_dims", Value::bool(true));
    let dtype = |name: &str| arg("output_dtype", Value::string(name));
    check(
        reduce_argmax,
        vec![
            ("default", vec![x()], Ok("tensor<int32, [2]>")),
            ("kept", vec![x(), keep()], Ok("tensor<int32, [2, 1]>")),
            ("first axis", vec![x(), arg("axis", Value::i32(0))], Ok("tensor<int32, [3]>")),
            ("uint16", vec![x(), dtype("uint16")], Ok("tensor<uint16, [2]>")),
            ("fp16", vec![x(), dtype("fp16")], Err("expected int32 or uint16")),
            ("no axis", vec![x(), arg("axis", Value::i32(2))], Err("axis 2 is out of range")),
            ("wide", vec![("x", fp16(&[70_000]), None), dtype("uint16")], Err("can tell apart")),
            ("bool", vec![("x", Type::tensor(DataType::Bool, &[2]), None)], Err("expected numbers")),
        ],
    );
    check(
        gather_along_axis,
        vec![
            ("rows", vec![x(), ints(&[5, 3])], Ok("tensor<fp16, [5, 3]>")),
            ("columns", vec![x(), ints(&[2, 1]), arg("axis", Value::i32(-1))], Ok("tensor<fp16, [2, 1]>")),
            ("rank", vec![x(), ints(&[2])], Err("expected the shape of")),
            ("other axis", vec![x(), ints(&[2, 1])], Err("but for axis 0")),
            ("floats", vec![x(), ("indices", fp16(&[2, 3]), None)], Err("expected integers")),
        ],
    );
}
