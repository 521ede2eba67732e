//! STUN messages: parsed and asked for all that they may have.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnivox_turn::fuzzing::message(data));
