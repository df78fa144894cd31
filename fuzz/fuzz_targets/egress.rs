//! What a sandbox asks the gateway for, and begins its connections with; and the rules it is judged by.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bulkhead_fuzz::egress::run(data));
