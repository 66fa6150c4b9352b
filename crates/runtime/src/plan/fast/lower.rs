//! From the steps of a plain plan to those of a fast one: groups fused, views resolved, buffers shared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use anelith_mil::{Opcode, VarId};

use super::action::{self, Action, Attend, Rows, Weighted};
use super::buffers::{self, Life};
use super::chain::{self, Chain, Member};
use super::graph::Graph;
use super::layout::Layout;
use super::operand::{Operand, Place};
use super::patterns::{Fusion, Fusions};
use super::views::{StateViews, state_views, view};
use super::{Fast, FastStep};
use crate::kernels::Isa;
use crate::ops::Operation;
use crate::ops::weights::{Channels, Projection};
use crate::plan::{self, Feature, Plan, Source, Step};
use crate::tensor::Tensor;

/// Makes the fast form of one plan.
struct Lowering<'f> {
    graph: Graph<'f>,
    views: StateViews,
    /// Where each variable is, as far as its op has been lowered.
    operands: BTreeMap<VarId, Operand>,
    steps: Vec<FastStep>,
    /// The numbers that each buffer holds, one buffer a value so far.
    buffers: Vec<usize>,
    /// The name of the op that is lowered.
    at: String,
    isa: Isa,
}

/// The fast form of `plan`, which is of the function in `graph`; `plan` is left without steps and outputs. The
/// variables in `folded` have become constants.
///
/// # Errors
/// The op, and what is wrong with it.
pub(super) fn lower(
    plan: &mut Plan,
    folded: &BTreeMap<VarId, Arc<Tensor>>,
    graph: Graph<'_>,
    isa: Isa,
) -> Result<Fast, (String, String)> {
    let views = state_views(&graph);
    let mut fusions = Fusions::find(&graph, &views);
    chain::find(&plan.steps, &graph, &views, &mut fusions);
    let mut lowering = Lowering {
        graph,
        views,
        operands: folded.iter().map(|(var, tensor)| (*var, Operand::constant(tensor))).collect(),
        steps: Vec::new(),
        buffers: Vec::new(),
        at: String::new(),
        isa,
    };
    lowering.bind_inputs();
    let mut group_steps = BTreeMap::new();
    for step in std::mem::take(&mut plan.steps) {
        lowering.at.clone_from(&step.at);
        if fusions.covered.contains(&step.op) {
            group_steps.insert(step.op, step);
        } else if let Some(fusion) = fusions.by_last.get(&step.op) {
            lowering
                .fuse(fusion, step, &mut group_steps)
                .map_err(|problem| (lowering.at.clone(), problem))?;
        } else {
            lowering.step(step);
        }
    }
    let outputs = std::mem::take(&mut plan.outputs);
    let outputs = outputs.into_iter().map(|(feature, source)| (feature, lowering.operand(&source))).collect();
    Ok(lowering.finish(outputs, plan.slots))
}

