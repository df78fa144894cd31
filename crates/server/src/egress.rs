//! Explains what the egress policy does, to tenants about themselves and to operators about any tenant.

use axum::extract::State;
use bulkhead_api as api;
use bulkhead_types::TenantId;
use serde::Deserialize;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Caller, Names, Query};
use crate::limits::function_named;

/// Where most connections go.
const HTTPS: u16 = 443;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    host: String,
    port: Option<u16>,
    function: Option<String>,
}

type Explained = Result<axum::Json<api::EgressExplanation>, ApiError>;

pub(crate) async fn explain(
    State(app): State<App>,
    Caller(tenant): Caller,
    Query(about): Query<About>,
) -> Explained {
    explained(&app, &tenant, about).await
}

pub(crate) async fn explain_tenants(
    State(app): State<App>,
    names: Names,
    Query(about): Query<About>,
) -> Explained {
    explained(&app, &names.get("tenant")?, about).await
}

async fn explained(app: &App, tenant: &TenantId, about: About) -> Explained {
    let About { host, port, function } = about;
    let function = function.map(|name| {
        function_named(tenant, &name).map_err(|why| ApiError::new("invalid_query", why))
    });
    let function = function.transpose()?;
    let port = port.unwrap_or(HTTPS);
    let told = app.inner.platform.explain_egress(tenant, function.as_ref(), &host, port).await?;
    let steps = |steps: Vec<_>| steps.into_iter().map(step).collect();
    let addresses = told.addresses.into_iter().map(|it| api::EgressAddress {
        address: it.address.to_string(),
        class: it.class,
        allowed: it.allowed,
        rule: it.rule,
        rules: steps(it.rules),
    });
    Ok(axum::Json(api::EgressExplanation {
        host: told.host,
        port: told.port,
        allowed: told.allowed,
        rule: told.rule,
        resolved: told.resolved.as_str().to_owned(),
        addresses: addresses.collect(),
        before_resolving: steps(told.before_resolving),
    }))
}

fn step(step: bulkhead_platform::EgressStep) -> api::EgressStep {
    api::EgressStep {
        level: step.level.to_owned(),
        rule: step.rule,
        effect: step.effect.to_owned(),
        decides: step.decides,
        passed: step.passed.map(str::to_owned),
    }
}
