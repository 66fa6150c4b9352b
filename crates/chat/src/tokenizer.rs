//! Text to token ids and back, with the same ids as the fast tokenizers of transformers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anelith_report::Reported;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;

use crate::contain::contain;
use crate::error::Error;
use crate::json::{check_syntax, read_text_optional};
use crate::special::{Class, KNOWN_TERMINATORS, SpecialTokens};

/// A model's tokenizer: `tokenizer.json` and what the files beside it add to it.
#[derive(Debug)]
pub struct Tokenizer {
    path: PathBuf,
    inner: tokenizers::Tokenizer,
    special: SpecialTokens,
    /// For the classes that replace the post-processor.
    frame: Option<Frame>,
    stop_ids: BTreeSet<u32>,
}

/// The ids put before and after a text.
#[derive(Debug, Clone, Copy)]
struct Frame {
    bos: Option<u32>,
    eos: Option<u32>,
}

impl Tokenizer {
    /// Opens `dir/tokenizer.json` with tokenizer_config.json, special_tokens_map.json,
    /// config.json and generation_config.json where they are present.
    ///
    /// # Errors
    /// Where `tokenizer.json` is missing (a model with only a `tokenizer.model` is unsupported),
    /// or where a file is malformed.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("tokenizer.json");
        let text = read_text_optional(&path)?.ok_or_else(|| missing(dir, &path))?;
        // A file that was cut off is told apart before the library sees it, which panics on some of them.
        check_syntax(&text).map_err(|e| broken(&path, Box::new(e)))?;
        let mut inner = guarded(|| text.parse()).map_err(|e| broken(&path, e))?;
        let special = SpecialTokens::read(dir)?;
        guarded(|| complete(&mut inner, &special)).map_err(|e| library(&path, e))?;
        let frame = frame(dir, &inner, &special)?;
        let stop_ids = stop_ids(&inner, &special);
        Ok(Self { path, inner, special, frame, stop_ids })
    }

    /// The ids of `text`. With `add_special_tokens` the tokenizer's own BOS or EOS are added as
    /// transformers does by default; a rendered chat template must be encoded without them.
    ///
    /// # Errors
    /// When the tokenizer cannot encode the text (no unknown token, for instance).
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, Error> {
        let by_post_processor = add_special_tokens && self.frame.is_none();
        let encoding = guarded(|| self.inner.encode_fast(text, by_post_processor));
        let encoding = encoding.map_err(|e| library(&self.path, e))?;
        let Some(Frame { bos, eos }) = self.frame.filter(|_| add_special_tokens) else {
            return Ok(encoding.get_ids().to_vec());
        };
        let ids = encoding.get_ids().iter().copied();
        Ok(bos.into_iter().chain(ids).chain(eos).collect())
    }

    /// The largest id of the vocabulary, added tokens included, and its token; `None` for an empty vocabulary.
    pub fn last_token(&self) -> Option<(u32, String)> {
        self.inner.get_vocab(true).into_iter().map(|(token, id)| (id, token)).max()
    }

    /// The token of `id`, if there is one.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The text of `ids` without special tokens; ids outside the vocabulary have no text. Spaces
    /// are not "cleaned up" before punctuation, which would change code and quotations.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        guarded(|| self.inner.decode(ids, true)).map_err(|e| library(&self.path, e))
    }

    /// A decoder that takes one id after the other.
    pub fn decode_stream(&self) -> DecodeStream<'_> {
        DecodeStream { tokenizer: self, ids: Vec::new(), told: 0 }
    }

    /// The ids that end an answer: every `eos_token_id` of config.json and
    /// generation_config.json, the `eos_token` of tokenizer_config.json, and the well-known
    /// terminators among the special tokens.
    pub fn stop_ids(&self) -> &BTreeSet<u32> {
        &self.stop_ids
    }

    /// The special tokens with a role (`bos_token`, `eos_token`, ...) by that role, as a chat
    /// template sees them.
    pub fn named_tokens(&self) -> &BTreeMap<&'static str, String> {
        &self.special.named
    }
}

/// Decodes ids one by one into text that never breaks a character.
///
/// A token may hold part of a character only; its text comes with the token that completes it.
#[derive(Debug)]
pub struct DecodeStream<'t> {
    tokenizer: &'t Tokenizer,
    /// The tokens of the last text told, for context, then those not told yet.
    ids: Vec<u32>,
    /// How many of `ids` are context.
    told: usize,
}

