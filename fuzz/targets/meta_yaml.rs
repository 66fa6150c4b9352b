//! The fuzz target of `anelith_fuzz::meta_yaml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anelith_fuzz::meta_yaml::check(bytes));
