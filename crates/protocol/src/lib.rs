//! What worker, guest and sandbox say to each other: frames and messages. `docs/protocol.md` tells the whole.
//!
//! One byte stream joins the worker to the guest of a compartment, and one joins the guest to each sandbox. Both
//! carry [`Frame`]s. A frame names a sandbox; on the stream *from* a sandbox that field is ignored and overwritten
//! by the guest: **identity comes from the channel, never from what comes over it**.
//!
//! Invariant: no I/O here. [`Decoder`] is fed bytes and yields frames; [`Assembler`] joins fragments under a
//! limit that depends on the kind. Everything has a size limit that is checked before anything is kept.

mod assemble;
mod frame;
mod guest;
mod sandbox;

pub use assemble::{Assembler, fragments};
pub use frame::{Decoder, Frame, FrameError, HEADER_BYTES, Kind, PAYLOAD_BYTES_MAX};
pub use guest::{
    BundleHead, FromGuest, GuestError, SandboxGone, SandboxLimits, SlotUsage, StartKind, ToGuest,
    ZygoteSpec,
};
pub use sandbox::{
    Call, CallError, LogLine, OpenRequest, Opened, Refused, Reply, ResultError, SandboxResult,
    SignalKind, Start,
};

/// The version of this protocol; guest and worker must agree.
pub const VERSION: u32 = 2;

/// The sandbox number that means the guest itself.
pub const GUEST: u32 = 0;

/// The channel that carries calls, logs and the result of a sandbox; egress connections have others.
pub const CONTROL: u32 = 0;

/// Bytes that each side may have under way to the other on one egress connection before it is granted more.
pub const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;

/// Bytes that a sandbox may have under way to the worker before the worker grants more to the guest.
pub const SANDBOX_WINDOW_BYTES: u32 = 1024 * 1024;

/// Bytes of all bundles that come over the stream of one compartment and are there at the same time.
pub const BUNDLES_BYTES_MAX: u64 = 128 << 20;

/// Zygotes that a compartment with room for several has in its life: each has a uid of its own, which no later one gets.
pub const ZYGOTES_EVER_MAX: u32 = 4_096;

/// Calls that a sandbox may have unanswered.
pub const CALLS_UNANSWERED_MAX: usize = 256;
