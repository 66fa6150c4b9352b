//! What is run: conversions of one checkpoint, and how many tokens.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::disk;
use crate::error::Result;
use crate::generate::Tokenizer;
use crate::place::{Place, Source};
use crate::shapes::{Kind, Scale};
use crate::usage;

/// Threads of every process that is measured.
pub(crate) const THREADS: u64 = 2;

/// The form of weights that has targets, and that the others are compared with.
pub(crate) const FOUR: &str = "4";

/// The other forms, as `--lut` takes them.
pub(crate) const FORMS: [&str; 5] = ["4,16", "4,tensor", "6", "8", "none"];

/// The context of the targets.
pub(crate) const CONTEXT: u64 = 512;

/// Contexts in which the growth of decode is measured.
pub(crate) const CONTEXTS: [u64; 5] = [512, 1024, 2048, 4096, 8192];

/// Tokens of a prefill call.
pub(crate) const BATCH: u64 = 64;

/// The model of the targets.
pub(crate) const MODEL: Source = Source { kind: Kind::Qwen3, scale: Scale::ONE, tokenizer: Tokenizer::Real };

/// The model of the growth of decode: a quarter of the layers and of the vocabulary, so that cache and weights are to
/// each other as in the model itself and the run is short.
pub(crate) const QUARTER: Source =
    Source { kind: Kind::Qwen3, scale: Scale::SERIES[0], tokenizer: Tokenizer::Demo };

/// How many tokens a process runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Workload {
    /// Positions that are taken as filled before the prompt.
    pub(crate) start: u64,
    pub(crate) prompt: u64,
    pub(crate) generate: u64,
    pub(crate) repeats: u64,
}

impl Workload {
    /// That of the targets.
    pub(crate) fn of_targets(repeats: u64) -> Workload {
        Workload { start: 0, prompt: 256, generate: 64, repeats }
    }

    /// A shorter one, for sets of instructions that may be slow.
    pub(crate) fn of_sets() -> Workload {
        Workload { start: 0, prompt: 64, generate: 32, repeats: 3 }
    }

    /// The first or the last positions of a context.
    pub(crate) fn of_growth(context: u64, is_full: bool) -> Workload {
        let (prompt, generate) = (BATCH, 64);
        let start = if is_full { context - prompt - generate } else { 0 };
        Workload { start, prompt, generate, repeats: 3 }
    }

    /// How many positions of the cache are filled while tokens are decoded, on average.
    pub(crate) fn filled(self) -> u64 {
        self.start + self.prompt + self.generate / 2
    }
}

/// Converts a checkpoint, unless that was done before, and brings the result into the page cache.
pub(crate) fn convert(place: &Place, source: Source, lut: &str, context: u64) -> Result<PathBuf> {
    let (anelith, log) = (place.anelith()?, place.file("convert.log")?);
    let (model, output) = (place.checkpoint_dir(source)?, output(place, source, lut, context)?);
    let [context, batch] = [context, BATCH].map(|n| n.to_string());
    let arguments = [
        ("--model", model.as_os_str()),
        ("--output", output.as_os_str()),
        ("--lut", lut.as_ref()),
        ("--context", context.as_ref()),
        ("--batch", batch.as_ref()),
        ("--until", "5".as_ref()),
    ];
    let arguments = arguments.into_iter().flat_map(|(option, value)| [OsStr::new(option), value]);
    let arguments: Vec<&OsStr> = [OsStr::new("convert")].into_iter().chain(arguments).collect();
    usage::run(&anelith, &arguments, &log)?;
    disk::warm(&output)?;
    Ok(output.join("meta.yaml"))
}

/// Where a conversion lies.
fn output(place: &Place, source: Source, lut: &str, context: u64) -> Result<PathBuf> {
    let name = place.checkpoint_dir(source)?;
    let name = name.file_name().map(Path::new).unwrap_or(&name).display();
    place.file(&format!("runtime-{name}-lut{}-context{context}", lut.replace(',', "-")))
}

/// Removes what `convert` has made.
pub(crate) fn remove(place: &Place) -> Result<()> {
    for lut in FORMS.into_iter().chain([FOUR]) {
        disk::remove(&output(place, MODEL, lut, CONTEXT)?)?;
    }
    CONTEXTS.iter().try_for_each(|context| disk::remove(&output(place, QUARTER, FOUR, *context)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_positions_end_with_the_context() {
        for context in CONTEXTS {
            let Workload { start, prompt, generate, .. } = Workload::of_growth(context, true);
            assert_eq!(start + prompt + generate, context);
            assert_eq!((start % BATCH, prompt % BATCH), (0, 0), "prefill takes whole batches");
        }
        assert_eq!(Workload::of_growth(8192, true).filled(), 8160);
        assert_eq!(Workload::of_growth(8192, false).filled(), 96);
    }
}
