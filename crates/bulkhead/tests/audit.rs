//! A handful of the attacks, as an operator has them tried: quick ones, of different categories. All of them is `make
//! audit`.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests start the program under test")]

use std::process::Command;

use serde_json::Value;

/// Files, shared files, processes, machine code, network, memory, the channel, descriptors, loading.
const QUICK: [&str; 12] =
    ["F01", "F11", "F18", "P01", "P13", "S02", "S12", "N05", "M02", "X14", "X15", "Z01"];

/// The same, fewer: gVisor's kernel takes its time. P01, S12 and Z01 have something declared of that kernel.
const QUICK_GVISOR: [&str; 9] = ["F01", "F18", "P01", "P02", "P17", "S02", "S12", "X14", "Z01"];

/// Those that have no native form.
const WITHOUT_CONTROL: [&str; 3] = ["X14", "X15", "Z01"];

/// What `bulkhead audit --json` prints, and whether its exit status says that all is well.
fn audit(wall: &str, cases: &[&str], more: &[&str]) -> (Value, bool) {
    let rootfs = bulkhead_testkit::rootfs().unwrap_or_else(|error| panic!("{error}"));
    let runtime = format!("runtime_dir={}", rootfs.parent().unwrap().display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_bulkhead"));
    command.current_dir(bulkhead_testkit::workspace());
    command.args(["--set", &runtime, "--json", "audit", "--wall", wall]).args(more);
    command.args(cases.iter().flat_map(|case| ["--case", case]));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}: {said}", output.status));
    (report, output.status.success())
}

#[test]
fn a_handful_of_attacks_work_natively_and_are_held_by_the_process_wall() {
    held("process", &QUICK);
}

#[test]
fn a_handful_of_attacks_work_natively_and_are_held_by_the_gvisor_wall() {
    held("gvisor", &QUICK_GVISOR);
}

fn held(wall: &str, cases: &[&str]) {
    let (report, well) = audit(wall, cases, &[]);
    assert!(well, "{report:#}");
    assert_eq!(
        (&report["held"], &report["failed"], &report["not_run"]),
        (&cases.len().into(), &0.into(), &0.into())
    );
    for case in report["cases"].as_array().unwrap() {
        let id = case["id"].as_str().unwrap();
        let native = if WITHOUT_CONTROL.contains(&id) { "none" } else { "effective" };
        assert_eq!(case["control"], native, "{case}");
        assert!(case["control_reason"].as_str().unwrap().len() > 10, "{case}");
        assert_eq!((&case["wall"], &case["verdict"]), (&wall.into(), &"held".into()), "{case}");
        for declared in case["declared"].as_array().into_iter().flatten() {
            assert_eq!(declared["worked"], true, "declared and refused: {id} {declared}");
        }
        if id.starts_with('S') {
            let reason = case["reason"].as_str().unwrap();
            let ran = ["machine code", "through a program"].iter().any(|how| reason.contains(how));
            assert!(ran, "no code of its own ran: {reason}");
        }
    }
}

/// The audit itself can fail: with a private address let through, what aims at it gets there.
#[test]
fn a_wall_with_a_hole_in_it_fails_the_cases_that_aim_there() {
    let (report, well) = audit("process", &["F02", "N05", "P02"], &["--weaken-egress"]);
    assert!(!well, "{report:#}");
    let verdict = |id: &str| {
        let cases = report["cases"].as_array().unwrap();
        cases.iter().find(|case| case["id"] == id).unwrap()["verdict"].clone()
    };
    assert_eq!(verdict("N05"), "failed", "{report:#}");
    assert_eq!((verdict("F02"), verdict("P02")), ("held".into(), "held".into()), "{report:#}");
}
