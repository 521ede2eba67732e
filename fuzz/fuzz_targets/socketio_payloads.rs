//! Bodies of Engine.IO polls.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnivox_dialects::socketio::fuzzing::payloads(data));
