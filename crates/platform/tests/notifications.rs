//! What a product is told, at a real server on loopback.
#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]

mod common;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_egress::Rule;
use bulkhead_platform::{
    ActionCall, Credentials, Incoming, IntegrationSettings, NotificationTarget, SyncTrigger,
};
use bulkhead_testkit::postgres::Database;
use bulkhead_types::{
    Cause, Clock as _, ErrorInfo, ExecutionId, Fault, FunctionName, Outcome, Retry,
};
use bytes::Bytes;
use common::{World, action, connection, demo, postgres_world, sync, tenant, world_with};
use serde_json::{Value, json};

#[derive(Clone, Default)]
struct Product {
    /// What it answers, from the back; then 200.
    answers: Arc<Mutex<Vec<u16>>>,
    heard: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    /// Where it listens.
    address: Option<SocketAddr>,
}

async fn hear(State(product): State<Product>, headers: HeaderMap, body: Bytes) -> StatusCode {
    product.heard.lock().unwrap().push((headers, body));
    let answer = product.answers.lock().unwrap().pop().unwrap_or(200);
    StatusCode::from_u16(answer).unwrap()
}

/// A tenant whose product listens to providers' webhooks, the secret of the signatures, and the product.
async fn listening(database: Option<&Database>) -> (World, String, Product) {
    let mut product = Product::default();
    let routes = Router::new().route("/hook", post(hear)).with_state(product.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    product.address = Some(address);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let rules = vec![Rule::allow_loopback("test", address.port())];
    let world = match database {
        None => world_with(rules).await,
        Some(database) => postgres_world(database, rules).await,
    };
    let events = vec!["webhook.received".to_owned()];
    let target = NotificationTarget { url: format!("http://{address}/hook"), events };
    let secret = world.platform.put_notification_target(&tenant(), target).await.unwrap();
    world.connect(IntegrationSettings::default(), Credentials::default()).await;
    (world, secret, product)
}

/// Whoever listens to everything.
async fn listens_to_all(world: &World, product: SocketAddr) {
    let target = NotificationTarget { url: format!("http://{product}/hook"), events: vec![] };
    world.platform.put_notification_target(&tenant(), target).await.unwrap();
}

async fn call(world: &World, told: bool) -> ExecutionId {
    let call = ActionCall {
        integration: demo(),
        name: FunctionName::parse("a").unwrap(),
        connection: Some(connection()),
        input: json!({"n": 1}),
        idempotency_key: None,
        concurrency: None,
        start_within: None,
        told,
    };
    world.platform.run_action(&tenant(), call).await.unwrap().execution
}

/// What the product heard of executions, as it was told.
fn told(product: &Product) -> Vec<Value> {
    let heard = product.heard.lock().unwrap();
    let body = |(_, body): &(HeaderMap, Bytes)| serde_json::from_slice::<Value>(body).unwrap();
    heard.iter().map(body).collect()
}

#[tokio::test]
async fn a_product_hears_of_syncs_and_of_actions_that_nobody_waited_for() {
    let database = bulkhead_testkit::postgres();
    for database in [None, Some(&database)] {
        hears_of_ends(database).await;
    }
}

async fn hears_of_ends(database: Option<&Database>) {
    let (world, _, product) = listening(database).await;
    listens_to_all(&world, product.address.unwrap()).await;
    world.deploy(&[action("a"), sync("s")]).await;
    let (waited_for, nobody_waits) = (call(&world, false).await, call(&world, true).await);
    for _ in 0..2 {
        let lease = world.lease().await;
        world.settle(&lease, Outcome::Completed(json!({"id": 7}))).await;
    }
    let trigger = SyncTrigger {
        integration: demo(),
        name: FunctionName::parse("s").unwrap(),
        connection: connection(),
        reset: false,
        empty_cache: false,
        idempotency_key: None,
    };
    let synced = world.platform.trigger_sync(&tenant(), trigger).await.unwrap().execution;
    let lease = world.lease().await;
    let error = ErrorInfo::new("action_error", "wrong workspace");
    let cause = Cause { error, fault: Fault::Tenant, retry: Retry::Never };
    world.settle(&lease, Outcome::Failed(cause)).await;

    assert_eq!(world.platform.tell_of_endings().await.unwrap(), 2);
    assert_eq!(world.platform.tell_of_endings().await.unwrap(), 0, "each once");
    assert_eq!(world.platform.deliver_due().await.unwrap(), 2);
    let mut told = told(&product);
    told.sort_by_key(|told| told["type"].as_str().unwrap().to_owned());
    let (action, sync) = (&told[0], &told[1]);
    assert_eq!(
        (&action["type"], &action["data"]["execution_id"], &action["data"]["output"]),
        (&json!("action.finished"), &json!(nobody_waits), &json!({"id": 7}))
    );
    assert_ne!(waited_for, nobody_waits);
    assert_eq!(
        (&sync["type"], &sync["data"]["execution_id"], &sync["data"]["state"]),
        (&json!("sync.finished"), &json!(synced), &json!("failed"))
    );
    assert_eq!(sync["data"]["error"]["code"], "action_error");
    assert_eq!(sync["data"]["connection_id"], "c1");
    assert!(sync["data"]["modified_after"].is_string(), "{sync}");
}

/// A server that dies between the end of an execution and the notification, and one that dies before it has forgotten
/// that it told.
#[tokio::test]
async fn no_end_is_lost_with_a_server_and_none_is_told_twice() {
    let (world, _, product) = listening(None).await;
    listens_to_all(&world, product.address.unwrap()).await;
    world.deploy(&[action("a")]).await;
    let execution = call(&world, true).await;
    let lease = world.lease().await;
    world.settle(&lease, Outcome::Completed(json!(1))).await;
    let dead = world.engine.endings(10).await.unwrap();
    assert_eq!(dead.len(), 1);

    let rules = vec![Rule::allow_loopback("test", product.address.unwrap().port())];
    let World { dir, clock, engine, platform, .. } = world;
    drop((engine, platform));
    let (engine, platform) = common::open(dir.path(), clock, rules).await;
    assert_eq!(platform.tell_of_endings().await.unwrap(), 1);
    assert_eq!(engine.endings(10).await.unwrap().len(), 0);
    // One that died before it had forgotten that it told tells again.
    platform.tell_of(&dead[0].1.clone().unwrap()).await.unwrap();
    assert_eq!(platform.deliver_due().await.unwrap(), 1);
    assert_eq!(platform.deliver_due().await.unwrap(), 0);
    assert_eq!(told(&product)[0]["data"]["execution_id"], json!(execution));
    let (headers, _) = product.heard.lock().unwrap()[0].clone();
    assert_eq!(headers["webhook-id"], format!("execution_{execution}"));
}

async fn deliver(world: &World, id: &str) {
    let headers = vec![("X-Delivery-Id".to_owned(), id.to_owned())];
    let incoming = Incoming { headers, body: br#"{"n": 1}"#.to_vec(), ..Incoming::default() };
    world.platform.ingest_webhook(&tenant(), &demo(), incoming).await.unwrap();
}

#[tokio::test]
async fn a_product_hears_of_each_delivery_once_and_can_check_it() {
    let database = bulkhead_testkit::postgres();
    for database in [None, Some(&database)] {
        hears(database).await;
    }
}

async fn hears(database: Option<&Database>) {
    let (world, secret, product) = listening(database).await;
    for id in ["d1", "d1", "d2"] {
        deliver(&world, id).await;
    }
    assert_eq!(world.platform.deliver_due().await.unwrap(), 2, "and not of the connection");
    assert_eq!(world.platform.deliver_due().await.unwrap(), 0);
    let heard = product.heard.lock().unwrap().clone();
    assert_eq!(heard.len(), 2);
    let (headers, body) = &heard[0];
    let header = |name: &str| headers[name].to_str().unwrap();
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
    let (id, stamp) = (header("webhook-id"), header("webhook-timestamp"));
    let signed = [id.as_bytes(), b".", stamp.as_bytes(), b".", body].concat();
    let signature =
        STANDARD.decode(header("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
    assert!(ring::hmac::verify(&key, &signed, &signature).is_ok());
    let told: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(
        (&told["type"], &told["data"]["integration"]),
        (&json!("webhook.received"), &json!("demo"))
    );
    assert_eq!(
        (&told["data"]["body"], &told["data"]["raw"]),
        (&json!({"n": 1}), &json!(r#"{"n": 1}"#))
    );
}

#[tokio::test]
async fn what_fails_is_tried_again_for_hours_and_kept_in_the_end() {
    let (world, _, product) = listening(None).await;
    deliver(&world, "d1").await;
    *product.answers.lock().unwrap() = vec![503; 12];
    let mut hours = 0.0;
    for attempt in 1..=12 {
        assert_eq!(world.platform.deliver_due().await.unwrap(), 1, "attempt {attempt}");
        assert_eq!(world.platform.deliver_due().await.unwrap(), 0, "it waits");
        if let Some(waiting) =
            world.platform.notifications(&tenant(), "waiting", None, 10).await.unwrap().pop()
        {
            let wait = waiting.due_at.since(common::BEGINNING);
            hours = wait.as_secs_f64() / 3_600.0;
            let now = world.clock.now();
            world.pass(u64::try_from(waiting.due_at.since(now).as_millis()).unwrap());
        }
    }
    assert!(hours >= 24.0, "{hours}");
    let dead = world.platform.notifications(&tenant(), "dead", None, 10).await.unwrap();
    assert_eq!((dead.len(), dead[0].attempts), (1, 12));
    assert_eq!(dead[0].failure.as_deref(), Some("it answered 503"));
    world.platform.retry_notification(&tenant(), &dead[0].id).await.unwrap();
    assert_eq!(world.platform.deliver_due().await.unwrap(), 1);
    let delivered = world.platform.notifications(&tenant(), "delivered", None, 10).await.unwrap();
    assert_eq!(
        (delivered.len(), delivered[0].attempts, product.heard.lock().unwrap().len()),
        (1, 1, 13)
    );
}
