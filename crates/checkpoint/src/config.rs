//! `config.json`: what a model is, with every field that changes its result, and nothing guessed.

mod architecture;
mod detect;
mod families;
mod fields;
mod refuse;
mod rope;
#[cfg(test)]
mod tests;

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use anelith_report::Reported;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use families::Defaults;
use fields::Fields;

pub use architecture::Architecture;
pub use rope::{Rope, RopeScaling, Yarn};

/// A config.json beyond this size is not one; real ones have a few kilobytes.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// What a model is: its `config.json`, with the class defaults of transformers 4.52.4 for absent keys.
///
/// Sizes are checked: nothing is 0, `num_attention_heads` is a multiple of `num_key_value_heads`, `head_dim` is even,
/// and no product of two sizes overflows 64 bits.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The family.
    pub architecture: Architecture,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads.
    pub num_key_value_heads: usize,
    /// Width of one head; the heads together need not be as wide as `hidden_size`.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// The length in tokens that the model states; [`Config::max_positions`] is the one to check a context against.
    pub max_position_embeddings: usize,
    /// Added to the mean square in every norm.
    pub rms_norm_eps: f64,
    /// Rotary position embeddings.
    pub rope: Rope,
    /// Whether the LM head is the embedding.
    pub tie_word_embeddings: bool,
    /// `attention_bias` as the class reads it: always false for Qwen 2, which ignores the field
    /// (its query, key and value projections always have biases, its output projection never).
    pub attention_bias: bool,
    /// Whether gate, up and down projections have biases; always false for the Qwen families, which ignore the field.
    pub mlp_bias: bool,
    /// The attention window in tokens, only where `use_sliding_window` is true (Qwen families).
    /// Within a context not larger than it, the model computes as if there were none.
    pub sliding_window: Option<usize>,
    /// One line for every field that transformers ignores for this family.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads `config.json` in `dir`.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("config.json");
        let metadata = fs::metadata(&path).map_err(|e| match e.kind() {
            _ if Error::leads_nowhere(&path, &e) => Error::broken_link(&path),
            std::io::ErrorKind::NotFound => no_config(&path),
            _ => Error::io("read", &path, &e),
        })?;
        Error::unless_file(&path, &metadata)?;
        if metadata.len() > MAX_CONFIG_BYTES {
            return Err(Error::malformed("config.json is too large to be one")
                .at(path.display())
                .expecting(format!("at most {MAX_CONFIG_BYTES} bytes"))
                .finding(format!("{} bytes", metadata.len())));
        }
        let bytes = fs::read(&path).map_err(|e| Error::io("read", &path, &e))?;
        let text = String::from_utf8(bytes).map_err(|e| {
            let offset = e.utf8_error().valid_up_to();
            let byte = e.as_bytes().get(offset).copied().unwrap_or_default();
            Error::malformed("config.json is not UTF-8 text")
                .at(format!("{}, byte {offset}", path.display()))
                .expecting("UTF-8")
                .finding(format!("the byte {byte:#04x}"))
                .mending("save config.json as UTF-8, or download it again")
        })?;
        Self::parse(&text, &path)
    }

    /// Reads the text of a `config.json`; `path` is only for messages.
    pub fn parse(json_text: &str, path: &Path) -> Result<Self> {
        let document: Value = serde_json::from_str(json_text).map_err(|e| {
            let start = fields::abbreviate(json_text);
            Error::malformed(format!("config.json is not valid JSON: {e}"))
                .at(format!("{}:{}:{}", path.display(), e.line(), e.column()))
                .expecting("a JSON object without a byte order mark")
                .finding(format!("a text that begins with `{}`", visible(&start)))
                .mending("correct config.json, or download it again")
        })?;
        let Value::Object(object) = document else {
            return Err(Error::malformed("config.json is not a JSON object")
                .at(path.display())
                .expecting("an object: { \"model_type\": ... }")
                .finding(fields::abbreviate(&document.to_string())));
        };
        from_object(&object, path)
    }

    /// The longest context in tokens that the model is made for: `max_position_embeddings`, or the original length
    /// times the factor where the rope type extends it; at most 2^31 - 1, since positions are int32.
    pub fn max_positions(&self) -> usize {
        self.rope.max_positions(self.max_position_embeddings).min(i32::MAX as usize)
    }
}

/// What cannot be seen, a byte order mark for instance, by its code; the rest as it is.
fn visible(text: &str) -> String {
    let escape = |c: char| !matches!(c, '"' | '\'' | '\\');
    text.chars().map(|c| if escape(c) { c.escape_debug().to_string() } else { c.to_string() }).collect()
}

fn no_config(path: &Path) -> Error {
    Error::missing("no config.json in the model directory")
        .at(path.display())
        .expecting("a model directory in Hugging Face format")
        .finding("no such file")
        .mending("point --model at the directory that holds config.json")
}

