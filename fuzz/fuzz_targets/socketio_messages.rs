//! Messages of a Socket.IO client.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnivox_dialects::socketio::fuzzing::messages(data));
