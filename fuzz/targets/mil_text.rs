//! The fuzz target of `anelith_fuzz::mil_text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anelith_fuzz::mil_text::check(bytes));