impl Lowering<'_> {
    fn bind_inputs(&mut self) {
        for var in &self.graph.function.inputs {
            self.bind_slot(*var);
        }
    }

    /// Notes that `var` is a tensor in the slot of its own.
    fn bind_slot(&mut self, var: VarId) {
        let (slot, last) = (var.0 as usize, false);
        let operand = match self.graph.shape(var) {
            Some(shape) => Operand { place: Place::Slot { slot, last }, layout: Layout::plain(&shape) },
            None => Operand { place: Place::Flexible { slot, last }, layout: Layout::plain(&[]) },
        };
        self.operands.insert(var, operand);
    }

    fn operand(&self, source: &Source) -> Operand {
        match source {
            Source::Constant(tensor) => Operand::constant(tensor),
            Source::Slot { slot, .. } => self.of(VarId(*slot as u32)),
        }
    }

    fn of(&self, var: VarId) -> Operand {
        let place = Place::Flexible { slot: var.0 as usize, last: false };
        let unknown = || Operand { place, layout: Layout::plain(&[]) };
        self.operands.get(&var).cloned().unwrap_or_else(unknown)
    }

    fn push(&mut self, action: Action) {
        self.steps.push(FastStep { at: self.at.clone(), action, given_up: Vec::new() });
    }

    /// A buffer for `count` numbers.
    fn buffer(&mut self, count: usize) -> usize {
        self.buffers.push(count);
        self.buffers.len() - 1
    }

    /// Binds `var` to a buffer as large as it, in which it has the layout `layout`.
    fn bind(&mut self, var: VarId, layout: Layout) -> usize {
        let buffer = self.buffer(layout.count());
        self.operands.insert(var, Operand { place: Place::Buffer(buffer), layout });
        buffer
    }

    /// `operand` in row-major order.
    fn copied(&mut self, operand: &Operand) -> Operand {
        let layout = Layout::plain(&operand.layout.shape);
        let out = self.buffer(layout.count());
        self.push(Action::Copy { x: operand.clone(), out });
        Operand { place: Place::Buffer(out), layout }
    }

    /// `operand`, copied unless it `fits` as it lies.
    fn fitted(&mut self, operand: Operand, fits: impl Fn(&Layout) -> bool) -> Operand {
        let is_state = matches!(operand.place, Place::State(_));
        if !is_state && fits(&operand.layout) { operand } else { self.copied(&operand) }
    }

    /// Lowers an op that is in no group.
    fn step(&mut self, step: Step) {
        let result = self.graph.function.ops.get(step.op).and_then(|op| self.graph.result(op));
        match step.action {
            plan::Action::Read { state, take } => self.read(step.op, state, take, result),
            plan::Action::Write { state, data } => {
                let data = self.operand(&data);
                self.push(Action::Write { state, data });
            }
            plan::Action::Project(projection, x) => {
                let x = self.operand(&x);
                match result.filter(|_| projection.takes(&x.layout.shape) && x.has_shape()) {
                    Some(var) => self.project(projection, x, var),
                    None => self.run(Box::new(projection), vec![x], step.outputs),
                }
            }
            plan::Action::PickRows(lookup, indices) => {
                let indices = self.operand(&indices);
                match result.and_then(|var| Some((var, self.graph.shape(var)?))) {
                    Some((var, shape)) if indices.has_shape() => {
                        let out = self.bind(var, Layout::plain(&shape));
                        self.push(Action::PickRows { lookup, indices, out });
                    }
                    _ => self.run(Box::new(lookup), vec![indices], step.outputs),
                }
            }
            plan::Action::Update(update, sources) => {
                let inputs = sources.iter().map(|source| self.operand(source)).collect();
                self.run(Box::new(update), inputs, step.outputs);
            }
            plan::Action::Run(operation, sources) => {
                let inputs: Vec<Operand> = sources.iter().map(|source| self.operand(source)).collect();
                if let Some(var) = result
                    && (self.look(step.op, &inputs, var) || self.add(step.op, &inputs, var))
                {
                    return;
                }
                self.run(operation, inputs, step.outputs);
            }
        }
    }

    /// Any op, on tensors.
    fn run(&mut self, operation: Box<dyn Operation>, inputs: Vec<Operand>, outputs: Vec<plan::Target>) {
        for slot in outputs.iter().filter_map(|target| target.slot) {
            self.bind_slot(VarId(slot as u32));
        }
        let target = |t: plan::Target| action::Target { slot: t.slot, ty: t.ty, finish: t.finish };
        let outputs = outputs.into_iter().map(target).collect();
        self.push(Action::Run { operation, inputs, outputs });
    }

    fn read(&mut self, index: usize, state: String, take: bool, result: Option<VarId>) {
        let Some(var) = result else { return };
        if let Some(view) = self.views.get(&var) {
            let operand = Operand { place: Place::State(state), layout: view.layout.clone() };
            self.operands.insert(var, operand);
            return;
        }
        self.bind_slot(var);
        // Whoever reads an fp16 state after it has changed needs it as it was.
        let is_half = self.graph.op(index, Opcode::ReadState).is_some() && self.graph.is_fp16(var);
        match self.graph.shape(var).filter(|_| is_half) {
            Some(shape) => {
                let operand = Operand { place: Place::State(state), layout: Layout::plain(&shape) };
                let copy = self.copied(&operand);
                self.operands.insert(var, copy);
            }
            None => self.push(Action::Read { state, take, slot: Some(var.0 as usize) }),
        }
    }

    /// Whether the op at `index` only looks at its operand in another way, which is noted.
    fn look(&mut self, index: usize, inputs: &[Operand], var: VarId) -> bool {
        let Some(x) = inputs.first().filter(|x| x.has_shape()) else { return false };
        let Some(layout) = view(&self.graph, index, &x.layout) else { return false };
        let operand = x.with(layout);
        self.operands.insert(var, operand);
        true
    }

    /// Whether the op at `index` adds two computed tensors of equal shape, which becomes a step.
    fn add(&mut self, index: usize, inputs: &[Operand], var: VarId) -> bool {
        let [x, y] = inputs else { return false };
        let computed = |x: &Operand| !matches!(x.place, Place::Constant(_));
        let shape = self.graph.shape(var);
        let fits = self.graph.op(index, Opcode::Add).is_some()
            && self.graph.is_float(var)
            && shape.is_some_and(|shape| shape == x.layout.shape && shape == y.layout.shape)
            && computed(x)
            && computed(y);
        if fits {
            let [x, y] = self.alike([x.clone(), y.clone()]);
            let out = self.bind(var, Layout { offset: 0, ..x.layout.clone() });
            self.push(Action::Add { x, y, out });
        }
        fits
    }

    /// Two operands of equal shape whose elements lie in the same order, without gaps.
    fn alike(&mut self, operands: [Operand; 2]) -> [Operand; 2] {
        let [x, y] = &operands;
        let is_state = |x: &Operand| matches!(x.place, Place::State(_));
        let fits = x.layout.is_dense() && x.layout.is_ordered_as(&y.layout) && !is_state(x) && !is_state(y);
        if fits { operands } else { operands.map(|x| self.fitted(x, Layout::is_row_major)) }
    }

    /// The product of `x` with a weight; joined to the step before where that multiplies the same rows.
    fn project(&mut self, projection: Projection, x: Operand, var: VarId) {
        let rank = x.layout.shape.len();
        let x = match projection.channels {
            Channels::Second => {
                let perm: Vec<usize> = std::iter::once(0).chain(2..rank).chain([1]).collect();
                x.with(x.layout.transposed(&perm))
            }
            Channels::Last => x,
        };
        let x = self.fitted(x, Layout::is_row_major);
        let (columns, rows) = (projection.weight.columns(), projection.weight.rows());
        let mut shape = x.layout.shape.clone();
        shape[rank - 1] = rows;
        let layout = Layout::plain(&shape);
        let layout = match projection.channels {
            Channels::Second => {
                let perm: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
                layout.transposed(&perm)
            }
            Channels::Last => layout,
        };
        let out = self.bind(var, layout);
        let product = Weighted { weight: projection.weight, bias: projection.bias, out };
        match self.steps.last_mut().map(|step| &mut step.action) {
            Some(Action::Multiply { x: same, products, .. }) if same.is_same(&x) => products.push(product),
            _ => self.push(Action::Multiply { x, columns, products: vec![product] }),
        }
    }

    /// Lowers a group whose last step is `last`; `inner` holds the others.
    ///
    /// # Errors
    /// A group that is not of the form by which it was found.
    fn fuse(&mut self, fusion: &Fusion, last: Step, inner: &mut BTreeMap<usize, Step>) -> Result<(), String> {
        let result = self.graph.function.ops.get(last.op).and_then(|op| self.graph.result(op));
        match (fusion, result) {
            (Fusion::Norm { x, epsilon, is_weighted }, Some(var)) => {
                let weight = if *is_weighted { Some(constant_of(&last).ok_or_else(unlike)?) } else { None };
                let x = self.fitted(self.of(*x), |layout| layout.is_dense() && layout.rows_are_runs());
                let out = self.bind(var, Layout { offset: 0, ..x.layout.clone() });
                self.push(Action::Normalize { x, weight, epsilon: *epsilon, out });
            }
            (Fusion::Rotate { x, cos, sin }, Some(var)) => {
                let x = self.fitted(self.of(*x), |layout| layout.is_dense() && layout.rows_are_runs());
                let [cos, sin] = [cos, sin].map(|angle| self.fitted(self.of(*angle), Layout::is_row_major));
                let out = self.bind(var, Layout { offset: 0, ..x.layout.clone() });
                self.push(Action::Rotate { x, cos, sin, out });
            }
            (Fusion::Gate { gate, up }, Some(var)) => {
                let [gate, up] = self.alike([self.of(*gate), self.of(*up)]);
                let out = self.bind(var, Layout { offset: 0, ..gate.layout.clone() });
                self.push(Action::Gate { gate, up, out });
            }
            (Fusion::Attend { .. }, Some(var)) => self.attend(fusion, var)?,
            (Fusion::Chain { inner: ops, .. }, Some(var)) => {
                let steps = ops.iter().map(|op| inner.remove(op)).chain([Some(last)]);
                let members = steps.map(|step| self.member(step?)).collect::<Option<Vec<_>>>();
                self.chain(members.ok_or_else(unlike)?, var)?;
            }
            (Fusion::Store { slice_update, update }, _) => {
                let slice = inner.remove(slice_update).map(|step| step.action);
                let (Some(plan::Action::Update(place, sources)), plan::Action::Write { state, .. }) =
                    (slice, last.action)
                else {
                    return Err(unlike());
                };
                let [_, _, begin, end] = &sources[..] else { return Err(unlike()) };
                let (begin, end) = (self.operand(begin), self.operand(end));
                let update = self.fitted(self.of(*update), |_| true);
                self.push(Action::Store { state, place, update, begin, end });
            }
            _ => return Err(unlike()),
        }
        Ok(())
    }

    fn attend(&mut self, fusion: &Fusion, var: VarId) -> Result<(), String> {
        let Fusion::Attend { queries, keys, values, mask, scale } = fusion else { return Err(unlike()) };
        let queries = self.fitted(self.of(*queries), Layout::rows_are_runs);
        let mask = self.fitted(self.of(*mask), Layout::is_row_major);
        let [keys, values] = [keys, values].map(|var| Rows::of(&self.of(*var)));
        let (Some(keys), Some(values)) = (keys, values) else { return Err(unlike()) };
        let [_, heads, tokens, size] = queries.layout.shape[..] else { return Err(unlike()) };
        let by_token = Layout::plain(&[1, tokens, heads, size]).transposed(&[0, 2, 1, 3]);
        let out = self.bind(var, by_token);
        let attend = Attend { queries, keys, values, mask, scale: *scale, out };
        self.push(Action::Attend(Box::new(attend)));
        Ok(())
    }

    /// A step as an op of a chain.
    fn member(&self, step: Step) -> Option<Member> {
        let plan::Action::Run(operation, operands) = step.action else { return None };
        let op = self.graph.function.ops.get(step.op)?;
        let result = self.graph.result(op)?.0 as usize;
        Some(Member { name: op.kind.name().to_owned(), function: operation.function()?, operands, result })
    }

    fn chain(&mut self, members: Vec<Member>, var: VarId) -> Result<(), String> {
        let shape = self.graph.shape(var).ok_or_else(unlike)?;
        let operand = |source: &Source| self.fitted(self.operand(source), |_| true);
        let (mut chain, layout) = Chain::new(members, &shape, operand);
        chain.out = self.bind(var, layout);
        self.push(Action::Chain(Box::new(chain)));
        Ok(())
    }

    /// The plan, with buffers shared and last uses marked.
    fn finish(mut self, outputs: Vec<(Feature, Operand)>, slots: usize) -> Fast {
        let lives = self.lives(&outputs);
        let (places, sizes) = buffers::assign(&lives);
        let mut outputs = outputs;
        let mut seen = BTreeSet::new();
        for (_, operand) in outputs.iter_mut().rev() {
            settle(operand, &places, &mut seen);
        }
        for step in self.steps.iter_mut().rev() {
            step.action.outputs_mut().into_iter().for_each(|out| *out = places[*out]);
            // What a view of nothing but covered ops leaves without a reader goes at once.
            let unread = step.action.made().map(|(slot, _)| slot).filter(|slot| !seen.contains(slot));
            step.given_up = unread.collect();
            for operand in step.action.inputs_mut().into_iter().rev() {
                step.given_up.extend(settle(operand, &places, &mut seen));
            }
        }
        Fast {
            steps: self.steps,
            buffers: sizes,
            slots,
            outputs,
            isa: self.isa,
            repack: false,
            runs: AtomicUsize::new(0),
        }
    }

    /// When each buffer is written and read for the last time; what the function returns is read at the end.
    fn lives(&mut self, outputs: &[(Feature, Operand)]) -> Vec<Life> {
        let mut lives: Vec<Life> =
            self.buffers.iter().map(|count| Life { count: *count, first: 0, last: 0 }).collect();
        let end = self.steps.len();
        for (index, step) in self.steps.iter_mut().enumerate() {
            for out in step.action.outputs_mut() {
                (lives[*out].first, lives[*out].last) = (index, index);
            }
            for operand in step.action.inputs_mut() {
                if let Place::Buffer(buffer) = operand.place {
                    lives[buffer].last = index;
                }
            }
        }
        for (_, operand) in outputs {
            if let Place::Buffer(buffer) = operand.place {
                lives[buffer].last = end;
            }
        }
        lives
    }
}

/// Gives a buffer its final number, and marks the last use of a slot, which is returned; steps are visited from the
/// last to the first.
fn settle(operand: &mut Operand, places: &[usize], seen: &mut BTreeSet<usize>) -> Option<usize> {
    match &mut operand.place {
        Place::Buffer(buffer) => *buffer = places[*buffer],
        Place::Slot { slot, last } | Place::Flexible { slot, last } => {
            *last = seen.insert(*slot);
            return last.then_some(*slot);
        }
        Place::Constant(_) | Place::State(_) => {}
    }
    None
}

fn unlike() -> String {
    "a group of ops is not of the form by which it was found".to_owned()
}

/// The constant among the operands of a step.
fn constant_of(step: &Step) -> Option<Arc<Tensor>> {
    let plan::Action::Run(_, sources) = &step.action else { return None };
    sources.iter().find_map(|source| match source {
        Source::Constant(tensor) => Some(Arc::clone(tensor)),
        Source::Slot { .. } => None,
    })
}
