//! Which ops become one step. What the steps compute is tested by the programs in `tests/mil`.

use std::path::Path;

use anelith_mil::blob::WeightStore;
use anelith_mil::{text, validate};

use super::{Fast, Memory};
use crate::error::Result;
use crate::instance::Instance;
use crate::kernels::Isa;
use crate::plan::{Constants, Options, Plan, Precision, StepInfo};
use crate::tensor::Tensor;

const NORM: &str = include_str!("../../../tests/mil/fused_norm.mil");
const ROTATE: &str = include_str!("../../../tests/mil/fused_rotate.mil");
const ATTENTION: &str = include_str!("../../../tests/mil/fused_attention.mil");
const STATE: &str = include_str!("../../../tests/mil/state_before.mil");
const VIEWS: &str = include_str!("../../../tests/mil/views.mil");
const BRANCH: &str = include_str!("../../../tests/mil/chain_branch.mil");
const CAST: &str = include_str!("../../../tests/mil/chain_cast.mil");
const OUTPUT: &str = include_str!("../../../tests/mil/chain_output.mil");
const CHAIN_STATE: &str = include_str!("../../../tests/mil/chain_state.mil");
const CHAIN_LATE: &str = include_str!("../../../tests/mil/chain_state_late.mil");
const INTEGERS: &str = include_str!("../../../tests/mil/chain_integers.mil");
const EMPTY: &str = include_str!("../../../tests/mil/chain_empty.mil");
const FLEXIBLE: &str = include_str!("../../../tests/mil/chain_flexible.mil");
const SELECT: &str = include_str!("../../../tests/mil/chain_select.mil");
const FOLD: &str = include_str!("../../../tests/mil/fold.mil");
const FOLD_NORM: &str = include_str!("../../../tests/mil/fold_norm.mil");

const INFINITE: &str = include_str!("../../../tests/mil/lut_infinite.mil");

fn plan(source: &str, precision: Precision) -> Result<Plan> {
    let program = text::parse(source, "test").unwrap();
    let info = validate(&program).unwrap();
    let weights = WeightStore::open(Path::new("."), &program).unwrap();
    Plan::new(&program, &info, &mut Constants::new(&weights), "main", precision)
}

/// The kinds of the steps of `main`.
fn kinds(source: &str) -> Vec<&'static str> {
    steps(source).into_iter().map(|step| step.kind).collect()
}

/// The ops of each chain of `main`.
fn chains(source: &str) -> Vec<String> {
    steps(source).into_iter().filter(|step| step.kind == "elementwise").map(|step| step.kernel).collect()
}

/// The steps of `main`.
fn steps(source: &str) -> Vec<StepInfo> {
    plan(source, Precision::Fast).unwrap().steps().collect()
}

#[test]
fn groups_become_one_step() {
    // The pair of the second norm is read by the caller too, so it stays.
    let fused = ["norm", "elementwise", "other op", "other op"];
    assert_eq!(kinds(NORM), fused);
    assert_eq!(kinds(ROTATE), ["rotary"]);
    // The ops on integers say where in the state.
    let others =
        |kinds: Vec<&'static str>| kinds.into_iter().filter(|k| *k != "other op").collect::<Vec<_>>();
    assert_eq!(others(kinds(ATTENTION)), ["state", "state", "attention"]);
}

#[test]
fn a_group_of_another_form_is_left_alone() {
    let altered = [
        (NORM, "a_negated = mul(x = x, y = fp32(-0x1p+0))", "a_negated = mul(x = x, y = fp32(-0x1p+1))"),
        (NORM, "values = (x, a_negated)", "values = (a_negated, x)"),
        (NORM, "begin = tensor<int32, [2]>([0, 0])", "begin = tensor<int32, [2]>([0, 1])"),
        (ROTATE, "values = (negated, x1)", "values = (x1, negated)"),
        (ROTATE, "fp16(-0x1p+0)", "fp16(0x1p+0)"),
        (ROTATE, "-> (y)", "-> (y, turned)"),
        (ATTENTION, "transpose_y = no", "transpose_y = yes"),
        (ATTENTION, "-> (mixed)", "-> (mixed, weights)"),
    ];
    for (source, from, to) in altered {
        // The op and its name of `begin` in the norm's text.
        let from = from.replace("begin = tensor", "val = tensor");
        let to = to.replace("begin = tensor", "val = tensor");
        let changed = source.replacen(&from, &to, 1);
        assert_ne!(changed, source, "{from}");
        let Ok(program) = text::parse(&changed, "test") else { panic!("{to}") };
        if validate(&program).is_err() {
            continue;
        }
        let whole = kinds(source);
        let part = kinds(&changed);
        let fused =
            |kinds: &[&str]| kinds.iter().filter(|k| ["norm", "rotary", "attention"].contains(k)).count();
        assert!(fused(&part) < fused(&whole), "{to}: {part:?}");
    }
}

#[test]
fn views_move_nothing() {
    // A sum needs both sides in one order, and no strides express the rows of what is turned, cut anew.
    assert_eq!(kinds(VIEWS), ["copy", "add", "other op"]);
}

