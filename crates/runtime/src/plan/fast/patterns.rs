//! Groups of ops that one step does at once, found by their form.
//!
//! A group is replaced as a whole or not at all, so nothing but its last op may be read from outside.

use std::collections::{BTreeMap, BTreeSet};

use anelith_mil::{Op, Opcode, VarId};

use super::graph::Graph;
use super::views::{StateViews, slice_begin};

/// What a group of ops computes.
#[derive(Clone, Debug)]
pub(super) enum Fusion {
    /// `x` over the root of its mean square along the last axis; times a weight where the last op is a `mul`.
    Norm { x: VarId, epsilon: f32, is_weighted: bool },
    /// `x · cos + (-x₂, x₁) · sin` for the halves x₁ and x₂ of the last axis.
    Rotate { x: VarId, cos: VarId, sin: VarId },
    /// Scaled products with rows of a state, a mask added, softmax, and the sum of other rows so weighted.
    Attend { queries: VarId, keys: VarId, values: VarId, mask: VarId, scale: f32 },
    /// `silu(gate) · up`.
    Gate { gate: VarId, up: VarId },
    /// A box of a state replaced: the op that says which, and what it is replaced by.
    Store { slice_update: usize, update: VarId },
    /// Functions of elements, one upon the other: the ops before the last one, and the variables that they read.
    Chain { inner: Vec<usize>, inputs: Vec<VarId> },
}

/// The groups of a function.
#[derive(Debug, Default)]
pub(super) struct Fusions {
    /// By the index of the last op.
    pub(super) by_last: BTreeMap<usize, Fusion>,
    /// The other ops of all groups.
    pub(super) covered: BTreeSet<usize>,
}

/// One match.
pub(super) struct Group {
    pub(super) last: usize,
    pub(super) inner: Vec<usize>,
    pub(super) fusion: Fusion,
}

impl Group {
    /// Whether the group's ops are all steps, and what it reads is computed, outside of it, and still there when its
    /// last op runs.
    fn is_sound(&self, graph: &Graph<'_>, views: &StateViews) -> bool {
        let inputs = match &self.fusion {
            Fusion::Norm { x, .. } => vec![x],
            Fusion::Rotate { x, cos, sin } => vec![x, cos, sin],
            Fusion::Attend { queries, keys, values, mask, .. } => vec![queries, keys, values, mask],
            Fusion::Gate { gate, up } => vec![gate, up],
            Fusion::Store { update, .. } => vec![update],
            Fusion::Chain { inputs, .. } => inputs.iter().collect(),
        };
        let are_steps = self.inner.iter().all(|op| graph.is_step(*op)) && graph.is_step(self.last);
        are_steps
            && inputs.into_iter().all(|var| {
                let is_outside =
                    graph.is_computed(*var) && !self.inner.iter().any(|op| graph.makes(*op, *var));
                is_outside && views.get(var).is_none_or(|view| self.last <= view.until)
            })
    }
}

impl Fusions {
    /// Finds the groups of a function; no op is in two.
    pub(super) fn find(graph: &Graph<'_>, views: &StateViews) -> Fusions {
        let mut found = Fusions::default();
        for index in 0..graph.function.ops.len() {
            let group = match graph.opcode(index) {
                Some(Opcode::LayerNorm) => norm(graph, index),
                Some(Opcode::Add) => rotate(graph, index),
                Some(Opcode::Matmul) => attend(graph, views, index),
                Some(Opcode::Mul) => gate(graph, index),
                Some(Opcode::WriteState) => store(graph, views, index),
                _ => None,
            };
            if let Some(group) = group {
                found.insert(group, graph, views);
            }
        }
        found
    }

    /// Whether the op at `index` is in a group.
    pub(super) fn takes(&self, index: usize) -> bool {
        self.covered.contains(&index) || self.by_last.contains_key(&index)
    }

