//! The worker protocol, spoken by hand: who may say what, and what it changes.

use bulkhead_types::{ExecutionState, SystemEntropy, TenantId, Timestamp, WorkerId};
use serde_json::{Value, json};

use super::harness::{ADMIN, Answer, Harness};

/// Somebody with a token.
struct Peer {
    token: String,
    worker: String,
}

impl Peer {
    async fn join(harness: &Harness) -> Self {
        let made = harness.as_admin("POST", "/v1/worker-tokens", json!({"label": "rack 1"})).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let id = made.json["id"].as_str().unwrap();
        let worker = WorkerId::of_token(id, Timestamp::from_millis(1), &SystemEntropy).unwrap();
        Self { token: made.json["secret"].as_str().unwrap().to_owned(), worker: worker.to_string() }
    }

    fn me(&self) -> Value {
        json!({"worker": self.worker, "name": "rack 1", "version": "1", "capacity": {"cpu": 4, "memory_mib": 4096}, "running": 0})
    }

    async fn say(&self, harness: &Harness, what: &str, message: Value) -> Answer {
        harness.call(&self.token, "POST", &format!("/v1/worker/{what}"), message).await
    }

    async fn lease(&self, harness: &Harness, max: usize) -> Vec<Value> {
        let units = json!({"cpu": max, "memory_mib": 65_536});
        let ask =
            json!({"me": self.me(), "room": {"free": units, "total": units}, "wait_ms": 2_000});
        let answer = self.say(harness, "lease", ask).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json["leases"].as_array().unwrap().clone()
    }

    async fn settle(&self, harness: &Harness, lease: &Value, outcome: Value) -> Answer {
        let message = json!({
            "worker": self.worker, "lease": lease, "outcome": outcome, "usage": {}, "started_at": null, "start": "cold",
        });
        self.say(harness, "settle", message).await
    }

    async fn call(&self, harness: &Harness, lease: &Value, method: &str, params: Value) -> Value {
        let message = json!({
            "worker": self.worker, "lease": lease, "number": 1, "method": method, "params": params,
        });
        self.say(harness, "call", message).await.json
    }
}

async fn submit(harness: &Harness, key: &str, input: Value) -> String {
    let key = format!("Bearer {key}");
    let headers = [("authorization", key.as_str()), ("prefer", "respond-async")];
    let answer = harness.send("POST", "/v1/actions/crm/greet", &headers, input.to_string()).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json["execution_id"].as_str().unwrap().to_owned()
}

async fn state(harness: &Harness, execution: &str) -> ExecutionState {
    let id = bulkhead_types::ExecutionId::parse(execution).unwrap();
    let tenant = TenantId::parse("acme").unwrap();
    harness.engine.execution(&tenant, &id).await.unwrap().unwrap().state
}

#[tokio::test]
async fn a_workers_token_opens_what_workers_need_and_nothing_else() {
    let harness = Harness::start().await;
    let key = harness.furnished("acme").await;
    let peer = Peer::join(&harness).await;
    assert_eq!(
        harness.call(&peer.token, "GET", "/v1/functions", Value::Null).await.code(),
        "wrong_key"
    );
    assert_eq!(
        harness.call(&peer.token, "GET", "/v1/tenants", Value::Null).await.code(),
        "admin_key_needed"
    );
    let renew = json!({"me": peer.me(), "leases": []});
    for other in [key.as_str(), ADMIN, "bhw_", &format!("{}0", &peer.token[..peer.token.len() - 1])]
    {
        let answer = harness.call(other, "POST", "/v1/worker/renew", renew.clone()).await;
        assert_eq!((answer.status, answer.code()), (401, "wrong_key"), "{other}");
    }
    assert_eq!(peer.say(&harness, "renew", renew.clone()).await.status, 200);
    let listed = harness.as_admin("GET", "/v1/workers", Value::Null).await.json;
    assert_eq!(listed["workers"][0]["id"], peer.worker);
    assert_eq!(listed["workers"][0]["capacity"], 4);

    // Not even with a token of its own can one speak for another's worker.
    let other = Peer::join(&harness).await;
    let answer = other.say(&harness, "renew", renew.clone()).await;
    assert_eq!((answer.status, answer.code()), (403, "wrong_worker"));

    let id = peer.worker.rsplit_once('.').unwrap().1;
    let tokens = harness.as_admin("GET", "/v1/worker-tokens", Value::Null).await;
    assert!(tokens.text.contains(id) && !tokens.text.contains(&peer.token), "{}", tokens.text);
    let path = format!("/v1/worker-tokens/{id}");
    assert_eq!(harness.as_admin("DELETE", &path, Value::Null).await.status, 204);
    assert_eq!(peer.say(&harness, "renew", renew).await.code(), "wrong_key");
    assert_eq!(harness.as_admin("DELETE", &path, Value::Null).await.code(), "key_not_found");
}

