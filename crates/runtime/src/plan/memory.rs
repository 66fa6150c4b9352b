//! How much memory the values of a function take at once.

use super::{Action, Feature, Plan, Source};
use crate::tensor::held_bytes;

/// What states, values and constants may take together: 64 GiB. The state of a model of eight billion parameters takes 34 at
/// 131072 tokens; a program that asks for twice that is broken or means harm.
pub(crate) const MAX_BYTES: u64 = 64 << 30;

/// Refuses states, values of `values` bytes and constants of `constants` bytes that are more than `MAX_BYTES` together.
///
/// # Errors
/// What they take.
pub(super) fn check(states: &[Feature], values: u64, constants: u64) -> Result<(), String> {
    let states = states.iter().fold(0u64, |sum, state| sum.saturating_add(held_bytes(&state.ty)));
    if states.saturating_add(values).saturating_add(constants) <= MAX_BYTES {
        return Ok(());
    }
    Err(format!(
        "values need {values} bytes at a time, states {states} and constants {constants}, expected at most \
         {MAX_BYTES} together"
    ))
}

/// The most bytes that inputs and results hold at a time, and the index of the step that takes them.
///
/// What a state is handed out as takes nothing of its own. Constants are left out: `Constants` counts
/// them, and what is folded of them.
pub(super) fn peak(plan: &Plan) -> (u64, usize) {
    let mut held = vec![0u64; plan.slots];
    for (feature, slot) in &plan.inputs {
        held[*slot] = held_bytes(&feature.ty);
    }
    let mut live = held.iter().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
    let mut peak = (live, 0);
    for (index, step) in plan.steps.iter().enumerate() {
        let mut unused = 0u64;
        if !matches!(step.action, Action::Read { .. }) {
            for target in &step.outputs {
                let bytes = held_bytes(&target.ty);
                live = live.saturating_add(bytes);
                match target.slot {
                    Some(slot) => held[slot] = bytes,
                    None => unused = unused.saturating_add(bytes),
                }
            }
        }
        peak = if live > peak.0 { (live, index) } else { peak };
        let freed = given_up(&step.action).fold(unused, |sum, slot| sum.saturating_add(held[slot]));
        live = live.saturating_sub(freed);
    }
    peak
}

/// The slots whose last use is in `action`.
fn given_up(action: &Action) -> impl Iterator<Item = usize> {
    let sources = match action {
        Action::Run(_, sources) | Action::Update(_, sources) => sources.as_slice(),
        Action::Write { data: source, .. } | Action::Project(_, source) | Action::PickRows(_, source) => {
            std::slice::from_ref(source)
        }
        Action::Read { .. } => &[],
    };
    sources.iter().filter_map(|source| match source {
        Source::Slot { slot, last: true } => Some(*slot),
        _ => None,
    })
}
