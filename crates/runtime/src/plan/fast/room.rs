//! How much memory one run of a fast plan takes, beside states and weights.

use anelith_mil::TensorType;

use super::Fast;
use super::action::{Action, Attend};
use super::operand::{Operand, Place};
use crate::kernels::{self, Attention, Pool};
use crate::tensor::held_bytes;

impl Fast {
    /// The most bytes that a run holds at a time, and the op of the step that takes them. `inputs` are the types of
    /// what is in slots from the beginning on. Of flexible shapes what is known counts.
    pub(super) fn peak<'t>(&self, inputs: impl Iterator<Item = (&'t TensorType, usize)>) -> (u64, &str) {
        let mut held = vec![0u64; self.slots];
        inputs.for_each(|(ty, slot)| held[slot] = held_bytes(ty));
        let rows = self.steps.iter().map(|step| step.action.rows_bytes()).max().unwrap_or(0);
        let kept = self.buffers.iter().fold(rows, |sum, count| sum.saturating_add(numbers(*count)));
        let mut live = held.iter().fold(kept, |sum, bytes| sum.saturating_add(*bytes));
        let mut peak = (live, "the function");
        for step in &self.steps {
            for (slot, ty) in step.action.made() {
                held[slot] = held_bytes(ty);
                live = live.saturating_add(held[slot]);
            }
            let working = live.saturating_add(step.action.scratch_bytes());
            peak = if working > peak.0 { (working, step.at.as_str()) } else { peak };
            live = step.given_up.iter().fold(live, |live, slot| live.saturating_sub(held[*slot]));
        }
        let copies = self.outputs.iter().map(|(_, operand)| operand.copied_bytes());
        let end = copies.fold(live, u64::saturating_add);
        if end > peak.0 { (end, "what the function returns") } else { peak }
    }
}

impl Action {
    /// The slots in which the step leaves a tensor that takes memory of its own.
    pub(super) fn made(&self) -> impl Iterator<Item = (usize, &TensorType)> {
        let outputs = match self {
            Action::Run { outputs, .. } => outputs.as_slice(),
            _ => &[],
        };
        outputs.iter().filter_map(|target| Some((target.slot?, &target.ty)))
    }

    /// The bytes of the activations that a product prepares.
    fn rows_bytes(&self) -> u64 {
        let Action::Multiply { x, columns, products } = self else { return 0 };
        let forms = kernels::forms_for(products.iter().map(|product| product.weight.as_ref()));
        kernels::Rows::bytes((x.layout.count() / columns).min(super::action::AT_ONCE), *columns, forms)
    }

    /// The bytes that the step takes for as long as it runs, apart from what it makes.
    pub(super) fn scratch_bytes(&self) -> u64 {
        match self {
            Action::Run { inputs, .. } => {
                inputs.iter().map(Operand::copied_bytes).fold(0, u64::saturating_add)
            }
            Action::Write { data: x, .. } | Action::PickRows { indices: x, .. } => x.copied_bytes(),
            // The bits that are picked out of a state.
            Action::Copy { x: Operand { place: Place::State(_), layout }, .. } => numbers(layout.count()) / 2,
            Action::Store { update, .. } => numbers(update.layout.count()),
            Action::Attend(attend) => attend.scratch_bytes(),
            Action::Read { .. }
            | Action::Copy { .. }
            | Action::Multiply { .. }
            | Action::Normalize { .. }
            | Action::Rotate { .. }
            | Action::Gate { .. }
            | Action::Add { .. }
            // Tiles of a few KiB.
            | Action::Chain(_) => 0,
        }
    }
}

impl Attend {
    fn scratch_bytes(&self) -> u64 {
        let [_, heads, tokens, size] = self.queries.layout.shape[..] else { return 0 };
        let shape = Attention { heads, kv_heads: self.keys.heads, head_dim: size, scale: self.scale };
        kernels::attention_bytes(Pool::shared(), &shape, tokens, self.keys.count)
    }
}

impl Operand {
    /// The bytes that the operand takes as a tensor of its own; nothing where it is one already.
    fn copied_bytes(&self) -> u64 {
        match &self.place {
            Place::Flexible { .. } => 0,
            Place::Slot { .. } | Place::Constant(_) if self.layout.is_row_major() => 0,
            _ => numbers(self.layout.count()),
        }
    }
}

/// The bytes of `count` numbers.
fn numbers(count: usize) -> u64 {
    (count as u64).saturating_mul(size_of::<f32>() as u64)
}
