//! The weight files of a compiled model.

use std::collections::BTreeSet;
use std::path::Path;

use crate::blob::relative_path;
use crate::disk;
use crate::error::{Error, Result};
use crate::program::Program;

/// Places every weight file that `program` refers to under `dir`, at the path it has under `root`.
pub(super) fn place(program: &Program, root: &Path, dir: &Path) -> Result<()> {
    let files: BTreeSet<&str> = program.blobs().map(|(blob, _)| blob.file.as_str()).collect();
    for file in files {
        let relative = relative_path(file)?;
        let (source, dest) = (root.join(relative), dir.join(relative));
        if let Some(parent) = dest.parent() {
            std::fs::create_dir_all(parent).map_err(Error::io("cannot create", parent))?;
        }
        if dest.exists() {
            let problem =
                "the compiled model has another file there, expected e.g. `@model_path/weights/weight.bin`";
            return Err(Error::unsupported(format!("weight file `{file}`"), problem));
        }
        disk::share_file(&source, &dest)?;
    }
    Ok(())
}
