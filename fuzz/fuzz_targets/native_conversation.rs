//! The native dialect: a conversation over a WebSocket, one message a line.

#![no_main]

use std::time::Instant;

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnivox_dialects::native::fuzzing::conversation(Instant::now(), data));
