//! `meta.yaml`: the file by which chat programs recognise a converted model.

use std::path::{Path, PathBuf};

use anelith_report::Reported;
use serde::Deserialize;

use crate::error::Error;
use crate::json::read_text_optional;

/// What `meta.yaml` says about a monolithic model; keys that do not matter here are ignored.
#[derive(Debug, Clone, PartialEq)]
pub struct Meta {
    /// The file itself.
    pub path: PathBuf,
    /// `model_info.name`, empty when absent.
    pub name: String,
    /// `model_info.architecture`, when present.
    pub architecture: Option<String>,
    /// How many tokens the key/value cache holds, at least 1.
    pub context_length: usize,
    /// How many tokens one prefill call takes, from 1 to the context length.
    pub batch_size: usize,
    /// What file names begin with.
    pub model_prefix: Option<String>,
    /// `monolithic_model` as written; [`Meta::model_path`] finds the file.
    pub monolithic_model: String,
    /// Into how many outputs the logits are split, at least 1.
    pub split_lm_head: usize,
    /// Whether `infer` answers with the argmax of each split in place of logits.
    pub argmax_in_model: bool,
    /// How many tokens there are, when stated.
    pub vocab_size: Option<usize>,
    /// How many tokens each split covers, one per split; empty when not stated.
    pub lm_head_chunk_sizes: Vec<usize>,
    /// What the lookup tables are like.
    pub luts: Luts,
    /// The functions of the model; `infer` and `prefill` when not stated.
    pub functions: Vec<String>,
    /// How the makers of the model would sample from it, when stated.
    pub recommended_sampling: Option<RecommendedSampling>,
}

/// Sampling settings from the model's `generation_config.json`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct RecommendedSampling {
    /// Whether to sample at all, in place of taking the most likely token.
    pub do_sample: Option<bool>,
    /// What the logits are divided by.
    pub temperature: Option<f64>,
    /// From how many of the most likely tokens to choose.
    #[serde(alias = "topK")]
    pub top_k: Option<usize>,
    /// From which share of the probability to choose.
    #[serde(alias = "topP")]
    pub top_p: Option<f64>,
}

/// The lookup tables of the parts of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Luts {
    /// Of the layers.
    pub layers: Lut,
    /// Of the embeddings; as those of the layers where the file says nothing else.
    pub embeddings: Lut,
    /// Of the LM head, likewise.
    pub lm_head: Lut,
}

/// The lookup tables of a part; nothing where the file does not say, or the weights have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lut {
    /// Bits of an index.
    pub bits: Option<u32>,
    /// How many output channels share a table; 0: all of a tensor.
    pub group: Option<u32>,
}

#[derive(Deserialize)]
struct File {
    model_info: Option<Info>,
}

#[derive(Deserialize)]
struct Info {
    name: Option<String>,
    architecture: Option<String>,
    parameters: Option<Parameters>,
}

#[derive(Deserialize)]
struct Parameters {
    context_length: Option<usize>,
    batch_size: Option<usize>,
    model_prefix: Option<String>,
    monolithic_model: Option<String>,
    num_chunks: Option<usize>,
    split_lm_head: Option<usize>,
    argmax_in_model: Option<bool>,
    vocab_size: Option<usize>,
    lm_head_chunk_sizes: Option<Vec<usize>>,
    functions: Option<Vec<String>>,
    lut_ffn: Option<Bits>,
    lut_per_channel: Option<u32>,
    lut_embeddings: Option<Bits>,
    lut_embeddings_per_channel: Option<u32>,
    lut_lmhead: Option<Bits>,
    lut_lmhead_per_channel: Option<u32>,
    recommended_sampling: Option<RecommendedSampling>,
}

/// A number, or a word such as `none`.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Bits {
    Count(u32),
    Word(String),
}

impl Bits {
    fn count(&self) -> Option<u32> {
        match self {
            Bits::Count(bits) => Some(*bits),
            Bits::Word(word) => word.parse().ok(),
        }
    }
}

impl Parameters {
    fn luts(&self) -> Luts {
        let lut = |bits: &Option<Bits>, group| bits.as_ref().map(|bits| Lut { bits: bits.count(), group });
        let layers = lut(&self.lut_ffn, self.lut_per_channel).unwrap_or_default();
        Luts {
            layers,
            embeddings: lut(&self.lut_embeddings, self.lut_embeddings_per_channel).unwrap_or(layers),
            lm_head: lut(&self.lut_lmhead, self.lut_lmhead_per_channel).unwrap_or(layers),
        }
    }
}

