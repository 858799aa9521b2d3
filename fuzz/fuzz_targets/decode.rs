//! Decodes, defaults and validates any object of a built-in kind.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead_fuzz::decode(data));
