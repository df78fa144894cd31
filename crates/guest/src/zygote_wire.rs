//! What guest and zygote say to each other, over a `SOCK_SEQPACKET` pair: one JSON object per packet.

use std::path::PathBuf;

use bulkhead_protocol::GuestError;
use serde::{Deserialize, Serialize};

use crate::config::Lack;

/// The descriptor on which a zygote finds its end.
pub const ZYGOTE_FD: i32 = 3;

/// The zygote's end of its control socket.
#[must_use]
pub fn control() -> std::os::fd::BorrowedFd<'static> {
    crate::sys::borrowed(ZYGOTE_FD)
}

/// The most bytes of one packet.
pub const PACKET_BYTES_MAX: usize = 64 * 1024;

/// Inside the sandbox's user namespace everything belongs to this uid and gid.
pub const SANDBOX_UID: u32 = 1000;

/// Guest → zygote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToZygote {
    /// The first packet: what every sandbox may reach.
    Setup {
        /// Trees to read and execute from.
        execute: Vec<PathBuf>,
        /// Trees and files to read.
        read: Vec<PathBuf>,
        /// Device files to read and write.
        devices: Vec<PathBuf>,
        /// What the kernel does not offer.
        lacks: Vec<Lack>,
    },
    /// Fork. Comes with descriptors: stream, output, then the cgroup files to join.
    Fork {
        /// The worker's number, for the answer.
        sandbox: u32,
        /// The scratch directory.
        scratch: PathBuf,
        /// CPU seconds, if limited.
        cpu_s: Option<u64>,
        /// Processes and threads, where no cgroup limits them.
        tasks: Option<u64>,
    },
}

/// Zygote → guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromZygote {
    /// The bundle is loaded; forks are served from now on.
    Ready,
    /// It is not, and the zygote leaves.
    Failed(GuestError),
    /// The fork itself failed.
    NotForked {
        /// Which.
        sandbox: u32,
        /// Why.
        error: GuestError,
    },
    /// A forked process ended.
    Exited {
        /// Its process id.
        pid: i32,
        /// As `wait(2)` gives it.
        status: i32,
        /// CPU time of it and of those it waited for, microseconds.
        cpu_us: u64,
        /// Peak resident memory, bytes.
        memory_bytes_peak: u64,
    },
}

/// The bytes that a child and the guest exchange on the sandbox's stream before the first frame.
pub mod handshake {
    /// Child → guest: forked, in its cgroups, in a user namespace of its own. The kernel adds its process id.
    pub const HELLO: u8 = b'H';
    /// Guest → child: the user namespace is mapped; go on.
    pub const MAPPED: u8 = b'G';
    /// Child → guest: confined.
    pub const READY: u8 = b'R';
    /// Child → guest: a stage failed; `stage: message` and a newline follow.
    pub const FAILED: u8 = b'E';
}
