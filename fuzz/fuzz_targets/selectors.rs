//! Parses and matches any label and field selector.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead_fuzz::selectors(data));
