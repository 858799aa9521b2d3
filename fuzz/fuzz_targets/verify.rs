//! Checks any headers against the policy of every provider: nothing may verify by accident.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead_fuzz::verify(data));
