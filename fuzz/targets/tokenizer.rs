//! The fuzz target of `anelith_fuzz::tokenizer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anelith_fuzz::tokenizer::check(bytes));