#[tokio::test]
async fn only_who_holds_a_lease_writes_under_it() {
    let harness = Harness::start().await;
    let key = harness.furnished("acme").await;
    let (peer, other) = (Peer::join(&harness).await, Peer::join(&harness).await);
    let execution = submit(&harness, &key, json!({"n": 1})).await;
    let handed = peer.lease(&harness, 8).await.remove(0);
    assert_eq!(handed["lease"]["input"], json!({"n": 1}));
    assert!(handed["needs"]["context"]["providerConfigKey"] == "crm", "{handed}");
    let lease = &handed["lease"]["lease"];

    // The other has a token, and has learnt of the lease.
    let refused = other.call(&harness, lease, "variables.list", json!({})).await;
    assert_eq!(refused["error"]["code"], "lease_lost", "{refused}");
    let log = json!({"worker": other.worker, "lease": lease, "lines": [{"at": 1, "level": "info", "message": "forged"}]});
    assert_eq!(other.say(&harness, "log", log).await.code(), "lease_lost");
    let event = json!({"at": 1, "what": "forged", "attempt": 1});
    let event = json!({"worker": other.worker, "lease": lease, "event": event});
    assert_eq!(other.say(&harness, "event", event).await.code(), "lease_lost");
    let prepare = json!({"worker": other.worker, "lease": lease});
    assert_eq!(other.say(&harness, "prepare", prepare).await.code(), "lease_lost");
    let settled = other.settle(&harness, lease, json!({"completed": "forged"})).await;
    assert_eq!(settled.json["settlement"], "stale");
    assert_eq!(state(&harness, &execution).await, ExecutionState::Running);
    let shown =
        harness.call(&key, "GET", &format!("/v1/executions/{execution}"), Value::Null).await;
    let logs =
        harness.call(&key, "GET", &format!("/v1/executions/{execution}/logs"), Value::Null).await;
    assert!(!shown.text.contains("forged") && !logs.text.contains("forged"), "{}", shown.text);

    // Its holder is answered.
    assert_eq!(peer.call(&harness, lease, "variables.list", json!({})).await, json!({"ok": []}));
    let lost = peer.settle(&harness, lease, json!("lost")).await;
    assert_eq!(lost.code(), "invalid_body", "{}", lost.text);
    let settled = peer.settle(&harness, lease, json!({"completed": "hello"})).await;
    assert_eq!(settled.json["settlement"], "accepted", "{}", settled.text);
    assert_eq!(state(&harness, &execution).await, ExecutionState::Succeeded);
}

#[tokio::test]
async fn an_outcome_told_twice_counts_once() {
    let harness = Harness::start().await;
    let key = harness.furnished("acme").await;
    let peer = Peer::join(&harness).await;
    let execution = submit(&harness, &key, Value::Null).await;
    let handed = peer.lease(&harness, 1).await.remove(0);
    let lease = &handed["lease"]["lease"];
    let first = peer.settle(&harness, lease, json!({"completed": 1})).await;
    let second = peer.settle(&harness, lease, json!({"completed": 2})).await;
    assert_eq!(
        (&first.json["settlement"], &second.json["settlement"]),
        (&json!("accepted"), &json!("stale"))
    );
    let shown =
        harness.call(&key, "GET", &format!("/v1/executions/{execution}"), Value::Null).await.json;
    assert_eq!(shown["output"], json!(1), "{shown}");
    assert_eq!(shown["attempt_list"].as_array().unwrap().len(), 1, "{shown}");
}

#[tokio::test]
async fn a_lease_that_was_taken_back_writes_nothing() {
    let harness = Harness::start().await;
    let key = harness.furnished("acme").await;
    let (old, new) = (Peer::join(&harness).await, Peer::join(&harness).await);
    let execution = submit(&harness, &key, Value::Null).await;
    let handed = old.lease(&harness, 1).await.remove(0);
    let lease = &handed["lease"]["lease"];
    // The worker says that it goes, and something of it goes on all the same.
    let left = old.say(&harness, "leave", json!({"worker": old.worker})).await;
    assert_eq!(left.json, json!({"taken_back": 1}));
    let again = new.lease(&harness, 1).await.remove(0);
    assert_eq!(again["lease"]["attempt"], 2);
    assert_eq!(
        old.settle(&harness, lease, json!({"completed": "old"})).await.json["settlement"],
        "stale"
    );
    let save = json!({"checkpoint": {"n": 1}, "version": 0});
    let saved = old.call(&harness, lease, "checkpoint.save", save).await;
    assert_eq!(saved["error"]["code"], "lease_lost", "{saved}");
    let line = json!({"at": 0, "level": "info", "message": "of the old one"});
    let log = json!({"worker": old.worker, "lease": lease, "lines": [line]});
    let logged = old.say(&harness, "log", log).await;
    assert_eq!((logged.status, logged.code()), (409, "lease_lost"));
    let event = json!({"at": 0, "what": "denied", "attempt": 1, "detail": {}});
    let event = json!({"worker": old.worker, "lease": lease, "event": event});
    let noted = old.say(&harness, "event", event).await;
    assert_eq!((noted.status, noted.code()), (409, "lease_lost"));
    let renew = json!({"me": old.me(), "leases": [lease]});
    let recalls = old.say(&harness, "renew", renew).await.json;
    assert_eq!(recalls["recalls"][0]["reason"], "lost", "{recalls}");
    assert_eq!(state(&harness, &execution).await, ExecutionState::Running);
    let done = new.settle(&harness, &again["lease"]["lease"], json!({"completed": "new"})).await;
    assert_eq!(done.json["settlement"], "accepted");
}

