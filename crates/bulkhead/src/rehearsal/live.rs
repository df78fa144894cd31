//! The real connection behind a dry run: its server adds the credentials, as it does for functions that are deployed.

use bulkhead_api::headers::{BASE_URL_OVERRIDE, CONNECTION_ID, INTEGRATION, RETRIES};
use bulkhead_api::{Integration, Op, RecordPage};
use bulkhead_client::{Answer, Client, ClientError, Request};
use bulkhead_platform::{Pagination, provider};
use bulkhead_protocol::CallError;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::scene::failure;

/// What the proxy over HTTP takes at most.
const RETRIES_MAX: u64 = 10;

/// Set on answers that come from the API and not from the server.
const UPSTREAM_STATUS: &str = "upstream-status";

/// Headers of an answer that are about our own way to the server.
const OURS: [&str; 4] = ["upstream-status", "request-id", "content-length", "transfer-encoding"];

/// A connection of the tenant's, on the server that the settings name.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) client: Client,
    pub(crate) integration: String,
    pub(crate) connection: Option<String>,
}

fn of_server(error: &ClientError) -> CallError {
    failure(error.code().unwrap_or("server_unreachable"), error.to_string())
}

/// How a provider pages, if that is known.
pub(super) fn pagination_of(name: &str) -> Option<&'static Pagination> {
    provider(name).and_then(|known| known.pagination.as_ref())
}

impl Live {
    /// The connection's metadata; `{}` without a connection.
    pub(crate) async fn metadata(&self) -> Result<Value, CallError> {
        let Some(connection) = &self.connection else { return Ok(json!({})) };
        let request = Request::new(Op::GetMetadata, &[&self.integration, connection]);
        self.client.call(request).await.map_err(|error| of_server(&error))
    }

    /// What `getIntegration` answers.
    pub(crate) async fn integration(&self) -> Result<Value, CallError> {
        let request = Request::new(Op::ShowIntegration, &[&self.integration]);
        let known: Integration =
            self.client.call(request).await.map_err(|error| of_server(&error))?;
        Ok(json!({
            "unique_key": known.unique_key,
            "provider": known.provider,
            "display_name": known.display_name,
            "base_url": known.base_url,
            "pagination": pagination_of(&known.provider),
        }))
    }

    /// A page of the connection's records that are not deleted, and where the next one begins.
    pub(crate) async fn records(
        &self,
        model: &str,
        ids: Option<&[String]>,
        cursor: Option<&str>,
    ) -> Result<(Vec<Value>, Option<String>), CallError> {
        let Some(connection) = &self.connection else { return Ok((Vec::new(), None)) };
        let ids = ids.map(|ids| ids.join(","));
        let request = Request::new(Op::ListRecords, &[])
            .query("connection_id", connection)
            .query("integration", &self.integration)
            .query("model", model)
            .query_maybe("ids", ids.as_deref())
            .query_maybe("cursor", cursor);
        let page: RecordPage =
            self.client.call(request).await.map_err(|error| of_server(&error))?;
        let there = page.records.into_iter().filter(|r| r["_metadata"]["deleted_at"].is_null());
        Ok((there.collect(), page.next_cursor))
    }

    /// `proxy.request`, by way of the server's own proxy.
    pub(crate) async fn proxy(&self, params: &Value) -> Result<Value, CallError> {
        let response_type = params["responseType"].as_str().unwrap_or("json");
        let answer = self.client.exchange(self.request(params)?).await;
        let answer = answer.map_err(|error| of_server(&error))?;
        if answer.header(UPSTREAM_STATUS).is_none() {
            let error = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
            let error = &error["error"];
            let mut told = failure(
                error["code"].as_str().unwrap_or("proxy_failed"),
                error["message"].as_str().unwrap_or("the server's proxy did not answer").to_owned(),
            );
            told.payload = error.get("payload").cloned();
            return Err(told);
        }
        let shaped = shaped(&answer, response_type);
        if (200..300).contains(&answer.status) {
            return Ok(shaped);
        }
        let mut told = failure("upstream_error", format!("the API answered {}", answer.status));
        told.payload = Some(shaped);
        Err(told)
    }

    fn request(&self, params: &Value) -> Result<Request, CallError> {
        let method = params["method"].as_str().unwrap_or("GET").to_uppercase();
        let method = http::Method::from_bytes(method.as_bytes())
            .map_err(|_| failure("call_invalid", "proxy: method is none".to_owned()))?;
        let (base, endpoint) = origin_apart(params["endpoint"].as_str().unwrap_or_default());
        let (path, query) = endpoint.split_once('?').unwrap_or((endpoint, ""));
        let (headers, body) = body(params)?;
        let named = |name: &str| params[name].as_str().map(str::to_owned);
        let integration = named("providerConfigKey").unwrap_or_else(|| self.integration.clone());
        let mut request = Request::proxy(method, path, &with_params(query, &params["params"]))
            .header(INTEGRATION, &integration)
            .headers(headers)
            .bytes(body);
        if let Some(connection) = named("connectionId").or_else(|| self.connection.clone()) {
            request = request.header(CONNECTION_ID, &connection);
        }
        if let Some(base) = base.or_else(|| named("baseUrlOverride")) {
            request = request.header(BASE_URL_OVERRIDE, &base);
        }
        let retries = params["retries"].as_u64().unwrap_or(0).min(RETRIES_MAX);
        Ok(request.header(RETRIES, &retries.to_string()))
    }
}

