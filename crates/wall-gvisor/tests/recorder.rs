//! Fail closed: each stage on the way to a compartment behind gVisor is made to fail in turn. The error names it, nothing
//! after it happens, and nothing is left.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../../wall-process/tests/support/recorder.rs"]
mod recorder;

use std::process::ExitCode;
use std::sync::Arc;

use bulkhead_wall_gvisor::Gvisor;

fn main() -> ExitCode {
    recorder::run(
        || Arc::new(Gvisor::find().expect("runsc, which scripts/setup.sh installs")),
        "recorder-g",
    )
}
