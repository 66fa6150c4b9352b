//! The weight files of a compiled model.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use crate::error::{Error, Result};
use crate::program::{Operand, Program};
use crate::value::{Data, Value};

/// What weight references start with: the directory that holds the program.
const MODEL_PATH: &str = "@model_path/";

/// Places every weight file that `program` refers to under `dir`, at the path it has under `root`.
pub(super) fn place(program: &Program, root: &Path, dir: &Path) -> Result<()> {
    for file in files(program) {
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
        crate::disk::share_file(&source, &dest)?;
    }
    Ok(())
}

/// The weight files that `program` refers to, each once.
fn files(program: &Program) -> BTreeSet<&str> {
    let mut files = BTreeSet::new();
    for op in program.functions.iter().flat_map(|f| &f.ops) {
        for value in op.attributes.values() {
            collect(value, &mut files);
        }
        for (_, operand) in op.operands() {
            if let Operand::Value(value) = operand {
                collect(value, &mut files);
            }
        }
    }
    files
}

fn collect<'a>(value: &'a Value, files: &mut BTreeSet<&'a str>) {
    match &value.data {
        Data::Blob(blob) => {
            files.insert(&blob.file);
        }
        Data::List(members) | Data::Tuple(members) => members.iter().for_each(|m| collect(m, files)),
        Data::Dict(pairs) => pairs.iter().for_each(|(k, v)| {
            collect(k, files);
            collect(v, files);
        }),
        Data::Bytes(_) | Data::Strings(_) => {}
    }
}

/// The path below `@model_path`, which leads nowhere else.
fn relative_path(file: &str) -> Result<&Path> {
    let path = file.strip_prefix(MODEL_PATH).map(Path::new);
    let inside = |p: &&Path| {
        p.components().next().is_some() && p.components().all(|c| matches!(c, Component::Normal(_)))
    };
    path.filter(inside).ok_or_else(|| {
        let problem =
            "expected a path below `@model_path` without `..`, e.g. `@model_path/weights/weight.bin`";
        Error::unsupported(format!("weight file `{file}`"), problem)
    })
}