/// `https://host/path` → its origin and the rest.
fn origin_apart(endpoint: &str) -> (Option<String>, &str) {
    let Some((scheme, rest)) = endpoint.split_once("://") else { return (None, endpoint) };
    let end = rest.find('/').unwrap_or(rest.len());
    (Some(format!("{scheme}://{}", &rest[..end])), &rest[end..])
}

fn with_params(query: &str, params: &Value) -> String {
    let added = match params {
        Value::String(text) => text.trim_start_matches(['?', '&']).to_owned(),
        Value::Object(fields) => {
            let given = fields.iter().filter(|(_, value)| !value.is_null());
            let pairs = given.map(|(name, value)| (name, plain(value)));
            form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
        }
        _ => String::new(),
    };
    let parts: Vec<_> = [query, &added].into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(plain).collect::<Vec<_>>().join(","),
        value => value.to_string(),
    }
}

type HeadersAndBody = (Vec<(String, String)>, Vec<u8>);

/// Headers and body, as the proxy of a deployed function makes them.
fn body(params: &Value) -> Result<HeadersAndBody, CallError> {
    let given = params["headers"].as_object().cloned().unwrap_or_default();
    let mut headers: Vec<_> =
        given.iter().map(|(name, value)| (name.to_lowercase(), plain(value))).collect();
    let said = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value);
    let form = "application/x-www-form-urlencoded";
    let is_form = said.is_some_and(|said| said.to_lowercase().starts_with(form));
    let unsaid = said.is_none();
    let (usual, bytes) = match (&params["data"], params["dataBase64"].as_str()) {
        (_, Some(encoded)) => {
            let bytes = STANDARD.decode(encoded);
            let wrong = |_| failure("call_invalid", "proxy: dataBase64 is no base64".to_owned());
            ("application/octet-stream", bytes.map_err(wrong)?)
        }
        (Value::Null, None) => return Ok((headers, Vec::new())),
        (Value::String(text), None) => (form, text.clone().into_bytes()),
        (Value::Object(fields), None) if is_form => {
            let fields = Value::Object(fields.clone());
            (form, with_params("", &fields).trim_start_matches('?').as_bytes().to_vec())
        }
        (data, None) => ("application/json", data.to_string().into_bytes()),
    };
    if unsaid {
        headers.push(("content-type".to_owned(), usual.to_owned()));
    }
    Ok((headers, bytes))
}

fn shaped(answer: &Answer, response_type: &str) -> Value {
    let mut headers = Map::new();
    for (name, value) in &answer.headers {
        if !OURS.contains(&name.as_str()) {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            headers.insert(name.as_str().to_owned(), Value::from(text));
        }
    }
    let reason = http::StatusCode::from_u16(answer.status).ok().and_then(|s| s.canonical_reason());
    let mut shaped =
        json!({"status": answer.status, "statusText": reason.unwrap_or(""), "headers": headers});
    let text = || Value::from(String::from_utf8_lossy(&answer.body).into_owned());
    match response_type {
        "json" => match serde_json::from_slice::<Value>(&answer.body) {
            Ok(json) => shaped["json"] = json,
            Err(_) => shaped["text"] = text(),
        },
        "text" => shaped["text"] = text(),
        _ => shaped["base64"] = Value::from(STANDARD.encode(&answer.body)),
    }
    shaped
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use super::*;

    #[test]
    fn an_absolute_url_is_an_origin_and_a_path() {
        assert_eq!(origin_apart("/a?b=c"), (None, "/a?b=c"));
        let (origin, rest) = origin_apart("https://api.example.com/a?b=c");
        assert_eq!((origin.as_deref(), rest), (Some("https://api.example.com"), "/a?b=c"));
        assert_eq!(origin_apart("https://api.example.com").1, "");
    }

    #[test]
    fn parameters_join_the_query() {
        assert_eq!(with_params("", &Value::Null), "");
        assert_eq!(with_params("a=1", &json!({"b": [1, 2], "c": null})), "?a=1&b=1%2C2");
        assert_eq!(with_params("", &json!("?d=4")), "?d=4");
    }

    #[test]
    fn bodies_are_what_a_deployed_function_sends() {
        let sent = |params: Value| {
            let (headers, bytes) = body(&params).unwrap();
            let kind = headers.into_iter().find(|(name, _)| name == "content-type");
            (kind.map(|(_, kind)| kind).unwrap_or_default(), String::from_utf8(bytes).unwrap())
        };
        assert_eq!(
            sent(json!({"data": {"a": 1}})),
            ("application/json".into(), r#"{"a":1}"#.into())
        );
        let form = json!({"data": {"a": 1}, "headers": {"Content-Type": "application/x-www-form-urlencoded"}});
        assert_eq!(sent(form), ("application/x-www-form-urlencoded".into(), "a=1".into()));
        assert_eq!(sent(json!({"dataBase64": "aGk="})).1, "hi");
        assert_eq!(sent(json!({})), (String::new(), String::new()));
    }
}
