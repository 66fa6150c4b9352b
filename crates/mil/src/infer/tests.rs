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

fn fp32(shape: &[u64]) -> Type {
    Type::tensor(DataType::Fp32, shape)
}

fn ints(name: &str, len: u64) -> (&str, Type, Option<Value>) {
    (name, Type::tensor(DataType::Int32, &[len]), None)
}

#[test]
fn padding() {
    let x = || ("x", fp16(&[2, 3]), None);
    let pads = |v: &[i32]| arg("pad", Value::i32s(v));
    let mode = |name: &str| arg("mode", Value::string(name));
    check(
        pad,
        vec![
            ("last", vec![x(), pads(&[1, 2])], Ok("tensor<fp16, [2, 6]>")),
            ("both", vec![x(), pads(&[1, 0, 0, 2])], Ok("tensor<fp16, [3, 5]>")),
            ("computed", vec![x(), ints("pad", 4)], Ok("tensor<fp16, [?, ?]>")),
            ("computed for one", vec![x(), ints("pad", 2)], Err("two for each dimension")),
            ("odd", vec![x(), pads(&[1])], Err("two counts for each")),
            ("too many", vec![x(), pads(&[0; 6])], Err("two counts for each")),
            ("negative", vec![x(), pads(&[0, -1])], Err("two counts for each")),
            ("mode", vec![x(), pads(&[0, 1]), mode("circular")], Err("expected \"constant\"")),
            ("reflect", vec![x(), pads(&[2, 2]), mode("reflect")], Ok("tensor<fp16, [2, 7]>")),
            (
                "reflect too much",
                vec![x(), pads(&[3, 0]), mode("reflect")],
                Err("must be less than the extents"),
            ),
            (
                "nothing to repeat",
                vec![("x", fp16(&[0]), None), pads(&[1, 0]), mode("replicate")],
                Err("no element to repeat"),
            ),
            ("huge", vec![("x", fp16(&[u64::MAX]), None), pads(&[1, 0])], Err("overflows")),
        ],
    );
}

#[test]
fn shapes_from_values() {
    check(
        fill,
        vec![
            ("default", vec![arg("shape", Value::i32s(&[2, 0]))], Ok("tensor<fp32, [2, 0]>")),
            (
                "int",
                vec![arg("shape", Value::i32s(&[2])), arg("value", Value::i32(1))],
                Ok("tensor<int32, [2]>"),
            ),
            ("computed", vec![ints("shape", 3)], Ok("tensor<fp32, [?, ?, ?]>")),
            ("negative", vec![arg("shape", Value::i32s(&[-1]))], Err("no negative extents")),
            ("no vector", vec![arg("shape", Value::i32(1))], Err("expected a vector of int32")),
        ],
    );
    let range = |start, end, step| {
        vec![arg("start", Value::i32(start)), arg("end", Value::i32(end)), arg("step", Value::i32(step))]
    };
    check(
        range_1d,
        vec![
            ("up", range(0, 7, 3), Ok("tensor<int32, [3]>")),
            ("down", range(7, 0, -7), Ok("tensor<int32, [1]>")),
            ("nothing", range(7, 0, 1), Ok("tensor<int32, [0]>")),
            ("no step", range(7, 0, 0), Err("no range that a tensor can hold")),
            (
                "no number",
                vec![arg("start", Value::i32s(&[1, 2])), ints("end", 2), ints("step", 2)],
                Err("expected one number"),
            ),
            (
                "types",
                vec![("start", fp32(&[]), None), ints("end", 1), ints("step", 1)],
                Err("expected equal types"),
            ),
        ],
    );
    let x = || ("x", fp16(&[2, 5]), None);
    let at = |b: &[i32], s: &[i32]| vec![x(), arg("begin", Value::i32s(b)), arg("size", Value::i32s(s))];
    check(
        slice_by_size,
        vec![
            ("box", at(&[0, 1], &[1, 3]), Ok("tensor<fp16, [1, 3]>")),
            ("rest", at(&[-1, 1], &[-1, -1]), Ok("tensor<fp16, [1, 4]>")),
            (
                "computed begin",
                vec![x(), ints("begin", 2), arg("size", Value::i32s(&[2, -1]))],
                Ok("tensor<fp16, [2, ?]>"),
            ),
            (
                "computed size",
                vec![x(), arg("begin", Value::i32s(&[0, 0])), ints("size", 2)],
                Ok("tensor<fp16, [?, ?]>"),
            ),
            ("beyond", at(&[0, 3], &[1, 3]), Err("do not lie within the extent 5")),
            ("far back", at(&[i32::MIN, 0], &[1, 1]), Err("do not lie within the extent 2")),
            ("negative", at(&[0, 0], &[1, -2]), Err("do not lie within the extent 5")),
        ],
    );
}

