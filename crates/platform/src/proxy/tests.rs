#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
use http::HeaderMap;

use super::*;
use crate::auth::{AuthMode, AuthSettings, Credentials};
use crate::model::IntegrationSettings;

const BASE: &str = "https://api.test/v1";

fn request(json: Value) -> ProxyRequest {
    serde_json::from_value(json).unwrap()
}

fn built(json: Value) -> Result<http::Request<Bytes>, String> {
    let outgoing = Outgoing::build(&request(json), Some("https://api.test/v1/"));
    let nothing = Attach::new(None, None, None);
    outgoing.map_err(|failure| failure.0.message)?.request(&nothing)
}

fn url(json: Value) -> String {
    built(json).map_or_else(|error| format!("error: {error}"), |request| request.uri().to_string())
}

#[test]
fn urls_are_put_together() {
    for (given, expected) in [
        (json!({"endpoint": "/items"}), "https://api.test/v1/items"),
        (
            json!({"endpoint": "items?a=1", "params": {"b": "x y", "c": [1, 2], "d": null}}),
            "https://api.test/v1/items?a=1&b=x+y&c=1%2C2",
        ),
        (json!({"endpoint": "/i", "params": "?a=1&b=2"}), "https://api.test/v1/i?a=1&b=2"),
        (json!({"endpoint": "/i", "baseUrlOverride": "http://other.test"}), "http://other.test/i"),
        (json!({"endpoint": "https://else.test/x"}), "https://else.test/x"),
        (json!({"endpoint": "/a\r\nHost: evil"}), "https://api.test/v1/aHost:%20evil"),
        (json!({"endpoint": "//evil.test/x"}), "https://api.test/v1/evil.test/x"),
        (json!({"endpoint": "/../../x#frag"}), "https://api.test/x"),
    ] {
        assert_eq!(url(given.clone()), expected, "{given}");
    }
    for bad in [
        json!({"endpoint": "https://user:pw@api.test/"}),
        json!({"endpoint": "https://"}),
        json!({"endpoint": "/x", "baseUrlOverride": "file:///etc"}),
        json!({"endpoint": "/x", "params": 7}),
        json!({"endpoint": "/x", "method": "CONNECT"}),
        json!({"endpoint": "/x", "method": "GE T"}),
        json!({"endpoint": "/x", "headers": {"a": "b\r\nc: d"}}),
        json!({"endpoint": "/x", "headers": {"a b": "c"}}),
        json!({"endpoint": "/x", "dataBase64": "!"}),
    ] {
        assert!(url(bad.clone()).starts_with("error: "), "{bad}: {}", url(bad.clone()));
    }
}

