//! What proxies say of clients: `X-Forwarded-For`, `X-Forwarded-Proto`, `Forwarded`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnivox_server::fuzzing::forwarded(data));
