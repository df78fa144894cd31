//! What running functions ask for.
#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]

mod common;

use bulkhead_platform::{AuthMode, AuthSettings, Credentials, IntegrationSettings, RecordQuery};
use bulkhead_protocol::LogLine;
use bulkhead_types::{Cause, ErrorInfo, Fault, FunctionName, Lease, LimitKind, Outcome, Retry};
use common::{World, action, connection, demo, sync, tenant, world};
use serde_json::{Value, json};

async fn syncing() -> (World, Lease) {
    let world = world().await;
    world.connect(IntegrationSettings::default(), Credentials::default()).await;
    world.deploy(&[sync("items")]).await;
    let lease = run(&world).await;
    (world, lease)
}

async fn run(world: &World) -> Lease {
    let name = FunctionName::parse("items").unwrap();
    let trigger = bulkhead_platform::SyncTrigger {
        integration: demo(),
        name,
        connection: connection(),
        reset: false,
        empty_cache: false,
        idempotency_key: None,
    };
    world.platform.trigger_sync(&tenant(), trigger).await.unwrap();
    world.lease().await
}

async fn records(world: &World, cursor: Option<String>) -> (Vec<String>, Option<String>) {
    let query = RecordQuery {
        integration: None,
        connection: connection(),
        model: "Item".into(),
        cursor,
        limit: 2,
        actions: vec![],
        modified_after: None,
        ids: vec![],
    };
    let page = world.platform.records(&tenant(), query).await.unwrap();
    let show = |record: &Value| format!("{} {}", record["id"], record["_metadata"]["last_action"]);
    (page.records.iter().map(show).collect(), page.next_cursor)
}

#[tokio::test]
async fn what_is_not_known_is_said_so() {
    let (world, lease) = syncing().await;
    assert_eq!(world.code(&lease, "host.shell", json!({})).await, "unknown_method");
    assert_eq!(world.code(&lease, "lock.acquire", json!({"key": 7})).await, "call_invalid");
    assert_eq!(
        world.code(&lease, "records.save", json!({"model": "Other", "records": []})).await,
        "model_unknown"
    );
}

