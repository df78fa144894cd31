//! Which recorded answer a request gets. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::mocks::{Entries, Entry};

/// A `proxy.request` call, as far as answers depend on it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    /// In upper case.
    pub(crate) method: String,
    /// Without scheme, host and query.
    pub(crate) path: String,
    /// Decoded; a repeated name has its values joined with commas.
    pub(crate) query: BTreeMap<String, String>,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body; null without one.
    pub(crate) data: Value,
    /// Whether the path includes that of a base URL.
    absolute: bool,
}

impl Asked {
    pub(crate) fn new(params: &Value) -> Self {
        let endpoint = params["endpoint"].as_str().unwrap_or_default();
        let (path, query, absolute) = split(endpoint);
        let mut all = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            add(&mut all, &name, value.into_owned());
        }
        match &params["params"] {
            Value::String(text) => {
                for (name, value) in form_urlencoded::parse(text.trim_start_matches('?').as_bytes())
                {
                    add(&mut all, &name, value.into_owned());
                }
            }
            Value::Object(fields) => {
                all.extend(fields.iter().map(|(name, value)| (name.clone(), text_of(value))));
            }
            _ => {}
        }
        let headers = params["headers"].as_object().into_iter().flatten();
        let headers = headers.map(|(name, value)| (name.to_lowercase(), text_of(value))).collect();
        let method = params["method"].as_str().unwrap_or("GET").to_uppercase();
        let overridden = params["baseUrlOverride"].is_string();
        Self {
            method,
            path,
            query: all,
            headers,
            data: body(params),
            absolute: absolute || overridden,
        }
    }

    /// For people.
    pub(crate) fn in_words(&self) -> String {
        let mut text = format!("{} {}", self.method, self.path);
        let pairs: Vec<_> =
            self.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !pairs.is_empty() {
            text.push_str(&format!("?{}", pairs.join("&")));
        }
        if !self.data.is_null() {
            let data: String = self.data.to_string().chars().take(200).collect();
            text.push_str(&format!(" with {data}"));
        }
        text
    }

    /// Whether `entry`, recorded for this method and path, answers it.
    fn is_answered_by(&self, entry: &Entry) -> bool {
        let Some(request) = &entry.request else { return self.query.is_empty() };
        let same_query = request.params.len() == self.query.len()
            && request
                .params
                .iter()
                .all(|(name, value)| self.query.get(name) == Some(&text_of(value)));
        let same_headers = request
            .headers
            .iter()
            .all(|(name, value)| self.headers.get(&name.to_lowercase()) == Some(&text_of(value)));
        same_query && same_headers && (request.data.is_null() || request.data == self.data)
    }

    /// Whether this is the path that a recording names.
    fn is_at(&self, recorded: &str) -> bool {
        let (recorded, _, _) = split(recorded);
        if plain(&self.path) == plain(&recorded) {
            return true;
        }
        // A link to the next page has the base URL's path in it, which recordings do not.
        self.absolute && plain(&self.path).ends_with(&format!("/{}", plain(&recorded)))
    }
}

/// A recording's place: method, path, number in the list.
pub(crate) type Place = (String, String, usize);

/// The recorded answers to a request, in their order.
pub(crate) fn answers<'a>(
    api: &'a BTreeMap<String, BTreeMap<String, Entries>>,
    asked: &Asked,
) -> Vec<(Place, &'a Entry)> {
    let methods = api.iter().filter(|(method, _)| method.eq_ignore_ascii_case(&asked.method));
    let mut found = Vec::new();
    for (method, paths) in methods {
        for (path, entries) in paths.iter().filter(|(path, _)| asked.is_at(path)) {
            for (number, entry) in entries.as_slice().iter().enumerate() {
                if asked.is_answered_by(entry) {
                    found.push(((method.clone(), path.clone(), number), entry));
                }
            }
        }
    }
    found
}

