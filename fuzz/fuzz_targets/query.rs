//! Parses any query string into every kind of options.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead_fuzz::query(data));
