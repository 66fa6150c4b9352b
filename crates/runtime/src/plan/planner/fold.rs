//! Constant folding: an op that reads constants only is run once, when the plan is made.
//!
//! It is run by the code that would run it in a call, so its result has the same bits. An op that fails stays a
//! step, and fails when the function is called.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use anelith_mil::{Op, Opcode, Operand, VarId};

use super::{Planner, check_type};
use crate::plan::constants::{FoldedOp, Id};
use crate::plan::{Action, Precision, States, Step};
use crate::tensor::{Tensor, held_bytes};

/// What results of folded ops may take beyond the bytes of the constants that they are made of: 64 MiB, a mask of
/// 4096 x 4096. The weight file bounds constants; `fill` and `tile` make as much as they like of a few bytes.
const ROOM: u64 = 64 << 20;

/// How many elements folded ops may touch, and how many products they may take, beyond [`PASSES`] passes over the
/// constants: some seconds, which a program of a few lines can spend at most before it first runs.
const WORK: u64 = 1 << 32;
const PASSES: u64 = 8;

/// The results of the ops of one function that have been folded.
#[derive(Debug, Default)]
pub(super) struct Folds {
    /// Those that ops which are still to come read.
    results: BTreeMap<VarId, (Id, Arc<Tensor>)>,
    /// Their bytes.
    held: u64,
    /// What folded ops have done.
    work: u64,
    /// The constants that they have read, and the bytes of these.
    read: HashSet<Id>,
    read_bytes: u64,
    /// Where a step puts its results, by slot.
    values: Vec<Option<Arc<Tensor>>>,
}

/// An op that may be folded.
#[derive(Debug)]
pub(super) struct Candidate {
    /// The numbers of its results.
    results: Vec<Id>,
    /// The constants of the program that it reads, and their bytes.
    operands: Vec<(Id, u64)>,
    /// Those of its results.
    bytes: u64,
    work: u64,
}

impl Folds {
    /// The tensor that `var` was found to be.
    pub(super) fn get(&self, var: VarId) -> Option<&Arc<Tensor>> {
        self.results.get(&var).map(|(_, tensor)| tensor)
    }

    /// What is left when all ops have been looked at: what steps and outputs read.
    pub(super) fn into_results(self) -> BTreeMap<VarId, Arc<Tensor>> {
        self.results.into_iter().map(|(var, (_, tensor))| (var, tensor)).collect()
    }

    /// Whether there is room and time for one more.
    fn admits(&self, candidate: &Candidate) -> bool {
        let unread = |(id, _): &&(Id, u64)| !self.read.contains(id);
        let new: u64 = candidate.operands.iter().filter(unread).map(|(_, bytes)| bytes).sum();
        let constants = self.read_bytes.saturating_add(new);
        let elements = constants / size_of::<f32>() as u64;
        self.held.saturating_add(candidate.bytes) <= constants.saturating_add(ROOM)
            && self.work.saturating_add(candidate.work)
                <= WORK.saturating_add(elements.saturating_mul(PASSES))
    }

    /// Counts the constants of an op that has been folded.
    fn count(&mut self, candidate: &Candidate) {
        for (id, bytes) in &candidate.operands {
            let is_new = self.read.insert(*id);
            self.read_bytes = self.read_bytes.saturating_add(if is_new { *bytes } else { 0 });
        }
    }
}

