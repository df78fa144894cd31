//! From a response to what a function gets. Pure.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_egress::SendError;
use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::{Map, Value, json};

use super::no_response;
use super::request::ProxyRequest;
use crate::calls::Failure;

/// Stands where a credential was reflected.
pub(super) const REDACTED: &str = "[redacted]";

/// The answer to a `proxy.request`; `wait` is when it makes sense to try again.
pub(super) fn of(
    result: Result<Response<Bytes>, SendError>,
    request: &ProxyRequest,
    secrets: &[String],
    wait: Option<Duration>,
) -> Result<Value, Failure> {
    let response = result.map_err(|error| no_response(&error))?;
    let status = response.status();
    let mut answer = Map::new();
    answer.insert("status".to_owned(), json!(status.as_u16()));
    answer.insert("statusText".to_owned(), json!(status.canonical_reason().unwrap_or("")));
    answer.insert("headers".to_owned(), headers(response.headers(), secrets));
    let body = redact(response.into_body(), secrets);
    let (shape, value) = shaped(&body, request.response_type.as_deref());
    answer.insert(shape.to_owned(), value);
    if status.is_success() {
        return Ok(Value::Object(answer));
    }
    if let Some(wait) = wait {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        answer.insert("retryAfterMs".to_owned(), json!(millis));
    }
    let message = format!("the API answered {status}");
    Err(Failure::with("upstream_error", message, Value::Object(answer)))
}

/// The body in the shape asked for. What should be JSON and is not comes as text.
fn shaped(body: &Bytes, response_type: Option<&str>) -> (&'static str, Value) {
    let text = || ("text", Value::String(String::from_utf8_lossy(body).into_owned()));
    match response_type {
        None | Some("json") => {
            serde_json::from_slice(body).map_or_else(|_| text(), |json| ("json", json))
        }
        Some("text") => text(),
        Some(_) => ("base64", Value::String(STANDARD.encode(body))),
    }
}

pub(super) fn headers(headers: &HeaderMap, secrets: &[String]) -> Value {
    let mut shown = Map::new();
    for name in headers.keys() {
        let text = |value: &http::HeaderValue| {
            let text = String::from_utf8_lossy(value.as_bytes());
            redacted_text(&text, secrets)
        };
        let values: Vec<String> = headers.get_all(name).iter().map(text).collect();
        // Cookies have commas of their own, so they alone stay apart.
        let value = if *name == http::header::SET_COOKIE {
            json!(values)
        } else {
            json!(values.join(", "))
        };
        shown.insert(name.as_str().to_owned(), value);
    }
    Value::Object(shown)
}

/// Takes reflected credentials out of a header.
pub(super) fn redacted_text(text: &str, secrets: &[String]) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, REDACTED))
}

/// Takes reflected credentials out of a body: an API that echoes its request must not hand a function what the
/// proxy keeps from it. Only what is sent as it stands is found; an API that hides it is the integration's choice.
fn redact(body: Bytes, secrets: &[String]) -> Bytes {
    let mut body = body;
    for secret in secrets {
        if let Some(first) = find(&body, secret.as_bytes()) {
            let mut clean = Vec::with_capacity(body.len());
            let (mut rest, mut next) = (&body[..], Some(first));
            while let Some(at) = next {
                clean.extend_from_slice(&rest[..at]);
                clean.extend_from_slice(REDACTED.as_bytes());
                rest = &rest[at + secret.len()..];
                next = find(rest, secret.as_bytes());
            }
            clean.extend_from_slice(rest);
            body = clean.into();
        }
    }
    body
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, wanted)
}
