//! From what a function gave to a request. Pure. Headers and URLs go through parsers that refuse control characters,
//! so nothing that a function gives can become a second header or a second request.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_types::{ConnectionId, IntegrationId};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use super::credentials::Attach;
use crate::calls::Failure;

/// Bytes of a URL.
const URL_BYTES_MAX: usize = 32 * 1024;

/// Headers that a function may set.
const HEADERS_MAX: usize = 100;

/// Said when the function says nothing. Some APIs refuse requests without.
const USER_AGENT: &str = concat!("bulkhead/", env!("CARGO_PKG_VERSION"));

/// Headers that belong to the connection, not to the request.
const HOP_BY_HOP: [&str; 11] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "proxy-authorization",
    "proxy-connection",
];

/// What follows a request to another origin by itself.
const GOES_ANYWHERE: [&str; 5] =
    ["accept", "accept-encoding", "accept-language", "content-type", "user-agent"];

/// `proxy.request`'s parameters.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyRequest {
    /// Default GET.
    #[serde(default = "get")]
    pub method: String,
    /// A path below the integration's base URL, or an absolute URL.
    pub endpoint: String,
    /// Instead of the integration's base URL.
    #[serde(default)]
    pub base_url_override: Option<String>,
    /// Query: text, or an object whose arrays are joined with commas.
    #[serde(default)]
    pub params: Option<Value>,
    /// Header → value.
    #[serde(default)]
    pub headers: Map<String, Value>,
    /// Body: text as it is, anything else as JSON, or as a form if the content type says so.
    #[serde(default)]
    pub data: Option<Value>,
    /// Body as bytes.
    #[serde(default)]
    pub data_base64: Option<String>,
    /// `json` (default), `text`, `arraybuffer`.
    #[serde(default)]
    pub response_type: Option<String>,
    /// Tries after the first.
    #[serde(default)]
    pub retries: u32,
    /// More statuses to try again on.
    #[serde(default)]
    pub retry_on: Vec<u16>,
    /// Headers that say when to come back.
    #[serde(default)]
    pub retry_header: Option<RetryHeader>,
    /// The response is decoded in any case.
    #[serde(default)]
    pub decompress: Option<bool>,
    /// Another integration of the tenant.
    #[serde(default)]
    pub provider_config_key: Option<IntegrationId>,
    /// Another connection.
    #[serde(default)]
    pub connection_id: Option<ConnectionId>,
    /// Whether the function's own headers go along to another origin; credentials never do.
    #[serde(default)]
    pub forward_headers_on_redirect: Option<bool>,
}

/// Headers that say when to come back.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RetryHeader {
    /// A moment: seconds since the epoch.
    #[serde(default)]
    pub at: Option<String>,
    /// A wait: seconds.
    #[serde(default)]
    pub after: Option<String>,
}

fn get() -> String {
    "GET".to_owned()
}

/// One hop of a request, without credentials.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) url: Url,
    headers: HeaderMap,
    body: Bytes,
    forward_headers: bool,
}

impl Outgoing {
    pub(super) fn build(request: &ProxyRequest, base_url: Option<&str>) -> Result<Self, Failure> {
        let method = Method::from_bytes(request.method.to_ascii_uppercase().as_bytes())
            .ok()
            .filter(|method| *method != Method::CONNECT)
            .ok_or_else(|| invalid("method is none"))?;
        let mut url = target(request, base_url)?;
        add_params(&mut url, request.params.as_ref())?;
        if url.as_str().len() > URL_BYTES_MAX {
            return Err(invalid(&format!("the URL has more than {URL_BYTES_MAX} bytes")));
        }
        let mut headers = headers(&request.headers)?;
        let body = body(request, &mut headers)?;
        headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
        headers
            .entry(header::ACCEPT)
            .or_insert(HeaderValue::from_static("application/json, text/plain, */*"));
        // What we can undo, whatever the function would have liked.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate, br"));
        let forward_headers = request.forward_headers_on_redirect.unwrap_or(false);
        Ok(Self { method, url, headers, body, forward_headers })
    }

