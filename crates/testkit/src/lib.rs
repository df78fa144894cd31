//! A test platform and fixtures shared by the test suites.
//!
//! Invariant: only tests depend on this; nothing here decides anything.

use std::path::{Path, PathBuf};

/// The repository's root.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The root file system of the runtime image that `cargo xtask image` makes.
///
/// # Errors
/// When it is not there: says how to make it.
pub fn rootfs() -> Result<PathBuf, String> {
    let rootfs = workspace().join("target/runtime/rootfs");
    if rootfs.join("runtime/guest").exists() {
        return rootfs.canonicalize().map_err(|error| error.to_string());
    }
    Err(format!("{} is missing: `cargo xtask image` makes it", rootfs.display()))
}
