//! Providers' webhooks.
#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]

mod common;

use bulkhead_platform::{Credentials, IntegrationSettings, WebhookMatch, WebhookSettings};
use common::{World, connection, demo, tenant, world};
use serde_json::{Value, json};

fn handler(name: &str) -> Value {
    json!({"integration": "demo", "kind": "webhook", "name": name})
}

fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn with(webhook: WebhookSettings) -> World {
    let world = world().await;
    let settings = IntegrationSettings { webhook, ..IntegrationSettings::default() };
    world.connect(settings, Credentials::default()).await;
    world.deploy(&[handler("one"), handler("two"), common::action("other")]).await;
    world
}

async fn deliver(
    world: &World,
    pairs: &[(&str, &str)],
    body: &str,
) -> Result<bulkhead_platform::WebhookDelivery, bulkhead_platform::PlatformError> {
    world
        .platform
        .ingest_webhook(&tenant(), &demo(), headers(pairs), body.as_bytes().to_vec())
        .await
}

#[tokio::test]
async fn a_delivery_runs_every_handler_once_however_often_it_comes() {
    let world = with(WebhookSettings::default()).await;
    let id = [("X-GitHub-Delivery", "d1")];
    let first = deliver(&world, &id, r#"{"n": 1}"#).await.unwrap();
    assert_eq!((first.executions.len(), first.duplicate, &first.connection), (2, false, &None));
    let again = deliver(&world, &id, r#"{"n": 1}"#).await.unwrap();
    assert_eq!((again.executions, again.duplicate), (first.executions, true));
    let other = deliver(&world, &[("X-GitHub-Delivery", "d2")], "{}").await.unwrap();
    assert!(!other.duplicate);
    let leases = [world.lease().await, world.lease().await];
    let mut names: Vec<_> = leases.iter().map(|lease| lease.function.name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(leases[0].input["body"], json!({"n": 1}));
    assert_eq!(leases[0].input["raw"], r#"{"n": 1}"#);
    assert_eq!(leases[0].input["headers"], json!({"x-github-delivery": "d1"}));
}

#[tokio::test]
async fn a_secret_asks_for_a_signature() {
    let secret = Some("Jefe".to_owned());
    let world = with(WebhookSettings { secret, ..WebhookSettings::default() }).await;
    let shown = world.platform.integration(&tenant(), &demo()).await.unwrap();
    assert!(shown.has_webhook_secret && shown.settings.webhook.secret.is_none());
    let body = "what do ya want for nothing?";
    let right = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    for (pairs, body) in [
        (vec![], body),
        (vec![("X-Hub-Signature-256", "sha256=00")], body),
        (vec![("X-Hub-Signature-256", right)], "something else"),
    ] {
        let refused = deliver(&world, &pairs, body).await.unwrap_err();
        assert_eq!(refused.code(), "webhook_signature_wrong");
    }
    assert_eq!(
        deliver(&world, &[("X-Hub-Signature-256", right)], body).await.unwrap().executions.len(),
        2
    );
}

#[tokio::test]
async fn a_rule_finds_the_connection() {
    let rule = |header: Option<&str>, body: Option<&str>, metadata: Option<&str>| WebhookSettings {
        connection: Some(WebhookMatch {
            header: header.map(str::to_owned),
            body: body.map(str::to_owned),
            metadata: metadata.map(str::to_owned),
        }),
        ..WebhookSettings::default()
    };
    let world = with(rule(Some("X-Account"), None, None)).await;
    let found = deliver(&world, &[("X-Account", "c1")], "{}").await.unwrap();
    assert_eq!(found.connection, Some(connection()));
    assert_eq!(deliver(&world, &[("X-Account", "nobody")], "{}").await.unwrap().connection, None);
    assert_eq!(
        deliver(&world, &[("X-Account", "../../etc")], "{}").await.unwrap().connection,
        None
    );
    let settings = IntegrationSettings {
        webhook: rule(None, Some("team.name"), Some("team")),
        ..Default::default()
    };
    world.platform.put_integration(&tenant(), &demo(), settings).await.unwrap();
    let found = deliver(&world, &[], r#"{"team": {"name": "red"}}"#).await.unwrap();
    assert_eq!(found.connection, Some(connection()));
    assert_eq!(
        deliver(&world, &[], r#"{"team": {"name": "blue"}}"#).await.unwrap().connection,
        None
    );
    let lease = world.lease().await;
    assert_eq!(lease.connection, Some(connection()));
}

#[tokio::test]
async fn a_sync_that_subscribes_gets_the_body_if_its_connection_is_known() {
    let by_header = WebhookMatch { header: Some("X-Account".into()), body: None, metadata: None };
    let world =
        with(WebhookSettings { connection: Some(by_header), ..WebhookSettings::default() }).await;
    let subscribing = |name: &str, to: &str| {
        let mut sync = common::sync(name);
        sync["webhook_subscriptions"] = json!([to]);
        sync
    };
    world
        .deploy(&[subscribing("pushes", "push"), subscribing("all", "*"), common::sync("none")])
        .await;
    let of = async |pairs: &[(&str, &str)], body: &str| {
        deliver(&world, pairs, body).await.unwrap().executions.len()
    };
    assert_eq!(of(&[("X-Account", "c1")], r#"{"type": "pull"}"#).await, 1);
    assert_eq!(of(&[("X-Account", "c1"), ("X-GitHub-Event", "push")], r#"{"n": 1}"#).await, 2);
    assert_eq!(of(&[("X-GitHub-Event", "push")], "{}").await, 0);
    let leases = [world.lease().await, world.lease().await, world.lease().await];
    let mut seen: Vec<_> =
        leases.iter().map(|lease| format!("{} {}", lease.function.name, lease.input)).collect();
    seen.sort();
    assert_eq!(seen, [r#"all {"n":1}"#, r#"all {"type":"pull"}"#, r#"pushes {"n":1}"#]);
    assert!(leases.iter().all(|lease| lease.trigger == bulkhead_types::Trigger::Webhook));
}
