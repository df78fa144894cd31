//! Connecting and renewing, against a real OAuth2 server (`tests/oauth`) and the API behind it.
#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_egress::Rule;
use bulkhead_platform::{
    AuthMode, AuthSettings, Credentials, IntegrationSettings, NewConnectSession, NewConnection,
    OAuth2, Platform, PlatformError, ProxyRequest, TokenAuth,
};
use bulkhead_testkit::oauth::OAuth;
use bulkhead_testkit::postgres::Database;
use bulkhead_types::ConnectionId;
use common::{World, another, connection, demo, postgres_world, tenant, world_with};
use serde_json::json;

const HOME: &str = "https://bulkhead.test/";
const CLIENT_SECRET: &str = "the-secret-of-the-product";

struct Setting {
    world: World,
    server: OAuth,
    rules: Vec<Rule>,
}

/// A server, and a tenant whose integration `demo` is its API.
async fn setting() -> Setting {
    setting_over(None).await
}

/// As [`setting`], over PostgreSQL if there is a database.
async fn setting_over(database: Option<&Database>) -> Setting {
    let server = bulkhead_testkit::oauth(HOME, "https://bulkhead.test/connect/callback");
    let rules = vec![Rule::allow_loopback("test", server.address.port())];
    let world = match database {
        None => world_with(rules.clone()).await,
        Some(database) => postgres_world(database, rules.clone()).await,
    };
    let at = |path: &str| format!("http://{}{path}", server.address);
    let oauth = OAuth2 {
        authorization_url: at("/auth"),
        token_url: at("/token"),
        client_id: "product".into(),
        scopes: vec!["openid".into()],
        ..OAuth2::default()
    };
    let auth = AuthSettings {
        mode: AuthMode::Oauth2(oauth),
        client_secret: Some(CLIENT_SECRET.into()),
        ..AuthSettings::default()
    };
    let settings =
        IntegrationSettings { base_url: Some(at("/api")), auth, ..IntegrationSettings::default() };
    world.platform.put_integration(&tenant(), &demo(), settings).await.unwrap();
    Setting { world, server, rules }
}

fn query(url: &str) -> BTreeMap<String, String> {
    url::Url::parse(url).unwrap().query_pairs().into_owned().collect()
}

/// A session's token, from its URL.
async fn session(platform: &Platform) -> String {
    let session = NewConnectSession {
        redirect_url: Some("https://product.test/done".into()),
        metadata: json!({"team": "red"}),
        ..NewConnectSession::default()
    };
    let made =
        platform.create_connect_session(&tenant(), &demo(), &connection(), session).await.unwrap();
    made.url.strip_prefix("https://bulkhead.test/connect/").unwrap().to_owned()
}

impl Setting {
    /// As an end user does: opens the page, goes through the provider, comes back.
    async fn connect(&self) {
        let platform = &self.world.platform;
        let start = platform.start_connect(&session(platform).await).await.unwrap();
        let back = self.server.go_through(&start.url);
        platform.finish_connect(&query(&back), Some(&start.cookie)).await.unwrap();
    }

    /// Who the API says it is called by; or the code of the error.
    async fn who(&self) -> String {
        who(&self.world.platform).await
    }
}

async fn who(platform: &Platform) -> String {
    let request: ProxyRequest = serde_json::from_value(json!({"endpoint": "/me"})).unwrap();
    let patience = Duration::from_secs(60);
    match platform.proxy(&tenant(), &demo(), Some(connection()), request, patience).await {
        Ok(answer) => answer["json"]["who"].as_str().unwrap_or_default().to_owned(),
        Err(error) => error.code,
    }
}

fn code<T>(result: Result<T, PlatformError>) -> String {
    result.err().map_or_else(|| "no error".to_owned(), |error| error.code().to_owned())
}

#[tokio::test]
async fn a_user_connects_and_the_api_knows_them() {
    let setting = setting().await;
    let platform = &setting.world.platform;
    let token = session(platform).await;
    let page = platform.connect_page(&token).await.unwrap();
    assert_eq!((page.display_name.as_str(), page.fields.len()), ("demo", 0));
    let start = platform.start_connect(&token).await.unwrap();
    assert!(query(&start.url)["code_challenge"].len() == 43 && !start.url.contains(CLIENT_SECRET));
    let back = query(&setting.server.go_through(&start.url));
    let connected = platform.finish_connect(&back, Some(&start.cookie)).await.unwrap();
    assert_eq!(connected.connection, connection());
    assert_eq!(connected.redirect_url.as_deref(), Some("https://product.test/done"));
    assert_eq!(setting.who().await, "ada");
    let made = platform.connection(&tenant(), None, &connection()).await.unwrap();
    assert_eq!((made.metadata, made.failure), (json!({"team": "red"}), None));

    // The state counts once, and the way is closed.
    assert_eq!(
        code(platform.finish_connect(&back, Some(&start.cookie)).await),
        "connect_session_not_found"
    );
    assert_eq!(code(platform.connect_page(&token).await), "connect_session_not_found");
}

