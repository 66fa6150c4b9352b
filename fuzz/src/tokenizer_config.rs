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

/// Reads `bytes` as the configuration of that tokenizer.
///
/// # Panics
/// When special tokens that the configuration names have no ids, or text does not come back.
pub fn check(bytes: &[u8]) {
    scratch::let_libraries_panic();
    let dir = dir();
    fs::write(dir.join("tokenizer_config.json"), bytes).expect("the temporary directory takes files");
    let Ok(tokenizer) = Tokenizer::open(dir) else { return };
    check_text(&tokenizer);
    for token in tokenizer.named_tokens().values() {
        assert!(!token.is_empty());
    }
    if let Ok(Some(template)) = Template::open(dir, tokenizer.named_tokens()) {
        chat_template::check_rendering(&template);
    }
}

/// Encodes and decodes; a stream of pieces is the whole.
pub(crate) fn check_text(tokenizer: &Tokenizer) {
    for text in ["", "ab <s>ab</s> b<|im_end|>", "a\u{1f600}b  a"] {
        let Ok(ids) = tokenizer.encode(text, true) else { continue };
        let Ok(whole) = tokenizer.decode(&ids) else { continue };
        let mut stream = tokenizer.decode_stream();
        let pieces: Result<String, _> = ids.iter().map(|id| stream.push(*id)).collect();
        let Ok(pieces) = pieces else { continue };
        let Ok(rest) = stream.finish() else { continue };
        assert!(whole.is_empty() || whole.len() + pieces.len() + rest.len() > 0);
        assert!(tokenizer.encode(text, false).is_ok());
    }
    let _ = tokenizer.decode(&[0, 5, 1, u32::MAX, 7]);
    assert!(tokenizer.stop_ids().len() < 1 << 20);
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
