//! Deployments, and the functions that they made live.

use axum::extract::State;
use bulkhead_api as api;
use bulkhead_platform::{DeployRequest, FunctionUpload};
use bulkhead_types::{
    ConcurrencyKey, DeploymentId, FunctionKey, FunctionKind, FunctionSpec, Limits, TenantId,
};
use http::StatusCode;
use serde_json::Value;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Caller, Json, Names};
use crate::fields::fields_of;
use crate::wire;

/// Functions in one deployment; the largest known projects have some hundreds.
const FUNCTIONS_MAX: usize = 5_000;

pub(crate) async fn deploy(
    State(app): State<App>,
    Caller(tenant): Caller,
    Json(deploy): Json<api::Deploy>,
) -> Result<(StatusCode, axum::Json<api::Deployment>), ApiError> {
    if deploy.functions.len() > FUNCTIONS_MAX {
        let message = format!("a deployment has at most {FUNCTIONS_MAX} functions");
        return Err(ApiError::new("invalid_body", message));
    }
    let ceilings = &app.inner.options.ceilings;
    let functions = deploy.functions.into_iter().map(|function| upload(function, ceilings));
    let functions: Vec<FunctionUpload> = functions.collect::<Result<_, _>>()?;
    for function in &functions {
        has_wall(&app, &tenant, &function.spec).await?;
    }
    let request = DeployRequest {
        functions,
        dry_run: deploy.dry_run,
        allow_destructive: deploy.allow_destructive,
        partial: deploy.partial,
    };
    let status = if deploy.dry_run { StatusCode::OK } else { StatusCode::CREATED };
    let deployment = app.inner.platform.deploy(&tenant, request).await?;
    Ok((status, axum::Json(wire::deployment(deployment))))
}

/// Refuses what could not run here, rather than let it fail at its first run. Workers elsewhere may have what this
/// server's machine has not: a server that has no worker of its own can't tell.
async fn has_wall(app: &App, tenant: &TenantId, spec: &FunctionSpec) -> Result<(), ApiError> {
    let wall = app.inner.platform.wall(tenant, spec).await?;
    match &app.inner.options.walls {
        Some(walls) if !walls.contains(&wall) => {
            let had: Vec<_> = walls.iter().map(|wall| wall.as_str()).collect();
            let message = format!(
                "{} needs the {} wall, and this server's machine has {}; `bulkhead doctor` there tells what is missing",
                spec.name,
                wall.as_str(),
                had.join(", "),
            );
            Err(ApiError::new("wall_unavailable", message))
        }
        _ => Ok(()),
    }
}

fn upload(function: api::DeployFunction, ceilings: &Limits) -> Result<FunctionUpload, ApiError> {
    let name = function.spec.get("name").and_then(Value::as_str).unwrap_or("?").to_owned();
    if let Some(unknown) = unknown_field(&function.spec) {
        // What is not understood is not dropped in silence: it could be a limit.
        let message = format!(
            "the spec of function {name:?} has a field {unknown:?}, which this server does not know"
        );
        return Err(ApiError::new("invalid_spec", message));
    }
    let spec: FunctionSpec = serde_json::from_value(function.spec).map_err(|error| {
        ApiError::new(
            "invalid_spec",
            format!("the spec of function {name:?} can't be read: {error}"),
        )
    })?;
    within_ceilings(&spec, ceilings)?;
    can_be_kept(&spec)?;
    Ok(FunctionUpload {
        spec,
        bundle: function.bundle.into_bytes(),
        source_map: function.source_map.map(String::into_bytes),
    })
}

/// A field that specs do not have. The parts of a spec refuse theirs themselves; of the spec itself, which is also read
/// back from the database and by workers of other versions, only what is deployed may have none.
fn unknown_field(spec: &Value) -> Option<&str> {
    let known = fields_of::<FunctionSpec>();
    spec.as_object()?.keys().map(String::as_str).find(|field| !known.contains(field))
}

/// Refuses limits on what runs at the same time that let nobody through, and schedules nobody could keep.
fn can_be_kept(spec: &FunctionSpec) -> Result<(), ApiError> {
    let invalid = |what: &str| Err(ApiError::new("invalid_spec", format!("{}: {what}", spec.name)));
    if spec.concurrency.max == Some(0) {
        return invalid("concurrency.max is at least 1; pause the function to let none of it run");
    }
    let fits = |key: &ConcurrencyKey| {
        key.max > 0
            && (1..=255).contains(&key.name.len())
            && !key.name.chars().any(char::is_control)
    };
    if !spec.concurrency.key.as_ref().is_none_or(fits) {
        return invalid("concurrency.key has a name of 1 to 255 bytes and a max of at least 1");
    }
    if spec.schedule.jitter_ms > JITTER_MS_MAX {
        return invalid("schedule.jitter_ms is at most a day");
    }
    Ok(())
}

