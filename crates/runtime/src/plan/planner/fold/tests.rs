//! What is folded, and what is not.

use std::path::Path;

use anelith_mil::blob::WeightStore;
use anelith_mil::{text, validate};

use crate::plan::{Constants, Plan, Precision, Source};

const FOLD: &str = include_str!("../../../../tests/mil/fold.mil");
const FAILS: &str = include_str!("../../../../tests/mil/fold_fails.mil");
const LUT: &str = include_str!("../../../../tests/mil/fold_lut.mil");
const ROWS: &str = include_str!("../../../../tests/mil/fold_rows.mil");

/// Hands `look` a plan for each of `functions`.
fn with_plans(source: &str, functions: &[&str], look: impl FnOnce(Vec<Plan>)) {
    let program = text::parse(source, "test").unwrap();
    let info = validate(&program).unwrap();
    let weights = WeightStore::open(Path::new("."), &program).unwrap();
    let mut constants = Constants::new(&weights);
    let plan = |name: &&str| Plan::new(&program, &info, &mut constants, name, Precision::Exact).unwrap();
    look(functions.iter().map(plan).collect());
}

/// The names of the ops that are steps of `main`.
fn steps(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    with_plans(source, &["main"], |plans| {
        let name = |at: String| at.split('`').nth(1).unwrap_or_default().to_owned();
        names = plans[0].steps().map(|step| name(step.op)).collect();
    });
    names
}

#[test]
fn what_reads_constants_only_is_no_step() {
    assert_eq!(steps(FOLD), ["scaled", "y"]);
    assert_eq!(steps(ROWS), ["y", "z"]);
    assert_eq!(steps(LUT), ["y", "z"]);
}

#[test]
fn what_fails_stays_a_step_with_all_that_reads_it() {
    assert_eq!(steps(FAILS), ["bad", "more", "y"]);
}

#[test]
fn palettized_weights_stay_packed_beside_what_is_folded_of_them() {
    with_plans(LUT, &["main"], |plans| {
        let kernels: Vec<&str> = plans[0].steps().map(|step| step.kind).collect();
        assert_eq!(kernels, ["other op", "matrix product"]);
    });
}

#[test]
fn small_programs_make_no_large_constants() {
    let source = |rows: u32| {
        format!(
            r#"program(1.3) {{ func main<ios18>(tensor<fp32, [1]> x) {{
                tensor<fp32, [{rows}, 1024]> large = fill(shape = tensor<int32, [2]>([{rows}, 1024]), value = fp32(0x1p+0))[name = string("large")];
                tensor<fp32, [{rows}, 1]> sum = reduce_sum(axes = tensor<int32, [1]>([-1]), keep_dims = bool(true), x = large)[name = string("sum")];
                tensor<fp32, [{rows}, 1]> y = add(x = sum, y = x)[name = string("y")];
            }} -> (y); }}"#
        )
    };
    // Nearly 64 MiB, which are given up as soon as they have been summed, and a row more than 64 MiB.
    assert_eq!(steps(&source((1 << 14) - 64)), ["y"]);
    assert_eq!(steps(&source((1 << 14) + 1)), ["large", "sum", "y"]);
}

#[test]
fn short_programs_do_no_long_work() {
    // 2^11 · 2^12 · 2^11 products of numbers that a few words say.
    let source = r#"program(1.3) { func main<ios18>(tensor<fp32, [1]> x) {
        tensor<fp32, [2048, 4096]> a = fill(shape = tensor<int32, [2]>([2048, 4096]), value = fp32(0x1p+0))[name = string("a")];
        tensor<fp32, [2048, 2048]> b = matmul(transpose_x = bool(false), transpose_y = bool(true), x = a, y = a)[name = string("b")];
        tensor<fp32, [2048, 2048]> y = add(x = b, y = x)[name = string("y")];
    } -> (y); }"#;
    assert_eq!(steps(source), ["b", "y"]);
}

#[test]
fn extents_that_only_data_shows_are_not_asked_for() {
    let source = r#"program(1.3) { func main<ios18>(tensor<fp32, [1]> x) {
        tensor<int32, [2]> shape = add(x = tensor<int32, [2]>([1, 2]), y = int32(1))[name = string("shape")];
        tensor<fp32, [?, ?]> ones = fill(shape = shape, value = fp32(0x1p+0))[name = string("ones")];
        tensor<fp32, [?, ?]> y = add(x = ones, y = x)[name = string("y")];
    } -> (y); }"#;
    assert_eq!(steps(source), ["ones", "y"]);
}

#[test]
fn functions_share_what_is_folded() {
    let function = |name: &str, factor: &str| {
        format!(
            r#"func {name}<ios18>(tensor<fp32, [2]> x) {{
                tensor<fp32, [2]> squares = square(x = tensor<fp32, [2]>([1.0, 2.0]))[name = string("squares")];
                tensor<fp32, [2]> scaled = mul(x = squares, y = fp32({factor}))[name = string("scaled")];
                tensor<fp32, [2]> y = add(x = x, y = scaled)[name = string("y")];
            }} -> (y, scaled);"#
        )
    };
    let source = [function("a", "0x1p+1"), function("b", "0x1p+1"), function("c", "0x1p+2")].concat();
    with_plans(&format!("program(1.3) {{ {source} }}"), &["a", "b", "c"], |plans| {
        let tensors: Vec<_> = plans
            .iter()
            .map(|plan| match &plan.outputs[1].1 {
                Source::Constant(tensor) => tensor.clone(),
                Source::Slot { .. } => panic!("`scaled` is computed"),
            })
            .collect();
        assert!(std::sync::Arc::ptr_eq(&tensors[0], &tensors[1]));
        assert_eq!(tensors[0].as_f32s().unwrap(), [2.0, 8.0]);
        assert_eq!(tensors[2].as_f32s().unwrap(), [4.0, 16.0]);
    });
}
