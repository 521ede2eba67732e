//! Mercure: a request with headers and a body, and what becomes of it.

#![no_main]

use std::time::Instant;

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnivox_dialects::mercure::fuzzing::request(Instant::now(), data));
