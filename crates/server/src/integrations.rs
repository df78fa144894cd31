//! Integrations.

use axum::extract::State;
use bulkhead_api as api;
use bulkhead_platform::IntegrationSettings;
use bulkhead_types::IntegrationId;
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Caller, Json, Names};
use crate::wire;

pub(crate) async fn list(
    State(app): State<App>,
    Caller(tenant): Caller,
) -> Result<axum::Json<api::IntegrationList>, ApiError> {
    let integrations = app.inner.platform.integrations(&tenant).await?;
    let integrations = integrations.into_iter().map(wire::integration).collect();
    Ok(axum::Json(api::IntegrationList { integrations }))
}

pub(crate) async fn show(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
) -> Result<axum::Json<api::Integration>, ApiError> {
    let id: IntegrationId = names.get("integration")?;
    Ok(axum::Json(wire::integration(app.inner.platform.integration(&tenant, &id).await?)))
}

pub(crate) async fn put(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
    Json(put): Json<api::PutIntegration>,
) -> Result<axum::Json<api::Integration>, ApiError> {
    let id: IntegrationId = names.get("integration")?;
    let settings = IntegrationSettings {
        provider: put.provider.unwrap_or_default(),
        display_name: put.display_name.unwrap_or_default(),
        base_url: put.base_url,
        auth: part("auth", put.auth)?,
        webhook: part("webhook", put.webhook)?,
    };
    let integration = app.inner.platform.put_integration(&tenant, &id, settings).await?;
    Ok(axum::Json(wire::integration(integration)))
}

/// A nested object, or its default when it is absent.
pub(crate) fn part<T: DeserializeOwned + Default>(what: &str, value: Value) -> Result<T, ApiError> {
    if value.is_null() {
        return Ok(T::default());
    }
    serde_json::from_value(value)
        .map_err(|error| ApiError::new("invalid_body", format!("{what}: {error}")))
}

pub(crate) async fn delete(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
) -> Result<StatusCode, ApiError> {
    let id: IntegrationId = names.get("integration")?;
    app.inner.platform.remove_integration(&tenant, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