#[test]
fn what_was_read_of_a_state_is_kept_where_it_is_read_late() {
    assert!(kinds(STATE).contains(&"copy"));
    assert!(!kinds(ATTENTION).contains(&"copy"));
}

#[test]
fn ops_on_elements_become_chains() {
    assert_eq!(chains(BRANCH), ["mul+sigmoid+sub+mul+maximum+add"]);
    assert_eq!(kinds(BRANCH), ["elementwise"]);
    // The cast to integers and the one back end the chain that they come from, and begin none.
    assert_eq!(chains(CAST), ["cast+square+mul+exp+cast+add"]);
    assert_eq!(kinds(CAST), ["other op", "other op", "elementwise"]);
    assert_eq!(chains(SELECT), ["add+mul+select"]);
    assert_eq!(kinds(SELECT), ["elementwise"]);
}

#[test]
fn chains_end_at_what_is_read_outside() {
    assert_eq!(chains(OUTPUT), ["mul", "mul+add"]);
    // `old` is read before and after the state is written.
    assert_eq!(chains(CHAIN_STATE), ["mul", "mul", "add", "add+mul"]);
    assert_eq!(kinds(CHAIN_LATE), ["copy", "elementwise", "state", "add"]);
}

#[test]
fn ops_on_integers_and_on_shapes_that_are_not_fixed_are_left_alone() {
    assert_eq!(chains(INTEGERS), ["mul+add"]);
    assert_eq!(kinds(INTEGERS), ["other op", "other op", "other op", "elementwise"]);
    assert_eq!(kinds(EMPTY), ["other op", "other op"]);
    assert_eq!(kinds(FLEXIBLE), ["other op", "other op"]);
}

#[test]
fn ops_that_read_constants_only_are_no_steps() {
    assert_eq!(chains(FOLD), ["mul+add"]);
    assert_eq!(kinds(FOLD), ["elementwise"]);
    assert_eq!(kinds(FOLD_NORM), ["norm"]);
}

#[test]
fn a_tensor_is_given_up_after_the_step_that_reads_it_last() {
    for source in [NORM, ROTATE, INFINITE] {
        let plan = plan(source, Precision::Fast).unwrap();
        let Some(Fast { steps, slots, .. }) = &plan.fast else { panic!("no fast plan") };
        let given_up = |slot: usize| steps.iter().filter(|step| step.given_up.contains(&slot)).count();
        assert!((0..*slots).all(|slot| given_up(slot) <= 1));
        // Every input of these is read, and none is returned.
        assert!(plan.inputs.iter().all(|(_, slot)| given_up(*slot) == 1), "{source}");
    }
}

#[test]
fn unpacked_weights_are_seen_in_the_plan() {
    let plan = plan(INFINITE, Precision::Fast).unwrap();
    let isa = format!("{:?}", crate::Isa::best()).to_lowercase();
    let kernels: Vec<String> = plan.steps().map(|step| step.kernel).collect();
    assert_eq!(kernels, [format!("fp16 of lut2 {isa}"), format!("fp16 of lut2 {isa}")]);
}

/// A pointwise convolution of four channels by a palettized weight.
fn pointwise(side: usize) -> String {
    format!(
        r#"program(1.3) {{
            func main<ios18>(tensor<fp16, [1, 4, {side}, {side}]> x) {{
                tensor<fp16, [2, 4, 1, 1]> w = constexpr_lut_to_dense(
                    indices = tensor<uint2, [2, 4, 1, 1]>([[[[0]], [[1]], [[2]], [[3]]], [[[3]], [[3]], [[1]], [[0]]]]),
                    lut = tensor<fp16, [1, 1, 1, 1, 4, 1]>([[[[[[1.0], [2.0], [3.0], [4.0]]]]]]))[name = string("w")];
                tensor<int32, [2]> ones = const()[name = string("ones"), val = tensor<int32, [2]>([1, 1])];
                tensor<int32, [4]> none = const()[name = string("none"), val = tensor<int32, [4]>([0, 0, 0, 0])];
                tensor<fp16, [1, 2, {side}, {side}]> y = conv(dilations = ones, groups = int32(1), pad = none,
                    pad_type = string("valid"), strides = ones, weight = w, x = x)[name = string("y")];
            }} -> (y);
        }}"#
    )
}

#[test]
fn products_of_many_rows_take_little_beside_their_operands() {
    let (side, four) = (1024, size_of::<f32>());
    let plan = plan(&pointwise(side), Precision::Fast).unwrap();
    assert!(plan.steps().any(|step| step.kernel.starts_with("lut2")));
    // The image and its copy by points, the result and its copy by channels, and 2 MiB for the points of a moment.
    let values = side * side * four * (4 + 4 + 2 + 2);
    assert!(plan.room() <= (values + (2 << 20)) as u64, "{} bytes", plan.room());
}

