//! The fuzz target of `anelith_fuzz::chat_template`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anelith_fuzz::chat_template::check(bytes));
