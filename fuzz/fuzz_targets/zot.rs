//! Reads any delivery of `zot`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead_fuzz::provider(roadstead_api::endpoint::Provider::Zot, data));
