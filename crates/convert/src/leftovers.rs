//! Tokenizer files in an output directory that are not of the model at hand.

use std::path::{Path, PathBuf};

use anelith_checkpoint::Checkpoint;

/// Files that not every model has; where a model lacks one, so must its conversion.
const OPTIONAL: [&str; 6] = [
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
];

/// The files in `output` that would be taken for the model's although the model lacks them.
pub(crate) fn leftovers(checkpoint: &Checkpoint, output: &Path) -> Vec<PathBuf> {
    let lacking = OPTIONAL.iter().filter(|name| !checkpoint.dir.join(name).exists());
    lacking.map(|name| output.join(name)).filter(|path| path.symlink_metadata().is_ok()).collect()
}
