//! Options of upstream's that do nothing here.

use anelith_report::{Report, Reported};

use crate::args::ForeignArgs;
use crate::failure::{Failure, Result};
use crate::terminal::warn;

/// Warns of upstream's options that have no effect; refuses those that would do harm.
pub(crate) fn check(args: &ForeignArgs) -> Result<()> {
    let ignored = [
        (args.dynamic_prefill_slice, "--dynamic-prefill-slice", "prefill always writes at current_pos"),
        (args.skip_anemll_dedup, "--skip-anemll-dedup", "every weight is stored once from the start"),
        (args.force_mlprogram_compile, "--force-mlprogram-compile", "the bundle always is an ML program"),
    ];
    for (_, option, why) in ignored.into_iter().filter(|(given, ..)| *given) {
        warn(&format!("{option} has no effect: {why}"));
    }
    let refused = [
        (
            args.static_prefill_slice,
            "--static-prefill-slice",
            "it would make a model that default consumers break",
        ),
        (args.single_cache, "--single-cache", "the supported families have a single cache anyway"),
        (args.allow_missing_weights, "--allow-missing-weights", "missing weights would be random numbers"),
    ];
    match refused.into_iter().find(|(given, ..)| *given) {
        Some((_, option, why)) => {
            Err(Failure::usage(Report::new(format!("{option} is refused: {why}")).mending("leave it out")))
        }
        None => Ok(()),
    }
}
