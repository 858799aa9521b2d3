//! Applies any patch, in all three forms, to any document.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead_fuzz::patch(data));
