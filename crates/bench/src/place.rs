//! Where things are: the repository, its binary, the files of measurements.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::disk;
use crate::error::{Error, Result};
use crate::generate::{Recipe, tokenizer};
use crate::shapes::{Kind, Scale, Shape};

/// The root of the repository: this program runs where it was built.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// Where checkpoints and outputs go [target/bench of the repository]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Folders `qwen3` and `deepseek-r1-distill-llama` with the tokenizers of real models; where they are absent, the
    /// demo model's serves [../shared/data/tokenizers]
    #[arg(long, value_name = "DIR")]
    tokenizers: Option<PathBuf>,
    /// The binary to measure [target/release/anelith of the repository]
    #[arg(long, value_name = "PATH")]
    anelith: Option<PathBuf>,
}

impl Place {
    /// A file or directory among those of measurements.
    pub(crate) fn file(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.clone().unwrap_or_else(|| root().join("target/bench"));
        disk::place(&dir, name)
    }

    /// The binary to measure.
    pub(crate) fn anelith(&self) -> Result<PathBuf> {
        let path = self.anelith.clone().unwrap_or_else(|| root().join("target/release/anelith"));
        if path.is_file() {
            return Ok(path);
        }
        let mend = "build it with `cargo build --release`, or name another with --anelith";
        Err(Error::Usage(format!("no binary at {}; {mend}", path.display())))
    }

    /// Makes the checkpoint of a model unless it is there, and brings it into the page cache.
    pub(crate) fn checkpoint(&self, kind: Kind, scale: Scale) -> Result<PathBuf> {
        let shape = Shape::of(kind).scaled(scale)?;
        let dir = self.checkpoint_dir(kind, scale)?;
        let tokenizers = self.tokenizers.clone().unwrap_or_else(|| root().join("../shared/data/tokenizers"));
        let tokenizer = tokenizer(&shape, &tokenizers, &root());
        Recipe { shape: &shape, seed: 0, tokenizer: &tokenizer }.make(&dir)?;
        disk::warm(&dir)?;
        Ok(dir)
    }

    pub(crate) fn checkpoint_dir(&self, kind: Kind, scale: Scale) -> Result<PathBuf> {
        let scale = scale.to_string().replace('/', "-of-");
        self.file(&format!("{kind}-x{scale}"))
    }
}

pub(crate) fn root() -> PathBuf {
    let root = Path::new(ROOT);
    root.canonicalize().unwrap_or_else(|_| root.to_owned())
}