#[tokio::test]
async fn a_state_counts_in_its_browser_and_its_time_only() {
    let setting = setting().await;
    let platform = &setting.world.platform;
    let token = session(platform).await;
    let start = platform.start_connect(&token).await.unwrap();
    let state = |url: &str| BTreeMap::from([("state".to_owned(), query(url)["state"].clone())]);
    let with_code = |mut query: BTreeMap<String, String>| {
        query.insert("code".to_owned(), "stolen".to_owned());
        query
    };
    // Another browser, and the state is spent by the try.
    for cookie in [Some("another"), None] {
        let start = platform.start_connect(&token).await.unwrap();
        let query = with_code(state(&start.url));
        assert_eq!(code(platform.finish_connect(&query, cookie).await), "connect_refused");
        let again = platform.finish_connect(&query, Some(&start.cookie)).await;
        assert_eq!(code(again), "connect_session_not_found");
    }
    // A way that was begun anew makes the earlier one worthless.
    let query = with_code(state(&start.url));
    assert_eq!(
        code(platform.finish_connect(&query, Some(&start.cookie)).await),
        "connect_session_not_found"
    );
    // A code that the server did not give.
    let start = platform.start_connect(&token).await.unwrap();
    let query = with_code(state(&start.url));
    let refused = platform.finish_connect(&query, Some(&start.cookie)).await.unwrap_err();
    assert!(
        refused.code() == "connect_refused" && refused.to_string().contains("invalid_grant"),
        "{refused}"
    );
    // The user said no.
    let start = platform.start_connect(&token).await.unwrap();
    let mut query = state(&start.url);
    query.insert("error".to_owned(), "access_denied".to_owned());
    let refused = platform.finish_connect(&query, Some(&start.cookie)).await.unwrap_err();
    assert!(refused.to_string().contains("access_denied"), "{refused}");
    // Too late.
    let start = platform.start_connect(&token).await.unwrap();
    setting.world.pass(30 * 60 * 1_000);
    let late = platform.finish_connect(&with_code(state(&start.url)), Some(&start.cookie)).await;
    assert_eq!(code(late), "connect_session_not_found");
    assert_eq!(code(platform.connect_page(&token).await), "connect_session_not_found");
    assert_eq!(
        code(platform.connection(&tenant(), None, &connection()).await),
        "connection_not_found"
    );
}

#[tokio::test]
async fn a_token_is_renewed_once_for_all_that_need_it_on_all_servers() {
    let database = bulkhead_testkit::postgres();
    let setting = setting_over(Some(&database)).await;
    setting.connect().await;
    let other = another(&setting.world, &database, setting.rules.clone()).await;
    let before = setting.server.test("count");
    setting.world.pass(3_600 * 1_000);
    let callers = (0..20).map(|n| {
        let platform =
            if n % 2 == 0 { Arc::clone(&setting.world.platform) } else { Arc::clone(&other) };
        tokio::spawn(async move { who(&platform).await })
    });
    for caller in callers.collect::<Vec<_>>() {
        assert_eq!(caller.await.unwrap(), "ada");
    }
    // A second use of the old refresh token would have taken everything away.
    assert_eq!(setting.server.test("count"), before + 1);
    setting.world.pass(3_600 * 1_000);
    assert_eq!(setting.who().await, "ada", "and the new refresh token was kept");
}

#[tokio::test]
async fn a_token_that_the_api_refuses_is_renewed() {
    let setting = setting().await;
    setting.connect().await;
    let before = setting.server.test("forget-access");
    assert_eq!(setting.who().await, "ada");
    assert_eq!(setting.server.test("count"), before + 1);
}