    /// Adds a group if it is sound and none of its ops is taken.
    pub(super) fn insert(&mut self, group: Group, graph: &Graph<'_>, views: &StateViews) {
        let is_free = !group.inner.iter().chain([&group.last]).any(|op| self.takes(*op));
        if is_free && group.is_sound(graph, views) {
            self.by_last.insert(group.last, group.fusion);
            self.covered.extend(group.inner);
        }
    }
}

/// The factor of a `mul` by a literal, and what it multiplies.
fn scaled<'f>(graph: &Graph<'f>, op: &'f Op) -> Option<(VarId, f32)> {
    match (graph.number(op, "x"), graph.number(op, "y")) {
        (None, Some(factor)) => Some((graph.var(op, "x")?, factor)),
        (Some(factor), None) => Some((graph.var(op, "y")?, factor)),
        _ => None,
    }
}

/// The two operands of a `concat` along the last axis, in order.
fn joined<'f>(graph: &Graph<'f>, op: &'f Op) -> Option<[VarId; 2]> {
    let values: [VarId; 2] = graph.vars(op, "values")?.try_into().ok()?;
    let rank = graph.shape(graph.result(op)?)?.len();
    let interleave = graph.flags(op, "interleave", 1)?;
    (interleave == [false] && graph.is_last_axis(op, "axis", rank)).then_some(values)
}

/// The part of its operand's last axis that a slice cuts out, of an operand that it leaves whole otherwise: the
/// operand, the first position and the number of positions.
fn part_of_rows<'f>(graph: &Graph<'f>, index: usize) -> Option<(VarId, usize, usize)> {
    let op = graph.op(index, Opcode::SliceByIndex)?;
    let x = graph.var(op, "x")?;
    let (from, to) = (graph.shape(x)?, graph.shape(graph.result(op)?)?);
    let (length, outer) = to.split_last()?;
    let begin = slice_begin(graph, index)?;
    let (first, others) = begin.split_last()?;
    let is_whole = from.split_last()?.1 == outer && others.iter().all(|b| *b == 0);
    (is_whole && first + length <= *from.last()?).then_some((x, *first, *length))
}

/// The one op that reads `var`, which the function does not return.
fn sole_reader(graph: &Graph<'_>, var: VarId) -> Option<usize> {
    match graph.readers(var) {
        [reader] if !graph.is_returned(var) => Some(*reader),
        _ => None,
    }
}

/// The norm of (x, -x), whose mean is zero, cut back to x.
fn norm(graph: &Graph<'_>, index: usize) -> Option<Group> {
    let op = graph.op(index, Opcode::LayerNorm)?;
    let shape = graph.shape(graph.result(op)?)?;
    let is_plain = !op.inputs.contains_key("gamma") && !op.inputs.contains_key("beta");
    if !is_plain || !graph.is_last_axis(op, "axes", shape.len()) {
        return None;
    }
    let epsilon = graph.number(op, "epsilon")?;
    let (concat, pair) = graph.made_for(graph.var(op, "x")?, index, Opcode::Concat)?;
    let [x, negative] = joined(graph, pair)?;
    let (negate, negation) = graph.made_for(negative, concat, Opcode::Mul)?;
    if scaled(graph, negation)? != (x, -1.0) || !graph.is_float(x) {
        return None;
    }
    let slice = sole_reader(graph, graph.result(op)?)?;
    let length = *graph.shape(x)?.last()?;
    if part_of_rows(graph, slice)?.1 != 0 || part_of_rows(graph, slice)?.2 != length {
        return None;
    }
    let weighted = weight_after(graph, slice, length);
    let mut inner = vec![negate, concat, index];
    if weighted.is_some() {
        inner.push(slice);
    }
    let fusion = Fusion::Norm { x, epsilon, is_weighted: weighted.is_some() };
    Some(Group { last: weighted.unwrap_or(slice), inner, fusion })
}

