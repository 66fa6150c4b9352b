//! The plan of fast mode: groups of ops fused, views instead of copies, weights as they are stored.
//!
//! [`lower()`](lower::lower) makes it of the plain plan: it finds groups of ops that one kernel does at once
//! (`patterns`) or element by element (`chain`), lets ops that only move elements be another [`Layout`](layout::Layout) of the same memory
//! (`views`), and gives values that are never alive together the same buffer (`buffers`). What it does not know it
//! leaves to the plain op, on tensors.

mod action;
mod buffers;
mod chain;
mod describe;
mod graph;
mod layout;
mod lower;
mod operand;
mod patterns;
mod room;
mod views;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anelith_mil::{Function, FunctionInfo, VarId};

use super::{Feature, Plan};
use crate::kernels::{self, Isa, Matrix, Pool};
use crate::tensor::{Tensor, ask_for};
use action::Action;
use graph::Graph;
use operand::{Call, Operand};

pub(crate) use operand::{Half, Memory};

/// The steps of a function and the memory that they work in.
#[derive(Debug)]
pub(super) struct Fast {
    steps: Vec<FastStep>,
    /// The numbers that each buffer holds.
    buffers: Vec<usize>,
    /// How many tensors there may be.
    slots: usize,
    outputs: Vec<(Feature, Operand)>,
    isa: Isa,
    /// Whether weights may be brought into other forms.
    repack: bool,
    /// How often the steps were run.
    runs: AtomicUsize,
}

/// How often a function runs before weights are taken apart, so that those who run it a few times do not pay for it.
const RUNS_BEFORE: usize = 24;

/// Over how many runs that is spread, so that none takes much longer.
const RUNS_OF_REPACKING: usize = 24;

#[derive(Debug)]
struct FastStep {
    /// The op, or the last one of the group, for messages.
    at: String,
    action: Action,
    /// The slots that nothing reads after the step.
    given_up: Vec<usize>,
}

impl FastStep {
    /// Does the step; the bytes that it read from memory, as far as they are known.
    fn run(&self, call: &mut Call<'_>) -> Result<u64, String> {
        ask_for(usize::try_from(self.action.scratch_bytes()).unwrap_or(usize::MAX))?;
        let bytes = self.action.run(call)?;
        self.given_up.iter().for_each(|slot| call.slots[*slot] = None);
        Ok(bytes)
    }
}

/// What a step of a plan is, for whoever wants to see the plan.
#[derive(Clone, Debug)]
pub struct StepInfo {
    /// The op, or the last one of those that the step does.
    pub op: String,
    /// What sort of work it is, in few words that steps of equal sort share.
    pub kind: &'static str,
    /// How it is done.
    pub kernel: String,
    /// The shape of what it makes.
    pub shape: String,
}

/// What a step took.
#[derive(Clone, Copy, Default, Debug)]
pub struct StepTime {
    /// How long it ran.
    pub time: Duration,
    /// The bytes of operands, weights and states that it read.
    pub bytes: u64,
}

impl Fast {
    /// The fast form of `plan`, which loses its steps to it; `folded` are the variables that have become constants.
    ///
    /// # Errors
    /// The op, and what is wrong with it.
    pub(super) fn new(
        plan: &mut Plan,
        folded: &BTreeMap<VarId, Arc<Tensor>>,
        function: &Function,
        info: &FunctionInfo,
        (isa, repack): (Isa, bool),
    ) -> Result<Fast, (String, String)> {
        let fast = lower::lower(plan, folded, Graph::new(function, info, &plan.steps), isa)?;
        Ok(Fast { repack, ..fast })
    }

    /// The weights of all products.
    fn weights(&self) -> impl Iterator<Item = &Matrix> {
        let products = self.steps.iter().filter_map(|step| match &step.action {
            Action::Multiply { products, .. } => Some(products),
            _ => None,
        });
        products.flatten().map(|product| &*product.weight)
    }

    /// Brings weights into the forms that are quicker to multiply, as far as that changes results, and tables into
    /// the form that products need. Returns the bytes that runs will take for others.
    pub(super) fn prepare(&self) -> u64 {
        kernels::prepare(self.isa, Pool::shared(), self.weights(), self.repack);
        let later = if self.repack { kernels::apart_bytes(self.isa, self.weights()) } else { 0 };
        later as u64
    }

    /// After a run, brings some weights into the form that is quicker to multiply and gives the same results.
    fn repack_some(&self) {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let Some(turn) = run.checked_sub(RUNS_BEFORE).filter(|_| self.repack) else { return };
        if turn < RUNS_OF_REPACKING {
            let weights: Vec<&Matrix> = self.weights().collect();
            let some = weights.len().div_ceil(RUNS_OF_REPACKING).max(1);
            let turn = weights.chunks(some).nth(turn).unwrap_or_default();
            kernels::take_apart(self.isa, Pool::shared(), turn.iter().copied());
        }
    }

    /// Runs the steps on `inputs`, by slot; each step that took time is told to `observe`.
    ///
    /// # Errors
    /// The op, and what is wrong with the data.
    pub(super) fn run(
        &self,
        inputs: Vec<(usize, Tensor)>,
        memory: &mut Memory,
        mut observe: Option<&mut dyn FnMut(StepTime)>,
    ) -> Result<Vec<(String, Tensor)>, (String, String)> {
        memory.make_room(&self.buffers).map_err(|problem| ("the function".to_owned(), problem))?;
        let mut call = Call { memory, slots: vec![None; self.slots], isa: self.isa };
        for (slot, tensor) in inputs {
            call.slots[slot] = Some(Arc::new(tensor));
        }
        for step in &self.steps {
            let start = observe.as_ref().map(|_| Instant::now());
            let bytes = step.run(&mut call).map_err(|problem| (step.at.clone(), problem))?;
            if let (Some(observe), Some(start)) = (observe.as_mut(), start) {
                observe(StepTime { time: start.elapsed(), bytes });
            }
        }
        self.repack_some();
        let mut output = |(feature, operand): &(Feature, Operand)| {
            let tensor = call.take(operand).map_err(|problem| (feature.name.clone(), problem))?;
            Ok((feature.name.clone(), Arc::unwrap_or_clone(tensor)))
        };
        self.outputs.iter().map(&mut output).collect()
    }

    /// The most bytes that a run takes at a time and where, beside states and weights; `inputs` are those of the
    /// function, with their slots.
    pub(super) fn room(&self, inputs: &[(Feature, usize)]) -> (u64, String) {
        let (bytes, at) = self.peak(inputs.iter().map(|(feature, slot)| (&feature.ty, *slot)));
        (bytes, at.to_owned())
    }

    /// What each step is.
    pub(super) fn steps(&self) -> impl Iterator<Item = StepInfo> + '_ {
        self.steps.iter().map(|step| step.action.describe(&step.at, self.isa))
    }

    /// The features that the function returns.
    pub(super) fn outputs(&self) -> impl Iterator<Item = &Feature> {
        self.outputs.iter().map(|(feature, _)| feature)
    }

    /// The bytes of all weights that one run reads whole.
    pub(super) fn weight_bytes(&self) -> u64 {
        self.steps.iter().map(|step| step.action.weight_bytes()).sum()
    }
}
