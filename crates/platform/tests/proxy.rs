//! The proxy against a real server on loopback.
#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bulkhead_egress::Rule;
use bulkhead_platform::{
    ActionCall, AuthMode, AuthSettings, Credentials, IntegrationSettings, Platform, ProxyRequest,
    RateLimit, SyncTrigger,
};
use bulkhead_types::{
    Cause, ErrorInfo, ExecutionState, Fault, FunctionName, Lease, Outcome, Retry,
};
use common::{World, action, another, connection, demo, postgres_world, tenant, world_with};
use serde_json::{Value, json};

const TOKEN: &str = "token-which-is-secret";

#[derive(Clone)]
struct Api {
    calls: Arc<AtomicU32>,
    other: Option<SocketAddr>,
}

/// Says what it was asked: method, path, and whether the token came along.
async fn echo(request: Request) -> Response {
    let authorized = request
        .headers()
        .get(header::AUTHORIZATION)
        .is_some_and(|v| v == &format!("Bearer {TOKEN}"));
    let own = request.headers().get("x-own").is_some();
    let (method, uri) = (request.method().to_string(), request.uri().to_string());
    axum::Json(json!({"method": method, "uri": uri, "authorized": authorized, "own": own}))
        .into_response()
}

/// Fails twice, then goes well.
async fn flaky(State(api): State<Api>) -> Response {
    match api.calls.fetch_add(1, Ordering::SeqCst) {
        0 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")], "slow down").into_response(),
        1 => (StatusCode::BAD_GATEWAY, [("retry-after", "0")], "oops").into_response(),
        _ => "fine".into_response(),
    }
}

async fn busy() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "590")], "come back").into_response()
}

async fn limited() -> Response {
    (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "590")], "slow down").into_response()
}

async fn away(State(api): State<Api>) -> Response {
    let target = format!("http://{}/echo", api.other.unwrap());
    (StatusCode::FOUND, [(header::LOCATION, target)]).into_response()
}

async fn inside() -> Response {
    (StatusCode::FOUND, [(header::LOCATION, "http://169.254.169.254/latest/meta-data")])
        .into_response()
}

async fn round() -> Response {
    (StatusCode::FOUND, [(header::LOCATION, "/round")]).into_response()
}

async fn mirror(headers: HeaderMap) -> String {
    format!("{headers:?}")
}