/// The `mul` by `length` constants that alone reads the result of the op at `index`.
fn weight_after(graph: &Graph<'_>, index: usize, length: usize) -> Option<usize> {
    let normed = graph.result(graph.function.ops.get(index)?)?;
    let reader = sole_reader(graph, normed)?;
    let op = graph.op(reader, Opcode::Mul)?;
    let other = if graph.var(op, "x") == Some(normed) { "y" } else { "x" };
    let weight = graph.var(op, other)?;
    let is_known = graph.maker(weight).is_some_and(|maker| !graph.is_step(maker));
    let is_row = is_known && graph.shape(weight)? == [length];
    is_row.then_some(reader)
}

fn rotate(graph: &Graph<'_>, index: usize) -> Option<Group> {
    let op = graph.op(index, Opcode::Add)?;
    let (straight, with_cos) = graph.made_for(graph.var(op, "x")?, index, Opcode::Mul)?;
    let (across, with_sin) = graph.made_for(graph.var(op, "y")?, index, Opcode::Mul)?;
    let (x, cos) = (graph.var(with_cos, "x")?, graph.var(with_cos, "y")?);
    let (turned, sin) = (graph.var(with_sin, "x")?, graph.var(with_sin, "y")?);
    let (concat, pair) = graph.made_for(turned, across, Opcode::Concat)?;
    let [negative, first] = joined(graph, pair)?;
    let (negate, negation) = graph.made_for(negative, concat, Opcode::Mul)?;
    let (second, factor) = scaled(graph, negation)?;
    let (cut_second, _) = graph.made_for(second, negate, Opcode::SliceByIndex)?;
    let (cut_first, _) = graph.made_for(first, concat, Opcode::SliceByIndex)?;
    let shape = graph.shape(x)?;
    let half = shape.last()? / 2;
    let halves = part_of_rows(graph, cut_first)? == (x, 0, half)
        && part_of_rows(graph, cut_second)? == (x, half, shape.last()? - half)
        && 2 * half == *shape.last()?;
    // One angle for each token, whatever the head: [1, 1, tokens, size] beside [1, heads, tokens, size].
    let angles = [1, 1, *shape.get(2)?, 2 * half];
    let fits = shape.len() == 4 && shape[0] == 1 && graph.is_float(x);
    let fits = fits && graph.shape(cos)? == angles && graph.shape(sin)? == angles;
    let inner = vec![straight, across, concat, negate, cut_first, cut_second];
    (factor == -1.0 && halves && fits).then_some(Group {
        last: index,
        inner,
        fusion: Fusion::Rotate { x, cos, sin },
    })
}

fn attend(graph: &Graph<'_>, views: &StateViews, index: usize) -> Option<Group> {
    let op = graph.op(index, Opcode::Matmul)?;
    let is_product = |op, transposes: bool| {
        let (x, y) = (graph.flags(op, "transpose_x", 1)?, graph.flags(op, "transpose_y", 1)?);
        (x == [false] && y == [transposes]).then_some(())
    };
    is_product(op, false)?;
    let (softmax, weights) = graph.made_for(graph.var(op, "x")?, index, Opcode::Softmax)?;
    let (add, masked) = graph.made_for(graph.var(weights, "x")?, softmax, Opcode::Add)?;
    let mask = graph.var(masked, "y")?;
    let (mul, scaling) = graph.made_for(graph.var(masked, "x")?, add, Opcode::Mul)?;
    let (scores, scale) = scaled(graph, scaling)?;
    let (product, with_keys) = graph.made_for(scores, mul, Opcode::Matmul)?;
    is_product(with_keys, true)?;
    let queries = graph.var(with_keys, "x")?;
    let mut inner = vec![softmax, add, mul, product];
    let keys = unrepeated(graph, graph.var(with_keys, "y")?, product, &mut inner);
    let values = unrepeated(graph, graph.var(op, "y")?, index, &mut inner);
    let [one, heads, count, size] = graph.shape(queries)?.try_into().ok()?;
    let cache = cache_rows(graph, views, keys, index, [heads, size])?;
    let fits = one == 1
        && graph.is_last_axis(weights, "axis", 4)
        && cache_rows(graph, views, values, index, [heads, size])? == cache
        && graph.shape(mask)? == [1, 1, count, cache[1]]
        && graph.shape(graph.result(op)?)? == [1, heads, count, size];
    fits.then_some(Group {
        last: index,
        inner,
        fusion: Fusion::Attend { queries, keys, values, mask, scale },
    })
}

