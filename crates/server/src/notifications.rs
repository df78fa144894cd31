//! What a tenant's product is told, and the keys that secrets are sealed with.

use axum::extract::State;
use bulkhead_api as api;
use bulkhead_platform::{Notification, NotificationTarget};
use http::StatusCode;
use serde::Deserialize;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Caller, Json, Names, Query, page_length};
use crate::wire;

pub(crate) async fn target(
    State(app): State<App>,
    Caller(tenant): Caller,
) -> Result<axum::Json<api::NotificationTarget>, ApiError> {
    let target = app.inner.platform.notification_target(&tenant).await?;
    let missing = || ApiError::new("notification_not_found", "the product listens nowhere");
    let NotificationTarget { url, events } = target.ok_or_else(missing)?;
    Ok(axum::Json(api::NotificationTarget { url, events, secret: None }))
}

pub(crate) async fn put_target(
    State(app): State<App>,
    Caller(tenant): Caller,
    Json(put): Json<api::NotificationTarget>,
) -> Result<axum::Json<api::NotificationTarget>, ApiError> {
    if put.secret.is_some() {
        let message = "the secret is made by the server; leave it out";
        return Err(ApiError::new("invalid_body", message));
    }
    let target = NotificationTarget { url: put.url.clone(), events: put.events.clone() };
    let secret = app.inner.platform.put_notification_target(&tenant, target).await?;
    Ok(axum::Json(api::NotificationTarget { secret: Some(secret), ..put }))
}

pub(crate) async fn delete_target(
    State(app): State<App>,
    Caller(tenant): Caller,
) -> Result<StatusCode, ApiError> {
    app.inner.platform.remove_notification_target(&tenant).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    state: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

pub(crate) async fn list(
    State(app): State<App>,
    Caller(tenant): Caller,
    Query(which): Query<Which>,
) -> Result<axum::Json<api::NotificationList>, ApiError> {
    let length = page_length(which.limit, 50, 200)?;
    let state = which.state.as_deref().unwrap_or("dead");
    let platform = &app.inner.platform;
    let found = platform.notifications(&tenant, state, which.after.as_deref(), length).await?;
    let next_after = found.last().filter(|_| found.len() == length).map(|last| last.id.clone());
    let notifications = found.into_iter().map(notification).collect();
    Ok(axum::Json(api::NotificationList { notifications, next_after }))
}

pub(crate) async fn retry(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
) -> Result<(StatusCode, axum::Json<api::Notification>), ApiError> {
    let retried = app.inner.platform.retry_notification(&tenant, &names.text("id")).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(notification(retried))))
}

fn notification(found: Notification) -> api::Notification {
    let Notification { id, event, state, attempts, due_at, failure, created_at } = found;
    let (due_at, created_at) = (wire::time(due_at), wire::time(created_at));
    api::Notification { id, event, state, attempts, due_at, failure, created_at }
}

pub(crate) async fn rotate(
    State(app): State<App>,
    Json(rotate): Json<api::Rotate>,
) -> Result<axum::Json<api::Rotated>, ApiError> {
    let platform = &app.inner.platform;
    let begun = rotate.begin && platform.begin_rotation().await?;
    let rotated = platform.rotate(rotate.cursor.as_deref()).await?;
    Ok(axum::Json(api::Rotated {
        begun,
        resealed: rotated.resealed,
        cursor: rotated.cursor,
        old_key_file: rotated.old_key_file.map(|path| path.display().to_string()),
    }))
}
