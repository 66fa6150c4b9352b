//! Where things are: the repository, its binary, the files of measurements.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::disk;
use crate::error::{Error, Result};
use crate::generate::{Recipe, Tokenizer};
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

    /// Makes the checkpoint unless it is there, and brings it into the page cache.
    pub(crate) fn checkpoint(&self, source: Source) -> Result<PathBuf> {
        let (shape, dir) = (source.shape()?, self.checkpoint_dir(source)?);
        let tokenizers = self.tokenizers.clone().unwrap_or_else(|| root().join("../shared/data/tokenizers"));
        let tokenizer = source.tokenizer.folder(&shape, &tokenizers, &root());
        Recipe { shape: &shape, seed: 0, tokenizer: &tokenizer }.make_if_missing(&dir)?;
        disk::warm(&dir)?;
        Ok(dir)
    }

    pub(crate) fn checkpoint_dir(&self, source: Source) -> Result<PathBuf> {
        let scale = source.scale.to_string().replace('/', "-of-");
        let tokenizer = if source.tokenizer == Tokenizer::Demo { "-demo" } else { "" };
        self.file(&format!("{}-x{scale}{tokenizer}", source.kind))
    }
}

/// A checkpoint that is made for a measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Source {
    pub(crate) kind: Kind,
    pub(crate) scale: Scale,
    pub(crate) tokenizer: Tokenizer,
}

impl Source {
    pub(crate) fn shape(self) -> Result<Shape> {
        Shape::of(self.kind).scaled(self.scale)
    }
}

pub(crate) fn root() -> PathBuf {
    let root = Path::new(ROOT);
    root.canonicalize().unwrap_or_else(|_| root.to_owned())
}
