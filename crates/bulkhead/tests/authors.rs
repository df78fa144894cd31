//! What authors bring, run for good: functions written for Nango's SDK against an API over HTTP, by way of the host's
//! proxy; syncs that are interrupted wherever they can be; actions as tools.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests start the programs that they talk to")]

mod support;

use std::process::Command;

use bulkhead_api::{Accepted, Op, PutConnection, PutIntegration, RecordPage};
use bulkhead_client::{Client, Request};
use serde_json::{Value, json};
use support::web::{Api, node_path};
use support::{Home, Server, action, execution, until, workspace};

const CONNECTION: &str = "c1";

async fn connect(client: &Client, integration: &str, url: &str, metadata: Value) {
    let put = PutIntegration {
        // What the catalogue says of it holds: how it pages.
        provider: (integration == "tracker").then(|| "asana".to_owned()),
        base_url: Some(url.to_owned()),
        auth: json!({"mode": "bearer"}),
        ..PutIntegration::default()
    };
    client.send(Request::new(Op::PutIntegration, &[integration]).json(&put)).await.unwrap();
    let put = PutConnection {
        connection_id: CONNECTION.to_owned(),
        integration: integration.to_owned(),
        credentials: json!({"token": "token-of-the-connection"}),
        metadata,
        connection_config: [("workspace".to_owned(), "w1".to_owned())].into(),
    };
    client.send(Request::new(Op::PutConnection, &[]).json(&put)).await.unwrap();
}

/// Runs a sync to its end; how many attempts that took, and its log.
async fn synced(client: &Client, integration: &str, name: &str) -> (usize, String) {
    let call = json!({"connection_id": CONNECTION});
    let request = Request::new(Op::TriggerSync, &[integration, name]).json(&call);
    let accepted: Accepted = client.call(request).await.unwrap();
    let id = accepted.execution_id.as_str();
    let ended = || async {
        let state = execution(client, id).await["state"].clone();
        assert!(state != "failed" && state != "cancelled", "{}", execution(client, id).await);
        state == "succeeded"
    };
    until("the sync's end", ended).await;
    let attempts = execution(client, id).await["attempt_list"].as_array().unwrap().len();
    let logs: Value = client.call(Request::new(Op::ExecutionLogs, &[id])).await.unwrap();
    (attempts, logs["logs"].to_string())
}

