//! Limits, pauses, dead letters and deadlines, as callers meet them.

use std::time::Duration;

use bulkhead_types::{Cause, ErrorInfo, Fault, Outcome, Retry, SystemEntropy, Timestamp, WorkerId};
use serde_json::{Value, json};

use super::harness::{Harness, function};

fn boom() -> Outcome {
    let error = ErrorInfo::new("boom", "It broke.");
    Outcome::Failed(Cause { error, fault: Fault::Tenant, retry: Retry::Never })
}

/// Calls the action without waiting for it.
async fn call(server: &Harness, key: &str, headers: &[(&str, &str)]) -> super::harness::Answer {
    let bearer = format!("Bearer {key}");
    let mut all = vec![("authorization", bearer.as_str()), ("prefer", "respond-async")];
    all.extend(headers);
    server.send("POST", "/v1/actions/crm/greet", &all, "{}").await
}

/// Whether a worker would get something now.
async fn begins(server: &Harness) -> bool {
    let worker = WorkerId::generate(Timestamp::from_millis(0), &SystemEntropy);
    let asked = server.engine.lease(&worker, 1);
    tokio::time::timeout(Duration::from_millis(200), asked).await.is_ok()
}

#[tokio::test]
async fn a_full_queue_says_429_and_when_to_come_back() {
    let server = Harness::start().await;
    let key = server.furnished("acme").await;
    let put = json!({"queued_max": 2, "weight": 3});
    let tenant = server.as_admin("PUT", "/v1/tenants/acme", put).await;
    assert_eq!(
        (&tenant.json["share"]["queued_max"], &tenant.json["share"]["weight"]),
        (&json!(2), &json!(3))
    );
    for _ in 0..2 {
        assert_eq!(call(&server, &key, &[]).await.status, 202);
    }
    let refused = call(&server, &key, &[]).await;
    assert_eq!((refused.status, refused.code()), (429, "queue_full"), "{}", refused.text);
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    // What is not said stays; what can't be is refused.
    let tenant = server.as_admin("PUT", "/v1/tenants/acme", json!({"running_max": 7})).await;
    assert_eq!(tenant.json["share"]["queued_max"], 2);
    assert_eq!(tenant.json["share"]["queued"], 2);
    let refused = server.as_admin("PUT", "/v1/tenants/acme", json!({"weight": 0})).await;
    assert_eq!((refused.status, refused.code()), (400, "invalid_body"));
}

#[tokio::test]
async fn what_is_paused_is_accepted_and_begins_when_it_is_resumed() {
    let server = Harness::start().await;
    let key = server.furnished("acme").await;
    for (of, name) in
        [("function", "crm/action/greet"), ("connection", "crm/c1"), ("key", "account")]
    {
        let set = |paused| json!({"of": of, "name": name, "paused": paused});
        let answer = server.call(&key, "PUT", "/v1/limits", set(true)).await;
        assert_eq!((answer.status, &answer.json["paused"]), (200, &json!(true)), "{}", answer.text);
        let headers = [("connection-id", "c1"), ("concurrency-key", "account; max=5")];
        assert_eq!(call(&server, &key, &headers).await.status, 202);
        assert!(!begins(&server).await, "{of} is paused");
        let listed = server.call(&key, "GET", "/v1/limits", Value::Null).await;
        assert_eq!(listed.json["limits"][0]["name"], name, "{}", listed.text);
        server.call(&key, "PUT", "/v1/limits", set(false)).await;
        server.work_one(|_| Outcome::Completed(json!(1))).await;
    }
    let paused = server.as_admin("POST", "/v1/tenants/acme/pause", Value::Null).await;
    assert_eq!(paused.json["share"]["paused"], true, "{}", paused.text);
    assert_eq!(call(&server, &key, &[]).await.status, 202);
    assert!(!begins(&server).await);
    server.as_admin("POST", "/v1/tenants/acme/resume", Value::Null).await;
    server.work_one(|_| Outcome::Completed(json!(1))).await;
    let nobody = server.as_admin("POST", "/v1/tenants/nobody/pause", Value::Null).await;
    assert_eq!((nobody.status, nobody.code()), (404, "tenant_not_found"));
}

#[tokio::test]
async fn what_a_function_declares_holds_and_others_set_the_rest() {
    let server = Harness::start().await;
    let key = server.furnished("acme").await;
    let mut limited = function("action", "greet");
    limited["spec"]["concurrency"] = json!({"max": 1});
    let deploy = json!({"functions": [limited], "partial": true});
    let deployed = server.call(&key, "POST", "/v1/deployments", deploy).await;
    assert_eq!(deployed.status, 201, "{}", deployed.text);
    for _ in 0..2 {
        call(&server, &key, &[]).await;
    }
    let running = server.work_one_later().await;
    assert!(!begins(&server).await, "one at a time");
    let listed = server.call(&key, "GET", "/v1/limits", Value::Null).await;
    let expected = json!({"of": "function", "name": "crm/action/greet", "running_max": 1, "running": 1, "paused": false});
    assert_eq!(listed.json["limits"], json!([expected]));
    server.finish(running).await;
    server.work_one(|_| Outcome::Completed(json!(1))).await;

    let set = async |body: Value| server.call(&key, "PUT", "/v1/limits", body).await;
    let refused =
        set(json!({"of": "function", "name": "crm/action/greet", "running_max": 3})).await;
    assert_eq!((refused.status, refused.code()), (400, "invalid_body"), "its author says it");
    let kept = set(json!({"of": "key", "name": "account", "running_max": 3})).await;
    assert_eq!(kept.json["running_max"], 3);
    let gone = set(json!({"of": "key", "name": "account", "running_max": "any"})).await;
    assert_eq!(gone.json["running_max"], Value::Null);
    for bad in [json!({"of": "planet", "name": "x"}), json!({"of": "connection", "name": "c1"})] {
        assert_eq!(set(bad).await.code(), "invalid_body");
    }

    let mut bad = function("action", "greet");
    bad["spec"]["concurrency"] = json!({"max": 0});
    let deploy = json!({"functions": [bad], "partial": true});
    let refused = server.call(&key, "POST", "/v1/deployments", deploy).await;
    assert_eq!((refused.status, refused.code()), (400, "invalid_spec"));
}