#[tokio::test]
async fn a_cancel_is_pushed_to_the_worker_that_waits_for_it() {
    let harness = Harness::start().await;
    let key = harness.furnished("acme").await;
    let peer = Peer::join(&harness).await;
    let execution = submit(&harness, &key, Value::Null).await;
    let handed = peer.lease(&harness, 1).await.remove(0);
    let ask = json!({"worker": peer.worker, "wait_ms": 30_000});
    let asked = peer.say(&harness, "recalls", ask);
    let path = format!("/v1/executions/{execution}/cancel");
    let both = async { tokio::join!(asked, harness.call(&key, "POST", &path, Value::Null)) };
    let (told, _) = tokio::time::timeout(std::time::Duration::from_secs(20), both).await.unwrap();
    let expected = json!([{"lease": handed["lease"]["lease"], "reason": "cancelled"}]);
    assert_eq!(told.json["recalls"], expected);
}

#[tokio::test]
async fn what_does_not_fit_into_a_lease_is_fetched_apart() {
    let harness = Harness::start().await;
    let key = harness.furnished("acme").await;
    let peer = Peer::join(&harness).await;
    let large = json!({"text": "x".repeat(5 << 20)});
    for _ in 0..4 {
        submit(&harness, &key, large.clone()).await;
    }
    let handed = peer.lease(&harness, 8).await;
    assert_eq!(handed.len(), 4);
    let apart: Vec<_> = handed.iter().filter(|handed| handed["needs"].is_null()).collect();
    assert_eq!(apart.len(), 1, "three of 5 MiB fit into 16 MiB, the fourth does not");
    let lease = &apart[0]["lease"];
    assert_eq!(lease["input"], Value::Null);
    let about = json!({"worker": peer.worker, "lease": lease["lease"]});
    let prepared = peer.say(&harness, "prepare", about).await;
    assert_eq!(prepared.json["input"], large);
    assert_eq!(prepared.json["version"]["id"], lease["version"]);

    let bundle = prepared.json["version"]["bundle"].as_str().unwrap();
    let token = format!("Bearer {}", peer.token);
    let path = format!("/v1/worker/bundles/{bundle}");
    let fetched = harness.send("GET", &path, &[("authorization", &token)], "").await;
    assert_eq!((fetched.status, fetched.text.as_str()), (200, "module.exports = {}"));
    for no_bundle in ["..%2f..%2fbulkhead.db", &"0".repeat(64)] {
        let path = format!("/v1/worker/bundles/{no_bundle}");
        let answer = harness.send("GET", &path, &[("authorization", &token)], "").await;
        assert_eq!(answer.code(), "version_not_found", "{no_bundle}");
    }
}

#[tokio::test]
async fn a_stopping_server_gives_nothing_new_and_takes_what_comes_to_its_end() {
    let harness = Harness::start().await;
    let key = harness.furnished("acme").await;
    let peer = Peer::join(&harness).await;
    let execution = submit(&harness, &key, Value::Null).await;
    let handed = peer.lease(&harness, 1).await.remove(0);
    let lease = &handed["lease"]["lease"];
    // Only the routes stop here: the harness' listener would go with the signal.
    harness.stop_routes();
    let units = json!({"cpu": 1, "memory_mib": 1024});
    let ask = json!({"me": peer.me(), "room": {"free": units, "total": units}, "wait_ms": 0});
    assert_eq!(peer.say(&harness, "lease", ask).await.code(), "shutting_down");
    let call = peer.call(&harness, lease, "variables.list", json!({})).await;
    assert_eq!(call["error"]["code"], "shutting_down");
    let renew = json!({"me": peer.me(), "leases": [lease]});
    assert_eq!(peer.say(&harness, "renew", renew).await.json, json!({"recalls": []}));
    let settled = peer.settle(&harness, lease, json!({"completed": 1})).await;
    assert_eq!(settled.json["settlement"], "accepted");
    assert_eq!(state(&harness, &execution).await, ExecutionState::Succeeded);
}
