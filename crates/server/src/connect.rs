//! The connect page: where an end user says yes, and comes back to. Plain HTML, no script.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bulkhead_api as api;
use bulkhead_platform::{ConnectPage, Connected, NewConnectSession, PlatformError};
use bulkhead_types::{ConnectionId, Fault, IntegrationId};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION, REFERRER_POLICY,
    SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Caller, Json, Names, Query, RawBody};
use crate::wire;

/// What the browser that was sent to the provider shows when it comes back.
const BROWSER: &str = "bulkhead_connect";

/// Fields of a form or a query that are looked at.
const FIELDS_MAX: usize = 32;

pub(crate) async fn create(
    State(app): State<App>,
    Caller(tenant): Caller,
    Json(put): Json<api::PutConnectSession>,
) -> Result<(StatusCode, axum::Json<api::ConnectSession>), ApiError> {
    let invalid = |error: bulkhead_types::IdError| ApiError::new("invalid_body", error.to_string());
    let integration = IntegrationId::try_from(put.integration).map_err(invalid)?;
    let id = ConnectionId::try_from(put.connection_id).map_err(invalid)?;
    let session = NewConnectSession {
        metadata: put.metadata,
        config: put.connection_config,
        scopes: put.scopes,
        redirect_url: put.redirect_url,
        ttl: put.ttl_seconds.map(Duration::from_secs),
    };
    let platform = &app.inner.platform;
    let made = platform.create_connect_session(&tenant, &integration, &id, session).await?;
    let expires_at = wire::time(made.expires_at);
    Ok((StatusCode::CREATED, axum::Json(api::ConnectSession { connect_url: made.url, expires_at })))
}

pub(crate) async fn page(State(app): State<App>, names: Names) -> Response {
    match app.inner.platform.connect_page(&names.text("token")).await {
        Ok(page) => html(StatusCode::OK, &form(&page)),
        Err(error) => refused(error),
    }
}

pub(crate) async fn go(State(app): State<App>, names: Names, RawBody(body): RawBody) -> Response {
    let (platform, token) = (&app.inner.platform, names.text("token"));
    let fields = match platform.connect_page(&token).await {
        Ok(page) => page.fields,
        Err(error) => return refused(error),
    };
    if !fields.is_empty() {
        let given = read(&body);
        let connected = platform.fill_in_connect(&token, &given).await;
        return connected.map_or_else(refused, |connected| welcome(&connected));
    }
    match platform.start_connect(&token).await {
        Ok(start) => {
            let secure =
                if app.inner.options.public_url.starts_with("https://") { "; Secure" } else { "" };
            let lives_s = start.lives.as_secs();
            let cookie = format!(
                "{BROWSER}={}; Path=/connect; HttpOnly; SameSite=Lax; Max-Age={lives_s}{secure}",
                start.cookie
            );
            let mut response = elsewhere(&start.url);
            if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                response.headers_mut().insert(SET_COOKIE, cookie);
            }
            response
        }
        Err(error) => refused(error),
    }
}

pub(crate) async fn callback(
    State(app): State<App>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let query: BTreeMap<_, _> = query.into_iter().take(FIELDS_MAX).collect();
    let cookie = cookie(&headers, BROWSER);
    let connected = app.inner.platform.finish_connect(&query, cookie.as_deref()).await;
    connected.map_or_else(refused, |connected| welcome(&connected))
}

fn read(body: &[u8]) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(body).into_owned().take(FIELDS_MAX).collect()
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
}

/// Back to the product, or a page that says that all is well.
fn welcome(connected: &Connected) -> Response {
    let target = connected.redirect_url.as_deref().and_then(|text| url::Url::parse(text).ok());
    let Some(mut target) = target else {
        return html(StatusCode::OK, "<h1>Connected</h1><p>You can close this page.</p>");
    };
    let (integration, connection) = (&connected.integration, &connected.connection);
    target
        .query_pairs_mut()
        .append_pair("integration", integration.as_str())
        .append_pair("connection_id", connection.as_str());
    elsewhere(target.as_str())
}

fn elsewhere(url: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(url) else {
        return html(
            StatusCode::BAD_GATEWAY,
            "<h1>Not connected</h1><p>The address can't be gone to.</p>",
        );
    };
    let mut response = html(StatusCode::SEE_OTHER, "");
    response.headers_mut().insert(LOCATION, location);
    response
}

/// For people. What is our own fault is in the log, by the answer's `Request-Id`.
fn refused(error: PlatformError) -> Response {
    let (fault, message) = (error.fault(), escaped(&error.to_string()));
    let status = ApiError::from(error).into_response().status();
    let message = if fault == Fault::Platform {
        "Something went wrong; try again.".to_owned()
    } else {
        message
    };
    html(status, &format!("<h1>Not connected</h1><p>{message}</p>"))
}

fn form(page: &ConnectPage) -> String {
    let name = escaped(&page.display_name);
    let field = |field: &&str| {
        let secret = ["token", "password", "api_key", "client_secret"].contains(field);
        let kind = if secret { "password" } else { "text" };
        let label = field.replace('_', " ");
        format!(
            "<p><label>{label}<br><input name=\"{field}\" type=\"{kind}\" required autocomplete=\"off\"></label></p>"
        )
    };
    let fields: String = page.fields.iter().map(field).collect();
    format!(
        "<h1>Connect {name}</h1><form method=\"post\">{fields}<p><button>Connect {name}</button></p></form>"
    )
}

fn escaped(text: &str) -> String {
    let escape = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&#39;".to_owned(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// The page's URL is a secret: it is neither kept nor told to whom the user goes next.
fn html(status: StatusCode, body: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Connect</title>\
         <meta name=\"viewport\" content=\"width=device-width\">{body}</html>"
    );
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ];
    (status, headers, page).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_no_markup() {
        let page = ConnectPage { display_name: "<b>\"&'".into(), fields: vec!["api_key"] };
        let shown = form(&page);
        assert!(shown.contains("&lt;b&gt;&quot;&amp;&#39;") && !shown.contains("<b>"), "{shown}");
        assert!(shown.contains("type=\"password\""), "{shown}");
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; bulkhead_connect=x; b=2"));
        assert_eq!(cookie(&headers, BROWSER).as_deref(), Some("x"));
        assert_eq!(cookie(&headers, "c"), None);
    }
}
