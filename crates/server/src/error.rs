//! Every failure becomes the one shape: a stable code, a message, a status that follows from the code.

use std::fmt::Display;

use axum::response::{IntoResponse, Response};
use bulkhead_api::{ErrorBody, Upstream, codes, headers};
use bulkhead_engine::{EngineError, SubmitError};
use bulkhead_platform::PlatformError;
use bulkhead_types::{ErrorInfo, ExecutionId, Fault, IdError, Retry};
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::Value;

/// A failure, ready to be answered.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: u16,
    // Boxed: every handler's result carries it.
    body: Box<ErrorBody>,
    retry_after_s: Option<u64>,
    execution: Option<ExecutionId>,
}

/// Seconds after which to try again when nobody knows better.
const RETRY_AFTER_S: u64 = 1;

impl ApiError {
    /// A failure with a code of the table.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        debug_assert!(codes::find(code).is_some(), "{code} is not in the table of codes");
        let status = codes::find(code).map_or(500, |entry| entry.status);
        let retry_after_s = matches!(status, 429 | 503).then_some(RETRY_AFTER_S);
        let body = Box::new(ErrorBody::new(code, message));
        Self { status, body, retry_after_s, execution: None }
    }

    /// A fault of our own. The cause goes to the log, not to the caller.
    pub fn internal(cause: &dyn Display) -> Self {
        tracing::error!(error = %cause, "a request failed for a fault of our own");
        Self::new(
            "internal",
            "a fault of the server's own; its log has it under this answer's Request-Id",
        )
    }

    /// How a platform call failed, as an answer.
    pub(crate) fn of_call(error: &ErrorInfo) -> Self {
        let mut body = Box::new(ErrorBody::new(&error.code, error.message.clone()));
        body.error.payload.clone_from(&error.payload);
        let status = codes::find(&error.code).map_or(400, |entry| entry.status);
        Self { status, body, retry_after_s: None, execution: None }
    }

    /// How an execution failed, as an answer.
    pub(crate) fn of_execution(
        execution: &ExecutionId,
        error: Option<&ErrorInfo>,
        fault: Option<Fault>,
    ) -> Self {
        let missing = ErrorInfo::new("internal", "the execution failed without saying why");
        let error = error.unwrap_or(&missing);
        let mut body = Box::new(ErrorBody::new(&error.code, error.message.clone()));
        body.error.payload.clone_from(&error.payload);
        body.error.upstream = upstream(error);
        let status = match codes::find(&error.code) {
            Some(entry) => entry.status,
            None => status_of(fault.unwrap_or(Fault::Tenant)),
        };
        Self { status, body, retry_after_s: None, execution: Some(execution.clone()) }
    }

    /// Adds details that a program can use.
    #[must_use]
    pub fn with_payload(mut self, payload: Value) -> Self {
        self.body.error.payload = Some(payload);
        self
    }

    /// Names the execution that it is about.
    #[must_use]
    pub fn about(mut self, execution: &ExecutionId) -> Self {
        self.execution = Some(execution.clone());
        self
    }

    fn of(code: &str, fault: Fault, retry: Retry, error: &dyn std::error::Error) -> Self {
        if fault == Fault::Platform {
            let failed = Self::internal(&chain(error));
            return match retry {
                Retry::Never => failed,
                Retry::After(_) | Retry::Policy => {
                    Self::new("overloaded", "the server can't keep up with its database; try again")
                }
            };
        }
        let status = codes::find(code).map_or_else(|| status_of(fault), |entry| entry.status);
        let retry_after_s = match retry {
            Retry::After(wait) => Some(wait.as_secs().max(1)),
            _ => matches!(status, 429 | 503).then_some(RETRY_AFTER_S),
        };
        let body = Box::new(ErrorBody::new(code, chain(error)));
        Self { status, body, retry_after_s, execution: None }
    }

    /// The body, for where there is no response to make.
    pub(crate) fn body(&self) -> &ErrorBody {
        &self.body
    }
}

/// The status of a failure whose code is not in the table.
const fn status_of(fault: Fault) -> u16 {
    match fault {
        Fault::Caller => 400,
        Fault::Tenant => 422,
        Fault::Upstream => 424,
        Fault::Platform => 500,
    }
}

/// What the external API answered, out of an upstream error's payload (`docs/protocol.md`, `proxy.request`).
fn upstream(error: &ErrorInfo) -> Option<Upstream> {
    let payload = error.payload.as_ref().filter(|_| error.code == "upstream_error")?;
    let status = payload.get("status")?.as_u64()?;
    let body = ["json", "text", "base64"].into_iter().find_map(|form| payload.get(form));
    Some(Upstream {
        status: u16::try_from(status).ok()?,
        body: body.cloned().unwrap_or(Value::Null),
    })
}

/// An error with its causes, once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

impl From<PlatformError> for ApiError {
    fn from(error: PlatformError) -> Self {
        if let PlatformError::NotSupported(what) = &error {
            return Self::new("not_supported", what.clone());
        }
        let answer = Self::of(error.code(), error.fault(), error.retry(), &error);
        match error.payload() {
            Some(payload) => answer.with_payload(payload.clone()),
            None => answer,
        }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        Self::of(error.code(), error.fault(), error.retry(), &error)
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        Self::of(error.code(), error.fault(), error.retry(), &error)
    }
}

impl From<IdError> for ApiError {
    fn from(error: IdError) -> Self {
        Self::new("invalid_name", error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(*self.body)).into_response();
        let answer = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            answer.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            answer.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(Ok(id)) = self.execution.map(|id| HeaderValue::from_str(id.as_str())) {
            answer.insert(headers::EXECUTION_ID, id);
        }
        debug_assert!(!answer.contains_key(ALLOW));
        response
    }
}
