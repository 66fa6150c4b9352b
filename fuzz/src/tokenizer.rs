//! `tokenizer.json`: what is accepted encodes and decodes, or refuses to; what text comes is the decoder's affair.

use std::fs;

use anelith_chat::Tokenizer;

use crate::{scratch, tokenizer_config};

/// Reads `bytes` as a tokenizer without configuration.
///
/// # Panics
/// When the tokenizer does.
pub fn check(bytes: &[u8]) {
    scratch::let_libraries_panic();
    let dir = scratch::dir().join("tokenizer");
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join("tokenizer.json"), bytes).expect("the temporary directory takes files");
    let Ok(tokenizer) = Tokenizer::open(&dir) else { return };
    for text in tokenizer_config::TEXTS {
        let _ = tokenizer_config::decoded(&tokenizer, text);
    }
    let _ = tokenizer.decode(&[0, 5, 1, u32::MAX, 7]);
}