/// `id` of each record that is there, and of each that is not any more with a `-`.
async fn ids(client: &Client, model: &str, integration: &str) -> Vec<String> {
    let request = Request::new(Op::ListRecords, &[])
        .query("connection_id", CONNECTION)
        .query("integration", integration)
        .query("model", model)
        .query("limit", "1000");
    let page: RecordPage = client.call(request).await.unwrap();
    let named = |record: &Value| {
        let gone = if record["_metadata"]["deleted_at"].is_null() { "" } else { "-" };
        format!("{gone}{}", record["id"].as_str().unwrap())
    };
    let mut ids: Vec<String> = page.records.iter().map(named).collect();
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_for_nangos_sdk_run_unchanged_through_the_proxy() {
    let api = Api::start("tests/nango/api.mjs");
    let home = Home::new();
    let server = Server::start(&home, &[&api.rule()]);
    let client = server.tenant("t", "tests/nango").await;
    connect(&client, "tracker", &api.url, json!({"projectId": "p7"})).await;
    connect(&client, "ledger", &api.url, Value::Null).await;

    // createAction: input checked, an ActionError's payload given to the caller as it is.
    let run = |name: &'static str, input: Value| {
        Request::new(Op::RunAction, &["tracker", name]).connection(Some(CONNECTION)).json(&input)
    };
    let made: Value =
        client.call(run("create-task", json!({"projectId": "p7", "title": "New"}))).await.unwrap();
    assert_eq!((&made["id"], &made["title"]), (&json!("99"), &json!("New")));
    let refused = run("create-task", json!({"projectId": "p8", "title": "New"}));
    let refused = client.exchange(refused).await.unwrap();
    let error: Value = refused.json().unwrap();
    assert_eq!(error["error"]["code"], "action_error", "{error}");
    assert_eq!(error["error"]["payload"]["projectId"], "p8");
    let invalid = client.call::<Value>(run("create-task", json!({"title": ""}))).await;
    assert_eq!(invalid.unwrap_err().code(), Some("invalid_input"));
    // nango.proxy, and a connection's settings.
    let gone: Value = client.call(run("delete-task", json!({"id": "7"}))).await.unwrap();
    assert_eq!(gone, json!({"success": true}));

    // A list whose pages are the provider's, of which the function says nothing.
    let listed: Value =
        client.call(run("list-projects", json!({"workspace": "w1"}))).await.unwrap();
    let projects = ["p7", "p8", "p9"].map(|id| json!(id));
    let ids_of =
        |list: &Value| list.as_array().unwrap().iter().map(|p| p["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids_of(&listed["projects"]), projects);

    // createSync: by hand, by cursor with checkpoints, by offset, by link with checkpoints and deletes.
    synced(&client, "tracker", "members").await;
    assert_eq!(ids(&client, "Member", "tracker").await, ["1", "2", "3", "4", "5"]);
    let (_, log) = synced(&client, "tracker", "tasks").await;
    assert!(log.contains("Synced up to 2026-01-05T00:00:00Z"), "{log}");
    assert_eq!(ids(&client, "Task", "tracker").await, ["1", "2", "3", "4", "5"]);
    synced(&client, "ledger", "invoices").await;
    assert_eq!(ids(&client, "Invoice", "ledger").await, ["-2", "1", "3"]);
    synced(&client, "ledger", "payments").await;
    assert_eq!(ids(&client, "Payment", "ledger").await, ["p1", "p2", "p3", "p4", "p5", "p6"]);

    // By the product's own way through the proxy, one goes away; the next run finds that.
    let headers = [("Connection-Id", CONNECTION), ("Integration", "ledger")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let delete = Request::proxy(http::Method::DELETE, "/payments/p3", "").headers(headers);
    client.send(delete).await.unwrap();
    let (_, log) = synced(&client, "ledger", "payments").await;
    assert!(log.contains("Gone: p3") && log.contains("warn"), "{log}");
    let left = ["-p3", "p1", "p2", "p4", "p5", "p6"];
    assert_eq!(ids(&client, "Payment", "ledger").await, left);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_is_interrupted_at_every_checkpoint_leaves_the_same_records() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let mut ends = Vec::new();
    for interrupted in [false, true] {
        let name = if interrupted { "cut" } else { "whole" };
        let client = server.tenant(name, "tests/functions").await;
        let metadata = |without: Option<&str>| json!({"without": without.unwrap_or("none"), "interrupted": interrupted});
        connect(&client, "slow", "http://127.0.0.1:9", metadata(None)).await;
        let (first, _) = synced(&client, "slow", "pages").await;
        let all = ids(&client, "Page", "slow").await;
        let path = ["slow", CONNECTION];
        let set = Request::new(Op::SetMetadata, &path).json(&metadata(Some("c")));
        client.send(set).await.unwrap();
        let (second, _) = synced(&client, "slow", "pages").await;
        let attempts = if interrupted { 5 } else { 1 };
        assert_eq!((first, second), (attempts, attempts), "{name}");
        ends.push((all, ids(&client, "Page", "slow").await));
    }
    assert_eq!(ends[1], ends[0]);
    assert_eq!(ends[0].1, ["-c", "a", "b", "d", "e", "f"]);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_model_context_protocol_runs_actions_and_deploys() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let (client, key) = server.tenant_and_key("t", "examples").await;
    assert_eq!(action(&client, "bench", "noop", json!({"n": 1})).await.unwrap()["n"], 1);
    // The project that the client may deploy is another than what is live.
    for way in ["stdio", "http"] {
        let output = Command::new(node_path())
            // As anywhere else, where the compiler is found only by what the environment says.
            .current_dir(home.data())
            .arg(workspace().join("runtime/node/test/support/mcp-client.mjs"))
            .args([way, env!("CARGO_BIN_EXE_bulkhead"), &server.url])
            .arg(workspace().join("tests/nango"))
            .env("BULKHEAD_COMPILER", workspace().join("runtime/node/compiler/compile.mjs"))
            .env("BULKHEAD_KEY", &key)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{way}: {told}");
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["ran"]["n"], 7, "{way}: {said:#}");
        assert_eq!(said["state"], "succeeded", "{way}: {said:#}");
        assert!(said["changes"].as_array().is_some_and(|all| !all.is_empty()), "{way}: {said:#}");
        assert!(said["tools"].as_array().unwrap().contains(&json!("run_bench_noop")));
    }
    server.stop();
}
