//! Options that are known but do nothing here, and model names that are no directories.

use std::path::Path;

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
    let later = [(args.revision.is_some(), "--revision"), (args.json, "--json"), (args.quiet, "--quiet")];
    match later.into_iter().find(|(given, _)| *given) {
        Some((_, option)) => Err(Failure::not_yet(option)),
        None => Ok(()),
    }
}

/// Refuses a hub id, which is `org/name` where neither that nor `org` exists as a path.
pub(crate) fn check_hub_id(model: &Path) -> Result<()> {
    let text = model.to_string_lossy();
    if !is_hub_id(&text) || model.exists() {
        return Ok(());
    }
    let report = Report::new("downloading a model from the hub: not yet").at("--model").finding(&text);
    Err(Failure::usage(report.mending("download it, and give its directory to --model")))
}

fn is_hub_id(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let word = |text: &str| !text.is_empty() && text.chars().all(plain);
    text.split_once('/').is_some_and(|(org, name)| {
        word(org) && word(name) && !org.starts_with('.') && !Path::new(org).exists()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_id_is_two_words_and_no_path() {
        for (text, expected) in [
            ("Qwen/Qwen3-0.6B", true),
            ("Qwen3-0.6B", false),
            ("./Qwen3-0.6B", false),
            ("../Qwen3-0.6B", false),
            ("/models/Qwen3", false),
            ("models/Qwen/Qwen3", false),
            ("Qwen/", false),
            // `src` is a directory here, so this is a path that leads nowhere.
            ("src/Qwen3-0.6B", false),
        ] {
            assert_eq!(is_hub_id(text), expected, "{text}");
        }
    }
}
