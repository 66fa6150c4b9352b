//! What the tests stand on: the shared data, small tokenizers, and a model that follows a script.

use crate::{Error, LanguageModel, Next};
use std::cell::Cell;
use std::mem::swap;
use std::path::{Path, PathBuf};

/// A path in the folder of shared data, which may stand beside the clone. `None`, with a line
/// that says so, where it is absent; a failure when `ANELITH_REQUIRE_SHARED` is set.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    let path = Path::new(root).join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("ANELITH_REQUIRE_SHARED").is_none(), "`{}` is required", path.display());
    println!("skipped: `{}` is absent", path.display());
    None
}

/// The JSON of a shared file.
pub(crate) fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A JSON list of token ids.
pub(crate) fn ids(value: &serde_json::Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Files of a directory: name and text.
pub(crate) type Files<'a> = &'a [(&'a str, &'a str)];

/// A directory holding `files`.
pub(crate) fn directory(files: Files<'_>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// A tokenizer.json of whole words: `<s>` 0, `</s>` 1, `<unk>` 2, then `words` from 3 on.
pub(crate) fn word_tokenizer(words: &[&str]) -> String {
    let specials = ["<s>", "</s>", "<unk>"];
    let vocab: serde_json::Map<_, _> =
        specials.iter().chain(words).enumerate().map(|(id, word)| ((*word).to_owned(), id.into())).collect();
    let added: Vec<_> = specials
        .iter()
        .enumerate()
        .map(|(id, token)| {
            serde_json::json!({"id": id, "content": token, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": false},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}
    })
    .to_string()
}

/// A call that a [`Script`] received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// `reset`.
    Reset,
    /// `prefill` of these tokens from this position on.
    Prefill(Vec<u32>, usize),
    /// `infer` of this token at this position.
    Infer(u32, usize),
    /// `swap_cache`; the cache that is in place from now on.
    Swap(usize),
}

/// A model that predicts `script` from the end of the prompt on, whatever it is told, and keeps
/// what it was told. Its caches hold nothing but a number, to tell them apart.
pub(crate) struct Script {
    pub(crate) context_length: usize,
    pub(crate) batch_size: usize,
    pub(crate) vocab_size: usize,
    /// Whether it answers with tokens in place of logits.
    pub(crate) argmax: bool,
    /// The position whose prediction is the first of the script.
    pub(crate) prompt_end: usize,
    pub(crate) script: Vec<u32>,
    pub(crate) calls: Vec<Call>,
    /// The cache in place, and how many there are.
    pub(crate) caches: (usize, Cell<usize>),
}

impl Script {
    /// Context 16, batch 4, 32 tokens; a prompt of `prompt` tokens is answered with `script`.
    pub(crate) fn new(prompt: usize, script: &[u32]) -> Self {
        Self {
            context_length: 16,
            batch_size: 4,
            vocab_size: 32,
            argmax: false,
            prompt_end: prompt.saturating_sub(1),
            script: script.to_vec(),
            calls: Vec::new(),
            caches: (0, Cell::new(1)),
        }
    }
}

impl LanguageModel for Script {
    type Cache = usize;

    fn new_cache(&self) -> Result<usize, Error> {
        Ok(self.caches.1.replace(self.caches.1.get() + 1))
    }

    fn swap_cache(&mut self, cache: &mut usize) {
        swap(&mut self.caches.0, cache);
        self.calls.push(Call::Swap(self.caches.0));
    }

    fn has_argmax(&self) -> bool {
        self.argmax
    }

    fn context_length(&self) -> usize {
        self.context_length
    }

    fn batch_size(&self) -> usize {
        self.batch_size
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn reset(&mut self) {
        self.calls.push(Call::Reset);
    }

    fn prefill(&mut self, tokens: &[u32], start: usize) -> Result<(), Error> {
        self.calls.push(Call::Prefill(tokens.to_vec(), start));
        Ok(())
    }

    fn infer(&mut self, token: u32, position: usize) -> Result<Next, Error> {
        self.calls.push(Call::Infer(token, position));
        let step = position.checked_sub(self.prompt_end);
        let next = match step.map(|step| self.script.get(step)) {
            Some(Some(&next)) => next,
            Some(None) => return Err(Error::model("the script is over")),
            None => 0,
        };
        if self.argmax {
            return Ok(Next::Token(next));
        }
        let mut logits = vec![-1.0; self.vocab_size];
        logits[next as usize] = 1.0;
        Ok(Next::Logits(logits))
    }
}
