//! What is compiled before the runtime image can be put together.

use std::path::PathBuf;
use std::process::Command;

use anyhow::ensure;

use crate::image;
use crate::workspace::{Profile, Workspace, run};

/// The guest is started in a root without a dynamic loader's help, so it is linked statically. That is possible
/// only when cargo is told the target: otherwise the flag would hit procedural macros, which can't be static.
const GUEST_TARGET: &str = "x86_64-unknown-linux-gnu";

/// The parts of the runtime image that are made here.
pub(crate) struct Parts {
    /// The static program that becomes process 1.
    pub(crate) guest: PathBuf,
    /// The Node.js addon that forks.
    pub(crate) addon: PathBuf,
    /// What runs in the zygote and its forks, as one JavaScript file.
    pub(crate) harness: PathBuf,
}

/// Builds the binary and the runtime image.
pub(crate) fn everything(workspace: &Workspace, profile: Profile) -> anyhow::Result<()> {
    // One call for both, so that features are unified once and nothing is compiled twice.
    cargo_build(profile, &["--package", "bulkhead", "--package", "bulkhead-fork"], None)?;
    let parts = parts(workspace, profile)?;
    image::assemble(workspace, &parts)
}

/// Builds guest, fork addon and harness.
pub(crate) fn parts(workspace: &Workspace, profile: Profile) -> anyhow::Result<Parts> {
    ensure!(
        cfg!(all(target_arch = "x86_64", target_os = "linux")),
        "the runtime image is built on x86-64 Linux only: the pinned Node.js is for that"
    );
    parts_with(workspace, profile, &[])
}

/// The same with a hole in them, which only a profile with debug assertions compiles.
pub(crate) fn weakened_parts(workspace: &Workspace, feature: &str) -> anyhow::Result<Parts> {
    let target = workspace.target.to_string_lossy().into_owned();
    parts_with(workspace, Profile::Dev, &["--features", feature, "--target-dir", &target])
}

fn parts_with(workspace: &Workspace, profile: Profile, more: &[&str]) -> anyhow::Result<Parts> {
    let guest =
        ["--package", "bulkhead-guest", "--bin", "bulkhead-guest", "--target", GUEST_TARGET];
    cargo_build(profile, &[&["--package", "bulkhead-fork"], more].concat(), None)?;
    let flags = Some("-Ctarget-feature=+crt-static");
    cargo_build(profile, &[&guest[..], more].concat(), flags)?;
    let built = |at: &str| workspace.target.join(at.replace("PROFILE", profile.directory()));
    Ok(Parts {
        guest: built(&format!("{GUEST_TARGET}/PROFILE/bulkhead-guest")),
        addon: built("PROFILE/libbulkhead_fork.so"),
        harness: harness(workspace)?,
    })
}

fn cargo_build(profile: Profile, what: &[&str], rustflags: Option<&str>) -> anyhow::Result<()> {
    let mut command = Command::new("cargo");
    command.args(["build", "--profile", profile.as_str()]).args(what);
    if profile == Profile::Release {
        command.arg("--locked");
    }
    if let Some(flags) = rustflags {
        // Of all the ways to pass flags to rustc, this one wins over whatever the environment sets.
        command.env("CARGO_ENCODED_RUSTFLAGS", flags);
    }
    run(&mut command)
}

/// Bundles the harness with esbuild, which takes less time than finding out whether it has to.
fn harness(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let bundle = workspace.target.join("harness/zygote.js");
    let script = workspace.root.join("runtime/node/harness/build.mjs");
    run(Command::new(workspace.node()?).arg(script).arg("--out").arg(&bundle))?;
    Ok(bundle)
}
