//! Which ops become one step. What the steps compute is tested by the programs in `tests/mil`.

use std::path::Path;

use anelith_mil::blob::WeightStore;
use anelith_mil::{text, validate};

use crate::plan::{Constants, Plan, Precision};

const NORM: &str = include_str!("../../../tests/mil/fused_norm.mil");
const ROTATE: &str = include_str!("../../../tests/mil/fused_rotate.mil");
const ATTENTION: &str = include_str!("../../../tests/mil/fused_attention.mil");
const STATE: &str = include_str!("../../../tests/mil/state_before.mil");
const VIEWS: &str = include_str!("../../../tests/mil/views.mil");

/// The kinds of the steps of `main`.
fn kinds(source: &str) -> Vec<&'static str> {
    let program = text::parse(source, "test").unwrap();
    let info = validate(&program).unwrap();
    let weights = WeightStore::open(Path::new("."), &program).unwrap();
    let plan = Plan::new(&program, &info, &mut Constants::new(&weights), "main", Precision::Fast).unwrap();
    plan.steps().map(|step| step.kind).collect()
}

#[test]
fn groups_become_one_step() {
    // The pair of the second norm is read by the caller too, so it stays.
    let fused = ["norm", "other op", "other op", "other op"];
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
