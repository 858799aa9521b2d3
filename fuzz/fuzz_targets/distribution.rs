//! Reads any delivery of `distribution`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead_fuzz::provider(
    roadstead_api::endpoint::Provider::Distribution,
    data
));