#[test]
fn bodies_have_the_type_that_they_say() {
    let body = |json: Value| {
        let request = built(json).unwrap();
        let kind =
            request.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
        (String::from_utf8(request.body().to_vec()).unwrap(), kind.unwrap_or_default())
    };
    let of = |text: &str, kind: &str| (text.to_owned(), kind.to_owned());
    let form = "application/x-www-form-urlencoded";
    assert_eq!(body(json!({"endpoint": "/"})), of("", ""));
    assert_eq!(
        body(json!({"endpoint": "/", "data": {"a": 1}})),
        of(r#"{"a":1}"#, "application/json")
    );
    assert_eq!(body(json!({"endpoint": "/", "data": [1]})), of("[1]", "application/json"));
    assert_eq!(body(json!({"endpoint": "/", "data": "a=b"})), of("a=b", form));
    let xml = json!({"endpoint": "/", "data": "<a/>", "headers": {"Content-Type": "text/xml"}});
    assert_eq!(body(xml), of("<a/>", "text/xml"));
    let fields = json!({"endpoint": "/", "data": {"a": "x y", "b": null}, "headers": {"content-type": form}});
    assert_eq!(body(fields), of("a=x+y", form));
    let bytes = json!({"endpoint": "/", "dataBase64": "aGk="});
    assert_eq!(body(bytes), of("hi", "application/octet-stream"));
}

#[test]
fn headers_that_belong_to_the_connection_are_dropped() {
    let headers =
        json!({"Host": "evil", "Content-Length": "1", "Transfer-Encoding": "chunked", "X-A": "1"});
    let sent = built(json!({"endpoint": "/", "headers": headers})).unwrap();
    let names: Vec<_> = sent.headers().keys().map(http::HeaderName::as_str).collect();
    assert!(names.contains(&"x-a"), "{names:?}");
    for dropped in ["host", "content-length", "transfer-encoding"] {
        assert!(!names.contains(&dropped), "{dropped}");
    }
}

fn settings(auth: Value) -> IntegrationSettings {
    let auth: AuthSettings = serde_json::from_value(auth).unwrap();
    IntegrationSettings { base_url: Some(BASE.into()), auth, ..IntegrationSettings::default() }
}

fn credentials() -> Credentials {
    Credentials {
        token: Some("token-123456".into()),
        username: Some("me".into()),
        password: Some("password-123".into()),
        api_key: Some("key-12345678".into()),
        headers: [("X-One".to_owned(), "1".to_owned())].into(),
        ..Credentials::default()
    }
}

/// URL and headers after credentials were added to a request for `url`.
fn attached(auth: Value, url: &str) -> String {
    let attach = Attach::new(Some(&settings(auth)), Some(BASE), Some(&credentials()));
    let (mut url, mut headers) = (Url::parse(url).unwrap(), HeaderMap::new());
    attach.to(&mut url, &mut headers).unwrap();
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!(" {name}={}", value.to_str().unwrap())
    };
    format!("{}{}", url, headers.iter().map(header).collect::<String>())
}

#[test]
fn credentials_go_where_the_integration_says() {
    let table = [
        (json!({"mode": "none"}), "https://api.test/x", "https://api.test/x"),
        (
            json!({"mode": "bearer"}),
            "https://api.test/x",
            "https://api.test/x authorization=Bearer token-123456",
        ),
        (
            json!({"mode": "basic"}),
            "https://api.test/x",
            "https://api.test/x authorization=Basic bWU6cGFzc3dvcmQtMTIz",
        ),
        (json!({"mode": "headers"}), "https://api.test/x", "https://api.test/x x-one=1"),
        (
            json!({"mode": "api_key", "header": "X-Key", "prefix": "Token "}),
            "https://api.test/x",
            "https://api.test/x x-key=Token key-12345678",
        ),
        (
            json!({"mode": "api_key", "query": "k"}),
            "https://api.test/x?a=1&k=mine",
            "https://api.test/x?a=1&k=key-12345678",
        ),
        // Anywhere else, without.
        (json!({"mode": "bearer"}), "http://api.test/x", "http://api.test/x"),
        (json!({"mode": "bearer"}), "https://api.test:8443/x", "https://api.test:8443/x"),
        (json!({"mode": "bearer"}), "https://api.test.evil.test/x", "https://api.test.evil.test/x"),
        (json!({"mode": "api_key", "query": "k"}), "https://evil.test/", "https://evil.test/"),
        // Hosts that the integration names, over TLS.
        (
            json!({"mode": "bearer", "hosts": ["*.up.test"]}),
            "https://a.up.test/",
            "https://a.up.test/ authorization=Bearer token-123456",
        ),
        (
            json!({"mode": "bearer", "hosts": ["*.up.test"]}),
            "http://a.up.test/",
            "http://a.up.test/",
        ),
        (
            json!({"mode": "bearer", "hosts": ["*.up.test"]}),
            "https://up.test.evil.test/",
            "https://up.test.evil.test/",
        ),
    ];
    for (auth, url, expected) in table {
        assert_eq!(attached(auth.clone(), url), expected, "{auth}");
    }
}

