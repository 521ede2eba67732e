//! Query strings and paths.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnivox_wire::fuzzing::query(data));
