//! A test platform and fixtures shared by the test suites.
//!
//! Invariant: only tests depend on this; nothing here decides anything.

pub mod oauth;
pub mod postgres;
pub mod s3;

use std::path::{Path, PathBuf};

pub use oauth::oauth;
pub use postgres::postgres;
pub use s3::s3;

/// The repository's root.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The root file system of the runtime image that `cargo xtask image` makes, in the target directory that the test
/// itself was built in.
///
/// # Errors
/// When it is not there: says how to make it.
pub fn rootfs() -> Result<PathBuf, String> {
    let test = std::env::current_exe().map_err(|error| error.to_string())?;
    let near = test.ancestors().map(|directory| directory.join("runtime/rootfs"));
    let elsewhere = workspace().join("target/runtime/rootfs");
    near.chain([elsewhere])
        .find(|rootfs| rootfs.join("runtime/guest").exists())
        .ok_or_else(|| "there is no runtime image: `cargo xtask image` makes it".to_owned())?
        .canonicalize()
        .map_err(|error| error.to_string())
}
