//! Fail closed: each stage on the way to a compartment behind the process wall is made to fail in turn. The error names
//! it, nothing after it happens, and nothing is left.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/recorder.rs"]
mod recorder;

use std::process::ExitCode;
use std::sync::Arc;

use bulkhead_wall_process::Process;

fn main() -> ExitCode {
    recorder::run(|| Arc::new(Process), "recorder")
}
