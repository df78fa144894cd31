//! What a token endpoint is asked and what it answers (RFC 6749, sections 4.1.3, 4.4.2, 5 and 6). Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_types::Timestamp;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use serde_json::Value;
use url::form_urlencoded::Serializer;

use crate::auth::{Credentials, OAuth2, TokenAuth};

/// Characters of what a server says about an error: enough to tell, too short for a page of HTML.
const MESSAGE_LENGTH_MAX: usize = 300;

/// Tokens are kept with the rest of the credentials; longer ones are no tokens.
const TOKEN_BYTES_MAX: usize = 24 * 1024;

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) enum Grant<'a> {
    /// A token for a code that a user brought back.
    Code { code: &'a str, redirect_uri: &'a str, verifier: Option<&'a str> },
    /// A new token for an old one.
    Refresh(&'a str),
    /// A token for the client itself.
    Client,
}

/// Our client at the server.
#[derive(Clone, Copy)]
pub(super) struct Client<'a> {
    pub(super) id: &'a str,
    pub(super) secret: Option<&'a str>,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// As the server calls it, such as `invalid_grant`; or ours.
    pub(super) code: String,
    /// For people.
    pub(super) message: String,
    /// Whether asking again is of no use.
    pub(super) lasting: bool,
}

/// The request for a token.
pub(super) fn request(
    oauth: &OAuth2,
    token_url: &str,
    client: Client<'_>,
    grant: Grant<'_>,
) -> Option<Request<Bytes>> {
    let mut form: BTreeMap<&str, String> = BTreeMap::new();
    let mut add = |name, value: &str| form.insert(name, value.to_owned());
    let scopes = oauth.scopes.join(&oauth.scope_separator);
    match grant {
        Grant::Code { code, redirect_uri, verifier } => {
            add("grant_type", "authorization_code");
            add("code", code);
            add("redirect_uri", redirect_uri);
            verifier.map(|verifier| add("code_verifier", verifier));
        }
        Grant::Refresh(token) => {
            add("grant_type", "refresh_token");
            add("refresh_token", token);
        }
        Grant::Client => {
            add("grant_type", "client_credentials");
            if !scopes.is_empty() {
                add("scope", &scopes);
            }
        }
    }
    for (name, value) in &oauth.token_params {
        add(name, value);
    }
    let basic = oauth.token_auth == TokenAuth::Basic && client.secret.is_some();
    if !basic {
        add("client_id", client.id);
        client.secret.map(|secret| add("client_secret", secret));
    }
    let body = Serializer::new(String::new()).extend_pairs(form).finish();
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = token_url.parse().ok()?;
    let headers = request.headers_mut();
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(header::CONTENT_TYPE, form);
    // Some answer with a form unless they are asked for JSON.
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("bulkhead"));
    if basic {
        let mut value = HeaderValue::try_from(authorization(client)).ok()?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Some(request)
}

/// Both halves are form-encoded first (RFC 6749, section 2.3.1), which changes nothing of an ordinary id.
fn authorization(client: Client<'_>) -> String {
    let encoded =
        |text: &str| -> String { url::form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let pair = format!("{}:{}", encoded(client.id), encoded(client.secret.unwrap_or_default()));
    format!("Basic {}", STANDARD.encode(pair))
}

/// Reads an answer. `before` keeps what is not said anew: most servers give a refresh token only once.
pub(super) fn read(
    status: u16,
    body: &[u8],
    before: &Credentials,
    oauth: &OAuth2,
    now: Timestamp,
) -> Result<Credentials, Refused> {
    let fields = fields(body);
    let text =
        |name: &str| fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    // Some say what is wrong with status 200.
    let refused = text("error").or_else(|| fields.get("error")?.get("message")?.as_str());
    let token = text("access_token").filter(|token| token.len() <= TOKEN_BYTES_MAX);
    let (Some(token), None, 200..=299) = (token, refused, status) else {
        return Err(why(status, refused, text("error_description")));
    };
    let number = |name: &str| {
        let value = fields.get(name)?;
        value.as_f64().or_else(|| value.as_str()?.parse().ok())
    };
    let said = number("expires_in").filter(|seconds| seconds.is_finite() && *seconds > 0.0);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, and it is not negative"
    )]
    let lives_s = said.map(|seconds| seconds as u64).or(oauth.expires_in_s);
    let ends =
        lives_s.map(|seconds| now.after(std::time::Duration::from_secs(seconds)).as_millis());
    Ok(Credentials {
        token: Some(token.to_owned()),
        refresh_token: text("refresh_token").map(str::to_owned).or(before.refresh_token.clone()),
        expires_at: ends,
        scope: text("scope").map(str::to_owned).or(before.scope.clone()),
        ..before.clone()
    })
}

