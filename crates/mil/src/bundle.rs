//! Opens an ML program in whichever form it lies on disk.

use std::path::{Path, PathBuf};

use crate::blob::WeightStore;
use crate::compiled;
use crate::error::Result;
use crate::model::Model;
use crate::package::Package;
use crate::proto;
use crate::validate::{ProgramInfo, validate_model};

/// A model from disk, validated, with its weights at hand.
#[derive(Debug)]
pub struct Bundle {
    /// The model.
    pub model: Model,
    /// The proof that its program is valid and described as it is.
    pub info: ProgramInfo,
    /// Its weights, mapped into memory.
    pub weights: WeightStore,
}

impl Bundle {
    /// Opens a `.mlpackage`, a `.mlmodelc` or a bare `.mlmodel`.
    ///
    /// # Errors
    /// When a file cannot be read or breaks its format, or when the program is not valid or not what the
    /// description says.
    pub fn open(path: &Path) -> Result<Bundle> {
        let (model, root) = read_model(path)?;
        let info = validate_model(&model)?;
        let weights = WeightStore::open(&root, &model.program)?;
        Ok(Bundle { model, info, weights })
    }
}

/// Reads the model of a `.mlpackage`, a `.mlmodelc` or a bare `.mlmodel`, which need not be valid. The answer has the
/// directory that `@model_path` stands for, for [`WeightStore::open`].
///
/// # Errors
/// When a file cannot be read or breaks its format.
pub fn read_model(path: &Path) -> Result<(Model, PathBuf)> {
    if path.extension().is_some_and(|e| e == "mlmodelc") {
        return Ok((compiled::read(path)?, path.to_path_buf()));
    }
    let package = Package::open(path)?;
    let model = proto::decode(&package.specification, &package.model_path.display().to_string())?;
    Ok((model, package.root))
}
