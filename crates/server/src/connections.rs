//! Connections and their metadata. Credentials go in and never come out.

use axum::extract::State;
use bulkhead_api as api;
use bulkhead_platform::{Credentials, NewConnection};
use bulkhead_types::{ConnectionId, IntegrationId};
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Caller, Json, Names, Query, page_length, query_id};
use crate::integrations::part;
use crate::wire;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    integration: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

pub(crate) async fn list(
    State(app): State<App>,
    Caller(tenant): Caller,
    Query(which): Query<Which>,
) -> Result<axum::Json<api::ConnectionList>, ApiError> {
    let integration: Option<IntegrationId> = query_id(which.integration)?;
    let length = page_length(which.limit, 100, 1_000)?;
    let platform = &app.inner.platform;
    let page = platform
        .connections(&tenant, integration.as_ref(), which.cursor.as_deref(), length)
        .await?;
    let connections = page.connections.into_iter().map(wire::connection).collect();
    Ok(axum::Json(api::ConnectionList { connections, next_cursor: page.next_cursor }))
}

pub(crate) async fn put(
    State(app): State<App>,
    Caller(tenant): Caller,
    Json(put): Json<api::PutConnection>,
) -> Result<axum::Json<api::Connection>, ApiError> {
    let invalid = |error: bulkhead_types::IdError| ApiError::new("invalid_body", error.to_string());
    let integration = IntegrationId::try_from(put.integration).map_err(invalid)?;
    let id = ConnectionId::try_from(put.connection_id).map_err(invalid)?;
    let credentials: Credentials = part("credentials", put.credentials)?;
    let metadata =
        if put.metadata.is_null() { Value::Object(serde_json::Map::new()) } else { put.metadata };
    let platform = &app.inner.platform;
    let made = NewConnection { credentials, metadata, config: put.connection_config };
    let connection = platform.put_connection(&tenant, &integration, &id, made).await?;
    Ok(axum::Json(wire::connection(connection)))
}

fn named(names: &Names) -> Result<(IntegrationId, ConnectionId), ApiError> {
    Ok((names.get("integration")?, names.get("id")?))
}

pub(crate) async fn show(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
) -> Result<axum::Json<api::Connection>, ApiError> {
    let (integration, id) = named(&names)?;
    let connection = app.inner.platform.connection(&tenant, Some(&integration), &id).await?;
    Ok(axum::Json(wire::connection(connection)))
}

pub(crate) async fn patch(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
    Json(patch): Json<api::PatchConnection>,
) -> Result<axum::Json<api::Connection>, ApiError> {
    let (integration, id) = named(&names)?;
    let credentials = patch.credentials.map(|value| part("credentials", value)).transpose()?;
    let platform = &app.inner.platform;
    let connection = platform
        .patch_connection(&tenant, Some(&integration), &id, credentials, patch.metadata)
        .await?;
    Ok(axum::Json(wire::connection(connection)))
}

pub(crate) async fn delete(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
) -> Result<StatusCode, ApiError> {
    let (integration, id) = named(&names)?;
    app.inner.platform.remove_connection(&tenant, Some(&integration), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn get_metadata(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
) -> Result<axum::Json<Value>, ApiError> {
    let (integration, id) = named(&names)?;
    let connection = app.inner.platform.connection(&tenant, Some(&integration), &id).await?;
    Ok(axum::Json(connection.metadata))
}

pub(crate) async fn set_metadata(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
    Json(metadata): Json<Value>,
) -> Result<axum::Json<Value>, ApiError> {
    let (integration, id) = named(&names)?;
    let platform = &app.inner.platform;
    Ok(axum::Json(platform.set_metadata(&tenant, Some(&integration), &id, metadata).await?))
}

pub(crate) async fn merge_metadata(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
    Json(metadata): Json<Value>,
) -> Result<axum::Json<Value>, ApiError> {
    let (integration, id) = named(&names)?;
    let platform = &app.inner.platform;
    let connection =
        platform.patch_connection(&tenant, Some(&integration), &id, None, Some(metadata)).await?;
    Ok(axum::Json(connection.metadata))
}
