//! Decodes any protobuf body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead_fuzz::protobuf(data));
