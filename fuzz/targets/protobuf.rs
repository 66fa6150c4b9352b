//! The fuzz target of `anelith_fuzz::protobuf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anelith_fuzz::protobuf::check(bytes));
