//! The one shape of every error.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// Stable; `docs/errors/README.md` lists them all.
    pub code: String,
    /// For people: what happened and what to do.
    pub message: String,
    /// What the function's author attached, or details that a program can use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// What the external API answered, when that is the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
}

/// What an external API answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Upstream {
    /// Its HTTP status.
    pub status: u16,
    /// Its body: JSON where it was JSON, else text.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub body: Value,
}

impl ErrorBody {
    /// An error with a code and a message alone.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            error: ErrorDetail { code: code.to_owned(), message, payload: None, upstream: None },
        }
    }
}