/// What `proxy.request` answers: `{status, statusText, headers, json | text | base64}`.
pub(crate) fn shaped(entry: &Entry, response_type: &str) -> Value {
    let status = entry.status.unwrap_or(200);
    let headers: Map<_, _> =
        entry.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
    let mut answer = json!({"status": status, "statusText": reason(status), "headers": headers});
    let bytes = || match (&entry.response, entry.encoding.as_deref()) {
        (Value::Null, _) => Vec::new(),
        (Value::String(text), Some("base64")) => STANDARD.decode(text).unwrap_or_default(),
        (Value::String(text), _) => text.clone().into_bytes(),
        (other, _) => other.to_string().into_bytes(),
    };
    let (shape, value) = match (response_type, &entry.response) {
        ("json", Value::String(_)) | ("json", Value::Null) | ("text", _) => {
            ("text", Value::String(String::from_utf8_lossy(&bytes()).into_owned()))
        }
        ("json", response) => ("json", response.clone()),
        _ => ("base64", Value::String(STANDARD.encode(bytes()))),
    };
    answer[shape] = value;
    answer
}

/// An answer as it is recorded: the reverse of [`shaped`].
pub(crate) fn recorded(asked: &Asked, answer: &Value) -> Entry {
    let status = answer["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    let (response, encoding) = if let Some(bytes) = answer["base64"].as_str() {
        (Value::from(bytes), Some("base64".to_owned()))
    } else if answer["json"].is_null() {
        (answer["text"].clone(), None)
    } else {
        (answer["json"].clone(), None)
    };
    let response = if response == json!("") { Value::Null } else { response };
    let headers = answer["headers"].as_object().into_iter().flatten();
    let kept = headers.filter(|(name, _)| KEPT_HEADERS.contains(&name.as_str()));
    let params: BTreeMap<_, _> = asked
        .query
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.clone())))
        .collect();
    let named = !params.is_empty() || !asked.data.is_null();
    Entry {
        status: status.filter(|status| *status != 200),
        headers: kept.map(|(name, value)| (name.clone(), value.clone())).collect(),
        response,
        encoding,
        request: named.then(|| super::mocks::RequestMock {
            params,
            headers: BTreeMap::new(),
            data: asked.data.clone(),
        }),
    }
}

/// Headers of an answer that functions read; others change with every call and tell of the caller.
const KEPT_HEADERS: [&str; 8] = [
    "content-type",
    "etag",
    "last-modified",
    "link",
    "location",
    "retry-after",
    "x-next-page",
    "x-total-count",
];

