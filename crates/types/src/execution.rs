//! Executions, their attempts, and how those end.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fault::{Fault, Retry};
use crate::function::FunctionKey;
use crate::ids::{ConnectionId, ExecutionId, Fence, VersionId, WorkerId};
use crate::limits::Limits;
use crate::time::Timestamp;

/// Where an execution stands. The last four are final: a final execution never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionState {
    /// Wants to run now.
    Queued,
    /// An attempt holds its lease.
    Running,
    /// Goes on later: a retry after a wait, or a paused function.
    Waiting,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Somebody stopped it.
    Cancelled,
    /// Did not start by its deadline.
    Expired,
}

impl ExecutionState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Running,
        Self::Waiting,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
    ];

    /// Whether it will never change again.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired)
    }

    /// The stable text, as on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// The state that [`Self::as_str`] names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// What made an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The HTTP API or the CLI.
    Api,
    /// A due schedule.
    Schedule,
    /// A provider's webhook.
    Webhook,
    /// Something that happened to a connection.
    Event,
    /// Another execution.
    Execution,
}

impl Trigger {
    /// Every trigger.
    pub const ALL: [Self; 5] =
        [Self::Api, Self::Schedule, Self::Webhook, Self::Event, Self::Execution];

    /// The stable text, as on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Schedule => "schedule",
            Self::Webhook => "webhook",
            Self::Event => "event",
            Self::Execution => "execution",
        }
    }

    /// The trigger that [`Self::as_str`] names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|trigger| trigger.as_str() == text)
    }
}

/// One logical invocation of a function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// Its name.
    pub id: ExecutionId,
    /// Which function, of which tenant.
    pub function: FunctionKey,
    /// Which build of it; fixed at submit.
    pub version: VersionId,
    /// On behalf of which connection.
    pub connection: Option<ConnectionId>,
    /// What made it.
    pub trigger: Trigger,
    /// Where it stands.
    pub state: ExecutionState,
    /// What it was called with.
    pub input: Value,
    /// What it returned, once `Succeeded`.
    pub output: Option<Value>,
    /// Why it failed, once `Failed`, or why the last attempt did, while `Waiting`.
    pub error: Option<ErrorInfo>,
    /// Whose fault `error` is: HTTP status and metering read it.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// Attempts begun so far.
    pub attempts: u32,
    /// The number of its newest lease.
    pub fence: Fence,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When the first attempt began.
    pub started_at: Option<Timestamp>,
    /// When it became final.
    pub ended_at: Option<Timestamp>,
    /// Used by all attempts together.
    pub usage: Usage,
}

/// One sandboxed run of an execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Of which execution.
    pub execution: ExecutionId,
    /// 1, 2, …
    pub number: u32,
    /// The number of its lease.
    pub fence: Fence,
    /// Which worker holds or held it.
    pub worker: WorkerId,
    /// When it was leased.
    pub leased_at: Timestamp,
    /// When the handler's first line ran.
    pub started_at: Option<Timestamp>,
    /// When the outcome arrived.
    pub ended_at: Option<Timestamp>,
    /// How it ended, as [`Outcome::as_str`].
    pub outcome: Option<String>,
    /// Why, when it did not complete.
    pub error: Option<ErrorInfo>,
    /// What it used.
    pub usage: Usage,
    /// How its sandbox came to be: `parked`, `forked` or `cold`.
    pub start: Option<String>,
    /// The wall that it ran behind, as `WallKind::as_str`; `None` where none was reached.
    #[serde(default)]
    pub wall: Option<String>,
}

/// What names a lease, and proves it: goes along with everything an attempt writes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaseRef {
    /// Of which execution.
    pub execution: ExecutionId,
    /// Its number; a write with one older than the execution's is refused.
    pub fence: Fence,
}

/// A worker's time-limited, fenced right to run an attempt, with all it needs to do so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// Execution and fencing number.
    pub lease: LeaseRef,
    /// Which attempt this is: 1, 2, …
    pub attempt: u32,
    /// Which function, of which tenant.
    pub function: FunctionKey,
    /// Which build.
    pub version: VersionId,
    /// On behalf of which connection.
    pub connection: Option<ConnectionId>,
    /// What made the execution.
    pub trigger: Trigger,
    /// What the function is called with.
    pub input: Value,
    /// What the attempt may use.
    pub limits: Limits,
    /// When the lease was given.
    pub leased_at: Timestamp,
    /// When it ends unless renewed.
    pub expires_at: Timestamp,
}

/// A failure as told to callers: a stable code, a text, and what the author attached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorInfo {
    /// Stable, lower_snake_case; has a page in docs/errors.
    pub code: String,
    /// For the reader: what happened and what to do.
    pub message: String,
    /// `ActionError`'s payload, or details such as an upstream status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// The author's stack, source-mapped where possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
}

impl ErrorInfo {
    /// An error with neither payload nor stack.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), payload: None, stack: None }
    }
}

/// A limit that an attempt can hit. The text of each is the outcome's error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// More memory than allowed.
    OutOfMemory,
    /// More CPU time than allowed.
    CpuLimit,
    /// More wall time than allowed.
    TimeLimit,
    /// More scratch space or files than allowed.
    DiskLimit,
    /// More processes or threads than allowed.
    ProcessLimit,
    /// A larger result than allowed.
    OutputTooLarge,
}

impl LimitKind {
    /// The stable text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutOfMemory => "out_of_memory",
            Self::CpuLimit => "cpu_limit",
            Self::TimeLimit => "time_limit",
            Self::DiskLimit => "disk_limit",
            Self::ProcessLimit => "process_limit",
            Self::OutputTooLarge => "output_too_large",
        }
    }
}

/// Why an attempt failed, whose fault that is and whether to try again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// For the caller.
    pub error: ErrorInfo,
    /// Whose fault.
    pub fault: Fault,
    /// Whether to try again.
    pub retry: Retry,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The handler returned.
    Completed(Value),
    /// The handler threw, or could not be started.
    Failed(Cause),
    /// The handler saved a checkpoint after the soft deadline and came to an end: go on from there at once.
    Interrupted,
    /// Killed for a limit. At [`LimitKind::TimeLimit`] the engine goes on if the checkpoint moved.
    Limit(LimitKind, ErrorInfo),
    /// The sandbox died without a result: a signal, an abort, a broken channel.
    Crashed(ErrorInfo),
    /// The worker is gone; said by the engine, never by a worker.
    Lost,
    /// Stopped because somebody cancelled the execution.
    Cancelled,
}

impl Outcome {
    /// The stable text.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Completed(_) => "completed",
            Self::Failed(_) => "failed",
            Self::Interrupted => "interrupted",
            Self::Limit(..) => "limit",
            Self::Crashed(_) => "crashed",
            Self::Lost => "lost",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What an attempt used, as measured from outside the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Wall time, milliseconds.
    pub wall_ms: u64,
    /// CPU time, microseconds.
    pub cpu_us: u64,
    /// Peak memory, bytes.
    pub memory_bytes_peak: u64,
    /// From lease to the handler's first line, microseconds.
    pub start_us: u64,
}

/// One line of an execution's timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimelineEvent {
    /// When.
    pub at: Timestamp,
    /// What: `accepted`, `leased`, `started`, `checkpoint`, `outcome`, `waiting`, `denied`, `cancel_asked`, `ended`.
    pub what: String,
    /// In which attempt; 0 is outside any.
    pub attempt: u32,
    /// Details, small.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}
