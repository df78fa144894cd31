//! Workers on other machines, as the operator sees them: who is there, and the tokens that they join with.

use axum::extract::State;
use bulkhead_api as api;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Json, Names};
use crate::wire;
use crate::worker::seen::shown;

pub(crate) async fn list(State(app): State<App>) -> axum::Json<api::WorkerList> {
    let now = app.inner.options.clock.now();
    let own = (app.inner.options.own_worker)().map(|(me, warmth)| api::Worker {
        warmth: Some(warmth),
        ..shown(&me, None, app.inner.since, now)
    });
    let workers = own.into_iter().chain(app.inner.seen.list(now)).collect();
    axum::Json(api::WorkerList { workers })
}

pub(crate) async fn tokens(State(app): State<App>) -> Result<axum::Json<api::KeyList>, ApiError> {
    let keys = app.inner.platform.worker_tokens().await?.into_iter().map(wire::key).collect();
    Ok(axum::Json(api::KeyList { keys }))
}

pub(crate) async fn create_token(
    State(app): State<App>,
    Json(put): Json<Option<api::PutKey>>,
) -> Result<(StatusCode, axum::Json<api::KeyCreated>), ApiError> {
    let token = app.inner.platform.create_worker_token(&put.unwrap_or_default().label).await?;
    let created = api::KeyCreated { id: token.id, secret: token.secret };
    Ok((StatusCode::CREATED, axum::Json(created)))
}

pub(crate) async fn revoke_token(
    State(app): State<App>,
    names: Names,
) -> Result<StatusCode, ApiError> {
    app.inner.platform.revoke_worker_token(&names.text("id")).await?;
    Ok(StatusCode::NO_CONTENT)
}
