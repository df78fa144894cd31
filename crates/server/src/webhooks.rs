//! Webhook ingress: whoever posts is believed only as far as the platform's signature check goes.

use axum::extract::State;
use bulkhead_types::{IntegrationId, TenantId};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Names, RawBody};

pub(crate) async fn ingest(
    State(app): State<App>,
    names: Names,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<(StatusCode, axum::Json<Value>), ApiError> {
    let tenant: TenantId = names.get("tenant")?;
    let integration: IntegrationId = names.get("integration")?;
    // What is not text is no provider's signature or delivery id.
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        value.to_str().ok().map(|value| (name.as_str().to_owned(), value.to_owned()))
    };
    let headers = headers.iter().filter_map(text).collect();
    let platform = &app.inner.platform;
    let delivery = platform.ingest_webhook(&tenant, &integration, headers, body.to_vec()).await?;
    let body = json!({"executions": delivery.executions, "duplicate": delivery.duplicate});
    Ok((StatusCode::ACCEPTED, axum::Json(body)))
}
