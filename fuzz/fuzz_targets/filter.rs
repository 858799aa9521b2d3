//! Compiles and runs any filter over an event.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead_fuzz::filter(data));
