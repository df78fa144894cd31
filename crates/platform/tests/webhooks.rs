//! Providers' webhooks.
#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]

mod common;

use bulkhead_platform::{
    Credentials, Incoming, IntegrationSettings, Received, Scheme, WebhookMatch, WebhookSettings,
};
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
    let incoming =
        Incoming { headers: headers(pairs), body: body.as_bytes().to_vec(), ..Incoming::default() };
    match world.platform.ingest_webhook(&tenant(), &demo(), incoming).await? {
        Received::Delivery(delivery) => Ok(delivery),
        Received::Challenge(asked) => panic!("a challenge: {asked:?}"),
    }
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
            path: false,
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
    let by_header = WebhookMatch { header: Some("X-Account".into()), ..WebhookMatch::default() };
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

async fn receive(world: &World, incoming: Incoming) -> Result<Received, String> {
    let received = world.platform.ingest_webhook(&tenant(), &demo(), incoming).await;
    received.map_err(|error| error.code().to_owned())
}

#[tokio::test]
async fn the_path_may_name_the_connection_and_the_body_the_delivery() {
    let by_path = WebhookMatch { path: true, ..WebhookMatch::default() };
    let world = with(WebhookSettings {
        connection: Some(by_path),
        delivery_body: Some("event.id".into()),
        ..WebhookSettings::default()
    })
    .await;
    let incoming = Incoming {
        segment: Some("c1".into()),
        body: br#"{"event": {"id": 7}}"#.to_vec(),
        ..Incoming::default()
    };
    for duplicate in [false, true] {
        let Received::Delivery(delivery) = receive(&world, incoming.clone()).await.unwrap() else {
            panic!("no delivery");
        };
        assert_eq!((delivery.connection, delivery.duplicate), (Some(connection()), duplicate));
    }
}

#[tokio::test]
async fn a_shared_secret_in_a_header_does_not_reach_handlers() {
    let world = with(WebhookSettings {
        scheme: Some(Scheme::Token),
        secret: Some("hunter22".into()),
        signature_header: Some("X-Gitlab-Token".into()),
        ..WebhookSettings::default()
    })
    .await;
    assert!(deliver(&world, &[("X-Gitlab-Token", "hunter2")], "{}").await.is_err());
    deliver(&world, &[("X-Gitlab-Token", "hunter22"), ("X-A", "1")], "{}").await.unwrap();
    assert_eq!(world.lease().await.input["headers"], json!({"x-a": "1"}));
}

#[tokio::test]
async fn providers_that_ask_first_get_their_answer() {
    let of = async |scheme| {
        with(WebhookSettings {
            scheme: Some(scheme),
            secret: Some("a secret".into()),
            ..WebhookSettings::default()
        })
        .await
    };
    let answer = |received: Result<Received, String>| match received {
        Ok(Received::Challenge(challenge)) => challenge.body,
        other => format!("{other:?}"),
    };

    let world = of(Scheme::Microsoft).await;
    let asks = Incoming {
        url: "https://bulkhead.test/v1/webhooks/acme/demo?validationToken=Validation%3A+x".into(),
        ..Incoming::default()
    };
    assert_eq!(answer(receive(&world, asks.clone()).await), "Validation: x");
    let world = of(Scheme::Github).await;
    assert_eq!(receive(&world, asks).await.unwrap_err(), "webhook_signature_wrong");

    let world = of(Scheme::Meta).await;
    let shown = world.platform.integration(&tenant(), &demo()).await.unwrap();
    let token = shown.verify_token.unwrap();
    assert!(!token.contains("a secret"));
    let ask = async |token: &str| {
        let url = format!(
            "https://b/v1/webhooks/acme/demo?hub.mode=subscribe&hub.verify_token={token}&hub.challenge=1158"
        );
        let asks = Incoming { url, ..Incoming::default() };
        world.platform.answer_challenge(&tenant(), &demo(), &asks).await.map(|answer| answer.body)
    };
    assert_eq!(ask(&token).await.unwrap(), "1158");
    assert_eq!(ask("other").await.unwrap_err().code(), "webhook_signature_wrong");

    // Slack's own example of the question; it is signed like everything else that Slack sends.
    let world = of(Scheme::Slack).await;
    let body = br#"{"token": "Jhj5dZrVaK7ZwHHjRyZWjbDl", "challenge": "3eZbrw1aB", "type": "url_verification"}"#;
    let unsigned = Incoming { body: body.to_vec(), ..Incoming::default() };
    assert_eq!(receive(&world, unsigned).await.unwrap_err(), "webhook_signature_wrong");
    let stamp = (common::BEGINNING.as_millis() / 1_000).to_string();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"a secret");
    let signed = [b"v0:", stamp.as_bytes(), b":", body.as_slice()].concat();
    let signature = format!("v0={}", hex::encode(ring::hmac::sign(&key, &signed)));
    let headers = headers(&[
        ("X-Slack-Request-Timestamp", stamp.as_str()),
        ("X-Slack-Signature", signature.as_str()),
    ]);
    let asks = Incoming { headers, body: body.to_vec(), ..Incoming::default() };
    assert_eq!(answer(receive(&world, asks).await), "3eZbrw1aB");
}

