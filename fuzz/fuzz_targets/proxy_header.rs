//! The PROXY protocol, both versions.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnivox_wire::fuzzing::proxy_header(data));
