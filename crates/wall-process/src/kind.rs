//! What differs from one kind of wall to another, as far as the launcher builds it, and what those have in common.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_guest::config::{GuestConfig, Lack, SlotConfig};
use bulkhead_wall::{Capability, CompartmentSpec};

use crate::build::{HostStage, Stage};
use crate::cgroup::Tree;
use crate::mounts;
use crate::namespaces::ZYGOTE_UID;

/// Open files of the guest, where the host allows as many: a few per slot, and streams.
pub const GUEST_FILES_MAX: u64 = 65_536;

/// A kind of wall that the launcher can build.
pub trait Kind {
    /// As it is called in settings: `process`, `gvisor`.
    fn name(&self) -> &'static str;

    /// What this machine can do for it. Called once, as root, before the launcher starts.
    fn probe(&self) -> Capability;

    /// Zygotes with bundles of their own in one compartment, as [`bulkhead_wall::Wall::zygotes_max`].
    fn zygotes_max(&self) -> u32 {
        0
    }

    /// How long a compartment has for its guest's first sign of life. Generous: a machine may be very busy.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// The cgroups that a compartment gets.
    fn tree(&self, spec: &CompartmentSpec) -> Tree;

    /// What makes process 1 of a fork of the launcher, root still, in new namespaces: all of it, in order. The last one
    /// runs the program, and so returns only when it failed. What was begun ends with the process.
    fn stages(&self) -> Vec<Stage<'_>>;

    /// Asked before each of the launcher's own stages. A wall has no reason to refuse; who tests what becomes of a stage
    /// that fails is a kind of wall too.
    ///
    /// # Errors
    /// Then the stage counts as failed.
    fn permit(&self, _stage: HostStage) -> io::Result<()> {
        Ok(())
    }
}

/// The guest's configuration. `root` is where the compartment's root can be looked at.
#[must_use]
pub fn guest_config(slots: Vec<SlotConfig>, lacks: Vec<Lack>, root: &Path) -> GuestConfig {
    // The image has what its programs were linked against: not every machine has all of these.
    let execute = ["runtime", "lib", "lib64", "usr"];
    GuestConfig {
        slots,
        zygote_uid: ZYGOTE_UID,
        zygotes: Vec::new(),
        execute: execute
            .iter()
            .filter(|path| root.join(path).exists())
            .map(|path| Path::new("/").join(path))
            .collect(),
        read: ["/etc", mounts::BUNDLE, "/proc"].map(PathBuf::from).to_vec(),
        devices: ["null", "zero", "full", "random", "urandom"]
            .map(|name| Path::new("/dev").join(name))
            .to_vec(),
        lacks,
    }
}

/// `/dev/null`, above the numbers that are given away: whoever closes it later must not close one of those.
///
/// # Errors
/// When it can't be opened.
pub fn null() -> io::Result<OwnedFd> {
    let low = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    Ok(rustix::io::fcntl_dupfd_cloexec(&low, 5)?)
}

/// An anonymous file that holds the configuration, positioned at its start.
///
/// # Errors
/// When it can't be made or written.
pub fn configuration(config: &GuestConfig) -> io::Result<OwnedFd> {
    let text = serde_json::to_vec(config)?;
    let file = rustix::fs::memfd_create("guest-config", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut written = 0;
    while written < text.len() {
        written += rustix::io::write(&file, &text[written..])?;
    }
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    // Above the numbers that are about to be given away.
    Ok(rustix::io::fcntl_dupfd_cloexec(&file, 5)?)
}
