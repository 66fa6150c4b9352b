//! The fuzz target of `anelith_fuzz::tokenizer_config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anelith_fuzz::tokenizer_config::check(bytes));
