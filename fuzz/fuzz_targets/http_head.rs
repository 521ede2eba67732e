//! Request and response heads.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnivox_wire::fuzzing::http_head(data));
