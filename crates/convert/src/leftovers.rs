//! Tokenizer files in an output directory that are not of the model at hand.

use std::path::{Path, PathBuf};

use anelith_checkpoint::{Checkpoint, optional_files};

/// The files in `output` that would be taken for the model's although the model lacks them.
pub(crate) fn leftovers(checkpoint: &Checkpoint, output: &Path) -> Vec<PathBuf> {
    let lacking = optional_files().filter(|name| !checkpoint.dir.join(name).exists());
    lacking.map(|name| output.join(name)).filter(|path| path.symlink_metadata().is_ok()).collect()
}
