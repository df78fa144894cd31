//! What operators and their machines ask: health, metrics, the API's description.

use std::sync::OnceLock;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bulkhead_telemetry::metrics::{Kind, Page, as_f64};
use bulkhead_types::TenantId;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;

pub(crate) async fn healthz() -> axum::Json<Value> {
    axum::Json(json!({"status": "ok"}))
}

/// Ready when the database answers, the worker can run something and the server is not stopping.
pub(crate) async fn readyz(State(app): State<App>) -> Result<axum::Json<Value>, ApiError> {
    let database = match TenantId::parse("readyz") {
        // That there is no such tenant is an answer of the database, too.
        Ok(id) => match app.inner.platform.tenant(&id).await {
            Err(error) if error.fault() == bulkhead_types::Fault::Platform => {
                Err(error.to_string())
            }
            _ => Ok(()),
        },
        Err(error) => Err(error.to_string()),
    };
    let stopping = *app.inner.options.stopping.borrow();
    let parts = [
        ("database", database),
        ("worker", (app.inner.options.worker_ready)()),
        ("server", if stopping { Err("stopping".to_owned()) } else { Ok(()) }),
    ];
    let ready = parts.iter().all(|(_, state)| state.is_ok());
    let parts: serde_json::Map<_, _> = parts
        .into_iter()
        .map(|(part, state)| {
            (part.to_owned(), Value::from(state.err().unwrap_or_else(|| "ok".to_owned())))
        })
        .collect();
    if ready {
        return Ok(axum::Json(json!({"status": "ready", "parts": parts})));
    }
    Err(ApiError::new("not_ready", "a part is not ready").with_payload(Value::Object(parts)))
}

pub(crate) async fn metrics(State(app): State<App>) -> Response {
    let mut page = Page::default();
    let inner = &app.inner;
    inner.counts.print(&mut page);
    let under_way = inner.options.requests_max - inner.requests.available_permits();
    let under_way = as_f64(under_way as u64);
    page.add("bulkhead_http_requests", Kind::Gauge, "Requests under way.", &[(&[], under_way)]);
    (inner.options.metrics)(&mut page);
    let mut response = page.finish().into_response();
    let form = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, form);
    response
}

pub(crate) async fn openapi() -> Response {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    let document = DOCUMENT.get_or_init(|| bulkhead_api::document().to_json().unwrap_or_default());
    let mut response = document.as_str().into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
