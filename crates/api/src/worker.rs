//! What workers and servers say to each other: `docs/worker-protocol.md` is the contract, these are its messages.
//!
//! A message names the worker that sends it and, where it is about an attempt, the lease. Neither is believed: the
//! worker's id must be one of the token that came with the request, and the lease one that this worker was given.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bulkhead_types::{
    Lease, LeaseRef, Outcome, Room, TimelineEvent, Timestamp, Units, Usage, Version, VersionId,
    WallKind, WorkerId,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest that a server waits for work, or for something to recall, before it answers that there is nothing.
pub const WAIT_MS_MAX: u64 = 30_000;

/// Leases in one answer.
pub const LEASES_MAX: usize = 256;

/// Characters of a worker's name and of its version.
pub const NAME_LENGTH_MAX: usize = 100;

/// Bytes of leases that one answer carries with all they need; what goes beyond is fetched one by one.
pub const LEASE_BYTES_MAX: usize = 16 << 20;

/// Who asks, and how it stands there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Me {
    /// The sender, named after its token.
    pub worker: WorkerId,
    /// For people.
    pub name: String,
    /// The sender's version of Bulkhead.
    pub version: String,
    /// What it has for attempts.
    pub capacity: Units,
    /// Attempts that it runs now.
    pub running: u64,
    /// It takes no more leases.
    #[serde(default)]
    pub draining: bool,
}

/// Asks for work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// Who asks.
    pub me: Me,
    /// What it has room for. At most [`LEASES_MAX`] leases are given, whatever it is.
    pub room: Room,
    /// How long to wait for work, milliseconds; more than [`WAIT_MS_MAX`] is understood as that.
    pub wait_ms: u64,
}

/// Work.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LeaseAnswer {
    /// The leases. Their times are the server's: a worker counts from when it heard of them.
    pub leases: Vec<Handed>,
    /// The builds that they run, each once.
    pub versions: BTreeMap<VersionId, Version>,
}

/// A lease with what its attempt needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Handed {
    /// The lease; its input is null when `needs` is absent.
    pub lease: Lease,
    /// Absent when it did not fit: then it is asked for with [`About`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Needs>,
}

/// What an attempt needs besides its lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Needs {
    /// Values of the context's properties.
    pub context: Value,
    /// Where its sandbox may connect.
    pub egress: Egress,
    /// The wall to run it behind, and no other.
    pub wall: WallKind,
}

/// The egress rules of a tenant. The worker adds its own machine's addresses, and its server's.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Egress {
    /// The platform's own listeners.
    pub listeners: Vec<SocketAddr>,
    /// The operator's rules, in order: each as the gateway's crate writes it.
    pub operator: Vec<Value>,
    /// The tenant's rules, likewise.
    pub tenant: Vec<Value>,
}

/// All that an attempt needs, fetched apart because it did not fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// What the function is called with.
    pub input: Value,
    /// The build to run.
    pub version: Version,
    /// The rest.
    pub needs: Needs,
}

/// Names a lease that the message is about, or bears on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The sender.
    pub worker: WorkerId,
    /// Its lease.
    pub lease: LeaseRef,
}

/// Renews leases: those named, and no others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewRequest {
    /// Who renews.
    pub me: Me,
    /// What it holds.
    pub leases: Vec<LeaseRef>,
}

/// Asks what to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecallsRequest {
    /// Who asks.
    pub worker: WorkerId,
    /// How long to wait, milliseconds; more than [`WAIT_MS_MAX`] is understood as that.
    pub wait_ms: u64,
}

/// What to stop.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Recalls {
    /// What to stop.
    pub recalls: Vec<Recall>,
}

/// A running attempt that must stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recall {
    /// Which.
    pub lease: LeaseRef,
    /// Why.
    pub reason: RecallReason,
}

/// Why a running attempt must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecallReason {
    /// Somebody cancelled it: tell the sandbox, then kill it.
    Cancelled,
    /// The lease belongs to somebody else now: kill it, nobody waits for the outcome.
    Lost,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettleRequest {
    /// The sender.
    pub worker: WorkerId,
    /// Its lease.
    pub lease: LeaseRef,
    /// How it ended. A worker can't say `lost`.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// When the handler's first line ran.
    pub started_at: Option<Timestamp>,
    /// How its sandbox came to be: `parked`, `forked` or `cold`.
    pub start: Option<String>,
    /// The wall that it ran behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall: Option<WallKind>,
}

/// What became of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    /// Taken.
    Accepted,
    /// The lease is not the newest, or the execution has ended: nothing changed. So it is when an outcome is told
    /// again that was taken the first time.
    Stale,
}

/// What became of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettleAnswer {
    /// What became of it.
    pub settlement: Settlement,
}

/// A running function asks for something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallRequest {
    /// The sender.
    pub worker: WorkerId,
    /// On behalf of whose attempt.
    pub lease: LeaseRef,
    /// The same when the call is carried again because its answer was lost; another for every other call of the
    /// attempt.
    pub number: u64,
    /// What for (`docs/protocol.md`, "Calls").
    pub method: String,
    /// With which parameters.
    #[serde(default)]
    pub params: Value,
}

/// A running function makes a request whose bodies pass piece by piece: this is the head of the message's body (four bytes
/// with its length, the lowest first, then itself), the request's own body is what follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamRequest {
    /// The sender.
    pub worker: WorkerId,
    /// On behalf of whose attempt.
    pub lease: LeaseRef,
    /// The parameters of `proxy.request`.
    pub request: Value,
    /// Whether a body follows.
    pub upload: bool,
    /// How long it is in all, where that is known.
    #[serde(default)]
    pub length: Option<u64>,
}

/// The most bytes of a [`StreamRequest`], and of the [`CallAnswer`] that the answer's body begins with in the same way.
pub const STREAM_HEAD_BYTES_MAX: usize = 16 << 20;

/// What a running function is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallAnswer {
    /// It went well.
    Ok(Value),
    /// It did not: for the function.
    Error(CallFailure),
}

/// Why a call failed, for the function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallFailure {
    /// Stable.
    pub code: String,
    /// For the author.
    pub message: String,
    /// Details.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
}

/// Log lines of an attempt; already cut to its limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRequest {
    /// The sender.
    pub worker: WorkerId,
    /// Of whose attempt.
    pub lease: LeaseRef,
    /// The lines.
    pub lines: Vec<Line>,
}

/// One line of a function's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Milliseconds since the epoch.
    pub at: i64,
    /// `debug`, `info`, `warn`, `error`.
    pub level: String,
    /// The text.
    pub message: String,
}

/// An event for an execution's timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRequest {
    /// The sender.
    pub worker: WorkerId,
    /// Of whose attempt.
    pub lease: LeaseRef,
    /// The event.
    pub event: TimelineEvent,
}

/// A worker takes its leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaveRequest {
    /// The sender.
    pub worker: WorkerId,
}
