//! The fuzz target of `anelith_fuzz::safetensors`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anelith_fuzz::safetensors::check(bytes));
