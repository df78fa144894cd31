//! Tenants and their keys; the operator's routes.

use axum::extract::State;
use bulkhead_api as api;
use bulkhead_engine::{Share, ShareLimits};
use bulkhead_platform::{PlatformError, TenantSettings};
use bulkhead_types::{TenantId, WallKind};
use http::StatusCode;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Json, Names};
use crate::wire;

/// A label is a few words.
const LABEL_LENGTH_MAX: usize = 200;

/// A tenant may count as much as this many others.
const WEIGHT_MAX: u32 = 1_000;

pub(crate) async fn list(State(app): State<App>) -> Result<axum::Json<api::TenantList>, ApiError> {
    let mut tenants = Vec::new();
    for tenant in app.inner.platform.tenants().await? {
        let share = share(&app, &tenant.id).await?;
        tenants.push(wire::tenant(tenant, share));
    }
    Ok(axum::Json(api::TenantList { tenants }))
}

pub(crate) async fn put(
    State(app): State<App>,
    names: Names,
    Json(put): Json<Option<api::PutTenant>>,
) -> Result<axum::Json<api::Tenant>, ApiError> {
    let id: TenantId = names.get("tenant")?;
    let put = put.unwrap_or_default();
    let egress = put.egress.map(|rules| serde_json::from_value(rules.into())).transpose();
    let egress =
        egress.map_err(|error| ApiError::new("invalid_body", format!("egress: {error}")))?;
    let before = share(&app, &id).await?;
    let limits = ShareLimits {
        weight: put.weight.unwrap_or(before.limits.weight),
        running_max: put.running_max.unwrap_or(before.limits.running_max),
        queued_max: put.queued_max.unwrap_or(before.limits.queued_max),
    };
    if !(1..=WEIGHT_MAX).contains(&limits.weight) {
        let message = format!("weight is a number from 1 to {WEIGHT_MAX}");
        return Err(ApiError::new("invalid_body", message));
    }
    let said = put.wall_floor.as_deref().map(wall_named).transpose()?;
    // What is not said stays: above all, nobody opens a tenant's egress by changing its weight.
    let kept = match app.inner.platform.tenant(&id).await {
        Ok(before) => before.settings,
        Err(PlatformError::NotFound { .. }) => TenantSettings::default(),
        Err(error) => return Err(error.into()),
    };
    let settings = TenantSettings {
        display_name: put.display_name,
        egress: egress.unwrap_or(kept.egress),
        wall_floor: said.or(kept.wall_floor),
        records: put.records.map_or(kept.records, wire::record_settings),
    };
    let tenant = app.inner.platform.put_tenant(&id, settings).await?;
    if limits != before.limits {
        app.inner.engine.set_share(&id, limits).await?;
    }
    Ok(axum::Json(wire::tenant(tenant, share(&app, &id).await?)))
}

fn wall_named(text: &str) -> Result<WallKind, ApiError> {
    WallKind::parse(text).ok_or_else(|| {
        let message = format!("wall_floor: there is no wall {text:?}; process, gvisor or microvm");
        ApiError::new("invalid_body", message)
    })
}

pub(crate) async fn pause(
    State(app): State<App>,
    names: Names,
) -> Result<axum::Json<api::Tenant>, ApiError> {
    set_paused(&app, &names, true).await
}

pub(crate) async fn resume(
    State(app): State<App>,
    names: Names,
) -> Result<axum::Json<api::Tenant>, ApiError> {
    set_paused(&app, &names, false).await
}

async fn set_paused(
    app: &App,
    names: &Names,
    paused: bool,
) -> Result<axum::Json<api::Tenant>, ApiError> {
    let id: TenantId = names.get("tenant")?;
    let tenant = app.inner.platform.tenant(&id).await?;
    app.inner.engine.pause_tenant(&id, paused).await?;
    Ok(axum::Json(wire::tenant(tenant, share(app, &id).await?)))
}

/// What it has; before its first execution, what it may have.
async fn share(app: &App, tenant: &TenantId) -> Result<Share, ApiError> {
    let share = app.inner.engine.share(tenant).await?;
    Ok(share.unwrap_or_else(|| Share::new(tenant.clone(), ShareLimits::default())))
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