/// A day.
const JITTER_MS_MAX: u64 = 86_400_000;

/// Refuses what was asked for beyond the operator's ceilings. A default above a ceiling was not asked for: it is
/// lowered when an attempt is leased.
fn within_ceilings(spec: &FunctionSpec, ceilings: &Limits) -> Result<(), ApiError> {
    let (asked, usual) = (&spec.limits, Limits::default());
    let rows = [
        ("time_ms", asked.time_ms, usual.time_ms, ceilings.time_ms),
        ("memory_mib", asked.memory_mib, usual.memory_mib, ceilings.memory_mib),
        ("processes", asked.processes.into(), usual.processes.into(), ceilings.processes.into()),
        ("scratch_mib", asked.scratch_mib, usual.scratch_mib, ceilings.scratch_mib),
        ("scratch_inodes", asked.scratch_inodes, usual.scratch_inodes, ceilings.scratch_inodes),
        ("input_bytes", asked.input_bytes, usual.input_bytes, ceilings.input_bytes),
        ("output_bytes", asked.output_bytes, usual.output_bytes, ceilings.output_bytes),
        ("log_bytes", asked.log_bytes, usual.log_bytes, ceilings.log_bytes),
        ("log_lines", asked.log_lines, usual.log_lines, ceilings.log_lines),
        (
            "connections",
            asked.connections.into(),
            usual.connections.into(),
            ceilings.connections.into(),
        ),
        (
            "connections_per_minute",
            asked.connections_per_minute.into(),
            usual.connections_per_minute.into(),
            ceilings.connections_per_minute.into(),
        ),
        (
            "lookups_per_minute",
            asked.lookups_per_minute.into(),
            usual.lookups_per_minute.into(),
            ceilings.lookups_per_minute.into(),
        ),
        ("egress_mib", asked.egress_mib, usual.egress_mib, ceilings.egress_mib),
    ];
    for (limit, asked, usual, ceiling) in rows {
        if asked > ceiling && asked != usual {
            let message = format!(
                "function {} asks for limits.{limit} = {asked}; the ceiling is {ceiling}",
                spec.name
            );
            return Err(ApiError::new("limit_above_ceiling", message));
        }
    }
    Ok(())
}

pub(crate) async fn list(
    State(app): State<App>,
    Caller(tenant): Caller,
) -> Result<axum::Json<api::DeploymentList>, ApiError> {
    let deployments = app.inner.platform.deployments(&tenant).await?;
    let deployments = deployments.into_iter().map(wire::deployment).collect();
    Ok(axum::Json(api::DeploymentList { deployments }))
}

pub(crate) async fn rollback(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
) -> Result<(StatusCode, axum::Json<api::Deployment>), ApiError> {
    let id: DeploymentId = names.get("id")?;
    let deployment = app.inner.platform.rollback(&tenant, &id).await?;
    Ok((StatusCode::CREATED, axum::Json(wire::deployment(deployment))))
}

pub(crate) async fn functions(
    State(app): State<App>,
    Caller(tenant): Caller,
) -> Result<axum::Json<api::FunctionList>, ApiError> {
    let functions = app.inner.platform.functions(&tenant).await?;
    let functions = functions.iter().map(|info| wire::function(&info.version)).collect();
    Ok(axum::Json(api::FunctionList { functions }))
}

pub(crate) async fn function(
    State(app): State<App>,
    Caller(tenant): Caller,
    names: Names,
) -> Result<axum::Json<api::Function>, ApiError> {
    let kind = FunctionKind::parse(&names.text("kind")).ok_or_else(|| {
        ApiError::new("invalid_name", "a function's kind is action, sync, webhook or event")
    })?;
    let (integration, name) = (names.get("integration")?, names.get("name")?);
    let key = FunctionKey { tenant, integration, kind, name };
    let version = app.inner.platform.live_version(&key).await?;
    Ok(axum::Json(wire::function(&version)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn more_than_a_ceiling_is_refused_but_a_default_is_not() {
        let spec = |limits: Value| -> FunctionSpec {
            let spec = serde_json::json!({"integration": "i", "kind": "action", "name": "n", "limits": limits});
            serde_json::from_value(spec).unwrap()
        };
        let ceilings = Limits { time_ms: 5_000, memory_mib: 512, ..Limits::default() };
        assert!(within_ceilings(&spec(serde_json::json!({})), &ceilings).is_ok());
        assert!(within_ceilings(&spec(serde_json::json!({"memory_mib": 512})), &ceilings).is_ok());
        let refused =
            within_ceilings(&spec(serde_json::json!({"memory_mib": 513})), &ceilings).unwrap_err();
        assert_eq!(refused.body().error.code, "limit_above_ceiling");
        assert!(refused.body().error.message.contains("memory_mib = 513; the ceiling is 512"));
    }
}