    /// The request of this hop, with credentials if they may go where it goes.
    pub(super) fn request(&self, attach: &Attach) -> Result<Request<Bytes>, String> {
        let (mut url, mut headers) = (self.url.clone(), self.headers.clone());
        attach.to(&mut url, &mut headers)?;
        url.set_fragment(None);
        let uri: Uri = url.as_str().parse().map_err(|_| "the URL can't be requested".to_owned())?;
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Adds headers where the function says nothing.
    pub(super) fn add_headers(&mut self, headers: &BTreeMap<String, String>) {
        for (name, value) in headers {
            let read = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value));
            if let (Ok(name), Ok(value)) = read {
                self.headers.entry(name).or_insert(value);
            }
        }
    }

    /// The answer is decoded as it comes: what can't be is not asked for.
    pub(super) fn streams(&mut self) {
        self.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"));
    }

    pub(super) fn drop_body(&mut self) {
        self.body = Bytes::new();
        for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE] {
            self.headers.remove(name);
        }
    }

    /// The next hop is another origin: what could be a secret stays behind.
    pub(super) fn leave_origin(&mut self) {
        for name in [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION] {
            self.headers.remove(name);
        }
        if !self.forward_headers {
            let own: Vec<_> = self.headers.keys().cloned().collect();
            for name in own.into_iter().filter(|name| !GOES_ANYWHERE.contains(&name.as_str())) {
                self.headers.remove(name);
            }
        }
    }
}

fn invalid(message: &str) -> Failure {
    Failure::new("call_invalid", format!("proxy: {message}"))
}

fn target(request: &ProxyRequest, base_url: Option<&str>) -> Result<Url, Failure> {
    let is_absolute = |text: &str| text.starts_with("http://") || text.starts_with("https://");
    let text = if is_absolute(&request.endpoint) {
        request.endpoint.clone()
    } else {
        let base = request.base_url_override.as_deref().or(base_url);
        let base = base.ok_or_else(|| {
            invalid("the integration has no base_url; set one, or give an absolute URL")
        })?;
        format!("{}/{}", base.trim_end_matches('/'), request.endpoint.trim_start_matches('/'))
    };
    let url =
        Url::parse(&text).map_err(|error| invalid(&format!("the URL can't be read: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("only http and https can be requested"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("a URL with user info is refused; use a connection's credentials"));
    }
    Ok(url)
}

fn add_params(url: &mut Url, params: Option<&Value>) -> Result<(), Failure> {
    match params {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) => {
            let added = text.trim_start_matches(['?', '&']);
            if !added.is_empty() {
                let query = url
                    .query()
                    .map_or_else(|| added.to_owned(), |query| format!("{query}&{added}"));
                url.set_query(Some(&query));
            }
        }
        Some(Value::Object(fields)) => {
            let given = fields.iter().filter(|(_, value)| !value.is_null());
            let pairs: Vec<_> = given.map(|(name, value)| (name, plain(value))).collect();
            if !pairs.is_empty() {
                url.query_pairs_mut().extend_pairs(pairs);
            }
        }
        Some(_) => return Err(invalid("params have to be a text or an object")),
    }
    Ok(())
}

/// A value as the text of a query or form field.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(plain).collect::<Vec<_>>().join(","),
        value => value.to_string(),
    }
}

fn headers(given: &Map<String, Value>) -> Result<HeaderMap, Failure> {
    if given.len() > HEADERS_MAX {
        return Err(invalid(&format!("at most {HEADERS_MAX} headers can be set")));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        let shown: String = name.chars().take(80).collect();
        let wrong = || invalid(&format!("header {shown:?} can't be sent"));
        let name = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
        if HOP_BY_HOP.contains(&name.as_str()) {
            continue;
        }
        let value = HeaderValue::try_from(plain(value)).map_err(|_| wrong())?;
        headers.insert(name, value);
    }
    Ok(headers)
}

fn body(request: &ProxyRequest, headers: &mut HeaderMap) -> Result<Bytes, Failure> {
    if let Some(encoded) = &request.data_base64 {
        let bytes = STANDARD.decode(encoded).map_err(|_| invalid("dataBase64 is no base64"))?;
        headers
            .entry(header::CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("application/octet-stream"));
        return Ok(bytes.into());
    }
    let form = "application/x-www-form-urlencoded";
    let said =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_form = said.to_ascii_lowercase().starts_with(form);
    match &request.data {
        None => Ok(Bytes::new()),
        // `null` is nothing, as it is for the HTTP clients that functions know.
        Some(Value::Null) => Ok(Bytes::new()),
        Some(Value::String(text)) => {
            headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(form));
            Ok(text.clone().into())
        }
        Some(Value::Object(fields)) if is_form => {
            let given = fields.iter().filter(|(_, value)| !value.is_null());
            let pairs = given.map(|(name, value)| (name, plain(value)));
            Ok(url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(pairs)
                .finish()
                .into())
        }
        Some(data) => {
            headers
                .entry(header::CONTENT_TYPE)
                .or_insert(HeaderValue::from_static("application/json"));
            Ok(data.to_string().into())
        }
    }
}
