//! The fuzz target of `anelith_fuzz::run`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anelith_fuzz::run::check(bytes));