#[test]
fn an_auth_mode_says_which_credential_it_needs() {
    let none = Credentials::default();
    assert_eq!(none.missing(&AuthMode::None), None);
    assert_eq!(none.missing(&AuthMode::Bearer), Some("token"));
    assert_eq!(none.missing(&AuthMode::Basic), Some("username"));
    assert_eq!(none.missing(&AuthMode::Headers), Some("headers"));
    assert_eq!(credentials().missing(&AuthMode::Basic), None);
}

fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Bytes> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Bytes::from(body.to_owned())).unwrap()
}

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

#[test]
fn what_the_api_says_about_waiting_is_heard() {
    let told = |status: u16, headers: &[(&str, &str)], header: Value| {
        let request = request(json!({"endpoint": "/", "retryHeader": header}));
        Told::of(&Ok(response(status, headers, "")), &request, None, NOW)
            .wait()
            .map(|wait| wait.as_secs())
    };
    assert_eq!(told(429, &[("retry-after", "7")], json!({})), Some(7));
    assert_eq!(told(503, &[("retry-after", "Tue, 14 Nov 2023 22:13:50 GMT")], json!({})), Some(30));
    assert_eq!(told(429, &[("x-reset", "1700000012")], json!({"at": "x-reset"})), Some(12));
    assert_eq!(
        told(429, &[("x-wait", "1.5"), ("retry-after", "9")], json!({"after": "x-wait"})),
        Some(9)
    );
    assert_eq!(
        told(429, &[("retry-after", "86400")], json!({})),
        Some(600),
        "never longer than that"
    );
    assert_eq!(told(429, &[("retry-after", "soon")], json!({})), None);
    assert_eq!(told(200, &[("retry-after", "7")], json!({})), None);
}

#[test]
fn retries_are_asked_for_bounded_and_spread() {
    let asks = request(json!({"endpoint": "/", "retries": 2, "retryOn": [404]}));
    let decide = |outcome, tries, random| {
        retry::decide(&asks, outcome, tries, Told::default(), random).map(|wait| wait.as_millis())
    };
    assert_eq!(decide(Outcome::Status(500), 0, 1.0), Some(3_000));
    assert_eq!(decide(Outcome::Status(500), 1, 1.0), Some(6_000));
    assert_eq!(decide(Outcome::Status(429), 1, 0.0), Some(3_000));
    assert_eq!(decide(Outcome::Status(404), 0, 1.0), Some(3_000));
    assert_eq!(decide(Outcome::Unreachable, 0, 1.0), Some(3_000));
    for (outcome, tries) in [
        (Outcome::Status(500), 2),
        (Outcome::Status(200), 0),
        (Outcome::Status(401), 0),
        (Outcome::Final, 0),
    ] {
        assert_eq!(decide(outcome, tries, 1.0), None, "{outcome:?}");
    }
    let asks_not = request(json!({"endpoint": "/"}));
    assert_eq!(retry::decide(&asks_not, Outcome::Status(500), 0, Told::default(), 1.0), None);
}

