//! The fuzz target of `anelith_fuzz::plan`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anelith_fuzz::plan::check(bytes));
