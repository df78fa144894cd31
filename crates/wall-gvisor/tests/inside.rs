//! Fail closed, inside: each stage of a guest, of its zygotes and of its sandboxes is made to fail in turn, behind gVisor,
//! where they are others. The error names it, nothing of a tenant's runs then, and the next one is none the worse.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what a zygote and a guest say")]

#[path = "../../wall-process/tests/support/inside.rs"]
mod inside;

use std::process::ExitCode;

use bulkhead_wall_gvisor::Gvisor;

fn main() -> ExitCode {
    let expected = inside::Expected {
        guest: &["kernel_files", "seccomp"],
        sandbox: &[
            "descriptors",
            "session",
            "cgroup",
            "user_namespace",
            "uid_map",
            "uid",
            "tmp",
            "capabilities",
            "dumpable",
            "scratch",
            "umask",
            "rlimits",
            "no_new_privs",
            "seccomp",
        ],
        // They are its kernel's own.
        traces: None,
    };
    let gvisor = || Gvisor::find().expect("runsc, which scripts/setup.sh installs");
    inside::run(|| Box::new(gvisor()), "inside-g", expected)
}
