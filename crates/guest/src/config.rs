//! What the wall tells the guest: the slots it has built, and what may be read.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The most bytes of a configuration.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;

/// What guest and zygotes may use beside the slots, MiB: Node.js with a large bundle.
pub const BASE_MEMORY_MIB: u64 = 1024;

/// Processes and threads of the runtime in each sandbox, beside those that a limit speaks of.
pub const RUNTIME_TASKS: u64 = 16;

/// The guest's configuration, JSON on descriptor [`crate::fds::CONFIG`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestConfig {
    /// One for each sandbox that can exist at the same time.
    pub slots: Vec<SlotConfig>,
    /// Uid and gid of the zygote; of the first one, where there is room for several.
    pub zygote_uid: u32,
    /// Places for zygotes whose bundles come over the stream. Each zygote then has a uid of its own, which no other ever
    /// gets, and sees its own bundle alone. None where the one bundle was built in.
    #[serde(default)]
    pub zygotes: Vec<ZygotePlace>,
    /// Trees that a sandbox may read and execute from.
    pub execute: Vec<PathBuf>,
    /// Trees and files that a sandbox may read.
    pub read: Vec<PathBuf>,
    /// Device files that a sandbox may read and write.
    pub devices: Vec<PathBuf>,
    /// What the kernel under the guest does not offer. Said by the wall that knows that kernel, never found out in
    /// here: what is not on this list and fails is an error, and nothing runs.
    #[serde(default)]
    pub lacks: Vec<Lack>,
}

/// Something that a kernel behind a wall may not offer, and that the guest then does another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lack {
    /// Landlock with scopes (ABI 6, Linux 6.12).
    Landlock,
    /// `pidfd_open`.
    ProcessDescriptors,
    /// `NoNewPrivs`, `CapAmb` and `Seccomp_filters` in `/proc/PID/status`.
    StatusFields,
    /// A cgroup for each slot.
    SlotCgroups,
    /// `hidepid` of `/proc`.
    HiddenProcesses,
    /// Ambient capabilities.
    AmbientCapabilities,
    /// Setting of `RLIMIT_MSGQUEUE`, `RLIMIT_NICE` and `RLIMIT_RTPRIO` by a process.
    SomeResourceLimits,
    /// A limit on files in a `tmpfs`.
    InodeLimits,
    /// `/tmp` as a link that leads each process to its own directory.
    TmpLink,
    /// A `/proc` of processes alone, and a `/dev` in which nothing is that nobody asked for.
    KernelFiles,
}

impl Lack {
    /// Its name in `doctor` and in the documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Landlock => "landlock",
            Self::ProcessDescriptors => "process_descriptors",
            Self::StatusFields => "status_fields",
            Self::SlotCgroups => "slot_cgroups",
            Self::HiddenProcesses => "hidden_processes",
            Self::AmbientCapabilities => "ambient_capabilities",
            Self::SomeResourceLimits => "some_resource_limits",
            Self::InodeLimits => "inode_limits",
            Self::TmpLink => "tmp_link",
            Self::KernelFiles => "kernel_files",
        }
    }

    /// What the guest does in its place, and what of it is weaker.
    #[must_use]
    pub const fn instead(self) -> &'static str {
        match self {
            Self::Landlock => {
                "each sandbox has a network and an IPC namespace of its own, so that abstract sockets do not reach \
                 another; files are kept apart by owner and by read-only mounts alone"
            }
            Self::ProcessDescriptors => {
                "the end of a sandbox is told by its zygote, or seen by process 1; a sandbox that is not confined yet \
                 is killed by its number"
            }
            Self::StatusFields => {
                "the guest checks uid, gid, groups, capabilities and the filter mode from outside; no_new_privs and \
                 the number of filters are the sandbox's own word"
            }
            Self::SlotCgroups => {
                "what all processes use together is looked at every 50 ms, and that of each sandbox counted in /proc \
                 when it has changed, that of a zygote every few seconds: memory can exceed its limit until the \
                 next look, within the compartment's own limit; \
                 RLIMIT_NPROC bounds processes at once"
            }
            Self::HiddenProcesses => {
                "executions of one function that run at the same time see each other's process numbers, names, CPU \
                 time, memory maps and starting environment, also of programs that they start; memory and signals \
                 stay out of reach by uid, and open files by their mode: what a sandbox makes is its own alone, \
                 unless it gives more itself"
            }
            Self::AmbientCapabilities => {
                "there is no such set to clear; the four others are emptied and checked"
            }
            Self::SomeResourceLimits => {
                "the wall sets message queue, nice and real-time limits to 0 for all of the compartment; each sandbox \
                 checks that they are"
            }
            Self::InodeLimits => {
                "files in a scratch directory are limited by its size and the compartment's memory, not by number"
            }
            Self::TmpLink => {
                "each sandbox has a mount namespace of its own, in which /tmp is its scratch directory"
            }
            Self::KernelFiles => {
                "the guest takes every other device file away, and puts a lid on each file of /proc that is no \
                 process's, before anything else runs"
            }
        }
    }
}

/// What a zygote is limited by, where there is room for several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZygotePlace {
    /// `cgroup.procs` of its cgroup, open, by descriptor number.
    pub join: i32,
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
