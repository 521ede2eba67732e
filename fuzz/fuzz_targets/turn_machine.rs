//! The allocation machine: signed and broken requests, data, peers and times in any order, on any path.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnivox_turn::fuzzing::machine(data));
