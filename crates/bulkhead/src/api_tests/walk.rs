//! What works, from end to end of the API.

use bulkhead_types::{Cause, ErrorInfo, Fault, Outcome, Retry};
use serde_json::{Value, json};

use super::harness::{Harness, function};

fn failed(code: &str, fault: Fault, payload: Value) -> Outcome {
    let error = ErrorInfo { payload: Some(payload), ..ErrorInfo::new(code, "because") };
    Outcome::Failed(Cause { error, fault, retry: Retry::Never })
}

#[tokio::test]
async fn an_action_answers_with_its_output() {
    let server = Harness::start().await;
    let key = server.furnished("acme").await;
    let call = server.call(&key, "POST", "/v1/actions/crm/greet", json!({"name": "Ada"}));
    let (answer, lease) = tokio::join!(
        call,
        server.work_one(|lease| Outcome::Completed(json!({"saw": lease.input})))
    );
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json, json!({"saw": {"name": "Ada"}}));
    assert_eq!(answer.header("execution-id"), lease.lease.execution.as_str());

    let path = format!("/v1/executions/{}", lease.lease.execution);
    let show = server.call(&key, "GET", &path, Value::Null).await.json;
    assert_eq!(show["state"], "succeeded");
    assert_eq!(show["trigger"], "api");
    assert_eq!(show["input"], json!({"name": "Ada"}));
    assert_eq!(show["attempt_list"][0]["outcome"], "completed");
    assert_eq!(show["timeline"][0]["what"], "accepted");
    let page =
        server.call(&key, "GET", "/v1/executions?function=crm/greet&state=succeeded", Value::Null);
    assert_eq!(page.await.json["executions"][0]["id"], show["id"]);
    let none = server.call(&key, "GET", "/v1/executions?function=crm/other", Value::Null).await;
    assert_eq!(none.json["executions"], json!([]));
}

#[tokio::test]
async fn a_failure_has_the_status_of_whose_fault_it_is() {
    let server = Harness::start().await;
    let key = server.furnished("acme").await;
    let check = async |outcome: Outcome, status: u16| {
        let call = server.call(&key, "POST", "/v1/actions/crm/greet", json!(null));
        let (answer, _) = tokio::join!(call, server.work_one(|_| outcome));
        assert_eq!(answer.status, status, "{}", answer.text);
        answer.json["error"].clone()
    };
    let error = check(failed("action_error", Fault::Tenant, json!({"why": "so"})), 422).await;
    assert_eq!(
        error,
        json!({"code": "action_error", "message": "because", "payload": {"why": "so"}})
    );
    let payload = json!({"status": 503, "statusText": "x", "headers": {}, "json": {"busy": true}});
    let error = check(failed("upstream_error", Fault::Upstream, payload), 424).await;
    assert_eq!(error["upstream"], json!({"status": 503, "body": {"busy": true}}));
    check(failed("invalid_input", Fault::Caller, json!([])), 400).await;
    check(failed("ENOSPC", Fault::Tenant, json!(null)), 422).await;
    check(failed("sandbox_failed", Fault::Platform, json!(null)), 500).await;
    check(Outcome::Crashed(ErrorInfo::new("crashed", "signal 9")), 422).await;
}

#[tokio::test]
async fn respond_async_and_idempotency_keys() {
    let server = Harness::start().await;
    let key = format!("Bearer {}", server.furnished("acme").await);
    let headers =
        [("authorization", key.as_str()), ("prefer", "respond-async"), ("idempotency-key", "once")];
    let first = server.send("POST", "/v1/actions/crm/greet", &headers, "{}").await;
    assert_eq!(first.status, 202, "{}", first.text);
    assert_eq!(first.json["duplicate"], false);
    assert_eq!(first.header("location"), first.json["status_url"]);
    let second = server.send("POST", "/v1/actions/crm/greet", &headers, "{}").await;
    assert_eq!(second.json["duplicate"], true);
    assert_eq!(second.json["execution_id"], first.json["execution_id"]);

    // A caller that waits gets the first one's result.
    let waits = [("authorization", key.as_str()), ("idempotency-key", "once")];
    let call = server.send("POST", "/v1/actions/crm/greet", &waits, "{}");
    let (answer, _) = tokio::join!(call, server.work_one(|_| Outcome::Completed(json!(42))));
    assert_eq!((answer.status, answer.json), (200, json!(42)));

    // One that waits for a while and no longer is told where to ask.
    let brief = [("authorization", key.as_str()), ("prefer", "wait=0")];
    let answer = server.send("POST", "/v1/actions/crm/greet", &brief, "{}").await;
    assert_eq!(answer.status, 202, "{}", answer.text);
}