fn from_object(object: &Map<String, Value>, path: &Path) -> Result<Config> {
    let fields = Fields::new(object, "", path);
    let mut warnings = Vec::new();
    let architecture = detect::architecture(&fields, &mut warnings)?;
    refuse::refuse_fields(&fields)?;
    let defaults = Defaults::of(architecture);
    let heads = heads(&fields, architecture)?;
    let lengths = 1..=i32::MAX as usize;
    let max_position_embeddings =
        fields.integer_or("max_position_embeddings", lengths, defaults.max_position_embeddings)?;
    let rope = rope::parse::parse(&fields, max_position_embeddings, &mut warnings)?;
    refuse::warn_ignored(&fields, architecture, &mut warnings);
    let flag = |key, families: &[Architecture]| match families.contains(&architecture) {
        true => Ok(fields.optional_boolean(key)?.unwrap_or(false)),
        false => Ok(false),
    };
    Ok(Config {
        architecture,
        hidden_size: fields.integer_or("hidden_size", WIDTHS, defaults.hidden_size)?,
        intermediate_size: fields.integer_or("intermediate_size", WIDTHS, defaults.intermediate_size)?,
        num_hidden_layers: fields.integer_or("num_hidden_layers", 1..=10_000, defaults.num_hidden_layers)?,
        num_attention_heads: heads.attention,
        num_key_value_heads: heads.key_value,
        head_dim: heads.dim,
        vocab_size: fields.integer_or("vocab_size", WIDTHS, defaults.vocab_size)?,
        max_position_embeddings,
        rms_norm_eps: fields.positive_or("rms_norm_eps", families::RMS_NORM_EPS)?,
        rope,
        tie_word_embeddings: flag("tie_word_embeddings", &Architecture::ALL)?,
        attention_bias: flag("attention_bias", &[Architecture::Llama, Architecture::Qwen3])?,
        mlp_bias: flag("mlp_bias", &[Architecture::Llama])?,
        sliding_window: sliding_window(&fields, architecture)?,
        warnings,
    })
}

/// Widths and row counts: far beyond any model, and far below what could overflow in a product of two.
const WIDTHS: RangeInclusive<usize> = 1..=1 << 24;

struct Heads {
    attention: usize,
    key_value: usize,
    dim: usize,
}

fn heads(fields: &Fields<'_>, architecture: Architecture) -> Result<Heads> {
    let defaults = Defaults::of(architecture);
    let counts = 1..=1 << 16;
    let attention = fields.integer_or("num_attention_heads", counts.clone(), defaults.num_attention_heads)?;
    let key = "num_key_value_heads";
    let class_default = match fields.object().contains_key(key) {
        true => None,
        false => defaults.num_key_value_heads,
    };
    let key_value = fields.optional_integer(key, counts)?.or(class_default).unwrap_or(attention);
    if attention % key_value != 0 {
        let expected = format!("a divisor of `num_attention_heads` ({attention})");
        return Err(fields.wrong(key, &expected, &Value::from(key_value)));
    }
    // Only LLaMA's class takes null for "derive it"; the Qwen classes fail on it.
    if is_qwen(architecture)
        && let Some(null @ Value::Null) = fields.object().get("head_dim")
    {
        return Err(fields.wrong("head_dim", "an even number, or no such key", null));
    }
    let dim = head_dim(fields, &defaults, attention)?;
    Ok(Heads { attention, key_value, dim })
}

/// Whether the class is one of Qwen's, which read some fields that LLaMA's does not, and the other way round.
fn is_qwen(architecture: Architecture) -> bool {
    match architecture {
        Architecture::Qwen2 | Architecture::Qwen3 => true,
        Architecture::Llama => false,
    }
}

fn head_dim(fields: &Fields<'_>, defaults: &Defaults, attention: usize) -> Result<usize> {
    let hidden = fields.integer_or("hidden_size", WIDTHS, defaults.hidden_size)?;
    let given = fields.optional_integer("head_dim", 1..=1 << 16)?;
    let dim = given.or(defaults.head_dim).unwrap_or(hidden / attention);
    if dim == 0 || dim % 2 != 0 {
        let expected = match given {
            Some(_) => "an even number".to_owned(),
            None => {
                format!("an even number (hidden_size {hidden} / num_attention_heads {attention})")
            }
        };
        return Err(fields.wrong("head_dim", &expected, &Value::from(dim)));
    }
    Ok(dim)
}

fn sliding_window(fields: &Fields<'_>, architecture: Architecture) -> Result<Option<usize>> {
    if !is_qwen(architecture) {
        return Ok(None);
    }
    let key = "sliding_window";
    let used = fields.optional_boolean("use_sliding_window")? == Some(true);
    let window = match (used, fields.object().contains_key(key)) {
        (false, _) => None,
        (true, true) => fields.optional_integer(key, 1..=i32::MAX as usize)?,
        (true, false) => Some(families::SLIDING_WINDOW),
    };
    refuse::refuse_layer_types(fields, window.is_some())?;
    Ok(window)
}
