//! Bodies that are longer than a sandbox has memory pass through it piece by piece, both ways, on the server's own worker
//! and on one elsewhere; one that nobody reads on is let go; one that is asked for as a whole is refused by its size.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use bulkhead_api::Op;
use bulkhead_client::{Client, Request};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::web::Api;
use support::{Home, Server, Worker, action, submit, until};

/// More than a sandbox of `streaming/pass` has in all.
const MIB: u8 = 160;

/// Half of what an API that stands still is waited for: one that is let go by then was let go by what is tested.
const LET_GO_MAX: Duration = Duration::from_secs(30);

/// More than the kernel's buffers on the way hold, and far from what would be sent in all.
const SENT_FOR_NOBODY_MAX: u64 = 256 << 20;

async fn connected(server: &Server, api: &Api) -> Client {
    let client = server.tenant("t", "tests/functions").await;
    let put = json!({"base_url": api.url, "auth": {"mode": "bearer"}});
    let put = Request::new(Op::PutIntegration, &["streaming"]).json(&put);
    client.call::<Value>(put).await.unwrap();
    client
}

fn hash_of(mib: u8) -> String {
    let mut hash = Sha256::new();
    (0..mib).for_each(|piece| hash.update(vec![piece; 1 << 20]));
    hex::encode(hash.finalize())
}

async fn passes(client: &Client, mib: u8) {
    let passed = action(client, "streaming", "pass", json!({"mib": mib})).await.unwrap();
    let wanted = json!({"bytes": u64::from(mib) << 20, "sha256": hash_of(mib)});
    assert_eq!(passed, json!({"down": wanted, "up": wanted}));
}

/// What the API sent of long bodies so far, and how many it still sends.
async fn sent(client: &Client) -> (u64, u64) {
    let headers = [("Integration".to_owned(), "streaming".to_owned())];
    let ask = Request::proxy(http::Method::GET, "/sent", "").headers(headers);
    let said: Value = client.call(ask).await.unwrap();
    (said["sent"].as_u64().unwrap(), said["open"].as_u64().unwrap())
}

/// An API that stands still is let go when the function that waits for it destroys the stream, and when it is killed.
async fn lets_go(client: &Client) {
    let still = |how: &str| json!({"mib": 4 << 10, "how": how});
    let destroyed = action(client, "streaming", "pass", still("destroyed")).await.unwrap();
    assert_eq!(destroyed, "let go");

    let id = submit(client, "streaming", "pass", still("waiting")).await;
    until("the API sends", || async { sent(client).await.1 == 1 }).await;
    client.send(Request::new(Op::CancelExecution, &[&id])).await.unwrap();
    let let_go = until("the API is let go", || async { sent(client).await.1 == 0 });
    tokio::time::timeout(LET_GO_MAX, let_go).await.expect("let go because of the cancel");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_pass_through_a_sandbox_that_could_not_hold_them() {
    let api = Api::start("tests/functions/streaming/api.mjs");
    let home = Home::new();
    let server = Server::start(&home, &[&api.rule()]);
    let client = connected(&server, &api).await;
    passes(&client, MIB).await;

    // Four gigabytes, of which somebody wants four megabytes.
    let (before, _) = sent(&client).await;
    let some = json!({"mib": 4 << 10, "stopAfter": 4 << 20});
    let took = action(&client, "streaming", "pass", some).await.unwrap();
    assert!(took["bytes"].as_u64() >= Some(4 << 20), "{took}");
    until("the API is let go", || async { sent(&client).await.1 == 0 }).await;
    let (after, _) = sent(&client).await;
    let bytes = after - before;
    assert!(bytes < SENT_FOR_NOBODY_MAX, "{bytes} bytes were sent for nobody");
    lets_go(&client).await;

    let whole = json!({"mib": 1 << 10, "how": "whole"});
    let refused = action(&client, "streaming", "pass", whole).await.unwrap();
    assert_eq!(refused["code"], "response_too_large", "{refused}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn they_pass_on_a_worker_elsewhere_too() {
    let api = Api::start("tests/functions/streaming/api.mjs");
    let (home, apart) = (Home::new(), Home::new());
    let server = Server::start(&home, &[&api.rule(), "worker.own=no"]);
    let client = connected(&server, &api).await;
    let worker = Worker::join(&apart, &server.url, &server.worker_token().await, &[]);
    passes(&client, 24).await;
    lets_go(&client).await;
    worker.stop();
    server.stop();
}