#[tokio::test]
async fn an_execution_is_cancelled_and_run_again() {
    let server = Harness::start().await;
    let key = server.furnished("acme").await;
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("prefer", "respond-async")];
    let accepted = server.send("POST", "/v1/actions/crm/greet", &headers, "{}").await;
    let id = accepted.json["execution_id"].as_str().unwrap();
    let early = server.call(&key, "POST", &format!("/v1/executions/{id}/retry"), Value::Null).await;
    assert_eq!((early.status, early.code()), (409, "execution_not_retryable"));
    let cancel = format!("/v1/executions/{id}/cancel");
    assert_eq!(server.call(&key, "POST", &cancel, Value::Null).await.status, 202);
    let twice = server.call(&key, "POST", &cancel, Value::Null).await;
    assert_eq!((twice.status, twice.code()), (409, "execution_final"));
    let again = server.call(&key, "POST", &format!("/v1/executions/{id}/retry"), Value::Null).await;
    assert_eq!(again.status, 202, "{}", again.text);
    assert_ne!(again.json["execution_id"], accepted.json["execution_id"]);
}

#[tokio::test]
async fn syncs_are_triggered_paused_and_resumed() {
    let server = Harness::start().await;
    let key = server.furnished("acme").await;
    let call = json!({"connection_id": "c1"});
    let path = |verb: &str| format!("/v1/syncs/crm/contacts/{verb}");
    let started = server.call(&key, "POST", &path("trigger"), call.clone()).await;
    assert_eq!(started.status, 202, "{}", started.text);
    let body = json!({"connection_id": "c1", "frequency": "every 10m"});
    let set = server.call(&key, "PUT", &path("frequency"), body).await;
    assert_eq!((set.status, &set.json["frequency"]), (200, &json!("every 10m")), "{}", set.text);
    let paused = server.call(&key, "POST", &path("pause"), call.clone()).await;
    assert_eq!((paused.status, &paused.json["paused"]), (200, &json!(true)), "{}", paused.text);
    let resumed = server.call(&key, "POST", &path("resume"), call).await;
    assert_eq!((resumed.status, &resumed.json["paused"]), (200, &json!(false)), "{}", resumed.text);
    let list = server.call(&key, "GET", "/v1/syncs", Value::Null).await;
    assert_eq!(list.json["syncs"][0]["connection_id"], "c1", "{}", list.text);
}

#[tokio::test]
async fn deployments_show_their_difference_and_roll_back() {
    let server = Harness::start().await;
    let key = server.furnished("acme").await;
    let list = server.call(&key, "GET", "/v1/deployments", Value::Null).await.json;
    let first = list["deployments"][0]["id"].as_str().unwrap().to_owned();
    let body = |dry_run: bool| {
        let mut changed = function("action", "greet");
        changed["bundle"] = "module.exports = {changed: true}".into();
        json!({"functions": [changed], "dry_run": dry_run, "allow_destructive": true})
    };
    let planned = server.call(&key, "POST", "/v1/deployments", body(true)).await;
    assert_eq!((planned.status, &planned.json["id"]), (200, &Value::Null), "{}", planned.text);
    let kinds: Vec<_> =
        planned.json["changes"].as_array().unwrap().iter().map(|c| &c["change"]).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "removed").count(), 2, "{kinds:?}");
    let live = server.call(&key, "GET", "/v1/functions", Value::Null).await.json;
    assert_eq!(live["functions"].as_array().unwrap().len(), 3, "a dry run changes nothing");

    assert_eq!(server.call(&key, "POST", "/v1/deployments", body(false)).await.status, 201);
    let live = server.call(&key, "GET", "/v1/functions", Value::Null).await.json;
    assert_eq!(live["functions"].as_array().unwrap().len(), 1);
    let back =
        server.call(&key, "POST", &format!("/v1/deployments/{first}/rollback"), Value::Null).await;
    assert_eq!(back.status, 201, "{}", back.text);
    let one = server.call(&key, "GET", "/v1/functions/crm/sync/contacts", Value::Null).await;
    assert_eq!(
        (one.status, &one.json["spec"]["frequency"]),
        (200, &json!("every 1h")),
        "{}",
        one.text
    );
}

