//! The proxy: a request to an external API with a connection's credentials added, and its answer passed on. An
//! answer that comes from the API, whatever its status, has the header `Upstream-Status`.
//!
//! Bodies pass through piece by piece, both ways (`upload` has the request's). What is short is held, so that it can be
//! sent again when a try fails.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_api::headers::{BASE_URL_OVERRIDE, CONNECTION_ID, INTEGRATION, RETRIES};
use bulkhead_platform::{CallError, ProxyRequest, Streamed};
use bulkhead_types::{ErrorInfo, IntegrationId};
use futures_util::stream;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use serde_json::Value;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Caller, header, header_id};
use crate::upload::{self, Sent};

/// Tells an answer of the API from one of ours.
const UPSTREAM_STATUS: HeaderName = HeaderName::from_static("upstream-status");

/// For a request that is held, and may be tried again.
const PATIENCE: Duration = Duration::from_secs(110);

/// For one whose body is still coming. Before the route's own deadline, so that the answer says what was waited for.
const PATIENCE_UPLOAD: Duration = Duration::from_secs(14 * 60);

/// More would only hold a request slot.
const RETRIES_MAX: u32 = 10;

/// Headers that are about the connection between two neighbours, about us, or worked out anew.
const NOT_PASSED_ON: [&str; 19] = [
    "authorization",
    "base-url-override",
    "connection",
    "connection-id",
    "content-encoding",
    "content-length",
    "cookie",
    "expect",
    "host",
    "integration",
    "keep-alive",
    "proxy-authorization",
    "retries",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upstream-status",
];

pub(crate) async fn forward(
    State(app): State<App>,
    Caller(tenant): Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let missing = || ApiError::new("invalid_header", "the header Integration is missing");
    let integration: IntegrationId = header_id(headers, INTEGRATION)?.ok_or_else(missing)?;
    let connection = header_id(headers, CONNECTION_ID)?;
    let mut request = ProxyRequest {
        method: parts.method.to_string(),
        endpoint: endpoint(&parts.uri),
        base_url_override: header(headers, BASE_URL_OVERRIDE)?.map(str::to_owned),
        headers: passed_on(headers),
        data_base64: None,
        // Bytes as they come: what they mean is between the caller and the API.
        response_type: Some("stream".to_owned()),
        retries: retries(headers)?,
        params: None,
        data: None,
        retry_on: Vec::new(),
        retry_header: None,
        decompress: None,
        provider_config_key: None,
        connection_id: None,
        forward_headers_on_redirect: None,
    };
    // Its place is taken until the last piece is passed on.
    let place = app.inner.streams.clone().try_acquire_owned().map_err(|_| {
        ApiError::new("overloaded", "the server passes on as many bodies as it takes")
    })?;
    let (upload, patience, broken) = match upload::read(headers, body).await? {
        Sent::Whole(bytes) => {
            request.data_base64 = (!bytes.is_empty()).then(|| STANDARD.encode(&bytes));
            (None, PATIENCE, upload::Broken::default())
        }
        Sent::Coming(upload, broken) => (Some(upload), PATIENCE_UPLOAD, broken),
    };
    let platform = &app.inner.platform;
    let sending = (request, upload);
    match platform.proxy_stream(&tenant, &integration, connection, sending, patience).await {
        Ok(streamed) => Ok(respond(streamed, place)),
        // Why the caller's own body broke off counts before what the API made of that.
        Err(error) => match broken.why() {
            Some(why) => Err(why),
            None => refused(error),
        },
    }
}

/// There is no answer of the API's. A request that its pace lets through later only is answered as the API would.
fn refused(error: CallError) -> Result<Response, ApiError> {
    let told = error.payload.as_ref().and_then(|payload| payload["retryAfterMs"].as_u64());
    if let (Some(millis), "upstream_error") = (told, error.code.as_str()) {
        let seconds = HeaderValue::from(millis.div_ceil(1_000));
        return Ok((StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, seconds)]).into_response());
    }
    let CallError { code, message, payload } = error;
    Err(ApiError::of_call(&ErrorInfo { code, message, payload, stack: None }))
}

/// The path and query as the caller wrote them, so that what was escaped stays escaped.
fn endpoint(uri: &Uri) -> String {
    let whole = uri.path_and_query().map_or("/", |whole| whole.as_str());
    whole.strip_prefix("/v1/proxy").unwrap_or(whole).to_owned()
}

fn retries(headers: &HeaderMap) -> Result<u32, ApiError> {
    let Some(text) = header(headers, RETRIES)? else { return Ok(0) };
    let retries = text.parse().ok().filter(|retries| *retries <= RETRIES_MAX);
    let invalid = || ApiError::new("invalid_header", format!("Retries is from 0 to {RETRIES_MAX}"));
    retries.ok_or_else(invalid)
}

fn passed_on(headers: &HeaderMap) -> serde_json::Map<String, Value> {
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = value.to_str().ok()?;
        let ours = NOT_PASSED_ON.contains(&name.as_str());
        (!ours).then(|| (name.to_string(), Value::from(value)))
    };
    headers.iter().filter_map(text).collect()
}

/// The API's answer as an HTTP answer.
fn respond(streamed: Streamed, place: tokio::sync::OwnedSemaphorePermit) -> Response {
    let Streamed { status, headers, body, .. } = streamed;
    let pieces = stream::unfold((body, place), |(mut body, place)| async move {
        Some((body.recv().await?, (body, place)))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    *response.status_mut() = status;
    let shown = response.headers_mut();
    for (name, value) in &headers {
        if !NOT_PASSED_ON.contains(&name.as_str()) {
            shown.append(name.clone(), value.clone());
        }
    }
    shown.insert(UPSTREAM_STATUS, HeaderValue::from(status.as_u16()));
    response
}
