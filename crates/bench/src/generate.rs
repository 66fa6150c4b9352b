//! Writes a checkpoint of a model's shapes with random weights.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use half::bf16;
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::normal::{Normal, Random};
use crate::shapes::{Content, Shape, Tensor};

/// The standard deviation that transformers initializes weights with.
const DEVIATION: f64 = 0.02;

/// How far norm weights are spread around 1.
const NORM_DEVIATION: f64 = 0.1;

/// Bytes that one thread makes from one sequence of random numbers: part of what decides the bytes.
const PART: usize = 1 << 20;

/// Bytes in memory at once.
const BUFFER: usize = 32 * PART;

/// The files of a tokenizer that a checkpoint carries.
const TOKENIZER_FILES: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
];

/// A checkpoint to be made.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    pub(crate) shape: &'a Shape,
    pub(crate) seed: u64,
    /// A folder with tokenizer files.
    pub(crate) tokenizer: &'a Path,
}

impl Recipe<'_> {
    /// As `make`, unless the checkpoint that is there has this config.json and a weight file of the right length; its
    /// seed is not known.
    pub(crate) fn make_if_missing(&self, dir: &Path) -> Result<()> {
        let length = header(&self.shape.tensors())?.len() as u64 + 2 * self.shape.weights();
        let config = pretty(&self.shape.config());
        let is_there = fs::metadata(dir.join("model.safetensors")).is_ok_and(|m| m.len() == length)
            && fs::read_to_string(dir.join("config.json")).is_ok_and(|text| text == config);
        if is_there { self.copy_tokenizer(dir) } else { self.make(dir) }
    }

    /// Makes the checkpoint in `dir`. Bytes depend on shape and seed alone.
    pub(crate) fn make(&self, dir: &Path) -> Result<()> {
        let weights = dir.join("model.safetensors");
        let header = header(&self.shape.tensors())?;
        fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        write(&dir.join("config.json"), &pretty(&self.shape.config()))?;
        write(&dir.join("generation_config.json"), &pretty(&self.shape.generation_config()))?;
        self.copy_tokenizer(dir)?;
        self.write_weights(&header, &weights)
    }

    /// The weight file appears when it is whole.
    fn write_weights(&self, header: &[u8], path: &Path) -> Result<()> {
        let partial = path.with_extension("partial");
        let mut file = File::create(&partial).map_err(Error::io("create", &partial))?;
        file.write_all(header).map_err(Error::io("write", &partial))?;
        let source = Source::new(self.seed);
        let mut buffer = vec![0; BUFFER];
        for tensor in self.shape.tensors() {
            source.tensor(&tensor, &mut buffer, |bytes| {
                file.write_all(bytes).map_err(Error::io("write", &partial))
            })?;
        }
        // Its way to the disk must not be part of what is measured next.
        file.sync_all().map_err(Error::io("write", &partial))?;
        fs::rename(&partial, path).map_err(Error::io("rename", &partial))
    }

    fn copy_tokenizer(&self, dir: &Path) -> Result<()> {
        for name in TOKENIZER_FILES {
            let (from, to) = (self.tokenizer.join(name), dir.join(name));
            if from.exists() {
                // As new files: what is copied may be read-only.
                let bytes = fs::read(&from).map_err(Error::io("read", &from))?;
                fs::write(&to, bytes).map_err(Error::io("write", &to))?;
            } else if to.exists() {
                fs::remove_file(&to).map_err(Error::io("remove", &to))?;
            }
        }
        Ok(())
    }
}

/// Where weights come from.
struct Source {
    seed: u64,
    matrix: Normal,
    norm: Normal,
}

impl Source {
    fn new(seed: u64) -> Source {
        Source { seed, matrix: Normal::new(0.0, DEVIATION), norm: Normal::new(1.0, NORM_DEVIATION) }
    }

    /// Hands the bytes of a tensor to `take`, at most a buffer at a time.
    fn tensor(
        &self,
        tensor: &Tensor,
        buffer: &mut [u8],
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut left = 2 * tensor.elements();
        let mut part = 0;
        while left > 0 {
            let length = left.min(buffer.len() as u64);
            let piece = &mut buffer[..length as usize];
            let parts = piece.par_chunks_mut(PART).enumerate();
            parts.for_each(|(i, bytes)| self.fill(bytes, tensor, part + i as u64));
            take(piece)?;
            left -= length;
            part += (BUFFER / PART) as u64;
        }
        Ok(())
    }

    fn fill(&self, bytes: &mut [u8], tensor: &Tensor, part: u64) {
        let normal = match tensor.content {
            Content::Matrix => &self.matrix,
            Content::Norm => &self.norm,
            Content::Bias => return bytes.fill(0),
        };
        let mut random = Random::new(self.seed, &tensor.name, part);
        for four in bytes.chunks_mut(4) {
            let bits = random.bits();
            let two: [bf16; 2] = [normal.draw(bits as u32), normal.draw((bits >> 32) as u32)];
            for (place, value) in four.chunks_exact_mut(2).zip(two) {
                place.copy_from_slice(&value.to_le_bytes());
            }
        }
    }
}

