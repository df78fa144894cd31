//! The proxy: a request to an external API with a connection's credentials added, and its answer passed on. An
//! answer that comes from the API, whatever its status, has the header `Upstream-Status`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_api::headers::{BASE_URL_OVERRIDE, CONNECTION_ID, INTEGRATION, RETRIES};
use bulkhead_platform::ProxyRequest;
use bulkhead_types::{ErrorInfo, IntegrationId};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use serde_json::Value;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Caller, RawBody, header, header_id};

/// Tells an answer of the API from one of ours.
const UPSTREAM_STATUS: HeaderName = HeaderName::from_static("upstream-status");

/// Before the route's own deadline, so that the answer says what was waited for.
const PATIENCE: Duration = Duration::from_secs(110);

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
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, ApiError> {
    let missing = || ApiError::new("invalid_header", "the header Integration is missing");
    let integration: IntegrationId = header_id(&headers, INTEGRATION)?.ok_or_else(missing)?;
    let connection = header_id(&headers, CONNECTION_ID)?;
    let request = ProxyRequest {
        method: method.to_string(),
        endpoint: endpoint(&uri),
        base_url_override: header(&headers, BASE_URL_OVERRIDE)?.map(str::to_owned),
        headers: passed_on(&headers),
        data_base64: (!body.is_empty()).then(|| STANDARD.encode(&body)),
        // Bytes as they come: what they mean is between the caller and the API.
        response_type: Some("arraybuffer".to_owned()),
        retries: retries(&headers)?,
        params: None,
        data: None,
        retry_on: Vec::new(),
        retry_header: None,
        decompress: None,
        provider_config_key: None,
        connection_id: None,
        forward_headers_on_redirect: None,
    };
    let platform = &app.inner.platform;
    match platform.proxy(&tenant, &integration, connection, request, PATIENCE).await {
        Ok(answer) => respond(&answer),
        Err(error) => match (error.code.as_str(), &error.payload) {
            ("upstream_error", Some(answer)) => respond(answer),
            _ => Err(ApiError::of_call(&ErrorInfo {
                code: error.code,
                message: error.message,
                payload: error.payload,
                stack: None,
            })),
        },
    }
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

/// The API's answer, in the shape of `proxy.request`, as an HTTP answer.
fn respond(answer: &Value) -> Result<Response, ApiError> {
    let strange = || ApiError::internal(&"the proxy's answer has no status or body");
    let status = answer["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    let status = status.and_then(|status| StatusCode::from_u16(status).ok()).ok_or_else(strange)?;
    let body = answer["base64"].as_str().ok_or_else(strange)?;
    let body = STANDARD.decode(body).map_err(|_| strange())?;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in answer["headers"].as_object().into_iter().flatten() {
        let name = HeaderName::try_from(name.as_str());
        let value = value.as_str().map(HeaderValue::try_from);
        if let (Ok(name), Some(Ok(value))) = (name, value)
            && !NOT_PASSED_ON.contains(&name.as_str())
        {
            headers.insert(name, value);
        }
    }
    headers.insert(UPSTREAM_STATUS, HeaderValue::from(status.as_u16()));
    Ok(response)
}