#[tokio::test]
async fn credentials_go_in_and_never_come_out() {
    let server = Harness::start().await;
    let key = server.furnished("acme").await;
    let secret = "s3cret-token";
    let body = json!({"integration": "crm", "connection_id": "c2", "credentials": {"token": secret},
        "metadata": {"region": "eu"}});
    let put = server.call(&key, "POST", "/v1/connections", body).await;
    assert_eq!(put.status, 200, "{}", put.text);
    let webhook = json!({"webhook": {"secret": secret}, "auth": {"mode": "bearer"}});
    let integration = server.call(&key, "PUT", "/v1/integrations/crm", webhook).await;
    assert_eq!(integration.json["webhook"]["has_secret"], true, "{}", integration.text);
    let path = "/v1/connections/crm/c2/metadata";
    let merged = server.call(&key, "PATCH", path, json!({"plan": "pro"})).await;
    assert_eq!(merged.json, json!({"region": "eu", "plan": "pro"}), "{}", merged.text);
    let set = server.call(&key, "PUT", path, json!({"only": 1})).await;
    assert_eq!(set.json, json!({"only": 1}));
    for path in [
        "/v1/connections",
        "/v1/connections/crm/c2",
        "/v1/integrations",
        "/v1/integrations/crm",
        path,
    ] {
        let shown = server.call(&key, "GET", path, Value::Null).await;
        assert_eq!(shown.status, 200, "{path}: {}", shown.text);
        assert!(!shown.text.contains(secret), "{path} shows a secret");
    }
    assert_eq!(
        server.call(&key, "DELETE", "/v1/connections/crm/c2", Value::Null).await.status,
        204
    );
    assert_eq!(server.call(&key, "GET", "/v1/connections/crm/c2", Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_webhook_is_durable_once_answered_and_dropped_when_repeated() {
    let server = Harness::start().await;
    server.furnished("acme").await;
    let headers = [("content-type", "application/json"), ("x-delivery-id", "d-1")];
    let send = || server.send("POST", "/v1/webhooks/acme/crm", &headers, "{\"id\": 1}");
    let first = send().await;
    assert_eq!((first.status, &first.json["duplicate"]), (202, &json!(false)), "{}", first.text);
    let second = send().await;
    assert_eq!((second.status, &second.json["duplicate"]), (202, &json!(true)), "{}", second.text);
    assert_eq!(first.json["executions"], second.json["executions"]);
    let lease = server.work_one(|_| Outcome::Completed(json!(null))).await;
    assert_eq!(lease.function.name.as_str(), "changed");
    let unknown = server.send("POST", "/v1/webhooks/nobody/crm", &[], "{}").await;
    assert_eq!(unknown.status, 404, "{}", unknown.text);
}

#[tokio::test]
async fn a_delivery_whose_handler_failed_is_replayed_as_it_came() {
    let server = Harness::start().await;
    let key = server.furnished("acme").await;
    let headers =
        [("content-type", "application/json"), ("x-delivery-id", "d-1"), ("x-topic", "t")];
    let body = "{\"id\":  1, \"text\": \"\u{e9}\"}";
    let came = server.send("POST", "/v1/webhooks/acme/crm", &headers, body).await;
    assert_eq!(came.status, 202, "{}", came.text);
    let first = server.work_one(|_| failed("handler_broke", Fault::Tenant, Value::Null)).await;
    let dead = server.call(&key, "GET", "/v1/dead-letters?kind=webhook", Value::Null).await;
    assert_eq!(dead.json["executions"][0]["id"], json!(first.lease.execution), "{}", dead.text);

    let replay = json!({"kind": "webhook"});
    let replayed = server.call(&key, "POST", "/v1/dead-letters/replay", replay.clone()).await;
    let again = replayed.json["replayed"][0]["execution_id"].clone();
    let second = server.work_one(|_| Outcome::Completed(json!(null))).await;
    assert_eq!(json!(second.lease.execution), again, "{}", replayed.text);
    assert_ne!(second.lease.execution, first.lease.execution);
    // Headers and raw bytes are those of the provider: a signature over them would hold again.
    assert_eq!(second.input, first.input);
    assert_eq!((&second.function, &second.connection), (&first.function, &first.connection));
    let none_left = server.call(&key, "POST", "/v1/dead-letters/replay", replay).await;
    assert_eq!(none_left.json["replayed"], json!([]), "{}", none_left.text);
    // The provider's own repetition is still known as one.
    let repeated = server.send("POST", "/v1/webhooks/acme/crm", &headers, body).await;
    assert_eq!(repeated.json["duplicate"], json!(true), "{}", repeated.text);
}

#[tokio::test]
async fn a_followed_log_ends_with_its_execution() {
    let server = Harness::start().await;
    let key = server.furnished("acme").await;
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("prefer", "respond-async")];
    let accepted = server.send("POST", "/v1/actions/crm/greet", &headers, "{}").await;
    let id = accepted.json["execution_id"].as_str().unwrap();
    let path = format!("/v1/executions/{id}/logs");
    let follow = [("authorization", bearer.as_str()), ("accept", "text/event-stream")];
    let (followed, _) = tokio::join!(
        server.send("GET", &path, &follow, ""),
        server.work_one(|_| Outcome::Completed(json!(1)))
    );
    assert_eq!(followed.header("content-type"), "text/event-stream");
    assert!(followed.text.ends_with("event: end\ndata: {}\n\n"), "{}", followed.text);
    let page = server.call(&key, "GET", &path, Value::Null).await;
    assert_eq!(page.json, json!({"logs": [], "next_after": null}), "{}", page.text);
}

#[tokio::test]
async fn machines_can_ask_how_it_is() {
    let server = Harness::start().await;
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        assert_eq!(server.send("GET", path, &[], "").await.status, 200, "{path}");
    }
    let metrics = server.send("GET", "/metrics", &[], "").await.text;
    let counted = "bulkhead_http_requests_total{route=\"Healthz\",status=\"2xx\"} 1\n";
    assert!(metrics.contains(counted), "{metrics}");
    let document = server.send("GET", "/openapi.json", &[], "").await.json;
    assert!(document["paths"]["/v1/actions/{integration}/{name}"]["post"].is_object());
}
