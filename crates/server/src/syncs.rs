//! Syncs: trigger, schedule, pause, resume.

use axum::extract::State;
use axum::response::Response;
use bulkhead_api as api;
use bulkhead_api::headers::IDEMPOTENCY_KEY;
use bulkhead_platform::SyncTrigger;
use bulkhead_types::{ConnectionId, FunctionName, IntegrationId, TenantId};
use http::HeaderMap;

use crate::actions::accepted_response;
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Caller, Json, Names, header};
use crate::wire;

pub(crate) async fn list(
    State(app): State<App>,
    Caller(tenant): Caller,
) -> Result<axum::Json<api::SyncList>, ApiError> {
    let syncs = app.inner.platform.syncs(&tenant).await?.into_iter().map(wire::sync).collect();
    Ok(axum::Json(api::SyncList { syncs }))
}

pub(crate) async fn trigger(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
    headers: HeaderMap,
    Json(call): Json<api::SyncCall>,
) -> Result<Response, ApiError> {
    let (integration, name, connection) = which(&names, call.connection_id)?;
    let idempotency_key = header(&headers, IDEMPOTENCY_KEY)?.map(str::to_owned);
    let call = SyncTrigger {
        integration,
        name,
        connection,
        reset: call.reset,
        empty_cache: call.empty_cache,
        idempotency_key,
    };
    let accepted = app.inner.platform.trigger_sync(&tenant, call).await?;
    Ok(accepted_response(&app, &accepted.execution, accepted.duplicate))
}

pub(crate) async fn pause(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
    Json(call): Json<api::SyncCall>,
) -> Result<axum::Json<api::Sync>, ApiError> {
    let (integration, name, connection) = which(&names, call.connection_id)?;
    app.inner.platform.pause_sync(&tenant, &integration, &name, &connection).await?;
    status(&app, &tenant, &integration, &name, &connection).await
}

pub(crate) async fn resume(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
    Json(call): Json<api::SyncCall>,
) -> Result<axum::Json<api::Sync>, ApiError> {
    let (integration, name, connection) = which(&names, call.connection_id)?;
    app.inner.platform.resume_sync(&tenant, &integration, &name, &connection).await?;
    status(&app, &tenant, &integration, &name, &connection).await
}

pub(crate) async fn set_frequency(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
    Json(call): Json<api::SetFrequency>,
) -> Result<axum::Json<api::Sync>, ApiError> {
    let (integration, name, connection) = which(&names, call.connection_id)?;
    let frequency = call.frequency.as_deref();
    let platform = &app.inner.platform;
    platform.set_frequency(&tenant, &integration, &name, &connection, frequency).await?;
    status(&app, &tenant, &integration, &name, &connection).await
}

fn which(
    names: &Names,
    connection: String,
) -> Result<(IntegrationId, FunctionName, ConnectionId), ApiError> {
    let connection = ConnectionId::try_from(connection)
        .map_err(|error| ApiError::new("invalid_body", format!("connection_id: {error}")))?;
    Ok((names.get("integration")?, names.get("name")?, connection))
}

async fn status(
    app: &App,
    tenant: &TenantId,
    integration: &IntegrationId,
    name: &FunctionName,
    connection: &ConnectionId,
) -> Result<axum::Json<api::Sync>, ApiError> {
    let syncs = app.inner.platform.syncs(tenant).await?;
    let ours = syncs.into_iter().find(|sync| {
        sync.integration == *integration
            && sync.name == *name
            && sync.connection.as_ref() == Some(connection)
    });
    let missing =
        || ApiError::new("sync_not_scheduled", "the sync has no schedule for this connection");
    ours.map(|sync| axum::Json(wire::sync(sync))).ok_or_else(missing)
}