#[tokio::test]
async fn deliveries_of_a_connection_may_be_kept_in_order() {
    let by_header = WebhookMatch { header: Some("X-Account".into()), ..WebhookMatch::default() };
    let ordered = WebhookSettings {
        ordered: true,
        connection: Some(by_header),
        ..WebhookSettings::default()
    };
    let world = with(ordered).await;
    world.deploy(&[handler("one")]).await;
    let other = bulkhead_types::ConnectionId::parse("c2").unwrap();
    let made = bulkhead_platform::NewConnection::default();
    world.platform.put_connection(&tenant(), &demo(), &other, made).await.unwrap();
    for (account, n) in [("c1", 1), ("c1", 2), ("c2", 3), ("c1", 4)] {
        deliver(&world, &[("X-Account", account)], &format!("{{\"n\": {n}}}")).await.unwrap();
    }
    let mut order = Vec::new();
    let mut running = vec![world.lease().await, world.lease().await];
    // The first of each connection, and nothing else while they run.
    let queued = bulkhead_engine::ExecutionFilter {
        state: Some(bulkhead_types::ExecutionState::Queued),
        ..Default::default()
    };
    assert_eq!(world.engine.executions(&tenant(), queued).await.unwrap().executions.len(), 2);
    while let Some(lease) = running.pop() {
        order.push((
            lease.connection.clone().unwrap().to_string(),
            lease.input["body"]["n"].clone(),
        ));
        let is_last = order.len() + running.len() == 4;
        world.settle(&lease, bulkhead_types::Outcome::Completed(Value::Null)).await;
        if !is_last && lease.connection == Some(connection()) {
            running.push(world.lease().await);
        }
    }
    let of = |id: &str| -> Vec<_> {
        order.iter().filter(|(of, _)| of == id).map(|(_, n)| n.clone()).collect()
    };
    assert_eq!((of("c1"), of("c2")), (vec![json!(1), json!(2), json!(4)], vec![json!(3)]));
}

#[tokio::test]
async fn malformed_deliveries_are_kept_as_they_came_or_refused_and_lose_nothing() {
    let world = with(WebhookSettings::default()).await;
    let odd: [&[u8]; 5] = [b"", b"{\"half\": ", b"\xff\xfe\x00", b"null", b"a=1&b=2"];
    for body in odd {
        let headers = headers(&[("Content-Type", "application/json"), ("X-Odd", "\u{e9}")]);
        let incoming = Incoming { headers, body: body.to_vec(), ..Incoming::default() };
        let Received::Delivery(delivery) = receive(&world, incoming).await.unwrap() else {
            panic!("no delivery");
        };
        assert_eq!(delivery.executions.len(), 2, "{body:?}");
        let leases = [world.lease().await, world.lease().await];
        for lease in leases {
            let raw = &lease.input["raw"];
            match std::str::from_utf8(body) {
                Ok(text) => assert_eq!(raw, text),
                Err(_) => assert!(lease.input["rawBase64"].is_string(), "{}", lease.input),
            }
            world.settle(&lease, bulkhead_types::Outcome::Completed(Value::Null)).await;
        }
    }
    // A rule that looks into a body that is none finds nobody, and a signature over it is wrong.
    let by_body = WebhookMatch { body: Some("a.b.0.c".into()), ..WebhookMatch::default() };
    for (scheme, body) in [
        (Scheme::Stripe, "{"),
        (Scheme::Slack, "\u{0}"),
        (Scheme::Standard, ""),
        (Scheme::Hubspot, "[]"),
    ] {
        let webhook = WebhookSettings {
            scheme: Some(scheme),
            secret: Some("a secret".into()),
            connection: Some(by_body.clone()),
            ..WebhookSettings::default()
        };
        let settings = IntegrationSettings { webhook, ..IntegrationSettings::default() };
        world.platform.put_integration(&tenant(), &demo(), settings).await.unwrap();
        let strange = [
            ("Stripe-Signature", "t=,v1="),
            ("X-Slack-Signature", "v0="),
            ("X-Slack-Request-Timestamp", "99999999999999999999"),
            ("webhook-id", ""),
            ("webhook-timestamp", "-1"),
            ("webhook-signature", "v1,!!"),
            ("X-HubSpot-Signature-v3", "="),
            ("X-HubSpot-Request-Timestamp", "soon"),
        ];
        let refused = deliver(&world, &strange, body).await.unwrap_err();
        assert_eq!(refused.code(), "webhook_signature_wrong", "{scheme:?}");
    }
}
