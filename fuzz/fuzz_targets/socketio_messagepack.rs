//! MessagePack, decoded and encoded again.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnivox_dialects::socketio::fuzzing::messagepack(data));