#[test]
fn products_of_many_rows_are_those_of_each() {
    let side = 50;
    let source = pointwise(side);
    let x: Vec<f32> = (0..4 * side * side).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
    let run = |precision| {
        let program = text::parse(&source, "test").unwrap();
        let info = validate(&program).unwrap();
        let weights = WeightStore::open(Path::new("."), &program).unwrap();
        let mut instance = Instance::new(&program, &info, &weights, &["main"], precision).unwrap();
        let input = Tensor::new(&[1, 4, side, side], x.clone()).unwrap();
        let y = instance.run("main", &[("x", input)]).unwrap().remove(0).1;
        y.as_f32s().unwrap().to_vec()
    };
    for (fast, plain) in run(Precision::Fast).iter().zip(run(Precision::F32)) {
        assert!((fast - plain).abs() <= 0.1, "{fast} and {plain}");
    }
}

/// `count` sums of two large tensors, all returned.
fn sums(count: usize) -> String {
    let ty = "tensor<fp32, [1500000000]>";
    let op = |i| format!(r#"{ty} y{i} = add(x = x, y = x)[name = string("y{i}")];"#);
    let ops: String = (0..count).map(op).collect();
    let names: Vec<String> = (0..count).map(|i| format!("y{i}")).collect();
    format!("program(1.3) {{ func main<ios18>({ty} x) {{ {ops} }} -> ({}); }}", names.join(", "))
}

#[test]
fn buffers_count_as_values_do() {
    assert!(plan(&sums(2), Precision::Fast).is_ok());
    assert!(plan(&sums(8), Precision::Exact).is_ok());
    let error = plan(&sums(8), Precision::Fast).unwrap_err().to_string();
    let expected = "function `main` (ios18): what the function returns is not supported: \
                    values need 96000000000 bytes at a time, states 0 and constants 0, expected at most 68719476736 together";
    assert_eq!(error, expected);
}

#[test]
fn buffers_that_cannot_be_had_are_an_error() {
    // More than a process can address.
    let error = Memory::empty().make_room(&[10, 1 << 60]).unwrap_err();
    assert_eq!(error, "it needs 4611686018427387904 bytes of memory, which are not to be had");
}

/// A product with 8 rows of 64 weights of `bits`, of which each row has its own table.
fn palettized(bits: usize) -> String {
    let index = |i: usize| (i * 29 % (1 << bits)).to_string();
    let list = |items: Vec<String>| format!("[{}]", items.join(", "));
    let rows = (0..8).map(|row| list((0..64).map(|column| index(row * 64 + column)).collect()));
    let entry = |row: usize, i: usize| format!("[{:?}]", (i * 37 % 101) as f32 / 64.0 - row as f32 / 8.0);
    let tables = (0..8).map(|row| format!("[{}]", list((0..1 << bits).map(|i| entry(row, i)).collect())));
    let (indices, tables) = (list(rows.collect()), list(tables.collect()));
    format!(
        r#"program(1.3) {{
            func main<ios18>(tensor<fp16, [1, 64]> x) {{
                tensor<fp16, [8, 64]> w = constexpr_lut_to_dense(
                    indices = tensor<uint{bits}, [8, 64]>({indices}),
                    lut = tensor<fp16, [8, 1, {}, 1]>({tables}))[name = string("w")];
                tensor<fp16, [1, 8]> y = linear(x = x, weight = w)[name = string("y")];
            }} -> (y);
        }}"#,
        1 << bits
    )
}

#[test]
fn results_are_the_same_before_and_after_weights_are_taken_apart() {
    for bits in [6, 8] {
        let program = text::parse(&palettized(bits), "test").unwrap();
        let info = validate(&program).unwrap();
        let weights = WeightStore::open(Path::new("."), &program).unwrap();
        let mut instance = Instance::new(&program, &info, &weights, &["main"], Precision::Fast).unwrap();
        let x =
            Tensor::made(vec![1, 64], (0..64).map(|i| i as f32 / 32.0 - 1.0).collect::<Vec<f32>>()).unwrap();
        let mut run = || {
            let outputs = instance.run("main", &[("x", x.clone())]).unwrap();
            outputs[0].1.as_f32s().unwrap().to_vec()
        };
        let first = run();
        assert!(first.iter().any(|y| *y != 0.0));
        for _ in 0..super::RUNS_BEFORE + super::RUNS_OF_REPACKING + 2 {
            assert_eq!(run(), first, "{bits} bits");
        }
    }
}

#[test]
fn weights_are_taken_apart_after_some_runs_and_only_if_they_may() {
    if !Isa::Avx2.is_here() {
        return;
    }
    let program = text::parse(&palettized(6), "test").unwrap();
    let info = validate(&program).unwrap();
    let weights = WeightStore::open(Path::new("."), &program).unwrap();
    for repack in [true, false] {
        let options = Options { isa: Isa::Avx2, repack, ..Precision::Fast.into() };
        let plan = Plan::new(&program, &info, &mut Constants::new(&weights), "main", options).unwrap();
        let fast = plan.fast.as_ref().unwrap();
        let held = || fast.weights().map(|weight| weight.held_bytes()).sum::<usize>();
        let stored = held();
        (0..super::RUNS_BEFORE).for_each(|_| fast.repack_some());
        assert_eq!(held(), stored);
        (0..super::RUNS_OF_REPACKING).for_each(|_| fast.repack_some());
        assert_eq!(held() > stored, repack);
    }
}
