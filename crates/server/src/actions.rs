//! Running an action: submit, wait, answer with its output.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bulkhead_api::headers::{
    CONCURRENCY_KEY, CONNECTION_ID, EXECUTION_ID, IDEMPOTENCY_KEY, START_WITHIN,
};
use bulkhead_api::routes::route;
use bulkhead_api::{Accepted, Op};
use bulkhead_platform::ActionCall;
use bulkhead_types::{ConcurrencyKey, Execution, ExecutionId, ExecutionState};
use http::header::LOCATION;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Caller, Json, Names, header, header_id};

/// The longest that a caller may give an execution to begin: a day.
const START_WITHIN_S_MAX: u64 = 86_400;

/// Before the route's own deadline, so that the answer names the execution.
const ANSWER_SLACK: Duration = Duration::from_secs(5);

pub(crate) async fn run(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
    headers: HeaderMap,
    Json(input): Json<Value>,
) -> Result<Response, ApiError> {
    let prefer = Prefer::parse(&headers)?;
    let call = ActionCall {
        integration: names.get("integration")?,
        name: names.get("name")?,
        connection: header_id(&headers, CONNECTION_ID)?,
        input,
        idempotency_key: header(&headers, IDEMPOTENCY_KEY)?.map(str::to_owned),
        concurrency: header(&headers, CONCURRENCY_KEY)?.map(concurrency).transpose()?,
        start_within: header(&headers, START_WITHIN)?.map(start_within).transpose()?,
        // Whoever may be answered before the end.
        told: prefer.respond_async || prefer.wait.is_some(),
    };
    let accepted = app.inner.platform.run_action(&tenant, call).await?;
    if prefer.respond_async {
        return Ok(accepted_response(&app, &accepted.execution, accepted.duplicate));
    }
    let patience = route(Op::RunAction).deadline.saturating_sub(ANSWER_SLACK);
    let patience = prefer.wait.map_or(patience, |wait| wait.min(patience));
    match app.inner.engine.wait(&accepted.execution, patience).await? {
        Some(execution) => ended(execution),
        None if prefer.wait.is_some() => {
            Ok(accepted_response(&app, &accepted.execution, accepted.duplicate))
        }
        None => {
            let id = &accepted.execution;
            let payload = json!({"execution_id": id, "status_url": app.status_url(id.as_str())});
            let message = "the execution goes on; ask for it at its status_url";
            Err(ApiError::new("still_running", message).with_payload(payload).about(id))
        }
    }
}

/// `NAME` or `NAME; max=N`.
fn concurrency(text: &str) -> Result<ConcurrencyKey, ApiError> {
    let (name, max) = match text.rsplit_once(';') {
        Some((name, max)) => (name, max.trim().strip_prefix("max=").and_then(|n| n.parse().ok())),
        None => (text, Some(1)),
    };
    let said = "Concurrency-Key: write NAME or NAME; max=N";
    let max = max.ok_or_else(|| ApiError::new("invalid_header", said))?;
    Ok(ConcurrencyKey { name: name.trim().to_owned(), max })
}

/// Whole seconds, at least one.
fn start_within(text: &str) -> Result<Duration, ApiError> {
    let seconds = text.parse().ok().filter(|seconds| (1..=START_WITHIN_S_MAX).contains(seconds));
    let said = "Start-Within: takes whole seconds, from 1 to 86400";
    seconds.map(Duration::from_secs).ok_or_else(|| ApiError::new("invalid_header", said))
}

/// 202: accepted, durable, not waited for.
pub(crate) fn accepted_response(app: &App, execution: &ExecutionId, duplicate: bool) -> Response {
    let status_url = app.status_url(execution.as_str());
    let location = HeaderValue::from_str(&status_url);
    let body = Accepted { execution_id: execution.to_string(), status_url, duplicate };
    let mut response = (StatusCode::ACCEPTED, axum::Json(body)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    name_execution(&mut response, execution);
    response
}

fn ended(execution: Execution) -> Result<Response, ApiError> {
    let id = &execution.id;
    match execution.state {
        ExecutionState::Succeeded => {
            let mut response = axum::Json(execution.output.unwrap_or(Value::Null)).into_response();
            name_execution(&mut response, id);
            Ok(response)
        }
        ExecutionState::Cancelled => {
            Err(ApiError::new("cancelled", "somebody cancelled the execution").about(id))
        }
        ExecutionState::Expired => {
            Err(ApiError::new("expired", "the execution did not start by its deadline").about(id))
        }
        _ => Err(ApiError::of_execution(id, execution.error.as_ref(), execution.fault)),
    }
}

fn name_execution(response: &mut Response, execution: &ExecutionId) {
    if let Ok(id) = HeaderValue::from_str(execution.as_str()) {
        response.headers_mut().insert(HeaderName::from_static(EXECUTION_ID), id);
    }
}

/// What of RFC 7240 we know.
#[derive(Debug, Default, PartialEq, Eq)]
struct Prefer {
    respond_async: bool,
    wait: Option<Duration>,
}

impl Prefer {
    /// Preferences we don't know are ignored, as the RFC wants; a wait that is no number is told.
    fn parse(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut prefer = Self::default();
        for value in headers.get_all("prefer") {
            for part in value.to_str().unwrap_or_default().split([',', ';']) {
                let part = part.trim().to_ascii_lowercase();
                if part == "respond-async" {
                    prefer.respond_async = true;
                } else if let Some(seconds) = part.strip_prefix("wait=") {
                    let seconds = seconds.trim_matches('"').parse().map_err(|_| {
                        ApiError::new("invalid_header", "Prefer: wait= takes whole seconds")
                    })?;
                    prefer.wait = Some(Duration::from_secs(seconds));
                }
            }
        }
        // Both together mean "wait this long, then answer 202".
        prefer.respond_async &= prefer.wait.is_none();
        Ok(prefer)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn preferences_are_read_as_the_rfc_writes_them() {
        let parse = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", HeaderValue::from_static(text));
            Prefer::parse(&headers)
        };
        let wait = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(parse("respond-async").unwrap(), Prefer { respond_async: true, wait: None });
        assert_eq!(
            parse("Respond-Async, wait=10").unwrap(),
            Prefer { respond_async: false, wait: wait(10) }
        );
        assert_eq!(parse("return=minimal").unwrap(), Prefer::default());
        assert!(parse("wait=soon").is_err());
    }

    #[test]
    fn a_concurrency_key_says_how_many() {
        let key = |text| concurrency(text).map(|key| (key.name, key.max)).ok();
        assert_eq!(key("account-7"), Some(("account-7".to_owned(), 1)));
        assert_eq!(key("account-7; max=3"), Some(("account-7".to_owned(), 3)));
        assert_eq!(key("a;b;max=3"), Some(("a;b".to_owned(), 3)));
        assert_eq!(key("account-7; most=3"), None);
        assert!(start_within("0").is_err() && start_within("soon").is_err());
        assert_eq!(start_within("60").ok(), Some(Duration::from_secs(60)));
    }
}
