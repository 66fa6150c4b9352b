//! The weights of a model directory: found, checked against their files, and read by position.

mod diagnose;
mod index;
mod round;
mod source;
mod tensor_ref;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anelith_report::Reported;
use safetensors::tensor::TensorInfo;

use crate::error::{Error, Result};
pub(crate) use index::{
    INDEX, MAX_INDEX_BYTES, SINGLE, foreign_weights_of, is_plain_name, shards_of, weight_files,
};
use index::{Index, Layout};
use source::Source;
pub use tensor_ref::{Dtype, TensorRef};

/// Every tensor of a checkpoint by name, over one file or many. No data is held in memory.
#[derive(Debug)]
pub struct Tensors {
    entries: BTreeMap<String, Entry>,
    /// The index, or the only file.
    listing: PathBuf,
    /// The index, where there is one, and the weight files.
    files: Vec<PathBuf>,
    /// Tensors that a shard holds and the index does not list, with the shard.
    unlisted: BTreeMap<String, String>,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Entry {
    info: TensorInfo,
    source: Arc<Source>,
}

impl Tensors {
    /// Opens the weights in `dir`: `model.safetensors`, else the shards that `model.safetensors.index.json` names, else
    /// the only `.safetensors` file there is. Reads and checks every header against the length of its file.
    ///
    /// Errors name the file: `Missing` without weights, or when the index names an absent shard or tensor; `Malformed`
    /// for a file that is truncated or contradicts itself.
    pub fn open(dir: &Path) -> Result<Self> {
        match Layout::find(dir)? {
            Layout::Single(path) => Self::open_single(path),
            Layout::Sharded(index) => Self::open_shards(dir, index),
        }
    }

    fn open_single(path: PathBuf) -> Result<Self> {
        let (source, tensors) = Source::open(&path)?;
        let source = Arc::new(source);
        let entry = |info| Entry { info, source: Arc::clone(&source) };
        Ok(Self {
            entries: tensors.into_iter().map(|(n, i)| (n, entry(i))).collect(),
            listing: path.clone(),
            files: vec![path],
            unlisted: BTreeMap::new(),
            warnings: Vec::new(),
        })
    }

    fn open_shards(dir: &Path, index: Index) -> Result<Self> {
        let mut entries = BTreeMap::new();
        let mut strays = Vec::new();
        let mut unlisted = BTreeMap::new();
        let mut files = vec![index.path.clone()];
        for shard in index.shards() {
            let path = dir.join(shard);
            let (source, tensors) = open_shard(&path, shard, &index)?;
            let source = Arc::new(source);
            for (name, info) in tensors {
                match index.weight_map.get(&name) {
                    Some(home) if home == shard => {
                        let source = Arc::clone(&source);
                        entries.insert(name, Entry { info, source });
                    }
                    Some(home) => strays.push((name, home.as_str(), shard)),
                    None => {
                        unlisted.insert(name, shard.to_owned());
                    }
                }
            }
            files.push(path);
        }
        for (name, shard) in &index.weight_map {
            if !entries.contains_key(name) {
                let stray = strays.iter().find(|(stray, ..)| stray == name).map(|(.., elsewhere)| *elsewhere);
                return Err(not_in_shard(dir, &index, (name, shard), stray));
            }
        }
        if let Some((name, home, shard)) = strays.first() {
            return Err(in_two_shards(dir, &index, name, home, shard));
        }
        let warning =
            |(name, shard)| format!("`{shard}`: tensor `{name}` is ignored; the index does not list it");
        let warnings = unlisted.iter().map(warning).collect();
        Ok(Self { entries, listing: index.path, files, unlisted, warnings })
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The files that hold the weights, and the index where there is one; sorted, the index first.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// One line for every tensor that a shard holds and the index does not list.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The file that holds the tensor `name`, and its shape, whatever its element type.
    pub fn find(&self, name: &str) -> Option<(&Path, &[usize])> {
        self.entries.get(name).map(|entry| (entry.source.path(), entry.info.shape.as_slice()))
    }

    /// The tensor `name`, which must have exactly the given shape and be f32, f16 or bf16.
    ///
    /// Errors name the tensor: `Missing`, `Malformed` (shape) or `Unsupported` (element type).
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<TensorRef> {
        let entry = self.entries.get(name).ok_or_else(|| self.missing(name))?;
        let dtype = Dtype::from_safetensors(entry.info.dtype).ok_or_else(|| wrong_dtype(name, entry))?;
        if entry.info.shape != shape {
            return Err(wrong_shape(name, entry, shape));
        }
        Ok(TensorRef {
            name: name.into(),
            dtype,
            shape: shape.into(),
            source: Arc::clone(&entry.source),
            offset: entry.info.data_offsets.0 as u64,
            elements: (entry.info.data_offsets.1 - entry.info.data_offsets.0) / dtype.size(),
        })
    }

    fn missing(&self, name: &str) -> Error {
        let listing = self.listing.display();
        let found = match self.unlisted.get(name) {
            Some(shard) => format!("it in `{shard}`, which the index does not say"),
            None => format!("{} other tensors", self.entries.len()),
        };
        Error::missing(format!("tensor `{name}` is missing from `{listing}`"))
            .at(listing)
            .expecting(format!("a tensor `{name}`"))
            .finding(found)
            .mending("download the checkpoint again, or check that config.json belongs to it")
    }
}

const APART: &str = "download the index and the shards again; they do not belong together";

fn open_shard(path: &Path, shard: &str, index: &Index) -> Result<(Source, BTreeMap<String, TensorInfo>)> {
    if path.symlink_metadata().is_ok() {
        return Source::open(path);
    }
    Err(Error::missing(format!("shard `{shard}` is missing; `{}` names it", index.path.display()))
        .at(path.display())
        .expecting(format!("the file {shard}, with {} tensors", index.count(shard)))
        .finding("no such file")
        .mending("download the missing shard"))
}

fn not_in_shard(dir: &Path, index: &Index, (name, shard): (&str, &str), elsewhere: Option<&str>) -> Error {
    Error::missing(format!("tensor `{name}` is not in `{shard}`, where `{}` places it", index.path.display()))
        .at(dir.join(shard).display())
        .expecting(format!("a tensor `{name}`"))
        .finding(elsewhere.map_or("other tensors".to_owned(), |shard| format!("it in `{shard}`")))
        .mending(APART)
}

fn in_two_shards(dir: &Path, index: &Index, name: &str, home: &str, other: &str) -> Error {
    let what = format!("tensor `{name}` is in two shards; `{}` places it in `{home}`", index.path.display());
    Error::malformed(what)
        .at(dir.join(other).display())
        .expecting(format!("it in `{home}` alone"))
        .finding(format!("it in `{other}` too"))
        .mending(APART)
}

fn wrong_shape(name: &str, entry: &Entry, expected: &[usize]) -> Error {
    let found = &entry.info.shape;
    Error::malformed(format!("tensor `{name}` has shape {found:?}, expected {expected:?}"))
        .at(entry.source.path().display())
        .expecting(format!("{expected:?}"))
        .finding(format!("{found:?}"))
        .mending("check that config.json and the weights belong to the same model")
}

fn wrong_dtype(name: &str, entry: &Entry) -> Error {
    let dtype = entry.info.dtype;
    Error::unsupported(format!("tensor `{name}` has element type {dtype}, expected F32, F16 or BF16"))
        .at(entry.source.path().display())
        .expecting("F32, F16 or BF16")
        .finding(dtype)
        .mending("use an unquantized checkpoint in float32, float16 or bfloat16")
}