/// A JSON object, or a form, which a few answer with whatever they are asked for.
fn fields(body: &[u8]) -> serde_json::Map<String, Value> {
    if let Ok(Value::Object(fields)) = serde_json::from_slice(body) {
        return fields;
    }
    let pairs = url::form_urlencoded::parse(body).into_owned();
    pairs.map(|(name, value)| (name, Value::String(value))).collect()
}

fn why(status: u16, code: Option<&str>, description: Option<&str>) -> Refused {
    let short = |text: &str| -> String {
        text.chars().filter(|c| !c.is_control()).take(MESSAGE_LENGTH_MAX).collect()
    };
    // What is wrong with the request stays wrong; a server's own trouble passes.
    let lasting = code.is_some_and(|code| {
        !matches!(code, "temporarily_unavailable" | "server_error" | "slow_down" | "ratelimited")
    }) && status < 500
        && status != 429;
    let message = match (code, description) {
        (_, Some(description)) => short(description),
        (Some(code), None) => format!("the authorization server said {}", short(code)),
        (None, None) => format!("the authorization server answered {status} without a token"),
    };
    Refused { code: short(code.unwrap_or("no_token")), message, lasting }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn sent(oauth: &OAuth2, secret: Option<&str>, grant: Grant<'_>) -> (String, Option<String>) {
        let client = Client { id: "me&", secret };
        let request = request(oauth, "https://as.test/token", client, grant).unwrap();
        let authorization = request.headers().get(header::AUTHORIZATION);
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        (String::from_utf8(request.body().to_vec()).unwrap(), authorization.map(text))
    }

    #[test]
    fn requests_are_forms() {
        let oauth = OAuth2 { scopes: vec!["a".into(), "b".into()], ..OAuth2::default() };
        let code = Grant::Code { code: "c/1", redirect_uri: "https://b/cb", verifier: Some("v") };
        assert_eq!(
            sent(&oauth, Some("s=1"), code),
            ("client_id=me%26&client_secret=s%3D1&code=c%2F1&code_verifier=v&grant_type=authorization_code\
              &redirect_uri=https%3A%2F%2Fb%2Fcb".to_owned(), None)
        );
        assert_eq!(
            sent(&oauth, None, Grant::Refresh("r")).0,
            "client_id=me%26&grant_type=refresh_token&refresh_token=r"
        );
        let basic = OAuth2 { token_auth: TokenAuth::Basic, ..oauth };
        let (body, authorization) = sent(&basic, Some("s"), Grant::Client);
        assert_eq!(body, "grant_type=client_credentials&scope=a+b");
        assert_eq!(authorization.unwrap(), format!("Basic {}", STANDARD.encode("me%26:s")));
    }

    fn answer(status: u16, body: &str) -> Result<Credentials, Refused> {
        let before = Credentials { refresh_token: Some("old".into()), ..Credentials::default() };
        read(status, body.as_bytes(), &before, &OAuth2::default(), NOW)
    }

    #[test]
    fn answers_come_as_json_or_as_forms() {
        let json = answer(200, r#"{"access_token": "t", "expires_in": 60, "scope": "a"}"#).unwrap();
        assert_eq!((json.token.as_deref(), json.expires_at), (Some("t"), Some(61_000)));
        assert_eq!(json.refresh_token.as_deref(), Some("old"), "kept when none is given");
        let form = answer(200, "access_token=t&refresh_token=new&expires_in=60").unwrap();
        assert_eq!((form.refresh_token.as_deref(), form.expires_at), (Some("new"), Some(61_000)));
        assert_eq!(answer(200, r#"{"access_token": "t"}"#).unwrap().expires_at, None);
    }

    #[test]
    fn refusals_say_whether_to_ask_again() {
        let lasting = |status, body| answer(status, body).unwrap_err().lasting;
        assert!(lasting(400, r#"{"error": "invalid_grant", "error_description": "gone"}"#));
        assert!(lasting(200, r#"{"error": "bad_verification_code"}"#));
        assert!(lasting(
            200,
            r#"{"ok": false, "error": "invalid_refresh_token", "access_token": "x"}"#
        ));
        assert!(!lasting(500, r#"{"error": "invalid_grant"}"#));
        assert!(!lasting(429, r#"{"error": "ratelimited"}"#));
        assert!(!lasting(503, "<html>"));
        assert!(!lasting(200, "{}"));
        let page = format!(r#"{{"error": "x", "error_description": "{}"}}"#, "y".repeat(5_000));
        assert!(answer(400, &page).unwrap_err().message.len() <= MESSAGE_LENGTH_MAX);
    }
}
