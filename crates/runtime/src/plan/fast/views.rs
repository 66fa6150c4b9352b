//! Ops that give the elements of their operand another layout, or none at all, and what of a state they lead to.

use std::collections::BTreeMap;

use anelith_mil::{Op, Opcode, VarId};

use super::graph::Graph;
use super::layout::Layout;

/// The layout of the result of the op at `index`, whose operand `x` has the layout `x`; `None` where the op does
/// more than look at its operand in another way.
pub(super) fn view(graph: &Graph<'_>, index: usize, x: &Layout) -> Option<Layout> {
    let op = graph.function.ops.get(index)?;
    let shape = graph.shape(graph.result(op)?)?;
    match graph.opcode(index)? {
        Opcode::Identity => Some(x.clone()),
        // Floating-point numbers of either width are held as `f32`, and not rounded.
        Opcode::Cast => {
            let is_float = graph.is_float(graph.var(op, "x")?) && graph.is_float(graph.result(op)?);
            is_float.then(|| x.clone())
        }
        Opcode::Reshape | Opcode::ExpandDims | Opcode::Squeeze => x.reshaped(&shape),
        Opcode::Transpose => {
            let rank = x.shape.len();
            let axis = |axis: i32| usize::try_from(if axis < 0 { axis + rank as i32 } else { axis }).ok();
            let perm = graph.integers(op, "perm")?.into_iter().map(axis).collect::<Option<Vec<_>>>()?;
            (perm.len() == rank && perm.iter().all(|a| *a < rank)).then(|| x.transposed(&perm))
        }
        Opcode::SliceByIndex => {
            let begin = slice_begin(graph, index)?;
            let fits = begin.iter().zip(&shape).zip(&x.shape).all(|((b, n), extent)| b + n <= *extent);
            fits.then(|| x.cut(&begin, &shape))
        }
        _ => None,
    }
}

/// Where the slice that the op at `index` cuts begins, one entry an axis; `None` where that is not known, where it
/// takes steps or drops an axis.
pub(super) fn slice_begin(graph: &Graph<'_>, index: usize) -> Option<Vec<usize>> {
    let op = graph.op(index, Opcode::SliceByIndex)?;
    let extents = graph.shape(graph.var(op, "x")?)?;
    let rank = extents.len();
    if graph.flags(op, "squeeze_mask", rank)?.contains(&true) {
        return None;
    }
    if op.inputs.contains_key("stride") && graph.integers(op, "stride")?.iter().any(|s| *s != 1) {
        return None;
    }
    let begin = graph.integers(op, "begin")?;
    let is_open = graph.flags(op, "begin_mask", rank)?;
    let start = |axis: usize| match (is_open[axis], usize::try_from(*begin.get(axis)?)) {
        (true, _) => Some(0),
        (false, Ok(start)) => Some(start),
        (false, Err(_)) => extents[axis].checked_sub(begin[axis].unsigned_abs() as usize),
    };
    (0..rank).map(start).collect()
}

/// A variable that is part of a state, as it was when it was read.
#[derive(Clone, Debug)]
pub(super) struct StateView {
    pub(super) state: VarId,
    pub(super) layout: Layout,
    /// The op that writes the state next: up to it the state itself is what was read.
    pub(super) until: usize,
}

/// The variables that can be read from a state itself, without a copy.
pub(super) type StateViews = BTreeMap<VarId, StateView>;

/// Finds the variables that are parts of fp16 states.
pub(super) fn state_views(graph: &Graph<'_>) -> StateViews {
    let mut views = StateViews::new();
    for (index, op) in graph.function.ops.iter().enumerate() {
        if let Some((var, view)) = state_view(graph, index, op, &views) {
            views.insert(var, view);
        }
    }
    // What is read after the state has changed needs what was there before; then nothing of that state is shared.
    let is_late = |(var, view): (&VarId, &StateView)| {
        graph.is_returned(*var) || graph.readers(*var).iter().any(|reader| *reader >= view.until)
    };
    let stale: Vec<VarId> = views.iter().filter(|v| is_late(*v)).map(|(_, view)| view.state).collect();
    views.retain(|_, view| !stale.contains(&view.state));
    views
}

fn state_view(graph: &Graph<'_>, index: usize, op: &Op, views: &StateViews) -> Option<(VarId, StateView)> {
    let result = graph.result(op)?;
    if let Some(op) = graph.op(index, Opcode::ReadState) {
        let state = graph.var(op, "input")?;
        let layout = Layout::plain(&graph.shape(state)?);
        let until = next_write(graph, index, state);
        return graph.is_fp16(result).then_some((result, StateView { state, layout, until }));
    }
    let base = views.get(&graph.var(op, "x")?)?;
    let layout = view(graph, index, &base.layout)?;
    Some((result, StateView { layout, ..base.clone() }))
}

/// The first op after `index` that writes `state`; the number of ops if none does.
fn next_write(graph: &Graph<'_>, index: usize, state: VarId) -> usize {
    let ops = &graph.function.ops;
    let writes = |op: &Op| op.kind.is(Opcode::WriteState) && graph.var(op, "input") == Some(state);
    ops.iter().skip(index + 1).position(writes).map_or(ops.len(), |after| index + 1 + after)
}
