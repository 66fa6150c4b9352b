//! The weight files of a compiled model.

use std::collections::BTreeSet;
use std::path::Path;

use super::Source;
use crate::blob::relative_path;
use crate::error::{Error, Result};
use crate::program::Program;

/// Places every weight file that `program` refers to under `dir`, at the path it has under the source's root.
pub(super) fn place(program: &Program, source: &Source<'_>, dir: &Path) -> Result<()> {
    let files: BTreeSet<&str> = program.blobs().map(|(blob, _)| blob.file.as_str()).collect();
    for file in files {
        let relative = relative_path(file)?;
        let dest = dir.join(relative);
        if let Some(parent) = dest.parent() {
            std::fs::create_dir_all(parent).map_err(Error::io("cannot create", parent))?;
        }
        if dest.exists() {
            let problem =
                "the compiled model has another file there, expected e.g. `@model_path/weights/weight.bin`";
            return Err(Error::unsupported(format!("weight file `{file}`"), problem));
        }
        (source.place)(&source.weights_root.join(relative), &dest)?;
    }
    Ok(())
}
