//! `tokenizer.json`: any text can be encoded with what is accepted, or is refused.

use std::fs;
use std::panic::{set_hook, take_hook};
use std::sync::Once;

use anelith_chat::Tokenizer;

use crate::{scratch, tokenizer_config};

/// Reads `bytes` as a tokenizer without configuration.
///
/// # Panics
/// As `tokenizer_config::check`.
pub fn check(bytes: &[u8]) {
    static HOOK: Once = Once::new();
    HOOK.call_once(let_library_panic);
    let dir = scratch::dir().join("tokenizer");
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join("tokenizer.json"), bytes).expect("the temporary directory takes files");
    let Ok(tokenizer) = Tokenizer::open(&dir) else { return };
    tokenizer_config::check_text(&tokenizer);
}

/// Panics of the tokenizer library are caught by its caller; the fuzzer would end at them all the same.
fn let_library_panic() {
    let end = take_hook();
    set_hook(Box::new(move |info| {
        let in_library = info.location().is_some_and(|l| l.file().contains("/tokenizers-"));
        if !in_library {
            end(info);
        }
    }));
}
