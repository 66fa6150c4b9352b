//! `tokenizer.json`: any text can be encoded with what is accepted, or is refused.

use std::fs;

use anelith_chat::Tokenizer;

use crate::{scratch, tokenizer_config};

/// Reads `bytes` as a tokenizer without configuration.
///
/// # Panics
/// As `tokenizer_config::check`.
pub fn check(bytes: &[u8]) {
    scratch::let_libraries_panic();
    let dir = scratch::dir().join("tokenizer");
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join("tokenizer.json"), bytes).expect("the temporary directory takes files");
    let Ok(tokenizer) = Tokenizer::open(&dir) else { return };
    tokenizer_config::check_text(&tokenizer);
}
