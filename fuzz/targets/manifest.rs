//! The fuzz target of `anelith_fuzz::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anelith_fuzz::manifest::check(bytes));