#[tokio::test]
async fn dead_letters_are_listed_and_repeated_once() {
    let server = Harness::start().await;
    let key = server.furnished("acme").await;
    let mut dead = Vec::new();
    for _ in 0..3 {
        call(&server, &key, &[]).await;
        dead.push(server.work_one(|_| boom()).await.lease.execution.to_string());
    }
    // Newest first is by id, and ids of one millisecond sort by chance.
    dead.sort();
    let list = async |query: &str| {
        let path = format!("/v1/dead-letters{query}");
        let list = server.call(&key, "GET", &path, Value::Null).await;
        assert_eq!(list.status, 200, "{}", list.text);
        list.json["executions"].as_array().unwrap().len()
    };
    assert_eq!((list("").await, list("?error=boom").await, list("?error=bang").await), (3, 3, 0));
    let one =
        server.call(&key, "POST", &format!("/v1/executions/{}/retry", dead[0]), Value::Null).await;
    assert_eq!(one.status, 202, "{}", one.text);
    assert_eq!(list("").await, 2, "one is repeated");

    let replay =
        async |body: Value| server.call(&key, "POST", "/v1/dead-letters/replay", body).await;
    let first = replay(json!({"function": "crm/greet", "error": "boom", "max": 1})).await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!(
        (&first.json["replayed"][0]["dead"], &first.json["more"]),
        (&json!(dead[2]), &json!(true))
    );
    let second = replay(Value::Null).await;
    assert_eq!(
        (&second.json["replayed"][0]["dead"], &second.json["more"]),
        (&json!(dead[1]), &json!(false))
    );
    assert_eq!(replay(json!({})).await.json["replayed"], json!([]));
    assert_eq!(list("").await, 0);
    assert_eq!(replay(json!({"max": 0})).await.code(), "invalid_body");
    for _ in 0..3 {
        server.work_one(|lease| Outcome::Completed(lease.input.clone())).await;
    }
}

#[tokio::test]
async fn the_second_trigger_with_a_key_changes_nothing() {
    let server = Harness::start().await;
    let key = server.furnished("acme").await;
    let bearer = format!("Bearer {key}");
    let trigger = async |idempotency_key: &str| {
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", idempotency_key)];
        let body = json!({"connection_id": "c1", "reset": true}).to_string();
        server.send("POST", "/v1/syncs/crm/contacts/trigger", &headers, body).await
    };
    let first = trigger("monday").await;
    assert_eq!((first.status, &first.json["duplicate"]), (202, &json!(false)), "{}", first.text);
    server.work_one(|_| Outcome::Completed(Value::Null)).await;
    let again = trigger("monday").await;
    assert_eq!(again.json["execution_id"], first.json["execution_id"]);
    assert_eq!(again.json["duplicate"], true);
    assert!(!begins(&server).await, "nothing new runs");
    let other = trigger("tuesday").await;
    assert_ne!(other.json["execution_id"], first.json["execution_id"]);
    assert_eq!(trigger(&"x".repeat(300)).await.code(), "invalid_idempotency_key");
}

#[tokio::test]
async fn who_does_not_begin_in_time_expires() {
    let server = Harness::start().await;
    let key = server.furnished("acme").await;
    for bad in ["0", "soon", "90000"] {
        let refused = call(&server, &key, &[("start-within", bad)]).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_header"), "{bad}");
    }
    let bad = call(&server, &key, &[("concurrency-key", "a; most=2")]).await;
    assert_eq!((bad.status, bad.code()), (400, "invalid_header"));
    let none = call(&server, &key, &[("concurrency-key", "a; max=0")]).await;
    assert_eq!((none.status, none.code()), (400, "invalid_concurrency_key"));

    let accepted = call(&server, &key, &[("start-within", "1")]).await;
    let show = format!("/v1/executions/{}", accepted.json["execution_id"].as_str().unwrap());
    let expired = async {
        loop {
            server.engine.tick().await.unwrap();
            let state = server.call(&key, "GET", &show, Value::Null).await.json["state"].clone();
            if state != "queued" {
                return state;
            }
        }
    };
    let state = tokio::time::timeout(Duration::from_secs(10), expired).await.unwrap();
    assert_eq!(state, "expired");
    assert!(!begins(&server).await);
}
