//! Programs printed and parsed again, and texts that are refused.

use std::collections::BTreeMap;

use crate::dtype::DataType;
use crate::error::Error;
use crate::opset::{OpKind, Opcode, Opset};
use crate::program::{Argument, Function, Op, Operand, Program, VarId};
use crate::types::{Dim, TensorType, Type};
use crate::value::{Data, Value};

use super::{Dialect, parse, print, print_op, write};

/// States, sub-byte types, lists, inline literals, foreign ops: what no file of the real compiler shows.
const IOS18: &str = r#"program(1.3)
[buildInfo = dict<string, string>({{"a \"b\"", "c\\d"}})]
{
    func infer<ios18>(state<tensor<fp16, [1, 16]>> cache, tensor<int32, [1]> inf) {
            tensor<fp16, [2, 8]> nan = constexpr_lut_to_dense(indices = tensor<uint4, [2, 8]>(BLOBFILE(path = string("@model_path/weights/weight.bin"), offset = uint64(64))), lut = tensor<fp16, [1, 1, 2, 1]>([[[[0x1p+0], [-0x1p-24]]]]))[name = string("w_palettized")];
            tensor<uint3, [5]> bits = const()[name = string("bits"), val = tensor<uint3, [5]>([1, 2, 3, 4, 5])];
            tensor<int4, [3]> nibbles = const()[val = tensor<int4, [3]>([-8, 7, -1])];
            tensor<bool, [2, 0]> none = const()[val = tensor<bool, [2, 0]>([[], []])];
            tensor<string, [2]> words = classes()[val = list<string, 2>(["x\ny", "z"])];
            tensor<fp16, [1, 16]> old = read_state(input = cache)[name = string("old")];
            tensor<fp32, [1]> first, tensor<fp32, []> second = topk(a = (inf, int32(-3)), b = (), x = nan);
            write_state(data = old, input = cache)[name = string("keep")];
        } -> (old, nan);
}"#;

fn ios18() -> Program {
    // `tensor<fp32, []>` is what dialect 1.0 writes; both spellings are read in either.
    parse(IOS18, "sample").expect("the sample parses")
}

#[test]
fn what_is_printed_parses_to_the_same_program() {
    let program = ios18();
    assert_eq!(print(&program, Dialect::V1_3), IOS18.replace("tensor<fp32, []>", "fp32"));
    for dialect in [Dialect::V1_0, Dialect::V1_3] {
        assert_eq!(parse(&print(&program, dialect), "again").expect("parses"), program);
    }
}

