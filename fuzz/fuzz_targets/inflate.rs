//! Compressed messages, within their limit.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnivox_wire::fuzzing::inflate(data));
