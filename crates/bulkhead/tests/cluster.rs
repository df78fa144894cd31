//! Workers elsewhere, as real processes: load is shared, a rolling restart loses nothing, and a worker that is cut off
//! kills what it may not run any more.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bulkhead_api::Op;
use bulkhead_client::{Client, Request};
use serde_json::{Value, json};
use support::{Home, Server, Wire, Worker, action, execution, sandboxes, submit, until};

const NO_WORKER: &str = "worker.own=no";

/// What its attempts came to, by worker.
async fn attempts(client: &Client, id: &str) -> Vec<(String, String)> {
    let shown = execution(client, id).await;
    let text = |value: &Value| value.as_str().unwrap_or("running").to_owned();
    let attempts = shown["attempt_list"].as_array().unwrap().iter();
    attempts.map(|attempt| (text(&attempt["worker"]), text(&attempt["outcome"]))).collect()
}

async fn state(client: &Client, id: &str) -> String {
    execution(client, id).await["state"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_server_and_workers_loses_nothing() {
    let (home, one, two) = (Home::new(), Home::new(), Home::new());
    let server = Server::start(&home, &[NO_WORKER]);
    let (client, key) = server.tenant_and_key("t", "examples").await;
    let token = server.worker_token().await;
    let (url, port) = (server.url.clone(), server.same_port());
    let units = ["worker.units=6"];
    let first = Worker::join(&one, &url, &token, &units);
    let second = Worker::join(&two, &url, &token, &units);
    let mut accepted = Vec::new();
    for _ in 0..60 {
        accepted.push(submit(&client, "bench", "sleep", json!({"ms": 1_500})).await);
    }
    until("both work", || async { sandboxes(&one) > 0 && sandboxes(&two) > 0 }).await;

    // A worker goes: what it runs comes to its end, and another takes its place.
    let first_id = first.id.clone();
    first.stop();
    // Its launcher sees it go, and takes the rest away.
    until("a drained worker leaves nothing", || async { one.cgroups().is_empty() }).await;
    let third = Worker::join(&one, &url, &token, &units);

    // The server goes while both run something; so does the next one, and without a word.
    until("both work", || async { sandboxes(&one) > 0 && sandboxes(&two) > 0 }).await;
    server.stop();
    let mut server = Server::start(&home, &[NO_WORKER, &port]);
    server.kill_nine();
    let server = Server::start(&home, &[NO_WORKER, &port]);
    let client = server.with_key(&key);
    for _ in 0..20 {
        accepted.push(submit(&client, "bench", "sleep", json!({"ms": 100})).await);
    }
    second.stop();

    let mut by_worker: HashMap<String, usize> = HashMap::new();
    for id in &accepted {
        until("each ends well", || async { state(&client, id).await == "succeeded" }).await;
        let attempts = attempts(&client, id).await;
        let completed = attempts.iter().filter(|(_, outcome)| outcome == "completed").count();
        assert_eq!(completed, 1, "{id} has one final outcome: {attempts:?}");
        let of_first = attempts.iter().filter(|(worker, _)| *worker == first_id);
        assert!(
            of_first.clone().all(|(_, outcome)| outcome == "completed"),
            "drained: {attempts:?}"
        );
        for (worker, _) in attempts {
            *by_worker.entry(worker).or_default() += 1;
        }
    }
    assert_eq!(by_worker.len(), 3, "each took its part: {by_worker:?}");
    third.stop();
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_cut_off_kills_its_sandboxes_and_others_go_on() {
    let (home, cut, other) = (Home::new(), Home::new(), Home::new());
    let server = Server::start(&home, &[NO_WORKER]);
    let (client, _) = server.tenant_and_key("t", "examples").await;
    let token = server.worker_token().await;
    let wire = Wire::to(&server.url).await;
    // Nothing is forked ahead: each sandbox that there is runs something.
    let behind = Worker::join(&cut, &wire.url, &token, &["worker.units=4", "worker.parked=0"]);
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(submit(&client, "bench", "sleep", json!({"ms": 20_000})).await);
    }
    for id in &running {
        until("it runs", || async { state(&client, id).await == "running" }).await;
    }
    until("each has a sandbox", || async { sandboxes(&cut) >= running.len() }).await;
    wire.cut();
    let second = Worker::join(&other, &server.url, &token, &["worker.units=4"]);

    // It hears nothing, so nobody tells it: its own clock does.
    for id in &running {
        until("the lease is lost", || async {
            attempts(&client, id).await.first().is_some_and(|(_, outcome)| outcome == "lost")
        })
        .await;
    }
    until("what was cut off is killed", || async { sandboxes(&cut) == 0 }).await;
    for id in &running {
        assert_eq!(
            state(&client, id).await,
            "running",
            "killed before it would have ended by itself"
        );
    }
    for id in &running {
        until("it ends elsewhere", || async { state(&client, id).await == "succeeded" }).await;
        let found = attempts(&client, id).await;
        let expected = [(&behind.id, "lost"), (&second.id, "completed")]
            .map(|(worker, outcome)| (worker.clone(), outcome.to_owned()));
        assert_eq!(found, expected);
    }

    // Mended, it takes part again, without having been started again.
    wire.mend();
    second.stop();
    assert_eq!(action(&client, "bench", "noop", json!({"n": 7})).await.unwrap()["n"], 7);
    let newest: Value = client.call(Request::new(Op::ListExecutions, &[])).await.unwrap();
    let newest = newest["executions"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(attempts(&client, &newest).await, [(behind.id.clone(), "completed".to_owned())]);
    behind.stop();
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_goes_on_from_its_checkpoint_when_its_worker_drains() {
    let (home, one, two) = (Home::new(), Home::new(), Home::new());
    let server = Server::start(&home, &[NO_WORKER]);
    let client = server.tenant("t", "tests/functions").await;
    let put = json!({"base_url": "http://127.0.0.1:1"});
    client.send(Request::new(Op::PutIntegration, &["slow"]).json(&put)).await.unwrap();
    let put = json!({"integration": "slow", "connection_id": "c", "credentials": {}, "metadata": {"steps": 40, "ms": 250}});
    client.send(Request::new(Op::PutConnection, &[]).json(&put)).await.unwrap();
    let token = server.worker_token().await;
    let first = Worker::join(&one, &server.url, &token, &[]);
    let trigger =
        Request::new(Op::TriggerSync, &["slow", "steps"]).json(&json!({"connection_id": "c"}));
    let accepted: Value = client.call(trigger).await.unwrap();
    let id = accepted["execution_id"].as_str().unwrap().to_owned();
    let saved = || async {
        let page: Value = client
            .call(
                Request::new(Op::ListRecords, &[])
                    .query("connection_id", "c")
                    .query("model", "Step")
                    .query("limit", "1000"),
            )
            .await
            .unwrap();
        page["records"].as_array().unwrap().len()
    };
    until("it saves", || async { saved().await > 3 }).await;
    let first_id = first.id.clone();
    first.stop();
    let by_then = saved().await;
    assert!(by_then < 40, "it was asked to come to its end before it had");
    let second = Worker::join(&two, &server.url, &token, &[]);
    until("it ends well", || async { state(&client, &id).await == "succeeded" }).await;
    let expected = [(first_id, "interrupted"), (second.id.clone(), "completed")]
        .map(|(worker, outcome)| (worker, outcome.to_owned()));
    assert_eq!(attempts(&client, &id).await, expected);
    assert_eq!(saved().await, 40);
    let logs: Value = client.call(Request::new(Op::ExecutionLogs, &[&id])).await.unwrap();
    let begins: HashSet<_> = logs["logs"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|line| line["message"].as_str().filter(|m| m.starts_with("begins at")))
        .collect();
    assert!(begins.len() == 2 && begins.contains("begins at 0"), "{begins:?}");
    second.stop();
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_a_worker_elsewhere() {
    let (home, one) = (Home::new(), Home::new());
    let server = Server::start(&home, &[NO_WORKER]);
    let client = server.tenant("t", "tests/functions").await;
    let worker = Worker::join(&one, &server.url, &server.worker_token().await, &[]);
    let id = submit(&client, "misbehaving", "cancel-me", json!({"listen": false})).await;
    until("it runs", || async { state(&client, &id).await == "running" }).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    client.send(Request::new(Op::CancelExecution, &[&id])).await.unwrap();
    until("it is cancelled", || async { state(&client, &id).await == "cancelled" }).await;
    worker.stop();
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_database_are_one() {
    let (home, twin, one) = (Home::new(), Home::new(), Home::new());
    let (database, s3) = (bulkhead_testkit::postgres(), bulkhead_testkit::s3());
    let (url, blobs, key) = (
        format!("database_url={}", database.url()),
        format!("blobs=s3://{}", bulkhead_testkit::s3::BUCKET),
        format!("secret_key={}", "0f".repeat(32)),
    );
    let settings = [NO_WORKER, &url, &blobs, &key];
    let server = Server::start_in(&home, &settings, s3.environment());
    let other = Server::start_in(&twin, &settings, s3.environment());
    let (here, secret) = server.tenant_and_key("t", "tests/functions").await;
    let there = other.with_key(&secret);
    let worker = Worker::join(&one, &other.url, &other.worker_token().await, &[]);

    // Asked here, run by a worker of the other: the caller hears of the end.
    let large = json!({"text": "x".repeat(100 << 10)});
    for _ in 0..3 {
        assert_eq!(action(&here, "slow", "echo", large.clone()).await.unwrap(), large);
    }
    // Cancelled here, run there: long before the next renewal, which would tell it as well.
    let id = submit(&here, "misbehaving", "cancel-me", json!({"listen": false})).await;
    until("it runs", || async { state(&there, &id).await == "running" }).await;
    here.send(Request::new(Op::CancelExecution, &[&id])).await.unwrap();
    until("it is cancelled", || async { state(&there, &id).await == "cancelled" }).await;

    // What both know of what is live follows a deployment at either.
    let functions = |client: Client| async move {
        let list: Value = client.call(Request::new(Op::ListFunctions, &[])).await.unwrap();
        list["functions"].as_array().unwrap().len()
    };
    assert!(functions(there.clone()).await > 10);
    let deploy = json!({"functions": [], "allow_destructive": true});
    assert_eq!(
        action(&there, "slow", "echo", json!(1)).await,
        Ok(json!(1)),
        "known there from now on"
    );
    here.send(Request::new(Op::Deploy, &[]).json(&deploy)).await.unwrap();
    until("it is known there, too", || async {
        action(&there, "slow", "echo", json!(1)).await == Err("function_not_found".to_owned())
    })
    .await;

    // A server that goes takes nothing with it.
    worker.stop();
    other.stop();
    assert_eq!(functions(here).await, 0);
    server.stop();
}
