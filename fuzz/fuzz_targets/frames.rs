//! What comes over a compartment's stream: frames, fragments, and the messages in them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bulkhead_fuzz::frames::run(data));
