//! Integrations.

use axum::extract::State;
use bulkhead_api as api;
use bulkhead_platform::{IntegrationSettings, Provider, RateLimit, provider, providers};
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
    // What is known about a provider that is named counts where nothing else is said.
    let known = put.provider.as_deref().and_then(provider);
    let known_json = |part: fn(&Provider) -> Value| known.map(part).unwrap_or_default();
    let auth =
        over(known_json(|known| serde_json::to_value(&known.auth).unwrap_or_default()), put.auth);
    let webhook = over(
        known_json(|known| serde_json::to_value(&known.webhook).unwrap_or_default()),
        put.webhook,
    );
    let known_name = known.map(|known| known.display_name.clone());
    let settings = IntegrationSettings {
        provider: put.provider.unwrap_or_default(),
        display_name: put.display_name.or(known_name).unwrap_or_default(),
        base_url: put.base_url.or_else(|| known.map(|known| known.base_url.clone())),
        auth: part("auth", auth)?,
        webhook: part("webhook", webhook)?,
        rate_limit: put
            .rate_limit
            .map(|limit| RateLimit { requests: limit.requests, per_s: limit.per_s }),
    };
    let integration = app.inner.platform.put_integration(&tenant, &id, settings).await?;
    Ok(axum::Json(wire::integration(integration)))
}

/// What was given over what is known; another mode of authorisation has nothing in common with the known one.
fn over(known: Value, given: Value) -> Value {
    match (known, given) {
        (known, Value::Null) => known,
        (Value::Object(mut known), Value::Object(given))
            if given.get("mode").is_none_or(|mode| Some(mode) == known.get("mode")) =>
        {
            known.extend(given);
            Value::Object(known)
        }
        (_, given) => given,
    }
}

pub(crate) async fn list_providers(_: Caller) -> axum::Json<api::ProviderList> {
    let text = |value: Value| value.as_str().map(str::to_owned);
    let info = |(name, known): (&&str, &Provider)| api::ProviderInfo {
        name: (*name).to_owned(),
        display_name: known.display_name.clone(),
        base_url: known.base_url.clone(),
        auth_mode: serde_json::to_value(&known.auth.mode)
            .ok()
            .and_then(|auth| text(auth["mode"].clone()))
            .unwrap_or_default(),
        webhook_scheme: known
            .webhook
            .as_ref()
            .and_then(|webhook| serde_json::to_value(webhook.scheme).ok().and_then(text)),
        docs: known.docs.clone(),
    };
    axum::Json(api::ProviderList { providers: providers().iter().map(info).collect() })
}

pub(crate) async fn show_provider(_: Caller, names: Names) -> Result<axum::Json<Value>, ApiError> {
    let name = names.text("provider");
    let known = provider(&name).and_then(|known| serde_json::to_value(known).ok());
    let missing = || ApiError::new("provider_not_found", format!("the catalogue has no {name:?}"));
    known.map(axum::Json).ok_or_else(missing)
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
