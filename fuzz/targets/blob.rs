//! The fuzz target of `anelith_fuzz::blob`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anelith_fuzz::blob::check(bytes));
