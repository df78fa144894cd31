//! What comes as a deployment: the upload, its functions' specs, schedules and rules.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bulkhead_fuzz::deploy::run(data));
