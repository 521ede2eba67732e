//! The native dialect: a request with headers and a body.

#![no_main]

use std::time::Instant;

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnivox_dialects::native::fuzzing::request(Instant::now(), data));
