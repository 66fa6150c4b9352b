//! The fuzz target of `anelith_fuzz::npz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anelith_fuzz::npz::check(bytes));
