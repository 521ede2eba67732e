//! WebSocket frames, in one piece and in many.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnivox_wire::fuzzing::ws_decoder(data));