#[test]
fn an_answer_has_the_shape_that_was_asked_for() {
    let answer = |kind: &str, body: &str| {
        let request = request(json!({"endpoint": "/", "responseType": kind}));
        answer::of(Ok(response(200, &[("x-a", "1")], body)), &request, &[], None).unwrap()
    };
    let json = answer("json", r#"{"a":1}"#);
    assert_eq!(
        json,
        json!({"status": 200, "statusText": "OK", "headers": {"x-a": "1"}, "json": {"a": 1}})
    );
    assert_eq!(answer("json", "no json")["text"], "no json");
    assert_eq!(answer("text", "{}")["text"], "{}");
    assert_eq!(answer("arraybuffer", "hi")["base64"], "aGk=");
    let cookies = response(200, &[("set-cookie", "a=1, b"), ("set-cookie", "c=2")], "");
    let cookies = answer::of(Ok(cookies), &request(json!({"endpoint": "/"})), &[], None).unwrap();
    assert_eq!(cookies["headers"]["set-cookie"], json!(["a=1, b", "c=2"]));
}

#[test]
fn a_failure_carries_the_response_and_when_to_come_back() {
    let asked = request(json!({"endpoint": "/"}));
    let wait = Some(Duration::from_secs(5));
    let failure =
        answer::of(Ok(response(429, &[], r#"{"why":"slow"}"#)), &asked, &[], wait).unwrap_err().0;
    let payload = failure.payload.unwrap();
    assert_eq!(
        (failure.code.as_str(), &payload["status"], &payload["retryAfterMs"]),
        ("upstream_error", &json!(429), &json!(5_000))
    );
    assert_eq!(payload["json"], json!({"why": "slow"}));
    let denied = SendError::Denied { rule: "default.private".into(), message: "no".into() };
    let failure = answer::of(Err(denied), &asked, &[], None).unwrap_err().0;
    assert_eq!(
        (failure.code.as_str(), failure.payload),
        ("egress_denied", Some(json!({"rule": "default.private"})))
    );
}

#[test]
fn reflected_credentials_are_taken_out() {
    let asked = request(json!({"endpoint": "/", "responseType": "text"}));
    for (auth, body, expected) in [
        (
            "bearer",
            "you sent Bearer token-123456, token-123456",
            "you sent Bearer [redacted], [redacted]",
        ),
        ("basic", "Basic bWU6cGFzc3dvcmQtMTIz or password-123", "Basic [redacted] or [redacted]"),
        ("bearer", "nothing of it", "nothing of it"),
    ] {
        let attach =
            Attach::new(Some(&settings(json!({"mode": auth}))), Some(BASE), Some(&credentials()));
        let echo = response(200, &[("x-echo", "Bearer token-123456")], body);
        let answer = answer::of(Ok(echo), &asked, &attach.secrets(), None).unwrap();
        assert_eq!(answer["text"], expected);
        if auth == "bearer" {
            assert_eq!(answer["headers"]["x-echo"], "Bearer [redacted]");
        }
    }
}

#[test]
fn a_redirect_changes_the_method_as_browsers_do_and_leaves_secrets_behind() {
    let headers = json!({"authorization": "Bearer own", "x-own": "1", "accept": "a/b"});
    let post = json!({"endpoint": "/a", "method": "POST", "data": {"a": 1}, "headers": headers});
    let hop = Outgoing::build(&request(post.clone()), Some("https://api.test")).unwrap();
    let next = |status: u16, location: &str| {
        next_hop(&hop, &response(status, &[("location", location)], ""))
    };
    let sent = |hop: &Outgoing| hop.request(&Attach::new(None, None, None)).unwrap();
    let same = sent(&next(307, "/b").unwrap());
    assert_eq!((same.method(), same.uri().path(), same.body().len()), (&Method::POST, "/b", 7));
    assert_eq!(same.headers()["authorization"], "Bearer own");
    let got = sent(&next(302, "/b").unwrap());
    assert_eq!((got.method(), got.body().len()), (&Method::GET, 0));
    let away = sent(&next(308, "https://evil.test/").unwrap());
    assert!(!away.headers().contains_key("authorization") && !away.headers().contains_key("x-own"));
    assert_eq!(away.headers()["accept"], "a/b");
    let mut forwarding = post;
    forwarding["forwardHeadersOnRedirect"] = json!(true);
    let hop = Outgoing::build(&request(forwarding), Some("https://api.test")).unwrap();
    let away = next_hop(&hop, &response(308, &[("location", "https://evil.test/")], "")).unwrap();
    let away = sent(&away);
    assert!(!away.headers().contains_key("authorization") && away.headers().contains_key("x-own"));
    for (status, location) in
        [(304, "/b"), (200, "/b"), (302, "file:///etc/passwd"), (302, "gopher://x")]
    {
        assert!(next(status, location).is_none(), "{status} {location}");
    }
}
