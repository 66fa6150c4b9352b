//! States: how many, of which shapes, and what is written to them and read from them.

use std::collections::BTreeSet;

use anelith_mil::{DataType, Op, OpKind, Opcode, Operand, VarId};

use crate::finding::Findings;
use crate::rule;
use crate::view::{View, known};

/// What the last dimension of a state must be a multiple of.
const ALIGNMENT: u64 = 32;

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    let states: Vec<_> = view.states().collect();
    for (var, ty) in &states {
        let at = || format!("state `{}`", var.name);
        if ty.shape.last().and_then(known).is_some_and(|extent| !extent.is_multiple_of(ALIGNMENT)) {
            let expected = "a last dimension that is a multiple of 32";
            findings.in_function(&rule::STATE_ALIGNMENT, view.function, at(), expected, ty.to_string());
        }
        if ty.dtype != DataType::Fp16 {
            findings.in_function(&rule::STATE_DTYPE, view.function, at(), "fp16", ty.to_string());
        }
    }
    let names = || states.iter().map(|(var, ty)| format!("{} {ty}", var.name)).collect::<Vec<_>>().join(", ");
    match states.len() {
        0 | 1 => {}
        2 => findings.in_function(&rule::ONE_STATE, view.function, "inputs".into(), "one state", names()),
        _ => findings.in_function(
            &rule::STATE_COUNT,
            view.function,
            "inputs".into(),
            "one state, or two",
            names(),
        ),
    }
    if states.windows(2).any(|pair| pair[0].1 != pair[1].1) {
        let expected = "states of one type";
        findings.in_function(&rule::UNIFORM_STATES, view.function, "inputs".into(), expected, names());
    }
    for op in &view.function.ops {
        update(view, op, findings);
        transpose(view, op, findings);
    }
    returned(view, findings);
}

/// Functions that have states have those of the first one that has any.
pub(super) fn check_layouts(views: &[View<'_>], findings: &mut Findings) {
    let layout = |view: &View<'_>| {
        view.states().map(|(var, ty)| format!("{} {ty}", var.name)).collect::<BTreeSet<String>>()
    };
    let joined = |states: &BTreeSet<String>| states.iter().cloned().collect::<Vec<_>>().join(", ");
    let mut stateful = views.iter().map(|view| (view, layout(view))).filter(|(_, states)| !states.is_empty());
    let Some((first, expected)) = stateful.next() else { return };
    for (view, states) in stateful.filter(|(_, states)| *states != expected) {
        let expected = format!("the states of `{}`: {}", first.function.name, joined(&expected));
        let at = "inputs".to_owned();
        findings.in_function(&rule::STATE_LAYOUT, view.function, at, expected, joined(&states));
    }
}

/// What is written has the element type of what it is written into.
fn update(view: &View<'_>, op: &Op, findings: &mut Findings) {
    let (into, what) = match &op.kind {
        OpKind::Known(Opcode::SliceUpdate) => ("x", "update"),
        OpKind::Known(Opcode::WriteState) => ("input", "data"),
        _ => return,
    };
    let (Some(target), Some(written)) = (view.tensor(op, into), view.tensor(op, what)) else { return };
    if target.dtype != written.dtype {
        let expected = format!("{what} of {}, as {into} is", target.dtype);
        findings.at_op(&rule::UPDATE_DTYPE, view.function, op, expected, written.to_string());
    }
}

/// A transposed state, be it read through ops that only choose or reshape.
fn transpose(view: &View<'_>, op: &Op, findings: &mut Findings) {
    if !op.kind.is(Opcode::Transpose) {
        return;
    }
    // An invalid program may read in circles.
    let mut source = view.source(op, "x");
    for _ in 0..view.function.ops.len() {
        let Some(reader) = source else { return };
        if reader.kind.is(Opcode::ReadState) {
            let expected = "the state in the order of axes it has";
            let found = format!("a transpose of what `{}` reads", reader.name());
            findings.at_op(&rule::STATE_TRANSPOSE, view.function, op, expected, found);
            return;
        }
        if !is_view(&reader.kind) {
            return;
        }
        source = view.source(reader, "x");
    }
}

/// Whether an op gives elements of `x` as they are, in their order.
fn is_view(kind: &OpKind) -> bool {
    use Opcode::{ExpandDims, Identity, Reshape, SliceByIndex, SliceBySize, Split, Squeeze, Tile};
    let views = [ExpandDims, Identity, Reshape, SliceByIndex, SliceBySize, Split, Squeeze, Tile];
    views.into_iter().any(|opcode| kind.is(opcode))
}

/// Values that are returned and also written to a state.
fn returned(view: &View<'_>, findings: &mut Findings) {
    let outputs: BTreeSet<VarId> = view.function.outputs.iter().copied().collect();
    for op in view.function.ops.iter().filter(|op| op.kind.is(Opcode::WriteState)) {
        if let Some(Operand::Var(id)) = view.operand(op, "data")
            && outputs.contains(id)
        {
            let name = view.var(*id).map_or("", |var| var.name.as_str());
            let found = format!("`{name}` is an output of the function");
            let expected = "a value that is not returned";
            findings.at_op(&rule::STATE_RETURNED, view.function, op, expected, found);
        }
    }
}