#[test]
fn recurrent_layers() {
    let call = |x: &[u64], hh: &[u64], state: &[u64], more: Vec<(&'static str, Type, Option<Value>)>| {
        let args = vec![
            ("x", fp32(x), None),
            ("initial_h", fp32(state), None),
            ("initial_c", fp32(state), None),
            ("weight_ih", fp32(&[12, 5]), None),
            ("weight_hh", fp32(hh), None),
        ];
        [args, more].concat()
    };
    let both = || arg("direction", Value::string("bidirectional"));
    let back =
        || vec![both(), ("weight_ih_back", fp32(&[12, 5]), None), ("weight_hh_back", fp32(&[12, 3]), None)];
    let all = || arg("output_sequence", Value::bool(true));
    check(
        lstm,
        vec![
            ("last", call(&[7, 2, 5], &[12, 3], &[2, 3], vec![]), Ok("tensor<fp32, [1, 2, 3]>")),
            ("all", call(&[7, 2, 5], &[12, 3], &[2, 3], vec![all()]), Ok("tensor<fp32, [7, 2, 3]>")),
            ("both", call(&[7, 2, 5], &[12, 3], &[2, 6], back()), Ok("tensor<fp32, [1, 2, 6]>")),
            (
                "one way back",
                call(&[7, 2, 5], &[12, 3], &[2, 6], vec![both()]),
                Err("`weight_ih_back` is missing"),
            ),
            (
                "state",
                call(&[7, 2, 5], &[12, 3], &[1, 3], vec![]),
                Err("`initial_h` has type tensor<fp32, [1, 3]>"),
            ),
            ("units", call(&[7, 2, 5], &[12, 4], &[2, 4], vec![]), Err("expected [4 H, H]")),
            ("columns", call(&[7, 2, 6], &[12, 3], &[2, 3], vec![]), Err("`weight_ih` has type")),
            ("rank", call(&[7, 2], &[12, 3], &[2, 3], vec![]), Err("expected 3 dimensions")),
            (
                "bias",
                call(&[7, 2, 5], &[12, 3], &[2, 3], vec![("bias", fp32(&[3]), None)]),
                Err("expected tensor<fp32, [12]>"),
            ),
            (
                "direction",
                call(&[7, 2, 5], &[12, 3], &[2, 3], vec![arg("direction", Value::string("up"))]),
                Err("`direction` is \"up\""),
            ),
        ],
    );
}

#[test]
fn stacks_bands_and_picked_rows() {
    let x = || ("x", fp16(&[2, 3, 4]), None);
    let values = |shapes: [&[u64]; 2]| shapes.map(|s| ("values", fp16(s), None)).to_vec();
    check(
        stack,
        vec![
            ("front", values([&[2, 3], &[2, 3]]), Ok("tensor<fp16, [2, 2, 3]>")),
            ("unequal", values([&[2, 3], &[2, 1]]), Err("expected equal types")),
            (
                "back",
                [values([&[5], &[5]]), vec![arg("axis", Value::i32(-1))]].concat(),
                Ok("tensor<fp16, [5, 2]>"),
            ),
            (
                "beyond",
                [values([&[5], &[5]]), vec![arg("axis", Value::i32(2))]].concat(),
                Err("out of range"),
            ),
        ],
    );
    let rows = |shape: &[u64]| ("indices", Type::tensor(DataType::Int32, shape), None);
    check(
        gather_nd,
        vec![
            ("rows", vec![x(), rows(&[7, 2])], Ok("tensor<fp16, [7, 4]>")),
            (
                "batch",
                vec![x(), rows(&[2, 5, 1]), arg("batch_dims", Value::i32(1))],
                Ok("tensor<fp16, [2, 5, 4]>"),
            ),
            (
                "other batch",
                vec![x(), rows(&[3, 1]), arg("batch_dims", Value::i32(1))],
                Err("equal dimensions"),
            ),
            (
                "no batch",
                vec![x(), rows(&[2, 1]), arg("batch_dims", Value::i32(-1))],
                Err("equal dimensions"),
            ),
            ("deep", vec![x(), rows(&[7, 4])], Err("have 4 positions")),
            ("scalar", vec![x(), rows(&[])], Err("is a scalar")),
        ],
    );
    check(band_part, vec![("vector", vec![("x", fp16(&[2]), None)], Err("at least 2 dimensions"))]);
    check(cumsum, vec![("axis", vec![x(), arg("axis", Value::i32(3))], Err("out of range"))]);
    check(reverse, vec![("axis", vec![x(), arg("axes", Value::i32s(&[0, -4]))], Err("out of range"))]);
    let factor = |shape: &[u64]| ("gamma", fp16(shape), None);
    check(
        channel_norm,
        vec![
            ("channels", vec![x(), factor(&[3])], Ok("tensor<fp16, [2, 3, 4]>")),
            ("wrong axis", vec![x(), factor(&[4])], Err("`gamma` has shape [4], expected [3]")),
            ("no plane", vec![("x", fp16(&[2, 3]), None)], Err("at least one more")),
        ],
    );
    check(gelu, vec![("mode", vec![x(), arg("mode", Value::string("exact"))], Err("`mode` is \"exact\""))]);
    check(logical_not, vec![("numbers", vec![x()], Err("expected booleans"))]);
}
