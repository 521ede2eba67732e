//! URI templates, URL patterns and the index over them.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnivox_core::pattern::fuzzing::patterns(data));