impl Meta {
    /// Opens `path`, which is a `meta.yaml` or the directory that holds one.
    ///
    /// # Errors
    /// When there is no such file, a required key is missing or a value contradicts another; and
    /// for a model converted in chunks, which is not supported.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let path = if path.is_dir() { path.join("meta.yaml") } else { path.to_owned() };
        let text = read_text_optional(&path)?.ok_or_else(|| {
            Error::malformed(&path, "there is no `meta.yaml`")
                .expecting("a `meta.yaml`, or a directory that holds one")
                .finding("no such file")
                .mending("give the output directory of a finished conversion")
        })?;
        let file: File = serde_saphyr::from_str(&text).map_err(|e| {
            Error::malformed(&path, "`meta.yaml` cannot be read")
                .finding(&e)
                .mending("let the conversion write it again")
        })?;
        Self::from_file(path, file)
    }

    fn from_file(path: PathBuf, file: File) -> Result<Self, Error> {
        let info = file.model_info.ok_or_else(|| missing(&path, "model_info"))?;
        let parameters = info.parameters.ok_or_else(|| missing(&path, "model_info.parameters"))?;
        let luts = parameters.luts();
        let monolithic_model = match parameters.monolithic_model {
            Some(name) if !name.is_empty() => name,
            _ if parameters.num_chunks.is_some() => return Err(chunked(&path)),
            _ => return Err(missing(&path, "monolithic_model")),
        };
        let required = |value: Option<usize>, key: &str| value.ok_or_else(|| missing(&path, key));
        let meta = Self {
            name: info.name.unwrap_or_default(),
            architecture: info.architecture,
            context_length: required(parameters.context_length, "context_length")?,
            batch_size: required(parameters.batch_size, "batch_size")?,
            split_lm_head: parameters
                .split_lm_head
                .unwrap_or_else(|| default_split(parameters.model_prefix.as_deref())),
            model_prefix: parameters.model_prefix,
            monolithic_model,
            argmax_in_model: parameters.argmax_in_model.unwrap_or(false),
            vocab_size: parameters.vocab_size,
            lm_head_chunk_sizes: parameters.lm_head_chunk_sizes.unwrap_or_default(),
            luts,
            functions: parameters.functions.unwrap_or_else(|| vec!["infer".to_owned(), "prefill".to_owned()]),
            recommended_sampling: parameters.recommended_sampling,
            path,
        };
        meta.validate()?;
        Ok(meta)
    }

    fn validate(&self) -> Result<(), Error> {
        let wrong = |key: &str, expected: String, found: String| {
            Error::malformed(&self.path, format!("`{key}` is not possible"))
                .at(format!("{}, key `{key}`", self.path.display()))
                .expecting(expected)
                .finding(found)
                .mending("let the conversion write `meta.yaml` again")
        };
        if self.context_length == 0 {
            return Err(wrong("context_length", "at least 1".into(), "0".into()));
        }
        if !(1..=self.context_length).contains(&self.batch_size) {
            let expected = format!("1 to `context_length`, {}", self.context_length);
            return Err(wrong("batch_size", expected, self.batch_size.to_string()));
        }
        if self.split_lm_head == 0 {
            return Err(wrong("split_lm_head", "at least 1".into(), "0".into()));
        }
        let sizes = &self.lm_head_chunk_sizes;
        if !sizes.is_empty() && sizes.len() != self.split_lm_head {
            let expected = format!("{} sizes, one per split", self.split_lm_head);
            return Err(wrong("lm_head_chunk_sizes", expected, format!("{} sizes", sizes.len())));
        }
        let sum = sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
        if let Some(vocab) = self.vocab_size
            && !sizes.is_empty()
            && sum != Some(vocab)
        {
            let expected = format!("a sum of {vocab}, the `vocab_size`");
            let found = sum.map_or("an overflow".to_owned(), |sum| sum.to_string());
            return Err(wrong("lm_head_chunk_sizes", expected, found));
        }
        Ok(())
    }

    /// How many tokens each split of the LM head covers: `lm_head_chunk_sizes`, else `vocab_size` as evenly as
    /// possible, the first splits one more; `None` where neither is stated.
    pub fn chunk_sizes(&self) -> Option<Vec<usize>> {
        if !self.lm_head_chunk_sizes.is_empty() {
            return Some(self.lm_head_chunk_sizes.clone());
        }
        let (vocab, splits) = (self.vocab_size?, self.split_lm_head);
        Some((0..splits).map(|i| vocab / splits + usize::from(i < vocab % splits)).collect())
    }

    /// The directory of the file, where the tokenizer is.
    pub fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// The model itself: what `monolithic_model` names in the directory of `meta.yaml`, else the
    /// `.mlmodelc`, else the `.mlpackage` of that name.
    ///
    /// # Errors
    /// When none of them is there.
    pub fn model_path(&self) -> Result<PathBuf, Error> {
        let exact = self.dir().join(&self.monolithic_model);
        let stem =
            ["mlmodelc", "mlpackage"].iter().any(|known| exact.extension().is_some_and(|e| e == *known));
        let sibling = |extension: &str| {
            let base = if stem { exact.with_extension("") } else { exact.clone() };
            let mut name = base.into_os_string();
            name.push(".");
            name.push(extension);
            PathBuf::from(name)
        };
        let tried = [exact.clone(), sibling("mlmodelc"), sibling("mlpackage")];
        tried.into_iter().find(|path| path.is_dir()).ok_or_else(|| {
            Error::malformed(&self.path, "the model named in `meta.yaml` is missing")
                .at(format!("{}, key `monolithic_model`", self.path.display()))
                .expecting(format!("`{}`, its `.mlmodelc` or its `.mlpackage`", exact.display()))
                .finding("no such directory")
                .mending("run the conversion again; it builds only what is missing")
        })
    }
}

fn missing(path: &Path, key: &str) -> Error {
    Error::malformed(path, format!("`meta.yaml` has no `{key}`"))
        .at(format!("{}, key `{key}`", path.display()))
        .expecting("a value")
        .finding("nothing")
        .mending("let the conversion write it again")
}

fn chunked(path: &Path) -> Error {
    Error::unsupported(path, "the model was converted in chunks")
        .expecting("`monolithic_model`")
        .finding("`num_chunks`")
        .mending("convert the model into one file with `convert`")
}

/// What upstream's programs assume for a file that does not say.
fn default_split(prefix: Option<&str>) -> usize {
    if prefix.unwrap_or("qwen").contains("qwen") { 16 } else { 8 }
}

#[cfg(test)]
mod tests;