#[tokio::test]
async fn a_failed_renewal_is_marked_with_its_reason() {
    let setting = setting().await;
    let platform = &setting.world.platform;
    let failure =
        async || platform.connection(&tenant(), None, &connection()).await.unwrap().failure;
    setting.connect().await;

    // The server's trouble passes: what there is is used while it can be, and the server is left alone for a while.
    let before = setting.server.test("break");
    setting.world.pass(3_570 * 1_000);
    assert_eq!((setting.who().await, setting.who().await), ("ada".to_owned(), "ada".to_owned()));
    let marked = failure().await.unwrap();
    assert!(!marked.lasting && marked.message.contains("503"), "{marked:?}");
    assert_eq!(setting.server.test("count"), before + 1);
    setting.world.pass(60 * 1_000);
    assert_eq!(setting.who().await, "credentials_refused", "it has ended");
    assert!(setting.server.test("mend") > before);
    setting.world.pass(60 * 1_000);
    assert_eq!((setting.who().await, failure().await), ("ada".to_owned(), None));

    // The user takes the permission back: only connecting anew helps.
    let before = setting.server.test("revoke");
    setting.world.pass(3_600 * 1_000);
    assert_eq!(setting.who().await, "credentials_refused");
    let marked = failure().await.unwrap();
    assert_eq!((marked.code.as_str(), marked.lasting), ("invalid_grant", true));
    assert_eq!(
        (setting.who().await.as_str(), setting.server.test("count")),
        ("credentials_refused", before + 1)
    );
    setting.connect().await;
    assert_eq!((setting.who().await, failure().await), ("ada".to_owned(), None));
}

#[tokio::test]
async fn a_client_gets_tokens_for_itself() {
    let setting = setting().await;
    let platform = &setting.world.platform;
    let at = |path: &str| format!("http://{}{path}", setting.server.address);
    let oauth =
        OAuth2 { token_url: at("/token"), token_auth: TokenAuth::Basic, ..OAuth2::default() };
    let auth =
        AuthSettings { mode: AuthMode::Oauth2ClientCredentials(oauth), ..AuthSettings::default() };
    let settings =
        IntegrationSettings { base_url: Some(at("/api")), auth, ..IntegrationSettings::default() };
    platform.put_integration(&tenant(), &demo(), settings).await.unwrap();
    let form = |secret: &str| {
        BTreeMap::from([
            ("client_id".to_owned(), "machine".to_owned()),
            ("client_secret".to_owned(), secret.to_owned()),
        ])
    };
    let token = session(platform).await;
    let refused = platform.fill_in_connect(&token, &form("wrong")).await.unwrap_err();
    assert!(refused.to_string().contains("invalid_client"), "{refused}");
    platform.fill_in_connect(&token, &form("the-secret-of-the-machine")).await.unwrap();
    assert_eq!(setting.who().await, "machine");
    let before = setting.server.test("count");
    setting.world.pass(600 * 1_000);
    assert_eq!(
        (setting.who().await.as_str(), setting.server.test("count")),
        ("machine", before + 1)
    );
}

/// Everything that stands in the files of a directory.
fn files(directory: &std::path::Path) -> Vec<u8> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { std::fs::read(path).unwrap() })
        .collect()
}

#[tokio::test]
async fn credentials_are_nowhere_in_clear() {
    let setting = setting().await;
    let platform = &setting.world.platform;
    setting.connect().await;
    let shown = platform.integration(&tenant(), &demo()).await.unwrap();
    assert!(shown.has_client_secret && shown.settings.auth.client_secret.is_none());
    let given = Credentials {
        token: Some("token-in-the-clear-1".into()),
        refresh_token: Some("refresh-in-the-clear-2".into()),
        expires_at: Some(0),
        ..Credentials::default()
    };
    let made = NewConnection { credentials: given, ..NewConnection::default() };
    let other = ConnectionId::parse("c2").unwrap();
    platform.put_connection(&tenant(), &demo(), &other, made).await.unwrap();
    // A renewal that fails, so that there is a reason to be kept.
    let request: ProxyRequest = serde_json::from_value(json!({"endpoint": "/me"})).unwrap();
    let failed = platform
        .proxy(&tenant(), &demo(), Some(other.clone()), request, Duration::from_secs(9))
        .await;
    let failed = failed.unwrap_err();
    let failure = platform.connection(&tenant(), None, &other).await.unwrap().failure.unwrap();
    let said = format!("{failed:?} {failure:?} {shown:?}");
    let kept = files(setting.world.dir.path());
    for secret in ["token-in-the-clear-1", "refresh-in-the-clear-2", CLIENT_SECRET] {
        assert!(!said.contains(secret), "{said}");
        assert!(
            !kept.windows(secret.len()).any(|part| part == secret.as_bytes()),
            "{secret} is on disk"
        );
    }
    assert!(kept.windows(4).any(|part| part == b"acme"), "the files were read");
}
