//! Tokens, signed requests and key sets.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnivox_auth::fuzzing::credential(data));
