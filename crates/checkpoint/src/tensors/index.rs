//! Which files hold the weights of a directory: one file, or shards named by an index.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use anelith_report::Reported;
use serde::Deserialize;

use crate::error::{Error, Result};

/// An index lists one line per tensor; real ones stay below a few megabytes.
pub(crate) const MAX_INDEX_BYTES: u64 = 256 << 20;

pub(crate) const SINGLE: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// How the weights of a directory are laid out.
#[derive(Debug)]
pub(super) enum Layout {
    /// Everything in one file.
    Single(PathBuf),
    /// Shards in the directory of the index.
    Sharded(Index),
}

/// A parsed `model.safetensors.index.json`.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) path: PathBuf,
    /// Tensor name to shard file name (a plain name, without directories).
    pub(super) weight_map: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Document {
    weight_map: BTreeMap<String, String>,
}

impl Layout {
    /// Finds the weights in `dir`: `model.safetensors`, else the index, else the only `.safetensors` file there is.
    pub(super) fn find(dir: &Path) -> Result<Self> {
        let (single, index) = (dir.join(SINGLE), dir.join(INDEX));
        if exists(&single)? {
            return Ok(Self::Single(single));
        }
        if exists(&index)? {
            return Ok(Self::Sharded(Index::read(&index)?));
        }
        let mut others = files_with_extension(dir, "safetensors")?.into_iter();
        match (others.next(), others.next()) {
            (Some(only), None) => Ok(Self::Single(only)),
            (Some(_), Some(_)) => Err(no_weights(dir)
                .finding(format!("{} .safetensors files and no index", others.count() + 2))
                .mending(format!("add {INDEX}, which says where each tensor is"))),
            (None, _) => Err(no_weights(dir).finding(foreign_weights(dir)?).mending(
                "add the weights; a checkpoint in another format (pytorch_model.bin, GGUF) must be saved as safetensors first",
            )),
        }
    }
}

impl Index {
    fn read(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(|e| Error::io("read", path, &e))?;
        Error::unless_file(path, &metadata)?;
        if metadata.len() > MAX_INDEX_BYTES {
            return Err(malformed(path, "it is too large")
                .expecting(format!("at most {MAX_INDEX_BYTES} bytes"))
                .finding(format!("{} bytes", metadata.len())));
        }
        Self::parse(path, &fs::read(path).map_err(|e| Error::io("read", path, &e))?)
    }

    /// Reads the text of an index; `path` is where it is from.
    fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let document: Document = serde_json::from_slice(bytes).map_err(|e| {
            malformed(path, &e.to_string())
                .at(format!("{}:{}:{}", path.display(), e.line(), e.column()))
                .expecting(r#"{"weight_map": {"TENSOR": "SHARD", ...}}"#)
                .finding(format!("{} bytes that are not that", bytes.len()))
        })?;
        for (tensor, shard) in &document.weight_map {
            check_plain_name(path, tensor, shard)?;
        }
        Ok(Self { path: path.to_owned(), weight_map: document.weight_map })
    }

    /// How many tensors the index places in `shard`.
    pub(super) fn count(&self, shard: &str) -> usize {
        self.weight_map.values().filter(|home| *home == shard).count()
    }

    /// The shard file names, sorted, each once.
    pub(super) fn shards(&self) -> BTreeSet<&str> {
        self.weight_map.values().map(String::as_str).collect()
    }
}

/// The shards that the text of an index names, sorted, each once; `path` is where it is from.
///
/// `Malformed` if it is no index, or if it names what is no plain file name.
pub(crate) fn shards_of(text: &[u8], path: &Path) -> Result<Vec<String>> {
    Ok(Index::parse(path, text)?.shards().into_iter().map(str::to_owned).collect())
}

/// The files that hold the weights of `dir`, with the index where there is one, whether they are there or not.
pub(crate) fn weight_files(dir: &Path) -> Result<Vec<PathBuf>> {
    Ok(match Layout::find(dir)? {
        Layout::Single(path) => vec![path],
        Layout::Sharded(index) => {
            let shards = index.shards().into_iter().map(|shard| dir.join(shard));
            [index.path.clone()].into_iter().chain(shards).collect()
        }
    })
}

/// Shards lie beside the index: a name that leads elsewhere is refused, so that an index cannot reach other files.
fn check_plain_name(index: &Path, tensor: &str, shard: &str) -> Result<()> {
    if is_plain_name(shard) {
        return Ok(());
    }
    let why = format!("tensor `{tensor}` is in `{shard}`, which is not a plain file name");
    Err(malformed(index, &why).expecting("the name of a file beside the index").finding(format!("`{shard}`")))
}

/// Whether `name`, which others have chosen, is that of a file in a directory and of nothing beyond it, on any system.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let is_one =
        matches!(parts.next(), Some(Component::Normal(part)) if part == name) && parts.next().is_none();
    is_one && !name.chars().any(|c| c.is_control() || matches!(c, '\\' | ':'))
}

fn malformed(path: &Path, why: &str) -> Error {
    let what = format!("`{}` is not a valid index: {why}", path.display());
    Error::malformed(what).at(path.display()).mending("download the index again")
}

fn no_weights(dir: &Path) -> Error {
    Error::missing("no weights in the model directory")
        .at(dir.display())
        .expecting(format!("{SINGLE}, or {INDEX} with its shards"))
}

/// Whether something stands at `path`: a link that leads nowhere does, and is refused when it is opened.
fn exists(path: &Path) -> Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("read", path, &e)),
    }
}

/// Formats of weights that are not read here.
const FORMATS: [&str; 8] = ["bin", "gguf", "pt", "pth", "ckpt", "h5", "msgpack", "onnx"];

/// The files in `dir` that hold weights in formats that are not read here, in words.
fn foreign_weights(dir: &Path) -> Result<String> {
    let mut names: Vec<String> = Vec::new();
    for format in FORMATS {
        let found = files_with_extension(dir, format)?;
        names.extend(found.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())));
    }
    Ok(foreign_weights_of(names.iter().map(String::as_str)))
}

/// Those of the files `names` that hold weights in formats that are not read here, in words.
pub(crate) fn foreign_weights_of<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let is_foreign = |name: &&str| name.rsplit_once('.').is_some_and(|(_, format)| FORMATS.contains(&format));
    let names: Vec<&str> = names.filter(is_foreign).collect();
    match names.len() {
        0 => "no file that looks like weights".to_owned(),
        1..=3 => names.join(", "),
        more => format!("{} and {} more", names[..2].join(", "), more - 2),
    }
}

fn files_with_extension(dir: &Path, extension: &str) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).map_err(|e| Error::io("list", dir, &e))? {
        let path = entry.map_err(|e| Error::io("list", dir, &e))?.path();
        if path.extension().is_some_and(|e| e == extension) {
            found.insert(path);
        }
    }
    Ok(found)
}
