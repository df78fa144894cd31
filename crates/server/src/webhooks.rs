//! Webhook ingress: whoever posts is believed only as far as the platform's signature check goes.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bulkhead_platform::{Challenge, Incoming, Received};
use bulkhead_types::{IntegrationId, TenantId};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::json;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Names, RawBody};

pub(crate) async fn ingest(
    State(app): State<App>,
    names: Names,
    uri: Uri,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, ApiError> {
    let (tenant, integration) = whose(&names)?;
    let incoming = incoming(&app, &names, &uri, &headers, &body);
    let place = app.inner.turns.place(&tenant)?;
    let _turn = place.turn().await;
    let delivery = match app.inner.platform.ingest_webhook(&tenant, &integration, incoming).await? {
        Received::Delivery(delivery) => delivery,
        Received::Challenge(asked) => return Ok(answer(asked)),
    };
    let body = json!({"executions": delivery.executions, "duplicate": delivery.duplicate});
    Ok((StatusCode::ACCEPTED, axum::Json(body)).into_response())
}

pub(crate) async fn challenge(
    State(app): State<App>,
    names: Names,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (tenant, integration) = whose(&names)?;
    let incoming = incoming(&app, &names, &uri, &headers, &Bytes::new());
    Ok(answer(app.inner.platform.answer_challenge(&tenant, &integration, &incoming).await?))
}

fn whose(names: &Names) -> Result<(TenantId, IntegrationId), ApiError> {
    Ok((names.get("tenant")?, names.get("integration")?))
}

fn incoming(app: &App, names: &Names, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Incoming {
    // What is not text is no provider's signature or delivery id.
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        value.to_str().ok().map(|value| (name.as_str().to_owned(), value.to_owned()))
    };
    let segment = Some(names.text("segment")).filter(|segment| !segment.is_empty());
    let path = uri.path_and_query().map_or("/", |whole| whole.as_str());
    Incoming {
        // As providers know it, whatever stands between them and us.
        url: format!("{}{path}", app.inner.options.public_url),
        segment,
        headers: headers.iter().filter_map(text).collect(),
        body: body.to_vec(),
    }
}

/// It echoes what a stranger sent: no browser shall take it for a page.
fn answer(asked: Challenge) -> Response {
    let headers = [(CONTENT_TYPE, asked.content_type), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, asked.body).into_response()
}
