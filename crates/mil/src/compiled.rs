//! Compiled models: `.mlmodelc` directories, as Apple's `coremlc` writes them.
//!
//! ```text
//! NAME.mlmodelc/
//!   model.mil                 the program as text (module `text`)
//!   coremldata.bin            versions, and the description as protobuf
//!   metadata.json             what Xcode shows of the model; the runtime does not need it
//!   analytics/coremldata.bin  the hash and name of the source
//!   weights/weight.bin        the source's weight files, unchanged, at the same relative paths
//! ```
//!
//! The compiler neither optimises nor renames: a compiled model holds the program of its source, op by op.
//! So a model that is written and read back is the same, but for the compiler's two entries in the program's
//! build info, the order of function inputs (sorted by name) and that of dictionary entries.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::disk::read_part;
use crate::error::{Error, Result};
use crate::model::{Model, check_specification_version};
use crate::program::Program;
use crate::proto;
use crate::text::{self, Dialect};
use crate::validate::{ProgramInfo, described_functions};

mod core_data;
mod flexible;
mod metadata;
mod precision;
mod weights;

const PROGRAM: &str = "model.mil";
const CORE_DATA: &str = "coremldata.bin";
const METADATA: &str = "metadata.json";
const ANALYTICS: &str = "analytics";

/// The largest text that is read; programs of thousands of ops take less than a hundredth of it.
const MAX_PROGRAM_BYTES: u64 = 1 << 28;
/// The largest `coremldata.bin` that is read; it holds little more than names and shapes.
const MAX_CORE_DATA_BYTES: u64 = 1 << 26;

/// Where a model that is to be compiled comes from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The bytes of the source's `model.mlmodel`, whose hash the compiled model carries.
    pub specification: &'a [u8],
    /// The stem of the source's specification file: `model` for packages.
    pub model_name: &'a str,
    /// The directory that `@model_path` stands for in the source's weight references.
    pub weights_root: &'a Path,
    /// The stem of the source itself, from which the name of the generated Swift class is made.
    pub class_name: &'a str,
    /// Gives a weight file of the source, the first path, to the compiled model, where nothing stands at the second.
    pub place: &'a dyn Fn(&Path, &Path) -> Result<()>,
}

/// The versions that a compiled model says it was compiled by, in the build info of its program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compiler {
    /// `coremlc-component-MIL`.
    pub component: String,
    /// `coremlc-version`.
    pub version: String,
}

impl Default for Compiler {
    /// The pair that Apple's compiler wrote in the newest release whose every output we could compare with
    /// ours; no reader is known to look at it.
    fn default() -> Compiler {
        Compiler { component: "3520.4.1".to_owned(), version: "3520.5.1".to_owned() }
    }
}

/// Writes `model`, which `info`, from `validate_model`, proves valid, into the existing empty directory `dir`.
///
/// The same arguments give the same bytes. After an error the directory holds part of the files.
///
/// # Errors
/// `Unsupported` for specification versions other than 6 to 9, enumerated shapes, and weight files where the
/// compiled model has files of its own; `Malformed` for weight files outside the source's directory; `Invalid`
/// for a described function or a function that the other side lacks; `Io` for a weight file that is missing, and
/// for a file of `dir` that exists already; those of `source.place`.
pub fn write(
    dir: &Path,
    model: &Model,
    info: &ProgramInfo,
    source: &Source<'_>,
    compiler: &Compiler,
) -> Result<()> {
    // The proof is all that is asked for: the text has no use for what validation learnt.
    let _ = info;
    check_specification_version(model.specification_version, "model")?;
    described_functions(&model.description, &model.program)?;
    let program = finished(model, compiler)?;
    let text = text::print(&program, Dialect::of_specification(model.specification_version));
    let description = proto::encode_description(&model.description);
    let described = model.description.functions.len();
    let core_data = core_data::encode(model.specification_version, &description, described);
    let metadata = metadata::print(model, source.class_name)?;
    create(&dir.join(PROGRAM), text.as_bytes())?;
    create(&dir.join(CORE_DATA), &core_data)?;
    create(&dir.join(METADATA), metadata.as_bytes())?;
    let analytics = dir.join(ANALYTICS);
    std::fs::create_dir(&analytics).map_err(Error::io("cannot create", &analytics))?;
    create(&analytics.join(CORE_DATA), &core_data::analytics(source))?;
    weights::place(&model.program, source, dir)
}

/// Reads the compiled model in `dir`. Weight files stay where they are, `@model_path` being `dir`.
///
/// Only `model.mil` and `coremldata.bin` are needed. The build info keeps the compiler's entries; the function
/// attribute `FlexibleShapeInformation` is left out, since the description says the same.
///
/// # Errors
/// With the file and the line or byte offset: `Malformed` for files that break their format, `Unsupported` for
/// what is no ML program or needs a newer release than iOS 18, `Io` for files that are missing or unreadable.
/// The program is not validated.
pub fn read(dir: &Path) -> Result<Model> {
    let path = dir.join(CORE_DATA);
    let what = path.display().to_string();
    let bytes = read_part(&path, MAX_CORE_DATA_BYTES)?;
    let core_data = core_data::decode(&bytes, &what)?;
    let description = proto::decode_description(core_data.description, &what)?;
    let expected = description.functions.len().max(1);
    if core_data.functions != expected {
        let found = core_data.functions;
        return Err(Error::malformed(
            what,
            format!("expected records of {expected} functions, found {found}"),
        ));
    }
    let path = dir.join(PROGRAM);
    let what = path.display().to_string();
    let bytes = read_part(&path, MAX_PROGRAM_BYTES)?;
    let text =
        std::str::from_utf8(&bytes).map_err(|e| Error::malformed(&what, format!("expected text: {e}")))?;
    let mut program = text::parse(text, &what)?;
    for function in &mut program.functions {
        function.attributes.remove(flexible::ATTRIBUTE);
    }
    Ok(Model { specification_version: core_data.specification_version, description, program })
}

/// The program with all that the compiler adds.
fn finished(model: &Model, compiler: &Compiler) -> Result<Program> {
    let mut program = model.program.clone();
    let entries = [("coremlc-component-MIL", &compiler.component), ("coremlc-version", &compiler.version)];
    for (key, value) in entries {
        program.build_info.insert(key.to_owned(), value.clone());
    }
    for function in &mut program.functions {
        function.attributes.remove(flexible::ATTRIBUTE);
        let Some(interface) = model.description.interface(&function.name) else { continue };
        if let Some(value) = flexible::information(interface)? {
            function.attributes.insert(flexible::ATTRIBUTE.to_owned(), value);
        }
    }
    Ok(program)
}

/// Writes a file that must not exist yet.
fn create(path: &Path, contents: &[u8]) -> Result<()> {
    let write = || File::create_new(path)?.write_all(contents);
    write().map_err(Error::io("cannot write", path))
}

#[cfg(test)]
mod tests;
