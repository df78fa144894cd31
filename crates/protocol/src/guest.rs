//! What worker and guest say to each other.

use serde::{Deserialize, Serialize};

/// Worker → guest. The guest does what it is told in order and answers each with a [`FromGuest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum ToGuest {
    /// Start a zygote. Answered by `ZygoteReady` or `ZygoteFailed`.
    StartZygote {
        /// The worker's number for it, never used twice in a compartment.
        zygote: u32,
        /// What to run.
        spec: ZygoteSpec,
        /// The bundle, where compartments have room for several zygotes; it starts once all of it came, in
        /// [`crate::Kind::Bundle`] frames whose channel is the zygote's number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bundle: Option<BundleHead>,
    },
    /// End a zygote, and forget its bundle; its sandboxes go on.
    StopZygote {
        /// Which.
        zygote: u32,
    },
    /// Fork a sandbox and park it, waiting for its `Start`. Answered by `SandboxReady` or `SandboxGone`.
    NewSandbox {
        /// The worker's number for it, from 1, never used twice in a compartment.
        sandbox: u32,
        /// Of which zygote.
        zygote: u32,
        /// What it may use.
        limits: SandboxLimits,
    },
    /// Kill everything of a sandbox. Answered by `SandboxGone`; for one that is gone already, by nothing.
    KillSandbox {
        /// Which.
        sandbox: u32,
    },
    /// The worker took this many payload and header bytes of a sandbox's frames; as many more may follow.
    Credit {
        /// Which.
        sandbox: u32,
        /// How many.
        bytes: u32,
    },
}

/// A zygote: a program with runtime and bundle loaded, which forks on request. The guest knows nothing of what
/// it runs but how to start it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZygoteSpec {
    /// Program and arguments, as paths inside the compartment.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Milliseconds it may take until it says that it is ready.
    pub ready_ms_max: u64,
}

/// A bundle that comes over the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleHead {
    /// Its length, at most [`crate::BUNDLES_BYTES_MAX`].
    pub bytes: u64,
    /// The SHA-256 of it, in lower-case hexadecimal.
    pub sha256: String,
}

/// Limits that the guest enforces on a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxLimits {
    /// MiB of memory.
    pub memory_mib: u64,
    /// CPU milliseconds, if limited.
    pub cpu_ms: Option<u64>,
    /// Processes and threads beyond the runtime's own.
    pub processes: u32,
}

/// How a sandbox came to be, for statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartKind {
    /// It was parked when it was asked for.
    Parked,
    /// Forked on demand from a warm zygote.
    Forked,
    /// The compartment or the zygote had to be made first.
    Cold,
}

/// Guest → worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum FromGuest {
    /// The first message of a compartment.
    Hello {
        /// Must equal [`crate::VERSION`].
        version: u32,
        /// Sandboxes that can exist at the same time.
        slots: u32,
    },
    /// The zygote has loaded its bundle and serves forks.
    ZygoteReady {
        /// Which.
        zygote: u32,
        /// From start to ready, microseconds.
        load_us: u64,
    },
    /// The zygote did not come up, or died. `error.stage` says which restriction or step failed.
    ZygoteFailed {
        /// Which.
        zygote: u32,
        /// Why.
        error: GuestError,
        /// The end of what it wrote to its standard error, at most 16 KiB.
        output: String,
    },
    /// The sandbox is placed, restricted, connected, and waits for its `Start`.
    SandboxReady {
        /// Which.
        sandbox: u32,
        /// From the request until ready, microseconds.
        fork_us: u64,
    },
    /// What a sandbox has used up to its `Result`, which comes next. An attempt that answered is settled by it: nobody
    /// waits until the sandbox is gone.
    SandboxAnswers {
        /// Which.
        sandbox: u32,
        /// What it used so far.
        usage: SlotUsage,
    },
    /// Everything of the sandbox is dead, its scratch wiped, its slot free. The last word about it.
    SandboxGone {
        /// Which.
        sandbox: u32,
        /// How it ended.
        gone: SandboxGone,
        /// What it used.
        usage: SlotUsage,
    },
}

/// How a sandbox ended, as seen by the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum SandboxGone {
    /// The process left by itself with this status.
    Exited {
        /// 0 to 255.
        status: i32,
    },
    /// A signal ended it that the guest did not send.
    Signalled {
        /// Its number.
        signal: i32,
    },
    /// The worker asked for it.
    Killed,
    /// Its cgroup ran out of memory.
    OutOfMemory,
    /// It used up its CPU time.
    CpuLimit,
    /// It wanted more processes or threads than allowed.
    ProcessLimit,
    /// It sent what a sandbox may not send.
    ProtocolViolation {
        /// What.
        error: String,
    },
    /// It never came to be: no free slot, a dead zygote, or a restriction that could not be applied.
    NotStarted {
        /// Why.
        error: GuestError,
    },
}

/// What could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{stage}: {message}")]
pub struct GuestError {
    /// The restriction or step, such as `landlock`, `seccomp`, `uid`, `cgroup`, `exec`.
    pub stage: String,
    /// What went wrong.
    pub message: String,
}

/// What a slot used, measured from outside the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SlotUsage {
    /// CPU time, microseconds, of all its processes.
    pub cpu_us: u64,
    /// Peak memory, bytes.
    pub memory_bytes_peak: u64,
    /// Whether the scratch directory was full when the sandbox ended, or when last looked at before.
    pub scratch_full: bool,
    /// Whether it was refused a process or thread.
    pub process_refused: bool,
}