async fn serve(other: Option<SocketAddr>) -> SocketAddr {
    let api = Api { calls: Arc::default(), other };
    let routes = Router::new()
        .route("/echo", any(echo))
        .route("/flaky", any(flaky))
        .route("/busy", any(busy))
        .route("/limited", any(limited))
        .route("/away", any(away))
        .route("/inside", any(inside))
        .route("/round", any(round))
        .route("/mirror", any(mirror))
        .with_state(api);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

/// An action's lease, an API with credentials, and another one at a different origin.
async fn calling() -> (World, Lease) {
    let other = serve(None).await;
    let api = serve(Some(other)).await;
    let open = [api, other].map(|address| Rule::allow_loopback("test", address.port()));
    let world = world_with(open.to_vec()).await;
    let auth = AuthSettings { mode: AuthMode::Bearer, ..AuthSettings::default() };
    let settings =
        IntegrationSettings { base_url: Some(format!("http://{api}")), auth, ..Default::default() };
    world.connect(settings, Credentials { token: Some(TOKEN.into()), ..Default::default() }).await;
    world.deploy(&[action("a")]).await;
    let call = ActionCall {
        integration: demo(),
        name: FunctionName::parse("a").unwrap(),
        connection: Some(connection()),
        input: Value::Null,
        idempotency_key: None,
        concurrency: None,
        start_within: None,
        told: false,
    };
    world.platform.run_action(&tenant(), call).await.unwrap();
    let lease = world.lease().await;
    (world, lease)
}

#[tokio::test]
async fn credentials_are_added_on_the_way() {
    let (world, lease) = calling().await;
    let request =
        json!({"method": "PUT", "endpoint": "/echo", "params": {"q": 1}, "data": {"a": 1}});
    let answer = world.ok(&lease, "proxy.request", request).await;
    let expected = json!({"method": "PUT", "uri": "/echo?q=1", "authorized": true, "own": false});
    assert_eq!((&answer["status"], &answer["json"]), (&json!(200), &expected));
}

#[tokio::test]
async fn a_redirect_to_another_origin_goes_without_them() {
    let (world, lease) = calling().await;
    let request = json!({"endpoint": "/away", "headers": {"x-own": "1"}});
    let answer = world.ok(&lease, "proxy.request", request).await;
    assert_eq!(
        (&answer["json"]["authorized"], &answer["json"]["own"]),
        (&json!(false), &json!(false))
    );
    let request =
        json!({"endpoint": "/away", "headers": {"x-own": "1"}, "forwardHeadersOnRedirect": true});
    let answer = world.ok(&lease, "proxy.request", request).await;
    assert_eq!(
        (&answer["json"]["authorized"], &answer["json"]["own"]),
        (&json!(false), &json!(true))
    );
}

#[tokio::test]
async fn redirects_are_judged_and_counted() {
    let (world, lease) = calling().await;
    let inside =
        world.call(&lease, "proxy.request", json!({"endpoint": "/inside"})).await.unwrap_err();
    assert_eq!(
        (inside.code.as_str(), inside.payload),
        ("egress_denied", Some(json!({"rule": "default.link_local"})))
    );
    let round =
        world.call(&lease, "proxy.request", json!({"endpoint": "/round"})).await.unwrap_err();
    assert_eq!(round.payload, Some(json!({"cause": "ERR_FR_TOO_MANY_REDIRECTS"})));
    let direct = json!({"endpoint": "http://10.0.0.1/"});
    let direct = world.call(&lease, "proxy.request", direct).await.unwrap_err();
    assert_eq!(
        (direct.code.as_str(), direct.payload),
        ("egress_denied", Some(json!({"rule": "default.private"})))
    );
}

#[tokio::test]
async fn failures_are_tried_again_as_often_as_asked() {
    let (world, lease) = calling().await;
    let answer =
        world.ok(&lease, "proxy.request", json!({"endpoint": "/flaky", "retries": 2})).await;
    assert_eq!(answer["text"], "fine");
    let (world, lease) = calling().await;
    let error =
        world.call(&lease, "proxy.request", json!({"endpoint": "/flaky"})).await.unwrap_err();
    let payload = error.payload.unwrap();
    assert_eq!(
        (error.code.as_str(), &payload["status"], &payload["text"]),
        ("upstream_error", &json!(429), &json!("slow down"))
    );
}

#[tokio::test]
async fn a_wait_past_the_deadline_is_handed_to_the_function() {
    let (world, lease) = calling().await;
    let error = world
        .call(&lease, "proxy.request", json!({"endpoint": "/busy", "retries": 5}))
        .await
        .unwrap_err();
    assert_eq!(error.payload.unwrap()["retryAfterMs"], 590_000);
}

/// A sync that goes on from its checkpoint, under this soft deadline: a wait of more than a minute is not waited for.
#[tokio::test]
async fn a_sync_with_a_checkpoint_gives_its_sandbox_back_for_a_long_wait() {
    let (world, first) = calling().await;
    world.settle(&first, Outcome::Completed(Value::Null)).await;
    let mut sync = common::sync("s");
    sync["checkpoint_schema"] = json!({"type": "object"});
    sync["limits"] = json!({"time_ms": 3_600_000});
    world.deploy(&[sync]).await;
    let trigger = SyncTrigger {
        integration: demo(),
        name: FunctionName::parse("s").unwrap(),
        connection: connection(),
        reset: false,
        empty_cache: false,
        idempotency_key: None,
    };
    let execution = world.platform.trigger_sync(&tenant(), trigger).await.unwrap().execution;
    let lease = world.lease().await;
    let busy = json!({"endpoint": "/busy", "retries": 5});
    let error = world.call(&lease, "proxy.request", busy).await.unwrap_err();
    assert_eq!(error.payload.unwrap()["retryAfterMs"], 590_000);
    // What the sandbox says of an error that nobody caught: it ends, and goes on when the wait is over.
    let retry = Retry::After(Duration::from_millis(590_000));
    let error = ErrorInfo::new("upstream_error", "busy");
    world.settle(&lease, Outcome::Failed(Cause { error, fault: Fault::Upstream, retry })).await;
    let state = |execution: bulkhead_types::Execution| execution.state;
    let now = world.engine.execution(&tenant(), &execution).await.unwrap().map(state);
    assert_eq!(now, Some(ExecutionState::Waiting));
    world.pass(589_000);
    world.engine.tick().await.unwrap();
    let now = world.engine.execution(&tenant(), &execution).await.unwrap().map(state);
    assert_eq!(now, Some(ExecutionState::Waiting));
    world.pass(2_000);
    world.engine.tick().await.unwrap();
    assert_eq!(world.lease().await.lease.execution, execution);
}

fn ask(endpoint: &str) -> ProxyRequest {
    serde_json::from_value(json!({ "endpoint": endpoint })).unwrap()
}

/// What came of a request, and when it makes sense to come back, in ms.
async fn pace(platform: &Platform, endpoint: &str) -> (u64, Option<u64>) {
    let patience = Duration::from_secs(60);
    let answer =
        platform.proxy(&tenant(), &demo(), Some(connection()), ask(endpoint), patience).await;
    match answer {
        Ok(answer) => (answer["status"].as_u64().unwrap(), None),
        Err(error) => {
            let payload = error.payload.unwrap();
            (payload["status"].as_u64().unwrap(), payload["retryAfterMs"].as_u64())
        }
    }
}

#[tokio::test]
async fn servers_share_what_an_api_says_of_its_limits() {
    let database = bulkhead_testkit::postgres();
    let api = serve(None).await;
    let rules = vec![Rule::allow_loopback("test", api.port())];
    let world = postgres_world(&database, rules.clone()).await;
    let base_url = Some(format!("http://{api}"));
    let settings = IntegrationSettings { base_url, ..Default::default() };
    world.connect(settings, Credentials::default()).await;
    let other = another(&world, &database, rules).await;
    assert_eq!(pace(&other, "/echo").await, (200, None));
    assert_eq!(pace(&world.platform, "/limited").await, (429, Some(590_000)));
    assert_eq!(pace(&world.platform, "/echo").await, (429, Some(590_000)));
    // The other one has looked a moment ago; now it looks again.
    world.pass(1_000);
    assert_eq!(pace(&other, "/echo").await, (429, Some(589_000)));
    world.pass(589_000);
    assert_eq!(pace(&other, "/echo").await, (200, None));
}

#[tokio::test]
async fn servers_share_a_rate_limit() {
    let database = bulkhead_testkit::postgres();
    for shared in [None, Some(&database)] {
        let api = serve(None).await;
        let rules = vec![Rule::allow_loopback("test", api.port())];
        let world = match shared {
            None => world_with(rules.clone()).await,
            Some(database) => postgres_world(database, rules.clone()).await,
        };
        // Two in twenty minutes: turns are ten minutes apart and half a minute.
        let rate_limit = Some(RateLimit { requests: 2, per_s: 1_200 });
        let base_url = Some(format!("http://{api}"));
        let settings = IntegrationSettings { base_url, rate_limit, ..Default::default() };
        world.connect(settings, Credentials::default()).await;
        let other = match shared {
            None => Arc::clone(&world.platform),
            Some(database) => another(&world, database, rules).await,
        };
        assert_eq!(pace(&world.platform, "/echo").await, (200, None));
        let (status, wait) = pace(&other, "/echo").await;
        assert_eq!(status, 429);
        let wait = wait.unwrap();
        assert!((600_000..700_000).contains(&wait), "{wait}");
        world.pass(wait - 50);
        assert_eq!(pace(&other, "/echo").await.0, 200, "a short wait is waited for");
        // Who asks first after that gets the turn, and the other does not.
        world.pass(wait);
        let (one, two) = tokio::join!(pace(&other, "/echo"), pace(&world.platform, "/echo"));
        let mut statuses = [one.0, two.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 429]);
    }
}

#[tokio::test]
async fn what_the_api_reflects_of_them_is_taken_out() {
    let (world, lease) = calling().await;
    let answer = world
        .ok(&lease, "proxy.request", json!({"endpoint": "/mirror", "responseType": "text"}))
        .await;
    let text = answer["text"].as_str().unwrap();
    // axum hides sensitive headers only if they are marked so, which those of a request are not.
    assert!(text.contains("[redacted]") && !text.contains(TOKEN), "{text}");
}

#[tokio::test]
async fn names_are_looked_up_under_the_policy() {
    let (world, lease) = calling().await;
    assert_eq!(
        world.code(&lease, "dns.lookup", json!({"host": "nowhere.test", "family": 0})).await,
        "ENOTFOUND"
    );
    assert_eq!(
        world.code(&lease, "dns.lookup", json!({"host": "10.0.0.1", "family": 4})).await,
        "egress_denied"
    );
    assert_eq!(
        world.code(&lease, "dns.lookup", json!({"host": "x", "family": 7})).await,
        "call_invalid"
    );
    let public = world.ok(&lease, "dns.lookup", json!({"host": "1.1.1.1"})).await;
    assert_eq!(public, json!([{"address": "1.1.1.1", "family": 4}]));
}