/// Path, query, and whether there was a host.
fn split(endpoint: &str) -> (String, String, bool) {
    let (rest, absolute) = match endpoint.split_once("://") {
        Some((_, rest)) => (rest.find('/').map_or("/", |at| &rest[at..]), true),
        None => (endpoint, false),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    (format!("/{}", path.trim_start_matches('/')), query.to_owned(), absolute)
}

/// Without slashes at the ends, and with nothing escaped.
fn plain(path: &str) -> String {
    let path = path.trim_matches('/').replace('+', "%2B");
    form_urlencoded::parse(path.replace('&', "%26").replace('=', "%3D").as_bytes())
        .next()
        .map_or_else(String::new, |(decoded, _)| decoded.into_owned())
}

fn add(query: &mut BTreeMap<String, String>, name: &str, value: String) {
    match query.get_mut(name) {
        Some(first) => {
            first.push(',');
            first.push_str(&value);
        }
        None => {
            query.insert(name.to_owned(), value);
        }
    }
}

/// A value as it stands in a query or a header.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(text_of).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// The body as recordings have it: bytes that are text as text, text that is JSON as JSON.
fn body(params: &Value) -> Value {
    let text = match (&params["data"], params["dataBase64"].as_str()) {
        (_, Some(bytes)) => match STANDARD.decode(bytes).map(String::from_utf8) {
            Ok(Ok(text)) => text,
            _ => return Value::from(bytes),
        },
        (Value::String(text), None) => text.clone(),
        (other, None) => return other.clone(),
    };
    match serde_json::from_str(&text) {
        Ok(json @ (Value::Object(_) | Value::Array(_))) => json,
        _ => Value::from(text),
    }
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use super::*;

    fn api(text: &str) -> BTreeMap<String, BTreeMap<String, Entries>> {
        serde_json::from_str(text).unwrap()
    }

    /// What the API answers, in the order of the recordings that fit.
    fn found(recordings: &str, params: &Value) -> Vec<Value> {
        let api = api(recordings);
        answers(&api, &Asked::new(params)).into_iter().map(|(_, e)| e.response.clone()).collect()
    }

    #[test]
    fn a_recording_without_a_request_answers_one_without_a_query() {
        let one = r#"{"get": {"/items": {"response": 1}}}"#;
        assert_eq!(found(one, &json!({"endpoint": "/items"})), [json!(1)]);
        assert_eq!(found(one, &json!({"endpoint": "items/"})), [json!(1)]);
        assert_eq!(found(one, &json!({"endpoint": "https://api.example.com/items"})), [json!(1)]);
        assert!(found(one, &json!({"endpoint": "/items", "params": {"page": 2}})).is_empty());
        assert!(found(one, &json!({"endpoint": "/items?page=2"})).is_empty());
        assert!(found(one, &json!({"endpoint": "/items", "method": "POST"})).is_empty());
        assert!(found(one, &json!({"endpoint": "/others"})).is_empty());
        assert!(found(one, &json!({"endpoint": "/v1/items"})).is_empty());
    }

    #[test]
    fn recordings_of_one_path_are_told_apart_by_query_body_and_headers() {
        let many = r#"{"post": {"/items": [
            {"response": "a", "request": {"params": {"page": 1}}},
            {"response": "b", "request": {"params": {"page": "2"}}},
            {"response": "c", "request": {"data": {"x": 1}}},
            {"response": "d", "request": {"headers": {"X-Kind": "d"}}}
        ]}}"#;
        let post = |more: Value| {
            let mut params = json!({"endpoint": "/items", "method": "POST"});
            params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            found(many, &params)
        };
        assert_eq!(post(json!({"params": {"page": "1"}})), [json!("a")]);
        assert_eq!(post(json!({"params": "page=2"})), [json!("b")]);
        assert_eq!(post(json!({"data": {"x": 1}})), [json!("c")]);
        assert_eq!(post(json!({"data": "{\"x\": 1}"})), [json!("c")]);
        assert_eq!(post(json!({"headers": {"x-kind": "d"}, "data": {"x": 2}})), [json!("d")]);
        assert!(post(json!({"data": {"x": 2}})).is_empty());
        assert!(post(json!({"params": {"page": 1, "more": true}})).is_empty());
    }

    #[test]
    fn a_link_to_the_next_page_finds_what_was_recorded_below_the_base_url() {
        let next = r#"{"get": {"/items": {"response": 1, "request": {"params": {"page": 2}}}}}"#;
        let link = json!({"endpoint": "/v3/items?page=2", "baseUrlOverride": "https://a.example"});
        assert_eq!(found(next, &link), [json!(1)]);
    }

    #[test]
    fn an_answer_comes_in_the_shape_that_was_asked_for() {
        let entry = |text: &str| serde_json::from_str::<Entry>(text).unwrap();
        let json_ = entry(r#"{"response": {"a": 1}, "headers": {"Link": "<x>"}}"#);
        assert_eq!(shaped(&json_, "json")["json"], json!({"a": 1}));
        assert_eq!(shaped(&json_, "json")["headers"]["link"], json!("<x>"));
        assert_eq!(shaped(&json_, "text")["text"], json!("{\"a\":1}"));
        let bytes = entry(r#"{"response": "AAEC", "encoding": "base64", "status": 201}"#);
        assert_eq!(shaped(&bytes, "arraybuffer")["base64"], json!("AAEC"));
        assert_eq!(shaped(&bytes, "arraybuffer")["statusText"], json!("Created"));
        let text = entry(r#"{"response": "plain"}"#);
        assert_eq!(shaped(&text, "json")["text"], json!("plain"));
        assert_eq!(shaped(&text, "arraybuffer")["base64"], json!("cGxhaW4="));
    }

    #[test]
    fn what_is_recorded_answers_the_same_request_again() {
        let params = json!({"endpoint": "/items", "method": "POST", "params": {"a": [1, 2]}, "data": {"b": 1}});
        let asked = Asked::new(&params);
        let answer =
            json!({"status": 201, "headers": {"date": "x", "link": "<y>"}, "json": {"c": 1}});
        let entry = recorded(&asked, &answer);
        assert!(asked.is_answered_by(&entry));
        assert_eq!(entry.status, Some(201));
        assert_eq!(entry.headers.keys().collect::<Vec<_>>(), ["link"]);
        assert_eq!(shaped(&entry, "json")["json"], json!({"c": 1}));
    }
}