/// The beginning of the weight file, up to the first weight.
fn header(tensors: &[Tensor]) -> Result<Vec<u8>> {
    let mut end = 0;
    let place = |tensor: &Tensor| {
        let start = end;
        end += 2 * tensor.elements() as usize;
        let shape = tensor.shape.iter().map(|n| *n as usize).collect();
        (tensor.name.clone(), TensorInfo { dtype: Dtype::BF16, shape, data_offsets: (start, end) })
    };
    let places = tensors.iter().map(place).collect();
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let failed = |e: &dyn std::fmt::Display| Error::Failed(format!("no header for these tensors: {e}"));
    let metadata = Metadata::new(Some(metadata), places).map_err(|e| failed(&e))?;
    let mut text = serde_json::to_string(&metadata).map_err(|e| failed(&e))?;
    // The weights begin at a multiple of eight.
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    Ok([&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat())
}

/// As Python's json writes it with an indent of two.
fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::io("write", path))
}

/// Whose tokenizer lies beside the weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tokenizer {
    /// The model's, where it is to be had and the vocabulary has all of its tokens; else as `Demo`.
    Real,
    /// The demo model's, which is in the repository: its 1024 tokens fit any vocabulary.
    Demo,
}

impl Tokenizer {
    /// The folder that it is taken from; `tokenizers` holds those of real models, `root` is the repository.
    pub(crate) fn folder(self, shape: &Shape, tokenizers: &Path, root: &Path) -> PathBuf {
        let real = tokenizers.join(shape.kind.tokenizer());
        let fits = shape.vocab >= Shape::of(shape.kind).vocab && real.join("tokenizer.json").exists();
        if self == Tokenizer::Real && fits { real } else { root.join("models/demo-qwen3") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shapes::Kind;
    use anelith_checkpoint::Checkpoint;

    fn small(kind: Kind) -> Shape {
        Shape {
            layers: 1,
            vocab: 1100,
            hidden: 64,
            intermediate: 96,
            heads: 4,
            kv_heads: 2,
            ..Shape::of(kind)
        }
    }

    fn make(kind: Kind, seed: u64) -> (tempfile::TempDir, Vec<u8>) {
        let dir = tempfile::tempdir().expect("a directory");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let shape = small(kind);
        let tokenizer = root.join("models/demo-qwen3");
        Recipe { shape: &shape, seed, tokenizer: &tokenizer }.make(dir.path()).expect("a checkpoint");
        let bytes = fs::read(dir.path().join("model.safetensors")).expect("weights");
        (dir, bytes)
    }

    #[test]
    fn checkpoints_open_with_every_tensor_in_its_shape() {
        for kind in [Kind::Qwen3, Kind::Llama, Kind::Qwen2] {
            let (dir, _) = make(kind, 1);
            let checkpoint = Checkpoint::open(dir.path()).expect("what was written can be opened");
            let tensors = small(kind).tensors();
            assert_eq!(checkpoint.tensors.names().count(), tensors.len(), "{kind}");
            for tensor in tensors {
                let shape: Vec<usize> = tensor.shape.iter().map(|n| *n as usize).collect();
                let found = checkpoint.tensors.get(&tensor.name, &shape).expect("the tensor is there");
                let mut values = Vec::new();
                found.read_f32(0..found.element_count(), &mut values).expect("its values can be read");
                let mean = values.iter().sum::<f32>() / values.len() as f32;
                let expected = if tensor.content == Content::Norm { 1.0 } else { 0.0 };
                assert!((mean - expected).abs() < 0.1, "{}: mean {mean}", tensor.name);
                assert_eq!(values.iter().all(|v| *v == 0.0), tensor.content == Content::Bias);
            }
        }
    }

    #[test]
    fn bytes_follow_from_the_seed() {
        let (dir, bytes) = make(Kind::Qwen3, 1);
        assert!(bytes == make(Kind::Qwen3, 1).1, "the same seed, other bytes");
        assert!(bytes != make(Kind::Qwen3, 2).1, "another seed, the same bytes");
        assert!(!dir.path().join("model.partial").exists());
    }

    #[test]
    fn the_number_of_threads_is_no_matter() {
        let shape = Shape { vocab: 40_000, ..small(Kind::Qwen3) };
        let tensors = shape.tensors();
        let embedding = tensors.iter().find(|t| t.name.contains("embed")).expect("an embedding");
        let bytes = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let mut all = Vec::new();
            let take = |bytes: &[u8]| {
                all.extend_from_slice(bytes);
                Ok(())
            };
            pool.install(|| Source::new(1).tensor(embedding, &mut vec![0; BUFFER], take)).expect("weights");
            all
        };
        let one = bytes(1);
        assert_eq!(one.len(), 2 * 40_000 * 64);
        assert!(one == bytes(3));
        assert!(one[..PART] != one[PART..2 * PART], "parts repeat");
    }
}
