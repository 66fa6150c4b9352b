//! `tokenizer_config.json` beside a small tokenizer: special tokens, stop ids and the template of a chat.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use anelith_chat::{Template, Tokenizer};

use crate::{chat_template, scratch};

/// A tokenizer of whole words with three special ones.
const TOKENIZER: &str = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[
{"id":0,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
{"id":1,"content":"</s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
{"id":2,"content":"<|im_end|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
"post_processor":null,"decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},
"model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,
"fuse_unk":false,"byte_fallback":false,"vocab":{"<s>":0,"</s>":1,"<|im_end|>":2,"a":3,"b":4,"ab":5,"\u0120":6},
"merges":["a b"]}}"#;

/// Reads `bytes` as the configuration of that tokenizer, and as the two other files that name its special tokens.
///
/// # Panics
/// When an id that ends an answer has no text, or the pieces of a text are not the text.
pub fn check(bytes: &[u8]) {
    scratch::let_libraries_panic();
    let dir = dir();
    for name in ["tokenizer_config.json", "special_tokens_map.json", "generation_config.json"] {
        fs::write(dir.join(name), bytes).expect("the temporary directory takes files");
    }
    let Ok(tokenizer) = Tokenizer::open(dir) else { return };
    for text in TEXTS {
        if let Some((whole, pieces)) = decoded(&tokenizer, text) {
            assert_eq!(pieces, whole, "streamed, and at once");
        }
    }
    for id in tokenizer.stop_ids() {
        tokenizer.decode(&[*id]).expect("an id that ends an answer has a text");
    }
    if let Ok(Some(template)) = Template::open(dir, tokenizer.named_tokens()) {
        chat_template::check_rendering(&template);
    }
}

/// What a tokenizer is tried on.
pub(crate) const TEXTS: [&str; 3] = ["", "ab <s>ab</s> b<|im_end|>", "a\u{1f600}b  a"];

/// `text` encoded and decoded, at once and id by id; nothing where the tokenizer refuses.
pub(crate) fn decoded(tokenizer: &Tokenizer, text: &str) -> Option<(String, String)> {
    let ids = tokenizer.encode(text, true).ok()?;
    let mut stream = tokenizer.decode_stream();
    let pieces: Result<String, _> = ids.iter().map(|id| stream.push(*id)).collect();
    Some((tokenizer.decode(&ids).ok()?, pieces.ok()? + &stream.finish().ok()?))
}

fn dir() -> &'static PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = scratch::dir().join("tokenizer_config");
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join("tokenizer.json"), TOKENIZER).expect("a file");
        dir
    })
}
