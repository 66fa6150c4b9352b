//! Special tokens as transformers sees them: which tokens begin and end a text, which end an
//! answer, and what the tokenizer class adds to what `tokenizer.json` says.

use crate::error::Error;
use crate::json::Object;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use tokenizers::AddedToken;

/// Terminators that chat models use without always declaring them.
pub(crate) const KNOWN_TERMINATORS: [&str; 5] =
    ["<|endoftext|>", "<end_of_turn>", "<|eot_id|>", "</s>", "<|im_end|>"];

/// The special tokens with a role of their own, as tokenizer_config.json spells them.
const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The tokenizer classes that behave differently for the same `tokenizer.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Replaces the post-processor: BOS unless `add_bos_token` is false, EOS if `add_eos_token`.
    Llama,
    /// Uses the post-processor of tokenizer.json; `<|endoftext|>` where no EOS is named.
    Qwen2,
    /// Uses tokenizer.json as it is.
    Plain,
}

impl Class {
    fn named(name: &str) -> Self {
        match name.strip_suffix("Fast").unwrap_or(name) {
            "LlamaTokenizer" | "CodeLlamaTokenizer" => Self::Llama,
            "Qwen2Tokenizer" => Self::Qwen2,
            _ => Self::Plain,
        }
    }

    /// The class transformers picks: named by tokenizer_config.json, else by config.json, else
    /// by the model type.
    fn pick(tokenizer_config: &Object, config: &Object) -> Result<Self, Error> {
        for file in [tokenizer_config, config] {
            if let Some(name) = file.str("tokenizer_class")? {
                return Ok(Self::named(name));
            }
        }
        Ok(match config.str("model_type")? {
            Some("llama") => Self::Llama,
            Some("qwen2" | "qwen3") => Self::Qwen2,
            _ => Self::Plain,
        })
    }

    /// The special token the class assumes where no file says otherwise.
    fn default_token(self, key: &str) -> Option<&'static str> {
        match (self, key) {
            (Self::Llama, "bos_token") => Some("<s>"),
            (Self::Llama, "eos_token") => Some("</s>"),
            (Self::Llama, "unk_token") => Some("<unk>"),
            (Self::Qwen2, "eos_token" | "unk_token" | "pad_token") => Some("<|endoftext|>"),
            _ => None,
        }
    }
}

/// What the JSON files beside tokenizer.json say about special tokens.
#[derive(Debug)]
pub(crate) struct SpecialTokens {
    pub(crate) class: Class,
    pub(crate) add_bos: bool,
    pub(crate) add_eos: bool,
    /// `add_prefix_space`, for a byte-level pre-tokenizer.
    pub(crate) add_prefix_space: bool,
    /// Whether special tokens in a text are encoded as the text they are written with.
    pub(crate) split_special_tokens: bool,
    /// Role (`bos_token`, ...) to token, for the chat template.
    pub(crate) named: BTreeMap<&'static str, String>,
    additional: Vec<String>,
    /// `added_tokens_decoder` of tokenizer_config.json in the order of its ids.
    declared: Vec<AddedToken>,
    /// End-of-sequence ids from config.json and generation_config.json.
    pub(crate) eos_ids: BTreeSet<u32>,
}

impl SpecialTokens {
    /// Reads tokenizer_config.json, special_tokens_map.json, config.json and
    /// generation_config.json in `dir`; each may be missing.
    pub(crate) fn read(dir: &Path) -> Result<Self, Error> {
        let tokenizer_config = Object::read_optional(dir, "tokenizer_config.json")?;
        let map = Object::read_optional(dir, "special_tokens_map.json")?;
        let config = Object::read_optional(dir, "config.json")?;
        let generation = Object::read_optional(dir, "generation_config.json")?;

        let class = Class::pick(&tokenizer_config, &config)?;
        // transformers reads the map only where the newer `added_tokens_decoder` is missing.
        let legacy = !tokenizer_config.has("added_tokens_decoder");
        let sources: &[&Object] = if legacy { &[&map, &tokenizer_config] } else { &[&tokenizer_config] };
        let mut eos_ids = BTreeSet::new();
        for file in [&config, &generation] {
            eos_ids.extend(ids(file, "eos_token_id")?);
        }
        let flag = |key| tokenizer_config.bool(key);
        Ok(Self {
            class,
            add_bos: flag("add_bos_token")?.unwrap_or(class == Class::Llama),
            add_eos: flag("add_eos_token")?.unwrap_or(false),
            add_prefix_space: flag("add_prefix_space")?.unwrap_or(false),
            split_special_tokens: flag("split_special_tokens")?.unwrap_or(false),
            named: named_tokens(class, sources)?,
            additional: additional_tokens(sources)?,
            declared: declared_tokens(&tokenizer_config)?,
            eos_ids,
        })
    }

    /// The tokens that transformers adds to those of tokenizer.json, in its order: those declared
    /// in tokenizer_config.json unless `known` has the very same, then special tokens that are
    /// not added tokens yet.
    pub(crate) fn missing_from(&self, known: &[AddedToken]) -> Vec<AddedToken> {
        let special: BTreeSet<&str> = self.special().collect();
        let same: HashSet<&AddedToken> = known.iter().collect();
        let mut missing: Vec<AddedToken> =
            self.declared.iter().filter(|token| !same.contains(token)).cloned().collect();
        for token in &mut missing {
            token.special |= special.contains(token.content.as_str());
        }
        let mut there: HashSet<String> = known.iter().chain(&missing).map(|t| t.content.clone()).collect();
        for content in self.special() {
            if there.insert(content.to_owned()) {
                missing.push(AddedToken::from(content, true));
            }
        }
        missing
    }

    fn special(&self) -> impl Iterator<Item = &str> {
        let named = NAMED.iter().filter_map(|key| self.named.get(key));
        named.chain(&self.additional).map(String::as_str)
    }
}

/// The role tokens: the first source that has the key decides, even with `null`.
fn named_tokens(class: Class, sources: &[&Object]) -> Result<BTreeMap<&'static str, String>, Error> {
    let mut named = BTreeMap::new();
    for key in NAMED {
        let token = match sources.iter().find(|file| file.has(key)) {
            Some(file) => file.get(key).map(|value| content(file, key, value)).transpose()?,
            None => class.default_token(key).map(str::to_owned),
        };
        if let Some(token) = token.filter(|t| !t.is_empty()) {
            named.insert(key, token);
        }
    }
    Ok(named)
}

fn additional_tokens(sources: &[&Object]) -> Result<Vec<String>, Error> {
    const KEY: &str = "additional_special_tokens";
    let mut tokens = Vec::new();
    let mut seen = HashSet::new();
    for file in sources {
        let Some(value) = file.get(KEY) else { continue };
        let list = value.as_array().ok_or_else(|| file.wrong(KEY, "a list of tokens", value))?;
        for token in list {
            let token = content(file, KEY, token)?;
            if seen.insert(token.clone()) {
                tokens.push(token);
            }
        }
    }
    Ok(tokens)
}

/// The text of a token given as a string or as an object with `content`.
fn content(file: &Object, key: &str, value: &Value) -> Result<String, Error> {
    value
        .as_str()
        .or_else(|| value.get("content")?.as_str())
        .map(str::to_owned)
        .ok_or_else(|| file.wrong(key, "a string, or an object with a `content` string", value))
}

fn declared_tokens(config: &Object) -> Result<Vec<AddedToken>, Error> {
    const KEY: &str = "added_tokens_decoder";
    let Some(value) = config.get(KEY) else {
        return Ok(Vec::new());
    };
    let expected = "an object of token ids to tokens";
    let entries = value.as_object().ok_or_else(|| config.wrong(KEY, expected, value))?;
    let mut by_id = BTreeMap::new();
    for (id, token) in entries {
        let id: u32 = id.parse().map_err(|_| config.wrong(KEY, expected, &Value::from(id.as_str())))?;
        let text = content(config, KEY, token)?;
        let flag = |name: &str, default: bool| match token.get(name) {
            None => Ok(default),
            Some(value) => {
                value.as_bool().ok_or_else(|| config.wrong(KEY, "flags that are true or false", token))
            }
        };
        let special = flag("special", false)?;
        let token = AddedToken::from(text, special)
            .single_word(flag("single_word", false)?)
            .lstrip(flag("lstrip", false)?)
            .rstrip(flag("rstrip", false)?)
            .normalized(flag("normalized", !special)?);
        by_id.insert(id, token);
    }
    Ok(by_id.into_values().collect())
}

/// A token id, or a list of them.
fn ids(file: &Object, key: &str) -> Result<Vec<u32>, Error> {
    let Some(value) = file.get(key) else {
        return Ok(Vec::new());
    };
    let one = |v: &Value| {
        v.as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| file.wrong(key, "a token id or a list of token ids", value))
    };
    match value.as_array() {
        Some(list) => list.iter().map(one).collect(),
        None => Ok(vec![one(value)?]),
    }
}
