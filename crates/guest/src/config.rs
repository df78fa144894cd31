//! What the wall tells the guest: the slots it has built, and what may be read.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The most bytes of a configuration.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;

/// The guest's configuration, JSON on descriptor [`crate::fds::CONFIG`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestConfig {
    /// One for each sandbox that can exist at the same time.
    pub slots: Vec<SlotConfig>,
    /// Uid and gid of zygotes.
    pub zygote_uid: u32,
    /// Trees that a sandbox may read and execute from.
    pub execute: Vec<PathBuf>,
    /// Trees and files that a sandbox may read.
    pub read: Vec<PathBuf>,
    /// Device files that a sandbox may read and write.
    pub devices: Vec<PathBuf>,
}

/// One slot: the place of one sandbox at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotConfig {
    /// Uid and gid, of nobody else.
    pub uid: u32,
    /// An empty directory, on a file system of its own with size and inode limits, owned by the uid.
    pub scratch: PathBuf,
    /// Files of the slot's cgroups, already open; empty where the wall has none and says so in its capability.
    pub cgroup: SlotCgroup,
}

/// Open files of a slot's cgroups, by descriptor number. They were opened by the host's root: the kernel judges
/// by who opened them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SlotCgroup {
    /// The last part of its path, in every hierarchy.
    pub name: String,
    /// `cgroup.procs` of each hierarchy: a process that writes `0` joins.
    pub join: Vec<i32>,
    /// Peak memory in bytes; on v1 a write resets it.
    pub memory_peak: Option<i32>,
    /// Lines with `oom_kill N`.
    pub memory_events: Option<i32>,
    /// Lines with `max N`: how often a process was refused.
    pub pids_events: Option<i32>,
}
