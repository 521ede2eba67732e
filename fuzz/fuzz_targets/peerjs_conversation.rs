//! PeerJS: an address and a conversation, one message a line.

#![no_main]

use std::time::Instant;

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnivox_dialects::peerjs::fuzzing::conversation(Instant::now(), data));
