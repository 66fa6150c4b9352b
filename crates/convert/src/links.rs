//! Which outputs hold the weights, and which of them under a name that is not the file's only one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anelith_mil::{disk, package};

use crate::step::{Outputs, Step};

/// The steps whose outputs hold the weights.
pub(crate) const WEIGHT_STEPS: [Step; 4] = [Step::Infer, Step::Prefill, Step::Combine, Step::Compile];

/// Where the output of one of `WEIGHT_STEPS` holds the weights.
pub(crate) fn weight_file(outputs: &Outputs, step: Step) -> PathBuf {
    match step {
        Step::Compile => outputs.path(step).join("weights/weight.bin"),
        _ => package::weights_path(&outputs.path(step)),
    }
}

/// The names that weight files have, but for those that a run has said it will take away: what comes true when it does.
#[derive(Debug, Default)]
pub(crate) struct Links {
    gone: BTreeMap<(u64, u64), u64>,
}

impl Links {
    /// Whether the output of `step` holds weights that have another name as well, be it in another output or anywhere
    /// else; where the system does not tell, they may have.
    pub(crate) fn is_linked(&self, outputs: &Outputs, step: Step) -> bool {
        if !WEIGHT_STEPS.contains(&step) {
            return false;
        }
        let path = weight_file(outputs, step);
        match disk::names(&path) {
            Some(names) => names.count > 1 + self.gone.get(&names.file).copied().unwrap_or(0),
            None => path.exists(),
        }
    }

    /// Notes that the output of `step` will get a weight file of its own in place of the one that it has.
    pub(crate) fn replace(&mut self, outputs: &Outputs, step: Step) {
        if WEIGHT_STEPS.contains(&step)
            && let Some(names) = disk::names(&weight_file(outputs, step))
        {
            *self.gone.entry(names.file).or_default() += 1;
        }
    }
}
