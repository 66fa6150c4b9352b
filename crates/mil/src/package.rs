//! Packages: the directory `NAME.mlpackage` with its manifest, model and weights.
//!
//! ```text
//! NAME.mlpackage/
//!   Manifest.json
//!   Data/com.apple.CoreML/model.mlmodel
//!   Data/com.apple.CoreML/weights/weight.bin
//! ```

mod manifest;

use std::fs;
use std::path::{Path, PathBuf};

use crate::disk;
use crate::error::{Error, Result};

const MANIFEST: &str = "Manifest.json";
const DATA: &str = "Data";

/// The largest manifest that is read; it names a handful of files.
const MAX_MANIFEST_BYTES: u64 = 1 << 24;
/// The largest `model.mlmodel` that is read. Weights lie in files of their own, so that it holds a program alone.
const MAX_MODEL_BYTES: u64 = 1 << 29;

/// An opened package, or a bare `.mlmodel`; the weights are not read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Package {
    /// The model file.
    pub model_path: PathBuf,
    /// Its contents: a serialized model, for `proto::decode`.
    pub specification: Vec<u8>,
    /// The directory that `@model_path` stands for, for `WeightStore::open`.
    pub root: PathBuf,
}

impl Package {
    /// Opens the package at `path`, or the bare model file.
    ///
    /// # Errors
    /// `Io` when it or its model cannot be read; `Malformed` when the manifest breaks the format or leads to what
    /// is not there; `Unsupported` when the manifest is of a later version, or the directory is a compiled model.
    pub fn open(path: &Path) -> Result<Package> {
        if path.is_file() {
            return Package::open_specification(path);
        }
        if path.is_dir() && !path.join(MANIFEST).exists() {
            return Err(no_package(path));
        }
        if path.exists() && !path.is_dir() {
            let problem = "is a pipe or device, expected a package (`.mlpackage`)";
            return Err(Error::malformed(path.display().to_string(), problem));
        }
        let manifest = path.join(MANIFEST);
        let what = manifest.display().to_string();
        let text = disk::read_part(&manifest, MAX_MANIFEST_BYTES)?;
        let paths = manifest::read(&text, &what)?;
        let data = path.join(DATA);
        if let Some(missing) = paths.items.iter().find(|item| !data.join(item).exists()) {
            let problem = format!("item `{}` is not there", data.join(missing).display());
            return Err(Error::malformed(what, problem));
        }
        let model = data.join(paths.model);
        if model.is_dir() {
            return Err(Error::malformed(model.display().to_string(), "is a directory, expected a model"));
        }
        Package::open_specification(&model)
    }

    fn open_specification(path: &Path) -> Result<Package> {
        let specification = disk::read_part(path, MAX_MODEL_BYTES)?;
        if specification.starts_with(disk::LFS_POINTER) {
            let problem = "is a Git LFS pointer instead of the model; fetch it with `git lfs pull`";
            return Err(Error::malformed(path.display().to_string(), problem));
        }
        let root = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Ok(Package { model_path: path.to_path_buf(), specification, root })
    }
}

/// What is wrong with a directory that has no manifest.
fn no_package(path: &Path) -> Error {
    let what = path.display().to_string();
    if path.join("coremldata.bin").exists() {
        let problem = "it is a compiled model (`.mlmodelc`); give the package that it was compiled from";
        return Error::unsupported(what, problem);
    }
    Error::malformed(what, format!("`{MANIFEST}` is missing, expected a package (`.mlpackage`)"))
}

/// Writes manifest and model into the directory `dir`, which is to become a package, and creates the directory
/// for the weights; the weight file, at [`weights_path`], is the caller's to write before or after.
///
/// The identifiers in the manifest are derived from the model, so that equal models give equal packages.
///
/// # Errors
/// `Io`, with the path.
pub fn write_into(dir: &Path, specification: &[u8]) -> Result<()> {
    let weights = weights_path(dir);
    if let Some(parent) = weights.parent() {
        fs::create_dir_all(parent).map_err(Error::io("cannot create", parent))?;
    }
    disk::write_file(&dir.join(DATA).join(manifest::MODEL.path()), specification)?;
    disk::write_file(&dir.join(MANIFEST), manifest::text(specification).as_bytes())
}

/// Where the weight file of the package `dir` lies.
pub fn weights_path(dir: &Path) -> PathBuf {
    dir.join(DATA).join(manifest::WEIGHTS.path()).join("weight.bin")
}
