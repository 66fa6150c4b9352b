//! The fuzz target of `anelith_fuzz::index`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anelith_fuzz::index::check(bytes));
