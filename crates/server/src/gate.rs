//! What every request passes: a name for the log, a slot, the key, the body limit, the deadline, and a net under
//! panics.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bulkhead_api::headers::REQUEST_ID;
use bulkhead_api::{Access, Op, Route};
use futures_util::FutureExt as _;
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tracing::Instrument as _;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::Caller;
use crate::worker::Token;

/// A key is 70 characters or so; anything much longer is not worth hashing.
const KEY_BYTES_MAX: usize = 512;

/// What stands before a route.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) app: App,
    pub(crate) route: &'static Route,
}

/// Lets a request through to its handler, or answers it.
pub(crate) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let began = tokio::time::Instant::now();
    let id = request_id(&gate.app);
    let op = gate.route.op;
    let span = tracing::info_span!("request", id = %id, route = ?op);
    let counts = gate.app.clone();
    let answered = checked(gate, request, next).instrument(span.clone()).await;
    let mut response = answered.unwrap_or_else(|refused| refused.into_response());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let (status, took) = (response.status().as_u16(), began.elapsed());
    counts.inner.counts.record(op, status, took);
    span.in_scope(|| tracing::debug!(status, ms = took.as_millis(), "answered"));
    response
}

async fn checked(gate: Gate, mut request: Request, next: Next) -> Result<Response, ApiError> {
    let Gate { app, route } = gate;
    let inner = &app.inner;
    if *inner.options.stopping.borrow() && !goes_on(route) {
        return Err(ApiError::new("shutting_down", "the server is stopping; try again"));
    }
    let slots = match (route.access, route.op) {
        (Access::Worker, Op::WorkerCall | Op::WorkerStream) => &inner.calls,
        (Access::Worker, _) => &inner.messages,
        _ => &inner.requests,
    };
    let _slot = slots.try_acquire().map_err(|_| {
        ApiError::new("overloaded", "the server has as many requests under way as it takes")
    })?;
    let mut place = None;
    match route.access {
        Access::Open => {}
        Access::Tenant => {
            let caller = tenant(&app, request.headers()).await?;
            place = Some(inner.turns.place(&caller.0)?);
            request.extensions_mut().insert(caller);
        }
        Access::Admin => admin(&app, request.headers())?,
        Access::Worker => {
            let token = worker(&app, request.headers()).await?;
            request.extensions_mut().insert(token);
        }
    }
    body_fits(route, request.headers())?;
    let answered = within(route.deadline, AssertUnwindSafe(next.run(request)).catch_unwind()).await;
    drop(place);
    answered
}

/// Whether a route is served while the server stops: outcomes and renewals are taken to the last moment. A call would
/// keep the server from its end; refused here it surely had no effect, and the worker carries it to the next server.
fn goes_on(route: &Route) -> bool {
    match route.access {
        Access::Open => true,
        Access::Worker => !matches!(route.op, Op::WorkerLease | Op::WorkerCall | Op::WorkerStream),
        Access::Tenant | Access::Admin => false,
    }
}

async fn within(
    deadline: Duration,
    answer: impl Future<Output = Result<Response, Box<dyn std::any::Any + Send>>>,
) -> Result<Response, ApiError> {
    match tokio::time::timeout(deadline, answer).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(ApiError::internal(&format!("panic: {}", text.unwrap_or_default())))
        }
        Err(_) => {
            let seconds = deadline.as_secs();
            Err(ApiError::new("deadline_exceeded", format!("not done within {seconds} s")))
        }
    }
}

/// Says no before the first byte of a body that is announced as too long; the extractor counts the others.
fn body_fits(route: &Route, headers: &HeaderMap) -> Result<(), ApiError> {
    let max = route.body_bytes_max;
    let length =
        headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > max as u64) {
        let message = format!("the body has {} bytes; this route takes {max}", length.unwrap_or(0));
        return Err(ApiError::new("body_too_large", message));
    }
    Ok(())
}

fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, key) = value.and_then(|value| value.split_once(' ')).unwrap_or_default();
    let key = key.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || key.is_empty() {
        let message = "this route needs the header `Authorization: Bearer KEY`";
        return Err(ApiError::new("missing_key", message));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(wrong_key());
    }
    Ok(key)
}

fn wrong_key() -> ApiError {
    ApiError::new("wrong_key", "the key is unknown or was revoked")
}

/// Compares hashes, in constant time: how long it takes says nothing of how much of the key was right.
fn is_admin(app: &App, key: &str) -> bool {
    Sha256::digest(key.as_bytes()).as_slice().ct_eq(&app.inner.admin_hash).into()
}

async fn tenant(app: &App, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let key = bearer(headers)?;
    if let Some(tenant) = app.inner.platform.authenticate(key).await? {
        return Ok(Caller(tenant));
    }
    if is_admin(app, key) {
        let message = "this route belongs to a tenant: send one of its keys, not the admin key";
        return Err(ApiError::new("tenant_key_needed", message));
    }
    Err(wrong_key())
}

fn admin(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    let key = bearer(headers)?;
    if is_admin(app, key) {
        return Ok(());
    }
    // Whether the key is a tenant's is not looked up: an operator's route tells a stranger nothing.
    Err(ApiError::new("admin_key_needed", "this route needs the admin key"))
}

async fn worker(app: &App, headers: &HeaderMap) -> Result<Token, ApiError> {
    let token = bearer(headers)?;
    app.inner.platform.authenticate_worker(token).await?.map(Token).ok_or_else(wrong_key)
}

fn request_id(app: &App) -> String {
    let mut bytes = [0_u8; 8];
    app.inner.entropy.fill(&mut bytes);
    format!("req_{:016x}", u64::from_le_bytes(bytes))
}