impl<'f> Planner<'f, '_, '_> {
    /// What folding the op would take; `None` if it reads what is not constant, or for want of room or time.
    pub(super) fn candidate(&mut self, opcode: Opcode, op: &'f Op) -> Option<Candidate> {
        let is_pure = !matches!(opcode, Opcode::ReadState | Opcode::WriteState);
        if !is_pure || !op.reads().all(|var| self.is_constant(var)) {
            return None;
        }
        let function = self.scope.function;
        let (mut operands, mut parameters, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        for (name, argument) in &op.inputs {
            let mut ids = Vec::new();
            for operand in argument.operands() {
                let id = self.number(operand)?;
                let (ty, is_folded) = match operand {
                    Operand::Var(var) => (&function.var(*var).ty, self.folds.get(*var).is_some()),
                    Operand::Value(value) => (&value.ty, false),
                };
                let ty = ty.as_tensor()?;
                operands.extend((!is_folded).then(|| (id, held_bytes(ty))));
                counts.push(ty.element_count()?);
                ids.push(id);
            }
            parameters.push((name.clone(), ids));
        }
        let mut types = Vec::new();
        for var in &op.outputs {
            let ty = check_type(&function.var(*var).ty).ok()?;
            // Where the values of operands say how large the result is, its type does not, unless they were literals.
            counts.push(ty.element_count()?);
            types.push(ty.clone());
        }
        let bytes = types.iter().map(held_bytes).fold(0, u64::saturating_add);
        let source = FoldedOp { opcode, opset: function.opset, parameters, types, precision: self.precision };
        let results = self.constants.number_folded(&source);
        let candidate = Candidate { results, operands, bytes, work: work(opcode, &counts) };
        Some(candidate).filter(|candidate| self.folds.admits(candidate))
    }

    /// Notes the results of the op at `index` if another plan that lives has them all.
    pub(super) fn recall(&mut self, candidate: &Candidate, index: usize, op: &'f Op) -> bool {
        let known = candidate.results.iter().map(|id| self.constants.folded(*id)).collect::<Option<Vec<_>>>();
        let Some(tensors) = known else { return false };
        self.folds.count(candidate);
        for ((var, id), tensor) in op.outputs.iter().zip(&candidate.results).zip(tensors) {
            self.note(*var, *id, tensor);
        }
        self.release(index, op);
        true
    }

    /// Runs the step of a candidate, whose results are noted; the step itself where it cannot be run now.
    pub(super) fn fold(&mut self, candidate: Candidate, step: Step, op: &'f Op) -> Option<Step> {
        // A product on packed weights has other bits in fast mode than here.
        let differs = matches!(step.action, Action::Project(..)) && self.precision == Precision::Fast;
        if differs {
            return Some(step);
        }
        self.folds.values.resize(self.scope.function.vars.len(), None);
        self.folds.work = self.folds.work.saturating_add(candidate.work);
        let result = step.run(&mut self.folds.values, &mut States::new());
        let made: Vec<_> = step.outputs.iter().map(|target| self.folds.values[target.slot?].take()).collect();
        if result.is_err() {
            return Some(step);
        }
        self.folds.count(&candidate);
        for ((var, id), tensor) in op.outputs.iter().zip(candidate.results).zip(made) {
            let Some(tensor) = tensor else { continue };
            self.constants.remember_folded(id, &tensor);
            self.note(*var, id, tensor);
        }
        self.release(step.op, op);
        None
    }

    fn note(&mut self, var: VarId, id: Id, tensor: Arc<Tensor>) {
        if self.scope.info.last_uses.get(var.0 as usize).copied().flatten().is_some() {
            self.folds.held += tensor.byte_len() as u64;
            self.folds.results.insert(var, (id, tensor));
        }
    }

    /// Gives up the constants that nothing reads after the op at `index`, which has been folded.
    fn release(&mut self, index: usize, op: &'f Op) {
        for var in op.reads() {
            if self.scope.info.last_uses.get(var.0 as usize) != Some(&Some(index)) {
                continue;
            }
            if let Some((_, tensor)) = self.folds.results.remove(&var) {
                self.folds.held -= tensor.byte_len() as u64;
            } else if let Some(known) = self.scope.defined(var) {
                self.constants.release(known);
            }
        }
    }

    /// Whether the value of `var` is known by now, packed or not.
    fn is_constant(&self, var: VarId) -> bool {
        self.folds.get(var).is_some() || self.packed.contains_key(&var) || self.scope.defined(var).is_some()
    }

    /// The number of the constant that an operand is.
    fn number(&mut self, operand: &'f Operand) -> Option<Id> {
        if let Operand::Var(var) = operand {
            if let Some((id, _)) = self.folds.results.get(var) {
                return Some(*id);
            }
            if let Some(op) = self.packed.get(var) {
                let round = self.precision == Precision::Exact;
                let opcode = self.opcode(op).ok()?;
                let ids = self.constants.number_unpacked(&self.scope, opcode, op, round).ok()?;
                return ids.get(op.outputs.iter().position(|output| output == var)?).copied();
            }
        }
        self.constants.id(self.scope.known(operand)?).ok()
    }
}

/// What an op has to do whose operands and results have so many elements each.
fn work(opcode: Opcode, counts: &[u64]) -> u64 {
    let elements = counts.iter().fold(0u64, |sum, count| sum.saturating_add(*count));
    let multiplies = matches!(opcode, Opcode::Conv | Opcode::Linear | Opcode::Lstm | Opcode::Matmul);
    // [m, k] times [k, n] takes m · k · n products: the root of the product of the three counts. More operands, as
    // `lstm` has, only make the estimate larger.
    let product: f64 = counts.iter().map(|count| (*count).max(1) as f64).product();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
    let products = if multiplies { product.sqrt() as u64 } else { 0 };
    elements.saturating_add(products)
}
