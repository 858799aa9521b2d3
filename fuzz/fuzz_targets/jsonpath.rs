//! Compiles and follows any path of a printer column.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead_fuzz::jsonpath(data));
