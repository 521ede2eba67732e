//! One Engine.IO packet.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnivox_dialects::socketio::fuzzing::packets(data));