#[tokio::test]
async fn records_are_saved_once_and_read_in_pages() {
    let (world, lease) = syncing().await;
    let batch = json!({"model": "Item", "records": [{"id": "a"}, {"id": 2}, {"id": "c"}]});
    let saved = world.ok(&lease, "records.save", batch.clone()).await;
    assert_eq!(saved, json!({"added": 3, "updated": 0, "unchanged": 0, "deleted": 0}));
    assert_eq!(world.ok(&lease, "records.save", batch).await["unchanged"], 3);
    let (first, cursor) = records(&world, None).await;
    assert_eq!(first, [r#""a" "added""#, r#"2 "added""#]);
    let (second, end) = records(&world, cursor).await;
    assert_eq!((second, end), (vec![r#""c" "added""#.to_owned()], None));
    let twice = json!({"model": "Item", "records": [{"id": "x"}, {"id": "x"}]});
    assert_eq!(world.code(&lease, "records.save", twice).await, "invalid_record");
    world.ok(&lease, "records.delete", json!({"model": "Item", "records": [{"id": "a"}]})).await;
    let got = world.ok(&lease, "records.get", json!({"model": "Item", "ids": ["a", "2"]})).await;
    assert_eq!(got, json!({"records": [{"id": 2}]}));
    let listed = world.ok(&lease, "records.list", json!({"model": "Item"})).await;
    assert_eq!(listed["records"].as_array().unwrap().len(), 2);
    assert_eq!(listed["nextCursor"], Value::Null);
}

#[tokio::test]
async fn a_lost_lease_writes_nothing() {
    let (world, lease) = syncing().await;
    assert_eq!(world.engine.recover(&world.worker).await.unwrap(), 1);
    let again = world.lease().await;
    assert_eq!((again.lease.execution == lease.lease.execution, again.attempt), (true, 2));
    for (method, params) in [
        ("records.save", json!({"model": "Item", "records": [{"id": "zombie"}]})),
        ("records.trackDeletesStart", json!({"model": "Item"})),
        ("checkpoint.get", json!({})),
        ("checkpoint.save", json!({"checkpoint": {}, "version": 0})),
        ("checkpoint.clear", json!({"version": 0})),
        ("lock.acquire", json!({"key": "k", "ttlMs": 1000})),
    ] {
        assert_eq!(world.code(&lease, method, params).await, "lease_lost", "{method}");
    }
    let line =
        |message: &str| vec![LogLine { at: 1, level: "info".into(), message: message.into() }];
    let refused = world.platform.log(&lease, line("zombie")).await.unwrap_err();
    assert_eq!(refused.code(), "lease_lost");
    world.platform.log(&again, line("alive")).await.unwrap();
    let logs = world.platform.logs(&lease.lease.execution, 0, 10).await.unwrap();
    assert_eq!(logs.lines.iter().map(|line| line.message.as_str()).collect::<Vec<_>>(), ["alive"]);
    assert!(records(&world, None).await.0.is_empty());
}

#[tokio::test]
async fn checkpoints_are_compared_and_set_and_outlive_the_attempt() {
    let (world, lease) = syncing().await;
    assert_eq!(
        world.ok(&lease, "checkpoint.get", json!({})).await,
        json!({"checkpoint": null, "version": 0})
    );
    let save = |page: u32, version: u32| json!({"checkpoint": {"page": page}, "version": version});
    let saved = world.ok(&lease, "checkpoint.save", save(1, 0)).await;
    assert_eq!(saved, json!({"version": 1, "stop": false}));
    assert_eq!(world.code(&lease, "checkpoint.save", save(2, 0)).await, "checkpoint_conflict");
    let nested = json!({"checkpoint": {"a": {"b": 1}}, "version": 1});
    assert_eq!(world.code(&lease, "checkpoint.save", nested).await, "checkpoint_invalid");
    // Past the soft deadline a save is kept, and says that it is time to stop.
    world.pass(lease.limits.soft_ms() + 1);
    assert_eq!(
        world.ok(&lease, "checkpoint.save", save(2, 1)).await,
        json!({"version": 2, "stop": true})
    );
    world.settle(&lease, Outcome::Interrupted).await;
    let next = world.lease().await;
    assert_eq!(next.lease.execution, lease.lease.execution);
    let found = world.ok(&next, "checkpoint.get", json!({})).await;
    assert_eq!(found, json!({"checkpoint": {"page": 2}, "version": 2}));
    assert_eq!(world.ok(&next, "checkpoint.clear", json!({"version": 2})).await["version"], 3);
    assert_eq!(world.ok(&next, "checkpoint.get", json!({})).await["checkpoint"], Value::Null);
}

#[tokio::test]
async fn deletes_are_tracked_over_an_interruption() {
    let (world, lease) = syncing().await;
    let save = |ids: &[&str]| {
        let records: Vec<_> = ids.iter().map(|id| json!({"id": id})).collect();
        json!({"model": "Item", "records": records})
    };
    let model = json!({"model": "Item"});
    world.ok(&lease, "records.save", save(&["a", "b", "c"])).await;
    world.settle(&lease, Outcome::Completed(Value::Null)).await;

    let lease = run(&world).await;
    world.ok(&lease, "records.trackDeletesStart", model.clone()).await;
    world.ok(&lease, "records.save", save(&["a"])).await;
    world.ok(&lease, "checkpoint.save", json!({"checkpoint": {"page": 1}, "version": 0})).await;
    world.settle(&lease, Outcome::Interrupted).await;

    let lease = world.lease().await;
    world.ok(&lease, "records.trackDeletesStart", model.clone()).await;
    world.ok(&lease, "records.save", save(&["b"])).await;
    let ended = world.ok(&lease, "records.trackDeletesEnd", model.clone()).await;
    assert_eq!(ended, json!({"deletedKeys": ["c"]}));
    assert_eq!(world.code(&lease, "records.trackDeletesEnd", model.clone()).await, "call_invalid");
    let version = world.ok(&lease, "checkpoint.get", json!({})).await["version"].clone();
    world.ok(&lease, "checkpoint.clear", json!({"version": version})).await;
    world.settle(&lease, Outcome::Completed(Value::Null)).await;

    // The older way, without a start: what this execution did not save is gone.
    let lease = run(&world).await;
    world.ok(&lease, "records.save", save(&["b"])).await;
    assert_eq!(
        world.ok(&lease, "records.deleteUnseen", model).await,
        json!({"deletedKeys": ["a"]})
    );
}

#[tokio::test]
async fn a_context_says_who_runs_and_since_when() {
    let (world, lease) = syncing().await;
    let context = world.platform.prepare(&lease).await.unwrap().context;
    assert_eq!(context["connectionId"], "c1");
    assert_eq!(context["providerConfigKey"], "demo");
    assert_eq!(context["scriptType"], "sync");
    assert_eq!(context["lastSyncDate"], Value::Null);
    assert_eq!(context["webhookUrl"], "https://bulkhead.test/v1/webhooks/acme/demo");
    world.pass(1_000);
    let settled = bulkhead_engine::Settled {
        started_at: Some(common::BEGINNING),
        ..bulkhead_engine::Settled::new(Outcome::Completed(Value::Null))
    };
    world.engine.settle(&lease.lease, settled).await.unwrap();
    let next = run(&world).await;
    let prepared = world.platform.prepare(&next).await.unwrap();
    assert_eq!(prepared.context["lastSyncDate"], "2023-11-14T22:13:20.000Z");
    assert!(prepared.bundle.join("bundle.js").is_file());
}

#[tokio::test]
async fn credentials_enter_only_where_that_was_declared() {
    let world = world().await;
    let auth = AuthSettings { mode: AuthMode::Bearer, ..AuthSettings::default() };
    let settings = IntegrationSettings { auth, ..IntegrationSettings::default() };
    world
        .connect(settings, Credentials { token: Some("t".into()), ..Credentials::default() })
        .await;
    let mut declares = action("declares");
    declares["uses"] = json!({"secrets": true});
    world.deploy(&[action("plain"), declares]).await;
    let start = async |name: &str| {
        let call = bulkhead_platform::ActionCall {
            integration: demo(),
            name: FunctionName::parse(name).unwrap(),
            connection: Some(connection()),
            input: Value::Null,
            idempotency_key: None,
            concurrency: None,
            start_within: None,
            told: false,
        };
        world.platform.run_action(&tenant(), call).await.unwrap();
        world.lease().await
    };
    let plain = start("plain").await;
    assert_eq!(world.code(&plain, "connection.get", json!({})).await, "secrets_not_declared");
    assert_eq!(
        world.code(&plain, "records.save", json!({"model": "Item", "records": []})).await,
        "call_invalid"
    );
    let lease = start("declares").await;
    let got = world.ok(&lease, "connection.get", json!({})).await;
    assert_eq!(
        (&got["credentials"]["access_token"], &got["metadata"]),
        (&json!("t"), &json!({"team": "red"}))
    );
    assert_eq!(
        world.code(&lease, "connection.get", json!({"connectionId": "c2"})).await,
        "connection_not_found"
    );
    assert_eq!(
        world.ok(&lease, "metadata.update", json!({"metadata": {"a": 1}})).await,
        json!({"team": "red", "a": 1})
    );
    assert_eq!(
        world.ok(&lease, "metadata.set", json!({"metadata": {"b": 1}})).await,
        json!({"b": 1})
    );
    assert_eq!(world.ok(&lease, "metadata.get", json!({})).await, json!({"b": 1}));
    world.platform.set_variable(&tenant(), "A", "1").await.unwrap();
    assert_eq!(
        world.ok(&lease, "variables.list", json!({})).await,
        json!([{"name": "A", "value": "1"}])
    );
}

#[tokio::test]
async fn a_lock_has_one_owner_until_its_time_or_its_execution_ends() {
    let world = world().await;
    world.deploy(&[action("a")]).await;
    let start = async || {
        let call = bulkhead_platform::ActionCall {
            integration: demo(),
            name: FunctionName::parse("a").unwrap(),
            connection: None,
            input: Value::Null,
            idempotency_key: None,
            concurrency: None,
            start_within: None,
            told: false,
        };
        world.platform.run_action(&tenant(), call).await.unwrap();
        world.lease().await
    };
    let (one, two) = (start().await, start().await);
    let take = json!({"key": "k", "ttlMs": 10_000});
    let acquired = async |lease: &Lease| {
        world.ok(lease, "lock.acquire", take.clone()).await["acquired"] == true
    };
    assert!(acquired(&one).await && acquired(&one).await);
    assert!(!acquired(&two).await);
    assert_eq!(world.ok(&two, "lock.release", json!({"key": "k"})).await["released"], false);
    world.pass(10_001);
    assert!(acquired(&two).await, "its time is up");
    world.settle(&two, Outcome::Completed(Value::Null)).await;
    assert!(acquired(&one).await, "its owner has ended");
    world.ok(&one, "lock.releaseAll", json!({})).await;
    let three = start().await;
    assert!(acquired(&three).await);
}

#[tokio::test]
async fn an_action_that_calls_another_gets_its_output_or_its_error() {
    let world = world().await;
    world.deploy(&[action("parent"), action("child")]).await;
    let call = bulkhead_platform::ActionCall {
        integration: demo(),
        name: FunctionName::parse("parent").unwrap(),
        connection: None,
        input: Value::Null,
        idempotency_key: None,
        concurrency: None,
        start_within: None,
        told: false,
    };
    world.platform.run_action(&tenant(), call).await.unwrap();
    let parent = world.lease().await;
    let trigger = json!({"action": "child", "input": {"n": 1}});
    let serve = async |outcome: Outcome| {
        let child = world.lease().await;
        assert_eq!(child.input, json!({"n": 1}));
        world.settle(&child, outcome).await;
    };
    let done = Outcome::Completed(json!({"n": 2}));
    let (output, ()) =
        tokio::join!(world.ok(&parent, "action.trigger", trigger.clone()), serve(done));
    assert_eq!(output, json!({"n": 2}));
    let failed = Outcome::Failed(bulkhead_types::Cause {
        error: bulkhead_types::ErrorInfo::new("action_error", "no"),
        fault: bulkhead_types::Fault::Tenant,
        retry: bulkhead_types::Retry::Never,
    });
    let (code, ()) = tokio::join!(world.code(&parent, "action.trigger", trigger), serve(failed));
    assert_eq!(code, "action_error");
    assert_eq!(
        world.code(&parent, "action.trigger", json!({"action": "nobody"})).await,
        "function_not_found"
    );
}

#[tokio::test]
async fn a_log_has_no_credentials_of_its_connection_in_it() {
    let world = world().await;
    let auth = AuthSettings { mode: AuthMode::Bearer, ..AuthSettings::default() };
    let settings = IntegrationSettings { auth, ..IntegrationSettings::default() };
    let token = "a-token-to-hide".to_owned();
    let credentials = Credentials { token: Some(token.clone()), ..Credentials::default() };
    world.connect(settings, credentials).await;
    let mut declares = action("declares");
    declares["uses"] = json!({"secrets": true});
    world.deploy(&[declares]).await;
    let call = bulkhead_platform::ActionCall {
        integration: demo(),
        name: FunctionName::parse("declares").unwrap(),
        connection: Some(connection()),
        input: Value::Null,
        idempotency_key: None,
        concurrency: None,
        start_within: None,
        told: false,
    };
    world.platform.run_action(&tenant(), call).await.unwrap();
    let lease = world.lease().await;
    let message = format!("{token} Bearer {token} {}", hex::encode(&token));
    let line = LogLine { at: 1, level: "info".into(), message };
    world.platform.log(&lease, vec![line]).await.unwrap();
    let logs = world.platform.logs(&lease.lease.execution, 0, 10).await.unwrap();
    assert_eq!(logs.lines[0].message, "[redacted] Bearer [redacted] [redacted]");

    // What it throws is kept and shown as its log is.
    let said = json!({"code": "action_error", "message": token, "payload": {"key": token}, "stack": token});
    let error: ErrorInfo = serde_json::from_value(said).unwrap();
    let cause = Cause { error: error.clone(), fault: Fault::Tenant, retry: Retry::Never };
    for outcome in [
        Outcome::Failed(cause),
        Outcome::Crashed(error.clone()),
        Outcome::Limit(LimitKind::TimeLimit, error),
    ] {
        let clean = format!("{:?}", world.platform.presentable(&lease, outcome).await);
        assert_eq!(
            (clean.contains(&token), clean.matches("[redacted]").count()),
            (false, 3),
            "{clean}"
        );
    }
}

#[tokio::test]
async fn logs_are_read_in_pages_and_followed() {
    let (world, lease) = syncing().await;
    let id = &lease.lease.execution;
    let mut added = world.platform.follow_logs(id).await.unwrap();
    let lines = |from: i64, to: i64| {
        (from..=to).map(|n| LogLine { at: n, level: "warn".into(), message: n.to_string() })
    };
    world.platform.log(&lease, lines(1, 3).collect()).await.unwrap();
    added.changed().await.unwrap();
    assert_eq!(*added.borrow_and_update(), 3);
    let page = world.platform.logs(id, 0, 2).await.unwrap();
    assert_eq!((page.lines.len(), page.next_after), (2, Some(2)));
    let page = world.platform.logs(id, 2, 2).await.unwrap();
    assert_eq!(
        (page.lines[0].message.as_str(), page.lines[0].attempt, page.next_after),
        ("3", 1, None)
    );
    let odd = LogLine { at: 1, level: "<script>".into(), message: String::new() };
    world.platform.log(&lease, vec![odd]).await.unwrap();
    assert_eq!(world.platform.logs(id, 3, 2).await.unwrap().lines[0].level, "info");
}
