//! What worker and sandbox say to each other. Whatever comes from a sandbox is an attacker's text: it is parsed
//! under the limits of [`crate::Kind::message_bytes_max`] and trusted for nothing beyond its own result.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The execution to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Execution id.
    pub execution: String,
    /// 1, 2, …
    pub attempt: u32,
    /// `action`, `sync`, `webhook`, `event`.
    pub kind: String,
    /// Milliseconds since the epoch at which the sandbox is asked to come to an end.
    pub soft_deadline: i64,
    /// Milliseconds since the epoch at which it is killed.
    pub deadline: i64,
    /// Argument of the handler.
    pub input: Value,
    /// Values of the context's properties (`connectionId`, `providerConfigKey`, `lastSyncDate`, …).
    pub context: Value,
    /// 32 random bytes in hex, for `Math.random` and whatever else must differ between forks.
    pub seed: String,
    /// Most bytes of the result.
    pub output_bytes: u64,
}

/// How the handler ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum SandboxResult {
    /// It returned.
    Completed {
        /// What; absent is null.
        #[serde(default)]
        output: Value,
    },
    /// It threw.
    Failed {
        /// What.
        error: ResultError,
    },
    /// It ended because a checkpoint was saved after the soft deadline.
    Interrupted,
}

/// What a handler threw.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ResultError {
    /// `action_error` for `ActionError`, `invalid_input`, `invalid_output`, `output_too_large`, `upstream_error` or
    /// `upstream_unreachable` when an API call's failure was not caught, `egress_denied` when a connection's was
    /// not, `handler_never_settled`, the code of any other call of the platform, an errno name such as `ENOSPC`,
    /// or `script_error` for anything else.
    pub code: String,
    /// The message.
    pub message: String,
    /// `ActionError`'s payload, or `{status, …}` of an upstream error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// The stack, in the bundle's coordinates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// Milliseconds after which to try again, when the handler or an upstream said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// A call of the platform. `docs/protocol.md` lists the methods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The sandbox's number for it.
    pub id: u64,
    /// Which, such as `records.save`.
    pub method: String,
    /// Its arguments.
    #[serde(default)]
    pub params: Value,
}

/// The answer to a [`Call`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The call's.
    pub id: u64,
    /// The value, when it went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<Value>,
    /// The error, when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CallError>,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct CallError {
    /// Stable.
    pub code: String,
    /// For the author.
    pub message: String,
    /// Details.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
}

/// One line of a function's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Milliseconds since the epoch, by the sandbox's clock.
    pub at: i64,
    /// `debug`, `info`, `warn`, `error`.
    pub level: String,
    /// The text.
    pub message: String,
}

/// What the worker wants the sandbox to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum SignalKind {
    /// The soft deadline has come.
    Deadline,
    /// Somebody cancelled the execution.
    Cancel,
}

/// Connect to a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRequest {
    /// A name or an address, at most 253 characters.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// To which address.
    pub address: String,
    /// And port.
    pub port: u16,
}

/// Not connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// `egress_denied`, or an errno name: `ENOTFOUND`, `ECONNREFUSED`, `ETIMEDOUT`, …
    pub code: String,
    /// For the author.
    pub message: String,
    /// The policy rule that denied it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}
