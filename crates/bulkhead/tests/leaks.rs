//! A short run of `bulkhead bench leaks`: executions that end in every way leave nothing behind.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests start the program under test")]

use std::process::Command;

use serde_json::Value;

#[test]
fn executions_that_end_in_every_way_leave_nothing() {
    let rootfs = bulkhead_testkit::rootfs().unwrap_or_else(|error| panic!("{error}"));
    let runtime = format!("runtime_dir={}", rootfs.parent().unwrap().display());
    let output = Command::new(env!("CARGO_BIN_EXE_bulkhead"))
        .current_dir(bulkhead_testkit::workspace())
        .args(["--set", &runtime, "--json", "bench", "leaks", "--wall", "process", "--n", "150"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {said}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let targets = report["targets"].as_array().unwrap();
    let kinds = targets.iter().filter(|target| target["id"] == "leak").count();
    assert_eq!(kinds, 6, "{report:#}");
    assert!(targets.iter().all(|target| target["met"] == true), "{report:#}\n{said}");
}
