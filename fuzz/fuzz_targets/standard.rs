//! Reads any delivery of `standard`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead_fuzz::provider(roadstead_api::endpoint::Provider::Standard, data));
