//! The fuzz target of `anelith_fuzz::core_data`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anelith_fuzz::core_data::check(bytes));
