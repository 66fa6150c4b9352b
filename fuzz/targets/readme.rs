//! The fuzz target of `anelith_fuzz::readme`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anelith_fuzz::readme::check(bytes));
