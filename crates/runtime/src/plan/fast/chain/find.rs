//! Which ops become a chain.

use std::collections::{BTreeMap, BTreeSet};

use anelith_mil::{DataType, VarId};

use super::MOST_OPS;
use crate::ops::Function;
use crate::plan::fast::graph::Graph;
use crate::plan::fast::patterns::{Fusion, Fusions, Group};
use crate::plan::fast::views::StateViews;
use crate::plan::{Action, Source, Step};
use crate::tensor::{Tensor, TensorData};

/// An op that may be in a chain.
struct Candidate {
    function: Function,
    result: VarId,
    shape: Vec<usize>,
    /// The variables among its operands.
    inputs: Vec<VarId>,
}

/// Adds to `fusions` the chains among the ops that are in no other group. A chain is grown from its last op: it takes
/// in what makes an operand of it, if that has the shape of the result and nobody else reads it.
pub(in crate::plan::fast) fn find(
    steps: &[Step],
    graph: &Graph<'_>,
    views: &StateViews,
    fusions: &mut Fusions,
) {
    let candidates = steps.iter().filter_map(|step| Some((step.op, candidate(step, graph)?)));
    let candidates: BTreeMap<usize, Candidate> = candidates.collect();
    for (last, candidate) in candidates.iter().rev() {
        // A cast alone is a view.
        if matches!(candidate.function, Function::Same) || fusions.takes(*last) {
            continue;
        }
        let members = grow(*last, &candidates, graph, views, fusions);
        if members.len() > 1 || !is_sum(*last, candidate, graph) {
            let mut inner: Vec<usize> = members.into_iter().collect();
            inner.pop();
            let reads = inner.iter().chain([last]).flat_map(|op| &candidates[op].inputs);
            let inputs =
                reads.filter(|var| !inner.iter().any(|op| graph.makes(*op, **var))).copied().collect();
            let fusion = Fusion::Chain { inner: inner.clone(), inputs };
            fusions.insert(Group { last: *last, inner, fusion }, graph, views);
        }
    }
}

/// The ops of the chain that ends with `last`.
fn grow(
    last: usize,
    candidates: &BTreeMap<usize, Candidate>,
    graph: &Graph<'_>,
    views: &StateViews,
    fusions: &Fusions,
) -> BTreeSet<usize> {
    let end = &candidates[&last];
    let makers = |candidate: &Candidate| -> Vec<usize> {
        candidate.inputs.iter().filter_map(|var| graph.maker(*var)).collect()
    };
    // Filled one by one: valgrind takes how sets are made of a sequence for a use of what is not initialised.
    let (mut members, mut open) = (BTreeSet::new(), BTreeSet::new());
    members.insert(last);
    open.extend(makers(end));
    // From the last to the first, so that all readers of an op have been looked at before it is.
    while let Some(op) = open.pop_last() {
        let Some(candidate) = candidates.get(&op).filter(|_| members.len() < MOST_OPS && !fusions.takes(op))
        else {
            continue;
        };
        let is_inner = graph.readers(candidate.result).iter().all(|reader| members.contains(reader));
        let is_kept = graph.is_returned(candidate.result);
        // A state that is written before the last op runs must be read before.
        let is_there = |var: &VarId| views.get(var).is_none_or(|view| last <= view.until);
        if candidate.shape == end.shape && is_inner && !is_kept && candidate.inputs.iter().all(is_there) {
            members.insert(op);
            open.extend(makers(candidate));
        }
    }
    members
}

/// Whether the op is a sum of two computed tensors of one shape, for which there is a kernel.
fn is_sum(op: usize, candidate: &Candidate, graph: &Graph<'_>) -> bool {
    let are_alike = candidate.inputs.iter().all(|var| graph.shape(*var).as_ref() == Some(&candidate.shape));
    graph.op(op, anelith_mil::Opcode::Add).is_some() && candidate.inputs.len() == 2 && are_alike
}

/// The step as an op of a chain, if it does to each element of floating-point numbers something of its own.
fn candidate(step: &Step, graph: &Graph<'_>) -> Option<Candidate> {
    let Action::Run(operation, sources) = &step.action else { return None };
    let function = operation.function().filter(|function| function.arity() == sources.len())?;
    let result = graph.result(graph.function.ops.get(step.op)?)?;
    let shape = graph.shape(result).filter(|_| graph.is_float(result))?;
    let mut inputs = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let is_flags = index == 0 && matches!(function, Function::Select);
        let from = match source {
            Source::Constant(tensor) => tensor.shape().to_vec(),
            Source::Slot { slot, .. } => graph.shape(VarId(*slot as u32))?,
        };
        let is_class = match source {
            Source::Constant(tensor) => is_of_class(tensor, is_flags),
            Source::Slot { slot, .. } if is_flags => graph.dtype(VarId(*slot as u32)) == Some(DataType::Bool),
            Source::Slot { slot, .. } => graph.is_float(VarId(*slot as u32)),
        };
        if !is_class || !broadcasts(&from, &shape) {
            return None;
        }
        if let Source::Slot { slot, .. } = source {
            inputs.push(VarId(*slot as u32));
        }
    }
    Some(Candidate { function, result, shape, inputs })
}

fn is_of_class(tensor: &Tensor, is_flags: bool) -> bool {
    match tensor.data() {
        TensorData::F32(_) => !is_flags,
        TensorData::Bool(_) => is_flags,
        TensorData::I32(_) => false,
    }
}

/// Whether a tensor of shape `from` is repeated to fill `to`, or fills it.
fn broadcasts(from: &[usize], to: &[usize]) -> bool {
    let pairs = from.iter().rev().zip(to.iter().rev());
    from.len() <= to.len() && pairs.into_iter().all(|(from, to)| *from == 1 || from == to)
}
