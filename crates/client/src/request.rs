//! A request, made from the route table.

use std::borrow::Cow;
use std::fmt::Write as _;

use bulkhead_api::routes::{Verb, route};
use bulkhead_api::{Op, headers};
use bytes::Bytes;
use http::Method;
use serde::Serialize;

/// What to ask.
#[derive(Debug, Clone)]
pub struct Request {
    pub(crate) op: Op,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: Vec<(Cow<'static, str>, String)>,
    pub(crate) body: Bytes,
    pub(crate) json: bool,
}

impl Request {
    /// A request of `op`; `parameters` fill the path's places in their order.
    #[must_use]
    pub fn new(op: Op, parameters: &[&str]) -> Self {
        let route = route(op);
        let method = match route.verb {
            Verb::Get | Verb::Any => Method::GET,
            Verb::Post => Method::POST,
            Verb::Put => Method::PUT,
            Verb::Patch => Method::PATCH,
            Verb::Delete => Method::DELETE,
        };
        let mut values = parameters.iter();
        let fill = |segment: &str| match segment.starts_with('{') {
            true => values.next().map_or_else(String::new, |value| escape(value)),
            false => segment.to_owned(),
        };
        let path = route.path.split('/').map(fill).collect::<Vec<_>>().join("/");
        let (query, headers, body) = (String::new(), Vec::new(), Bytes::new());
        Self { op, method, path, query, headers, body, json: false }
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        let mark = if self.query.is_empty() { '?' } else { '&' };
        // Writing to a String can't fail.
        if write!(self.query, "{mark}{name}={}", escape(value)).is_err() {
            self.query.clear();
        }
        self
    }

    /// Adds a query parameter if there is a value.
    #[must_use]
    pub fn query_maybe(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((Cow::Borrowed(name), value.to_owned()));
        self
    }

    /// Calls an external API through the server's proxy; `path` and query, which begins with `?`, are sent as they are.
    #[must_use]
    pub fn proxy(method: Method, path: &str, query: &str) -> Self {
        let path = format!("/v1/proxy/{}", path.trim_start_matches('/'));
        Self { method, path, query: query.to_owned(), ..Self::new(Op::Proxy, &[]) }
    }

    /// Adds headers whose names are not known beforehand.
    #[must_use]
    pub fn headers(mut self, headers: impl IntoIterator<Item = (String, String)>) -> Self {
        self.headers.extend(headers.into_iter().map(|(name, value)| (Cow::Owned(name), value)));
        self
    }

    /// For a connection.
    #[must_use]
    pub fn connection(self, connection: Option<&str>) -> Self {
        match connection {
            Some(connection) => self.header(headers::CONNECTION_ID, connection),
            None => self,
        }
    }

    /// With a JSON body.
    #[must_use]
    pub fn json<T: Serialize>(mut self, body: &T) -> Self {
        // Wire types are plain data with text keys: they always have a JSON form.
        self.body = serde_json::to_vec(body).unwrap_or_default().into();
        self.json = true;
        self
    }

    /// With a body as it is.
    #[must_use]
    pub fn bytes(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// Percent-encodes whatever is not plain in a path segment and in a query.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            escaped.push(char::from(byte));
        } else if write!(escaped, "%{byte:02X}").is_err() {
            return escaped;
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_climb_out_of_their_place() {
        let request = Request::new(Op::RunAction, &["a/b", "..?x=1"]).query("a", "b&c");
        assert_eq!(request.path, "/v1/actions/a%2Fb/..%3Fx%3D1");
        assert_eq!(request.query, "?a=b%26c");
    }
}
