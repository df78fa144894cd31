//! Limits on what runs at the same time, pauses, and dead letters.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A limit or a pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Limit {
    /// What it is about: `function`, `connection` or `key`.
    pub of: String,
    /// Which: `INTEGRATION/KIND/NAME`, `INTEGRATION/CONNECTION`, or the key's name.
    pub name: String,
    /// Attempts that may run at the same time; null is any number.
    pub running_max: Option<u32>,
    /// Attempts that run now, of those that began since there is a limit.
    pub running: u32,
    /// Nothing of it begins.
    pub paused: bool,
}

/// A tenant's limits and pauses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitList {
    /// The limits.
    pub limits: Vec<Limit>,
}

/// What to change of a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLimit {
    /// What it is about: `function`, `connection` or `key`.
    pub of: String,
    /// Which: `INTEGRATION/KIND/NAME`, `INTEGRATION/CONNECTION`, or the key's name.
    pub name: String,
    /// Attempts that may run at the same time: a number, `"any"`, or absent to leave it. Of a function its author says
    /// it (`concurrency.max`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_max: Option<RunningMax>,
    /// Whether nothing of it begins; absent leaves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// A number, or any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum RunningMax {
    /// So many.
    At(u32),
    /// `"any"`.
    Any(Any),
}

/// `"any"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Any {
    /// Any number.
    Any,
}

impl RunningMax {
    /// The number, if it is one.
    #[must_use]
    pub const fn number(self) -> Option<u32> {
        match self {
            Self::At(number) => Some(number),
            Self::Any(Any::Any) => None,
        }
    }
}

/// Which dead letters to repeat: those that match all that is said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Replay {
    /// `name`, or `integration/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// `action`, `sync`, `webhook` or `event`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Failed with this error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// On behalf of this connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// Created then or later: RFC 3339 or milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Created before then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// At most so many, 1 to 1,000; absent is 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<usize>,
}

/// What was repeated.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Replayed {
    /// Each dead letter and the execution that repeats it.
    pub replayed: Vec<ReplayedOne>,
    /// Whether there are more that match.
    pub more: bool,
    /// The tenant's queue was full: seconds after which to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_full_retry_after_s: Option<u64>,
}

/// A dead letter and what repeats it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayedOne {
    /// The dead letter.
    pub dead: String,
    /// The execution that repeats it.
    pub execution_id: String,
}
