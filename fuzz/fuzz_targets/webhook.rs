//! What comes to the webhook address: headers, signatures, bodies, questions.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bulkhead_fuzz::webhook::run(data));
