//! Tenants and their keys; the operator's routes.

use axum::extract::State;
use bulkhead_api as api;
use bulkhead_platform::TenantSettings;
use bulkhead_types::TenantId;
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Json, Names};
use crate::wire;

/// A label is a few words.
const LABEL_LENGTH_MAX: usize = 200;

pub(crate) async fn list(State(app): State<App>) -> Result<axum::Json<api::TenantList>, ApiError> {
    let tenants = app.inner.platform.tenants().await?.into_iter().map(wire::tenant).collect();
    Ok(axum::Json(api::TenantList { tenants }))
}

pub(crate) async fn put(
    State(app): State<App>,
    names: Names,
    Json(put): Json<Option<api::PutTenant>>,
) -> Result<axum::Json<api::Tenant>, ApiError> {
    let id: TenantId = names.get("tenant")?;
    let put = put.unwrap_or_default();
    let egress = serde_json::from_value(put.egress.into())
        .map_err(|error| ApiError::new("invalid_body", format!("egress: {error}")))?;
    let settings = TenantSettings { display_name: put.display_name, egress };
    let tenant = app.inner.platform.put_tenant(&id, settings).await?;
    Ok(axum::Json(wire::tenant(tenant)))
}

pub(crate) async fn keys(
    State(app): State<App>,
    names: Names,
) -> Result<axum::Json<api::KeyList>, ApiError> {
    let id: TenantId = names.get("tenant")?;
    let keys = app.inner.platform.keys(&id).await?.into_iter().map(wire::key).collect();
    Ok(axum::Json(api::KeyList { keys }))
}

pub(crate) async fn create_key(
    State(app): State<App>,
    names: Names,
    Json(put): Json<Option<api::PutKey>>,
) -> Result<(StatusCode, axum::Json<api::KeyCreated>), ApiError> {
    let id: TenantId = names.get("tenant")?;
    let label = put.unwrap_or_default().label;
    if label.chars().count() > LABEL_LENGTH_MAX {
        let message = format!("a label has at most {LABEL_LENGTH_MAX} characters");
        return Err(ApiError::new("invalid_body", message));
    }
    let key = app.inner.platform.create_key(&id, &label).await?;
    Ok((StatusCode::CREATED, axum::Json(api::KeyCreated { id: key.id, secret: key.secret })))
}

pub(crate) async fn revoke_key(
    State(app): State<App>,
    names: Names,
) -> Result<StatusCode, ApiError> {
    let id: TenantId = names.get("tenant")?;
    app.inner.platform.revoke_key(&id, &names.text("id")).await?;
    Ok(StatusCode::NO_CONTENT)
}