impl DecodeStream<'_> {
    /// Takes the next id; returns the text that is complete now, often empty.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn push(&mut self, id: u32) -> Result<String, Error> {
        self.ids.push(id);
        let text = self.tokenizer.decode(&self.ids)?;
        // The decoder writes an unfinished character as U+FFFD.
        if text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        let before = self.tokenizer.decode(&self.ids[..self.told])?;
        let Some(fresh) = text.strip_prefix(before.as_str()) else {
            return Ok(String::new());
        };
        if !fresh.is_empty() {
            self.ids.drain(..self.told);
            self.told = self.ids.len();
        }
        Ok(fresh.to_owned())
    }

    /// The text of what is still held back, with U+FFFD for a character that was never finished.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn finish(&mut self) -> Result<String, Error> {
        let text = self.tokenizer.decode(&self.ids)?;
        let before = self.tokenizer.decode(&self.ids[..self.told])?;
        let rest = match text.strip_prefix(before.as_str()) {
            Some(rest) => rest.to_owned(),
            // An unfinished character can spoil the decoding of the context it follows.
            None => self.tokenizer.decode(&self.ids[self.told..])?,
        };
        self.ids.clear();
        self.told = 0;
        Ok(rest)
    }
}

/// What the tokenizer library answers. It panics where parts of a `tokenizer.json` contradict each other, for
/// instance a template of special tokens that it does not list; such a file is as bad as one it refuses.
fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    contain(work).unwrap_or_else(|| Err("its parts contradict each other".into()))
}

/// Applies what transformers changes after reading tokenizer.json.
fn complete(tokenizer: &mut tokenizers::Tokenizer, special: &SpecialTokens) -> tokenizers::Result<()> {
    tokenizer.with_truncation(None)?.with_padding(None);
    tokenizer.set_encode_special_tokens(special.split_special_tokens);
    let known: Vec<_> = tokenizer.get_added_tokens_decoder().into_values().collect();
    tokenizer.add_tokens(&special.missing_from(&known));
    if special.class != Class::Llama
        && let Some(PreTokenizerWrapper::ByteLevel(level)) = tokenizer.get_pre_tokenizer().cloned()
    {
        let level = level.add_prefix_space(special.add_prefix_space);
        tokenizer.with_pre_tokenizer(Some(level));
    }
    Ok(())
}

/// BOS and EOS as the configuration asks for them, for the classes that replace the
/// post-processor.
fn frame(
    dir: &Path,
    tokenizer: &tokenizers::Tokenizer,
    special: &SpecialTokens,
) -> Result<Option<Frame>, Error> {
    if special.class != Class::Llama {
        return Ok(None);
    }
    let id = |wanted: bool, flag: &str, key: &str| {
        if !wanted {
            return Ok(None);
        }
        let token = special.named.get(key);
        let id = token.and_then(|t| tokenizer.token_to_id(t));
        id.map(Some).ok_or_else(|| {
            let path = dir.join("tokenizer_config.json");
            Error::malformed(&path, format!("`{flag}` is on but there is no `{key}`"))
                .expecting(format!("`{key}` naming a token of the vocabulary"))
                .finding(token.map_or("none", String::as_str))
                .mending(format!("name the `{key}`, or set `{flag}` to false"))
        })
    };
    Ok(Some(Frame {
        bos: id(special.add_bos, "add_bos_token", "bos_token")?,
        eos: id(special.add_eos, "add_eos_token", "eos_token")?,
    }))
}

fn stop_ids(tokenizer: &tokenizers::Tokenizer, special: &SpecialTokens) -> BTreeSet<u32> {
    let mut ids = special.eos_ids.clone();
    let eos = special.named.get("eos_token");
    ids.extend(eos.and_then(|token| tokenizer.token_to_id(token)));
    let added = tokenizer.get_added_tokens_decoder();
    ids.extend(added.iter().filter_map(|(&id, token)| {
        let known = KNOWN_TERMINATORS.contains(&token.content.as_str());
        (token.special && known).then_some(id)
    }));
    ids
}

fn missing(dir: &Path, path: &Path) -> Error {
    let other = ["tokenizer.model", "vocab.json"].into_iter().find(|name| dir.join(name).is_file());
    match other {
        Some(name) => Error::unsupported(path, "the model has no `tokenizer.json`")
            .finding(format!("`{name}` only"))
            .mending("save the tokenizer once with transformers' fast tokenizer (`save_pretrained`), which writes `tokenizer.json`"),
        None => Error::malformed(path, "the model has no `tokenizer.json`")
            .expecting("a tokenizer beside the model")
            .finding("no such file")
            .mending("copy `tokenizer.json` from where the model came from"),
    }
}

fn broken(path: &Path, source: tokenizers::Error) -> Error {
    Error::malformed(path, "`tokenizer.json` is not a tokenizer")
        .expecting("a tokenizer as the tokenizers library saves it, with a `model`")
        .finding(&source)
        .caused_by(source)
        .mending("fetch the file again from where the model came from")
}

fn library(path: &Path, source: tokenizers::Error) -> Error {
    Error::malformed(path, "the tokenizer failed").finding(&source).caused_by(source)
}

#[cfg(test)]
mod tests;
