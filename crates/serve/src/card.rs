//! What there is to know about the model, for people and their programs.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anelith_chat::{Error, Meta, Sampling};
use serde::Deserialize;
use serde_json::{Value, json};

/// What a server says of its model.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    /// The id by which clients ask for the model.
    pub name: String,
    /// As meta.yaml says, when it does.
    pub architecture: Option<String>,
    /// How many tokens prompt and answer may have together.
    pub context_length: usize,
    /// How many tokens of a prompt are run at a time.
    pub batch_size: usize,
    /// Bits and group of the lookup tables of layers, embeddings and LM head.
    pub luts: Luts,
    /// Bytes of the weight files.
    pub weight_bytes: u64,
    /// How tokens are chosen where a request does not say.
    pub sampling: Sampling,
    /// Whether there is a chat template.
    pub has_template: bool,
    /// Whether the template has a switch for thinking.
    pub has_thinking: bool,
    /// Whether the model picks the likeliest token itself.
    pub has_argmax: bool,
    /// What `anelith verify` found, if that is known.
    pub verified: Option<Verified>,
    /// The version of this program.
    pub version: String,
}

/// Two figures of `anelith verify`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verified {
    /// Mean KL divergence from the checkpoint, in nats.
    pub kl_mean: f64,
    /// At which share of the positions the likeliest token is the same.
    pub same_top: f64,
}

/// The lookup tables of the parts of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Luts {
    layers: Lut,
    embeddings: Lut,
    lm_head: Lut,
}

/// Bits of the indices; how many output channels share a table, 0: all of a tensor. Nothing where meta.yaml does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Lut {
    bits: Option<u32>,
    group: Option<u32>,
}

impl Card {
    /// What meta.yaml and the files beside it say of the model named `name`.
    ///
    /// # Errors
    /// When generation_config.json cannot be read.
    pub fn new(meta: &Meta, name: String, version: &str) -> Result<Card, Error> {
        Ok(Card {
            name,
            architecture: meta.architecture.clone(),
            context_length: meta.context_length,
            batch_size: meta.batch_size,
            luts: Luts::read(&meta.path),
            weight_bytes: 0,
            sampling: Sampling::recommended(meta)?,
            has_template: false,
            has_thinking: knows_thinking(meta.dir()),
            has_argmax: meta.argmax_in_model,
            verified: verified(meta),
            version: version.to_owned(),
        })
    }

    /// As JSON.
    pub(crate) fn json(&self, max_tokens: Option<usize>) -> Value {
        let Sampling { temperature, top_k, top_p, min_p, repetition_penalty, .. } = self.sampling;
        json!({
            "name": self.name,
            "architecture": self.architecture,
            "context_length": self.context_length,
            "batch_size": self.batch_size,
            "lut": {
                "layers": self.luts.layers.json(),
                "embeddings": self.luts.embeddings.json(),
                "lm_head": self.luts.lm_head.json(),
            },
            "weight_bytes": self.weight_bytes,
            "sampling": {
                "temperature": decimal(temperature),
                "top_k": top_k,
                "top_p": decimal(top_p),
                "min_p": decimal(min_p),
                "repetition_penalty": decimal(repetition_penalty),
            },
            "max_tokens": max_tokens,
            "chat_template": self.has_template,
            "enable_thinking": self.has_template && self.has_thinking,
            "argmax": self.has_argmax,
            "version": self.version,
            "verify": self.verified.map(|v| json!({"kl_mean": v.kl_mean, "same_top": v.same_top})),
        })
    }
}

/// A setting as it was written: the shortest decimal that gives the same f32.
fn decimal(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, |value| json!(value))
}

impl Lut {
    fn json(self) -> Value {
        let group = self.group.map(|group| if group == 0 { json!("tensor") } else { json!(group) });
        json!({"bits": self.bits, "group": group})
    }
}

#[derive(Deserialize)]
struct File {
    model_info: Info,
}

#[derive(Deserialize)]
struct Info {
    parameters: Parameters,
}

/// Bits are a number, or `none`.
#[derive(Deserialize)]
struct Parameters {
    lut_ffn: Option<Bits>,
    lut_per_channel: Option<u32>,
    lut_embeddings: Option<Bits>,
    lut_embeddings_per_channel: Option<u32>,
    lut_lmhead: Option<Bits>,
    lut_lmhead_per_channel: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Bits {
    Count(u32),
    Word(String),
}

impl Bits {
    fn count(self) -> Option<u32> {
        match self {
            Bits::Count(bits) => Some(bits),
            Bits::Word(word) => word.parse().ok(),
        }
    }
}

impl Luts {
    /// As meta.yaml says; what it does not say of embeddings and LM head is as for the layers.
    fn read(path: &Path) -> Luts {
        let text = fs::read_to_string(path).unwrap_or_default();
        let Ok(File { model_info: Info { parameters } }) = serde_saphyr::from_str(&text) else {
            return Luts::default();
        };
        let layers =
            Lut { bits: parameters.lut_ffn.and_then(Bits::count), group: parameters.lut_per_channel };
        let other = |bits: Option<Bits>, group: Option<u32>| {
            bits.map_or(layers, |bits| Lut { bits: bits.count(), group })
        };
        Luts {
            layers,
            embeddings: other(parameters.lut_embeddings, parameters.lut_embeddings_per_channel),
            lm_head: other(parameters.lut_lmhead, parameters.lut_lmhead_per_channel),
        }
    }
}

/// Whether the chat template asks for `enable_thinking`.
fn knows_thinking(dir: &Path) -> bool {
    let files = ["chat_template.jinja", "tokenizer_config.json"];
    let texts = files.iter().filter_map(|name| fs::read_to_string(dir.join(name)).ok());
    texts.take(1).any(|text| text.contains("enable_thinking"))
}

/// What stands in verify.json beside meta.yaml, unless the weights are newer.
fn verified(meta: &Meta) -> Option<Verified> {
    let path = meta.dir().join("verify.json");
    let weights = newest(&meta.model_path().ok()?)?;
    if fs::metadata(&path).ok()?.modified().ok()? < weights {
        return None;
    }
    let found: Value = serde_json::from_str(&fs::read_to_string(&path).ok()?).ok()?;
    Some(Verified { kl_mean: found.get("kl_mean")?.as_f64()?, same_top: found.get("same_top")?.as_f64()? })
}

/// When the newest weight file of a package or bundle was written.
fn newest(model: &Path) -> Option<SystemTime> {
    let candidates = ["weights/weight.bin", "Data/com.apple.CoreML/weights/weight.bin"];
    let times = candidates.iter().filter_map(|name| fs::metadata(model.join(name)).ok()?.modified().ok());
    times.max()
}

#[cfg(test)]
mod tests;
