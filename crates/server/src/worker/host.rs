//! What a running attempt on another machine needs, and asks for.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bulkhead_api::worker::{
    About, CallAnswer, CallFailure, CallRequest, EventRequest, LogRequest, Prepared,
};
use bulkhead_platform::{CallError, LogLine};
use bulkhead_types::LeaseRef;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use super::{Token, handing, held};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Json, Names};

fn lost(lease: &LeaseRef) -> ApiError {
    let message = format!("lease {} of {} is not this worker's", lease.fence.0, lease.execution);
    ApiError::new("lease_lost", message)
}

/// What did not fit into the answer that the lease came with.
pub(crate) async fn prepare(
    State(app): State<App>,
    token: Token,
    Json(about): Json<About>,
) -> Result<axum::Json<Prepared>, ApiError> {
    token.speaks_for(&about.worker)?;
    let lease = held::whole(&app, &about.worker, &about.lease).await?;
    let lease = lease.ok_or_else(|| lost(&about.lease))?;
    let (version, needs) = handing::needs(&app, &lease).await.map_err(|error| {
        ApiError::of_call(&bulkhead_types::ErrorInfo::new(&error.code, error.message))
    })?;
    Ok(axum::Json(Prepared { input: lease.input, version, needs }))
}

/// A bundle. Its name is the hash of its content, which nobody can guess: a worker learns it with a lease.
pub(crate) async fn bundle(
    State(app): State<App>,
    _token: Token,
    names: Names,
) -> Result<Response, ApiError> {
    let content = app.inner.platform.bundle(&names.text("digest")).await?;
    let form = HeaderValue::from_static("application/octet-stream");
    Ok(([(CONTENT_TYPE, form)], content).into_response())
}

pub(crate) async fn call(
    State(app): State<App>,
    token: Token,
    Json(call): Json<CallRequest>,
) -> Result<axum::Json<CallAnswer>, ApiError> {
    token.speaks_for(&call.worker)?;
    let CallRequest { worker, lease, number, method, params } = call;
    let answer = match held::lease(&app, &worker, &lease).await? {
        Some(lease) => app.inner.platform.call_once(&lease, &method, params, Some(number)).await,
        None => Err(CallError {
            code: "lease_lost".to_owned(),
            message: "the lease is somebody else's by now".to_owned(),
            payload: None,
        }),
    };
    Ok(axum::Json(match answer {
        Ok(value) => CallAnswer::Ok(value),
        Err(CallError { code, message, payload }) => {
            CallAnswer::Error(CallFailure { code, message, payload })
        }
    }))
}

/// Lines of a lease that is lost are refused: another attempt writes by now.
pub(crate) async fn log(
    State(app): State<App>,
    token: Token,
    Json(log): Json<LogRequest>,
) -> Result<axum::Json<Value>, ApiError> {
    token.speaks_for(&log.worker)?;
    let lease = held::lease(&app, &log.worker, &log.lease).await?;
    let lease = lease.ok_or_else(|| lost(&log.lease))?;
    let line = |line: bulkhead_api::worker::Line| LogLine {
        at: line.at,
        level: line.level,
        message: line.message,
    };
    app.inner.platform.log(&lease, log.lines.into_iter().map(line).collect()).await?;
    Ok(axum::Json(Value::Null))
}

pub(crate) async fn event(
    State(app): State<App>,
    token: Token,
    Json(said): Json<EventRequest>,
) -> Result<axum::Json<Value>, ApiError> {
    token.speaks_for(&said.worker)?;
    let lease = held::lease(&app, &said.worker, &said.lease).await?;
    let lease = lease.ok_or_else(|| lost(&said.lease))?;
    app.inner.platform.event(&lease, said.event).await?;
    Ok(axum::Json(Value::Null))
}
