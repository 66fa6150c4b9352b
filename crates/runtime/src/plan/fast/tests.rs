//! Which ops become one step. What the steps compute is tested by the programs in `tests/mil`.

use std::path::Path;

use anelith_mil::blob::WeightStore;
use anelith_mil::{text, validate};

use crate::plan::{Constants, Plan, Precision, StepInfo};

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
    let program = text::parse(source, "test").unwrap();
    let info = validate(&program).unwrap();
    let weights = WeightStore::open(Path::new("."), &program).unwrap();
    let plan = Plan::new(&program, &info, &mut Constants::new(&weights), "main", Precision::Fast).unwrap();
    plan.steps().collect()
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