/// What is behind a `tile` and a `reshape` that repeat each head of keys or values for several heads of queries;
/// `var` itself where nothing is repeated.
fn unrepeated(graph: &Graph<'_>, var: VarId, reader: usize, inner: &mut Vec<usize>) -> VarId {
    let behind = || {
        let (reshape, merged) = graph.made_for(var, reader, Opcode::Reshape)?;
        let (tile, repeated) = graph.made_for(graph.var(merged, "x")?, reshape, Opcode::Tile)?;
        let x = graph.var(repeated, "x")?;
        let [heads, one, length, size] = graph.shape(x)?.try_into().ok()?;
        let [_, repeats, ..] = graph.shape(graph.result(repeated)?)?[..] else { return None };
        let is_repetition = one == 1
            && graph.shape(graph.result(repeated)?)? == [heads, repeats, length, size]
            && graph.shape(var)? == [1, heads * repeats, length, size];
        is_repetition.then_some((x, [reshape, tile]))
    };
    match behind() {
        Some((x, ops)) => {
            inner.extend(ops);
            x
        }
        None => var,
    }
}

/// How many heads keys or values have, a divisor of `heads`, and how many rows of `size` numbers each of them has;
/// `None` where they are not a part of a state that is still in place when the op at `index` runs.
fn cache_rows(
    graph: &Graph<'_>,
    views: &StateViews,
    var: VarId,
    index: usize,
    [heads, size]: [usize; 2],
) -> Option<[usize; 2]> {
    let view = views.get(&var).filter(|view| index < view.until)?;
    // Heads lie on the first axis before they are repeated, on the second where they are not.
    let [a, b, rows, length] = graph.shape(var)?.try_into().ok()?;
    let fits = length == size && a.min(b) == 1 && heads.is_multiple_of(a * b);
    let strides = &view.layout.strides[2..];
    let is_packed = (length == 1 || strides[1] == 1) && (rows == 1 || strides[0] == size);
    (fits && is_packed).then_some([a * b, rows])
}

fn gate(graph: &Graph<'_>, index: usize) -> Option<Group> {
    let op = graph.op(index, Opcode::Mul)?;
    let (x, y) = (graph.var(op, "x")?, graph.var(op, "y")?);
    let activated = |var| graph.made_for(var, index, Opcode::Silu);
    let ((silu, activation), up) = match activated(x) {
        Some(found) => (found, y),
        None => (activated(y)?, x),
    };
    let gate = graph.var(activation, "x")?;
    let fits = graph.literal(op, "x").is_none()
        && graph.literal(op, "y").is_none()
        && graph.shape(gate)? == graph.shape(up)?
        && graph.is_float(gate);
    fits.then_some(Group { last: index, inner: vec![silu], fusion: Fusion::Gate { gate, up } })
}

/// A state read, a box of it replaced, and written again, with no write in between.
fn store(graph: &Graph<'_>, views: &StateViews, index: usize) -> Option<Group> {
    let op = graph.op(index, Opcode::WriteState)?;
    let state = graph.var(op, "input")?;
    let (slice_update, replaced) = graph.made_for(graph.var(op, "data")?, index, Opcode::SliceUpdate)?;
    let x = graph.var(replaced, "x")?;
    graph.made_by(x, Opcode::ReadState)?;
    let update = graph.var(replaced, "update")?;
    let fits = views.get(&x).is_some_and(|view| view.state == state && view.until == index)
        && graph.shape(update)?.len() == graph.shape(state)?.len()
        && graph.is_float(update);
    fits.then_some(Group {
        last: index,
        inner: vec![slice_update],
        fusion: Fusion::Store { slice_update, update },
    })
}
