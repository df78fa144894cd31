//! Fail closed, inside: each stage of a guest, of its zygotes and of its sandboxes is made to fail in turn, behind the
//! process wall. The error names it, nothing of a tenant's runs then, and what was begun is undone.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what a zygote and a guest say")]

#[path = "support/inside.rs"]
mod inside;

use std::process::ExitCode;

use bulkhead_wall_process::Process;

fn main() -> ExitCode {
    let expected = inside::Expected {
        guest: &["seccomp"],
        sandbox: &[
            "descriptors",
            "session",
            "cgroup",
            "user_namespace",
            "uid_map",
            "uid",
            "capabilities",
            "dumpable",
            "scratch",
            "rlimits",
            "no_new_privs",
            "landlock",
            "seccomp",
        ],
        traces: Some(inside::traces),
    };
    inside::run(|| Box::new(Process), "inside", expected)
}
