//! What there is to know about the model, for people and their programs.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anelith_chat::{Error, Lut, Luts, Meta, Sampling};
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
            luts: meta.luts,
            weight_bytes: 0,
            sampling: Sampling::recommended(meta)?,
            has_template: false,
            has_thinking: false,
            has_argmax: meta.argmax_in_model,
            verified: verified(meta),
            version: version.to_owned(),
        })
    }

    /// As JSON.
    pub(crate) fn json(&self, max_tokens: Option<usize>) -> Value {
        json!({
            "name": self.name,
            "architecture": self.architecture,
            "context_length": self.context_length,
            "batch_size": self.batch_size,
            "lut": {
                "layers": lut(self.luts.layers),
                "embeddings": lut(self.luts.embeddings),
                "lm_head": lut(self.luts.lm_head),
            },
            "weight_bytes": self.weight_bytes,
            "sampling": self.sampling.json(),
            "max_tokens": max_tokens,
            "chat_template": self.has_template,
            "enable_thinking": self.has_thinking,
            "argmax": self.has_argmax,
            "version": self.version,
            "verify": self.verified.map(|v| json!({"kl_mean": v.kl_mean, "same_top": v.same_top})),
        })
    }
}

fn lut(lut: Lut) -> Value {
    let group = lut.group.map(|group| if group == 0 { json!("tensor") } else { json!(group) });
    json!({"bits": lut.bits, "group": group})
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
