//! Options that are known but do nothing here.

use anelith_report::{Report, Reported};

use crate::args::ForeignArgs;
use crate::failure::{Failure, Result};
use crate::terminal::note;

/// Notes upstream's options that have no effect; refuses those that would do harm, and those that do not work yet.
pub(crate) fn check(args: &ForeignArgs) -> Result<()> {
    let ignored = [
        (args.dynamic_prefill_slice, "--dynamic-prefill-slice", "prefill always writes at current_pos"),
        (args.skip_anemll_dedup, "--skip-anemll-dedup", "every weight is stored once from the start"),
        (args.force_mlprogram_compile, "--force-mlprogram-compile", "the bundle always is an ML program"),
    ];
    for (_, option, why) in ignored.into_iter().filter(|(given, ..)| *given) {
        note(&format!("warning: {option} has no effect: {why}"));
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
    if let Some((_, option, why)) = refused.into_iter().find(|(given, ..)| *given) {
        return Err(Failure::usage(
            Report::new(format!("{option} is refused: {why}")).mending("leave it out"),
        ));
    }
    later(args)
}

fn later(args: &ForeignArgs) -> Result<()> {
    let later = [(args.json, "--json"), (args.quiet, "--quiet")];
    match later.into_iter().find(|(given, _)| *given) {
        Some((_, option)) => Err(Failure::not_yet(option)),
        None => Ok(()),
    }
}
