//! Executions, their attempts, timeline and logs. Times are RFC 3339 in UTC with milliseconds.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The answer to a call that does not wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// The execution that was accepted; durable from now on.
    pub execution_id: String,
    /// Where to ask how it stands.
    pub status_url: String,
    /// Whether an earlier call with the same idempotency key made it.
    #[serde(default)]
    pub duplicate: bool,
}

/// One logical invocation of a function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Execution {
    /// Its name.
    pub id: String,
    /// For which external API.
    pub integration: String,
    /// `action`, `sync`, `webhook` or `event`.
    pub kind: String,
    /// Which function.
    pub function: String,
    /// Which build of it.
    pub version: String,
    /// On behalf of which connection.
    pub connection_id: Option<String>,
    /// What made it: `api`, `schedule`, `webhook`, `event` or `execution`.
    pub trigger: String,
    /// `queued`, `running`, `waiting`, `succeeded`, `failed`, `cancelled` or `expired`.
    pub state: String,
    /// Attempts begun so far.
    pub attempts: u32,
    /// Why it failed, or why the last attempt did.
    pub error: Option<super::ErrorDetail>,
    /// When it was accepted.
    pub created_at: String,
    /// When the first attempt began.
    pub started_at: Option<String>,
    /// When it became final.
    pub ended_at: Option<String>,
    /// Used by all attempts together.
    pub usage: Usage,
}

/// What attempts used, measured from outside the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
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

/// A page of executions, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExecutionList {
    /// The page.
    pub executions: Vec<Execution>,
    /// Goes into `cursor` for the next page; absent on the last.
    pub next_cursor: Option<String>,
}

/// An execution with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExecutionShow {
    /// The execution.
    #[serde(flatten)]
    pub execution: Execution,
    /// What it was called with.
    pub input: Value,
    /// What it returned.
    pub output: Option<Value>,
    /// One per sandbox.
    pub attempt_list: Vec<Attempt>,
    /// What happened, in order.
    pub timeline: Vec<TimelineEvent>,
}

/// One sandboxed run of an execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// 1, 2, …
    pub number: u32,
    /// Which worker ran it.
    pub worker: String,
    /// When it was leased.
    pub leased_at: String,
    /// When the handler's first line ran.
    pub started_at: Option<String>,
    /// When the outcome arrived.
    pub ended_at: Option<String>,
    /// `completed`, `failed`, `interrupted`, `limit`, `crashed`, `lost` or `cancelled`.
    pub outcome: Option<String>,
    /// Why, when it did not complete.
    pub error: Option<super::ErrorDetail>,
    /// The author's stack, when there is one.
    pub stack: Option<String>,
    /// What it used.
    pub usage: Usage,
    /// How its sandbox came to be: `parked`, `forked` or `cold`.
    pub start: Option<String>,
    /// The wall that it ran behind: `process`, `gvisor` or `microvm`.
    #[serde(default)]
    pub wall: Option<String>,
}

/// One line of a timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TimelineEvent {
    /// When.
    pub at: String,
    /// What: `accepted`, `leased`, `started`, `checkpoint`, `outcome`, `waiting`, `denied`, `cancel_asked`, `ended`.
    pub what: String,
    /// In which attempt; 0 is outside any.
    pub attempt: u32,
    /// Details.
    #[serde(default)]
    pub detail: Value,
}

/// One line of an execution's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// Grows; goes into `after`.
    pub seq: i64,
    /// When, by the sandbox's clock.
    pub at: String,
    /// In which attempt.
    pub attempt: u32,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The text.
    pub message: String,
}

/// A page of a log, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogPage {
    /// The lines.
    pub logs: Vec<LogLine>,
    /// Goes into `after` for the next page; absent when there is no more for now.
    pub next_after: Option<i64>,
}

/// Any JSON: an action's input or output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct Payload(pub Value);
