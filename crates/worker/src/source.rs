//! The two seams of a worker: where work comes from, and who answers what functions ask for. In one process they
//! are the engine and the platform; on a worker machine they go over HTTP to a server.

use std::path::PathBuf;
use std::sync::Arc;

use bulkhead_protocol::{CallError, LogLine};
use bulkhead_types::{
    Lease, LeaseRef, Outcome, Room, TimelineEvent, Timestamp, Usage, Version, WallKind,
};
use serde_json::Value;

/// Where leases come from and outcomes go to.
#[async_trait::async_trait]
pub trait WorkSource: Send + Sync + 'static {
    /// Whether a call of [`Self::lease`] may be given up in the middle to ask anew, with more room: leases that were on
    /// their way are then what the next call returns.
    fn may_ask_anew(&self) -> bool {
        false
    }

    /// Waits until there is work that fits into `room`, then takes leases for it.
    async fn lease(&self, room: Room) -> Result<Vec<Lease>, SourceError>;

    /// Renews leases. Returns what the worker must act on: leases it has lost, executions to cancel.
    async fn renew(&self, leases: &[LeaseRef]) -> Result<Vec<Recall>, SourceError>;

    /// Waits until an execution this worker runs is to be recalled: so that a cancel takes effect at once.
    async fn recalls(&self) -> Recall;

    /// Says how an attempt ended. An outcome that comes too late is refused, which is no error here.
    async fn settle(&self, lease: &LeaseRef, settled: Settled) -> Result<(), SourceError>;
}

/// How an attempt ended, with what is told along.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// How it ended.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// When the handler's first line ran.
    pub started_at: Option<Timestamp>,
    /// How its sandbox came to be.
    pub start: Option<bulkhead_protocol::StartKind>,
    /// The wall that it ran behind; `None` where it had no sandbox.
    pub wall: Option<WallKind>,
}

/// A running execution that must stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recall {
    /// Which.
    pub lease: LeaseRef,
    /// Why.
    pub reason: RecallReason,
}

/// Why a running execution must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecallReason {
    /// Somebody cancelled it: tell the sandbox, then kill it.
    Cancelled,
    /// The lease belongs to somebody else now: kill it, nobody waits for the outcome.
    Lost,
}

/// The source could not be asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// What an attempt needs besides its lease.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The build to run.
    pub version: Arc<Version>,
    /// A directory with the bundle in it as `bundle.js`, complete and never changed once it is there.
    pub bundle: PathBuf,
    /// Values of the context's properties (`docs/protocol.md`, "A sandbox's life").
    pub context: Value,
    /// The wall to run it behind, and no other.
    pub wall: WallKind,
}

/// Who answers what a running function asks for.
#[async_trait::async_trait]
pub trait Host: Send + Sync + 'static {
    /// Gathers what the attempt needs.
    ///
    /// # Errors
    /// When the version or its bundle is not to be had; the attempt fails with that as the platform's fault.
    async fn prepare(&self, lease: &Lease) -> Result<Prepared, CallError>;

    /// Answers a call (`docs/protocol.md`, "Calls") on behalf of the attempt that holds `lease`.
    ///
    /// # Errors
    /// As the function shall see it.
    async fn call(&self, lease: &Lease, method: &str, params: Value) -> Result<Value, CallError>;

    /// Keeps log lines; already cut to the attempt's limits.
    async fn log(&self, lease: &Lease, lines: Vec<LogLine>) -> Result<(), SourceError>;

    /// Keeps an event on the execution's timeline, such as a denied connection.
    async fn event(&self, lease: &Lease, event: TimelineEvent) -> Result<(), SourceError>;
}