#[test]
fn scalars_are_tensors_of_rank_zero_in_the_older_dialect() {
    let text = print(&ios18(), Dialect::V1_0);
    assert!(text.contains(r#"path = tensor<string, []>("@model_path/weights/weight.bin")"#));
    assert!(text.contains("offset = tensor<uint64, []>(64)"));
    assert!(text.contains(r#"list<tensor<string, []>, 2>(["x\ny", "z"])"#));
}

#[test]
fn literals_are_packed_as_the_ir_asks() {
    let program = ios18();
    let val = |op: usize| program.functions[0].ops[op].attributes["val"].data.clone();
    assert_eq!(val(1), Data::Bytes(vec![0xd1, 0x58]), "golden bytes of Apple's packing");
    assert_eq!(val(2), Data::Bytes(vec![0x78, 0x0f]));
    assert_eq!(val(3), Data::Bytes(Vec::new()));
    assert_eq!(program.functions[0].ops[6].kind, OpKind::Foreign("topk".into()));
}

#[test]
fn layout_and_comments_do_not_matter() {
    let loose = "program ( 1.3 ) // no buildInfo\n{func main<ios18>(fp16 x){} //ops\n->(x) ;}\r\n";
    let program = parse(loose, "loose").expect("parses");
    let main = program.function("main").expect("main is there");
    assert_eq!((main.inputs.as_slice(), main.outputs.as_slice()), (&[VarId(0)][..], &[VarId(0)][..]));
}

#[test]
fn parameters_are_sorted_and_flexible_literals_take_what_there_is() {
    let mut program = ios18();
    program.functions[0].inputs.reverse();
    let scalar = TensorType { dtype: DataType::Int32, shape: vec![Dim::Unknown, Dim::Known(2)] };
    let pairs = Value { ty: Type::Tensor(scalar), ..Value::i32s(&[1, 2, 3, 4]) };
    program.functions[0].attributes.insert("Shapes".into(), pairs);
    let text = print(&program, Dialect::V1_3);
    assert!(text.contains("infer<ios18>(state<tensor<fp16, [1, 16]>> cache, tensor<int32, [1]> inf) [Shapes = tensor<int32, [?, 2]>([[1, 2], [3, 4]])] {"));
    assert_eq!(print(&parse(&text, "again").expect("parses"), Dialect::V1_3), text);
}

#[test]
fn dictionary_entries_are_sorted() {
    let text = IOS18.replace(r#"{"a \"b\"", "c\\d"}"#, r#"{"b", "1"}, {"a", "2"}"#);
    let program = parse(&text, "sample").expect("parses");
    assert!(print(&program, Dialect::V1_3).contains(r#"({{"a", "2"}, {"b", "1"}})"#));
}

#[test]
fn broken_ops_are_printed_for_error_messages() {
    let mut function = crate::Function::new("main", Opset::Ios18);
    let x = function.add_var("x", Type::tensor(DataType::Fp16, &[2]));
    let bad = Value { data: Data::Bytes(vec![0; 3]), ..Value::i32(1) };
    let huge = Value { ty: Type::tensor(DataType::Fp16, &[1 << 40, 0]), data: Data::Bytes(Vec::new()) };
    let many = Argument::Many(vec![Operand::Var(x), Operand::Var(VarId(12))]);
    let op = Op {
        kind: OpKind::from_name("concat"),
        inputs: [("values".to_owned(), many), ("axis".to_owned(), bad.into()), ("b".to_owned(), huge.into())]
            .into(),
        attributes: [("name".to_owned(), Value::string("cat"))].into(),
        outputs: vec![VarId(7)],
    };
    let misfit = "<elements that do not fit the type>";
    let expected = format!(
        "<no type> %7? = concat(axis = int32({misfit}), b = tensor<fp16, [1099511627776, 0]>({misfit}), \
         values = (x, %12?))[name = string(\"cat\")]"
    );
    assert_eq!(print_op(&function, &op), expected);
}

/// A program around one statement.
fn around(statement: &str) -> String {
    format!("program(1.3)\n{{\nfunc main<ios18>(fp16 x) {{\n{statement}\n}} -> (x);\n}}")
}

#[test]
fn malformed_text_is_refused_with_its_place() {
    let cases = [
        ("fp16 y = relu(x = z);", "line 4, column 19", "variable `z` is not assigned before here"),
        ("fp16 y = relu(x = y);", "line 4, column 19", "variable `y` is not assigned"),
        ("fp16 x = relu(x = x);", "line 4, column 6", "variable `x` is assigned twice"),
        ("fp16 y, fp16 y = f();", "line 4, column 14", "variable `y` is assigned twice"),
        ("fp16 y = relu(x = x, x = x);", "line 4, column 22", "parameter `x` is given twice"),
        ("f()[a = int8(1), a = int8(1)];", "line 4, column 18", "attribute `a` is given twice"),
        ("f(x = x)", "line 5, column 1", "expected `;`, found `}`"),
        ("fp16 y = relu(x = x;", "line 4, column 20", "expected `,` or `)`, found `;`"),
        ("f(x = int8(300));", "line 4, column 12", "expected a literal of type int8, found `300`"),
        ("f(x = uint4(-1));", "line 4, column 13", "literal of type uint4"),
        ("f(x = fp16(0x1p+16));", "line 4, column 12", "literal of type fp16, found `0x1p+16`"),
        ("f(x = fp16(infer));", "line 4, column 12", "literal of type fp16, found `infer`"),
        ("f(x = bool(1));", "line 4, column 12", "literal of type bool"),
        (
            "f(x = tensor<int8, [2]>([1]));",
            "line 4, column 25",
            "expected 2 entries between the brackets, found 1",
        ),
        ("f(x = tensor<int8, [1, 1]>([1]));", "line 4, column 29", "expected `[`, found `1`"),
        ("f(x = tensor<int8, [-1]>([1]));", "line 4, column 21", "expected an extent"),
        ("f(x = list<int8, 2>([1]));", "line 4, column 21", "expected 2 members"),
        ("f(x = tuple<int8, int8>((1)));", "line 4, column 27", "expected `,`"),
        ("f(x = state<fp16>(1));", "line 4, column 19", "no literal"),
        ("f(x = string(\"open", "line 4, column 14", "closing"),
        ("f(x = string(\"\\q\"));", "line 4, column 16", "after a backslash"),
        ("f(x = fp16(BLOBFILE(path = int8(1))));", "line 4, column 28", "expected a string"),
        ("f(x = fp16(BLOBFILE(path = string(\"a\"), offset = int8(1))));", "column 50", "expected a uint64"),
        ("f(\u{e9} = x);", "line 4, column 3", "expected a token"),
        ("state<list<fp16, 1>> y = f();", "line 4, column 7", "expected a tensor as state"),
    ];
    for (statement, place, problem) in cases {
        match parse(&around(statement), "t") {
            Err(Error::Malformed { what, problem: found }) => {
                assert!(what.starts_with("t at ") && what.contains(place), "{statement}: {what}: {found}");
                assert!(found.contains(problem), "{statement}: {found}");
            }
            other => panic!("{statement}: {other:?}"),
        }
    }
    assert!(parse(&around(""), "t").is_ok());
}

/// The last of two entries would win without a word.
#[test]
fn a_key_of_the_build_info_that_occurs_twice_is_refused() {
    let text = IOS18.replace(r#"{"a \"b\"", "c\\d"}"#, r#"{"a", "1"}, {"a", "2"}"#);
    let error = parse(&text, "t").expect_err("two entries of one key").to_string();
    assert!(error.contains("key `a` of `buildInfo` occurs twice"), "{error}");
}

#[test]
fn what_is_not_supported_is_told_apart_from_what_is_malformed() {
    let deep = format!("f(x = {}int8{}(1));", "list<".repeat(100_000), ", 1>".repeat(100_000));
    let wide = format!("f(x = tensor<int8, [{}1]>(1));", "1, ".repeat(100));
    let cases = [
        (around("cond(p = x) (fp16 y) { } -> (y);"), "nested block"),
        (around("cond(p = x) { } -> (y);"), "nested block"),
        (around("tensor<bf16, [1]> y = f();"), "element type `bf16`"),
        (around("f(x = tensor<int8, [1, ?]>([[1]]));"), "extents are not known"),
        (around("f(x = tensor<uint4, [?]>([1]));"), "extents are not known"),
        (around(&deep), "a type of more than 32 types"),
        (around(&wide), "more than 16 dimensions"),
        ("program(2.0)\n{\n}".to_owned(), "program version 2.0"),
        (around("").replace("ios18", "ios26"), "opset `ios26`"),
    ];
    for (text, expected) in cases {
        match parse(&text, "t") {
            Err(Error::Unsupported { problem, .. }) => assert!(problem.contains(expected), "{problem}"),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[test]
fn no_cut_or_flipped_text_panics() {
    for end in 0..IOS18.len() {
        assert!(parse(&IOS18[..end], "cut").is_err(), "the first {end} bytes parse");
    }
    for at in 0..IOS18.len() {
        for mark in ["<", ")", "\"", "-", "0", "?", "[", "\u{e9}"] {
            let flipped = format!("{}{mark}{}", &IOS18[..at], &IOS18[at + 1..]);
            if let Ok(program) = parse(&flipped, "flipped") {
                print(&program, Dialect::V1_3);
            }
        }
    }
}

#[test]
fn functions_are_unique_and_sorted() {
    let one = "func b<ios18>() { } -> ();";
    let text = format!("program(1.3) {{ {one} {} }}", one.replace('b', "a"));
    let names: Vec<String> =
        parse(&text, "t").expect("parses").functions.into_iter().map(|f| f.name).collect();
    assert_eq!(names, ["a", "b"]);
    let twice = parse(&format!("program(1.3) {{ {one} {one} }}"), "t").expect_err("defined twice");
    assert!(twice.to_string().contains("function `b` is defined twice"), "{twice}");
}

#[test]
fn what_is_written_piece_by_piece_is_what_is_printed() {
    let mut function = Function::new("main", Opset::Ios18);
    for i in 0..3000 {
        let var = function.add_var(format!("constant_{i}"), Type::scalar(DataType::Int32));
        let mut op = Op {
            kind: OpKind::Known(Opcode::Const),
            inputs: BTreeMap::new(),
            attributes: BTreeMap::new(),
            outputs: vec![var],
        };
        op.attributes.insert("val".into(), Value::i32(i));
        function.ops.push(op);
    }
    let program = Program { functions: vec![function], ..Program::default() };
    let mut written = Vec::new();
    write(&program, Dialect::V1_3, &mut written).unwrap();
    assert!(written.len() > 1 << 17, "a piece is not all");
    assert!(written == print(&program, Dialect::V1_3).into_bytes());

    let mut full = [0u8; 1000];
    let failed = write(&program, Dialect::V1_3, &mut &mut full[..]);
    assert_eq!(failed.unwrap_err().kind(), std::io::ErrorKind::WriteZero);
}
