//! What a Hugging Face model directory is: `config.json`, the tensors of its safetensors files, its tokenizer files;
//! and how it comes from a hub.
//!
//! This crate knows nothing of Core ML. It reads and checks; it decides nothing about conversion.
//! The modules come in the order `error`, `config`, `tensors`, `files`, `hub`, and each uses only earlier ones.
//!
//! Nothing here trusts its input: sizes are checked before anything is allocated, offsets against the length of the
//! file, and every refusal is an [`Error`] that says what, where, expected, found, and what to do. Tensor data is read
//! by position and in pieces, so memory stays bounded whatever the size of the model.

mod config;
mod error;
mod files;
mod hub;
mod tensors;

use std::fs;
use std::path::{Path, PathBuf};

use anelith_report::Reported;

pub use config::{Architecture, Config, Rope, RopeScaling, Yarn};
pub use error::{Error, ErrorKind, Result};
pub use files::{TokenizerFile, license, optional_files, tokenizer_file_names, tokenizer_files};
pub use hub::{Hub, HubProgress, HubSettings, HubToken, ModelId, RemoteFile, Revision, Snapshot};
pub use tensors::{Dtype, TensorRef, Tensors};

/// A model directory that has been opened: its config is read, the headers of its weights are checked, no weight is read.
#[derive(Debug)]
pub struct Checkpoint {
    /// The directory, as it was given.
    pub dir: PathBuf,
    /// Its `config.json`.
    pub config: Config,
    /// Its weights.
    pub tensors: Tensors,
    name: String,
}

impl Checkpoint {
    /// Opens the model directory `dir`.
    ///
    /// Errors are `Missing` when the directory, its config.json or its weights are absent, and otherwise those of
    /// [`Config::read`] and [`Tensors::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let name = check_directory(dir)?;
        Ok(Self { dir: dir.to_owned(), config: Config::read(dir)?, tensors: Tensors::open(dir)?, name })
    }

    /// The same model under another name: the directory of a model from a hub is called after its commit.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// The directory's own name, with links and `..` resolved: `Qwen3-0.6B`; or what [`Checkpoint::named`] was given.
    pub fn model_name(&self) -> &str {
        &self.name
    }
}

/// Checks that `dir` is a directory, and gives its own name.
fn check_directory(dir: &Path) -> Result<String> {
    let metadata = fs::metadata(dir).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Error::missing(format!("Model directory does not exist: {}", dir.display()))
                .at(dir.display())
                .mending("check the path given to --model")
        }
        _ => Error::io("open", dir, &e),
    })?;
    if !metadata.is_dir() {
        let what = format!("Model path is not a directory: {}", dir.display());
        return Err(Error::malformed(what)
            .at(dir.display())
            .expecting("a directory with config.json, weights and tokenizer")
            .finding("a file"));
    }
    let canonical = dir.canonicalize().map_err(|e| Error::io("open", dir, &e))?;
    let name = canonical.file_name().unwrap_or(canonical.as_os_str());
    Ok(name.to_string_lossy().into_owned())
}
