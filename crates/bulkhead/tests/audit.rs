//! A handful of the attacks, as an operator has them tried: quick ones, of different categories. All of them is `make
//! audit`.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests start the program under test")]

use std::process::Command;

use serde_json::Value;

/// Files, processes, machine code, network, memory, the channel, loading.
const QUICK: [&str; 9] = ["F01", "F11", "P01", "S02", "S12", "N05", "M02", "X14", "Z01"];

/// What `bulkhead audit --json` prints, and whether its exit status says that all is well.
fn audit(cases: &[&str], more: &[&str]) -> (Value, bool) {
    let rootfs = bulkhead_testkit::rootfs().unwrap_or_else(|error| panic!("{error}"));
    let runtime = format!("runtime_dir={}", rootfs.parent().unwrap().display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_bulkhead"));
    command.current_dir(bulkhead_testkit::workspace());
    command.args(["--set", &runtime, "--json", "audit", "--wall", "process"]).args(more);
    command.args(cases.iter().flat_map(|case| ["--case", case]));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}: {said}", output.status));
    (report, output.status.success())
}

#[test]
fn a_handful_of_attacks_work_natively_and_are_held_by_the_process_wall() {
    let (report, well) = audit(&QUICK, &[]);
    assert!(well, "{report:#}");
    assert_eq!(
        (&report["held"], &report["failed"], &report["not_run"]),
        (&9.into(), &0.into(), &0.into())
    );
    for case in report["cases"].as_array().unwrap() {
        let id = case["id"].as_str().unwrap();
        let native = if ["X14", "Z01"].contains(&id) { "none" } else { "effective" };
        assert_eq!(case["control"], native, "{case}");
        assert!(case["control_reason"].as_str().unwrap().len() > 10, "{case}");
        assert_eq!(
            (&case["wall"], &case["verdict"]),
            (&"process".into(), &"held".into()),
            "{case}"
        );
        if id.starts_with('S') {
            let reason = case["reason"].as_str().unwrap();
            assert!(reason.contains("machine code"), "no code of its own ran: {reason}");
        }
    }
}

/// The audit itself can fail: with a private address let through, what aims at it gets there.
#[test]
fn a_wall_with_a_hole_in_it_fails_the_cases_that_aim_there() {
    let (report, well) = audit(&["F02", "N05", "P02"], &["--weaken-egress"]);
    assert!(!well, "{report:#}");
    let verdict = |id: &str| {
        let cases = report["cases"].as_array().unwrap();
        cases.iter().find(|case| case["id"] == id).unwrap()["verdict"].clone()
    };
    assert_eq!(verdict("N05"), "failed", "{report:#}");
    assert_eq!((verdict("F02"), verdict("P02")), ("held".into(), "held".into()), "{report:#}");
}
