//! Bodies that are longer than a sandbox has memory pass through it piece by piece, both ways, on the server's own worker
//! and on one elsewhere; one that nobody reads on is let go; one that is asked for as a whole is refused by its size; one
//! whose sandbox goes in the middle is no whole one to the API.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use bulkhead_api::Op;
use bulkhead_client::{Client, Request};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::web::Api;
use support::{Home, Server, Worker, action, execution, sandboxes, submit, until};

/// More than a sandbox of `streaming/pass` has in all.
const MIB: u8 = 160;

/// Half of what an API that stands still is waited for: one that is let go by then was let go by what is tested.
const LET_GO_MAX: Duration = Duration::from_secs(30);

/// More than the kernel's buffers on the way hold, and far from what would be sent in all.
const SENT_FOR_NOBODY_MAX: u64 = 256 << 20;

/// Nothing is forked ahead: each sandbox that there is runs something.
const PARKED: &str = "worker.parked=0";

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

async fn seen(client: &Client) -> Value {
    let headers = [("Integration".to_owned(), "streaming".to_owned())];
    let ask = Request::proxy(http::Method::GET, "/sent", "").headers(headers);
    client.call(ask).await.unwrap()
}

/// What the API sent of long bodies so far, and how many it still sends.
async fn sent(client: &Client) -> (u64, u64) {
    let said = seen(client).await;
    (said["sent"].as_u64().unwrap(), said["open"].as_u64().unwrap())
}

/// Bodies that the API took: being taken, come to their end, broken off before.
async fn taken(client: &Client) -> [u64; 3] {
    let said = seen(client).await;
    ["open", "whole", "broken"].map(|field| said["taken"][field].as_u64().unwrap())
}

/// How each attempt ended.
async fn outcomes(client: &Client, id: &str) -> Vec<String> {
    let shown = execution(client, id).await;
    let attempts = shown["attempt_list"].as_array().unwrap().iter();
    attempts.map(|attempt| attempt["outcome"].as_str().unwrap_or("running").to_owned()).collect()
}

async fn ends(client: &Client, id: &str, state: &str) {
    let ended = || async {
        let now = execution(client, id).await["state"].clone();
        assert!(now == state || now != "failed", "{}", execution(client, id).await);
        now == state
    };
    until(state, ended).await;
}

/// Begins to send the API a body that does not come to its end, and waits until the API has some of it.
async fn uploading(client: &Client) -> String {
    let body = json!({"mib": 8, "how": "uploading"});
    let id = submit(client, "streaming", "pass", body).await;
    until("the API takes it", || async { taken(client).await[0] == 1 }).await;
    id
}

/// A sandbox that goes in the middle of what it sends has sent no whole body, and leaves nothing.
async fn breaks_off(client: &Client, home: &Home) {
    let [_, whole, broken] = taken(client).await;
    let id = uploading(client).await;
    client.send(Request::new(Op::CancelExecution, &[&id])).await.unwrap();
    ends(client, &id, "cancelled").await;
    let broken_off = [0, whole, broken + 1];
    until("the API knows", || async { taken(client).await == broken_off }).await;

    // It dies by itself, and is repeated as the function asks for: the second attempt sends all of it.
    let body = json!({"mib": 8, "how": "crashing"});
    let id = submit(client, "streaming", "pass", body).await;
    ends(client, &id, "succeeded").await;
    assert_eq!(outcomes(client, &id).await, ["crashed", "completed"]);
    let sent = json!({"bytes": 8 << 20, "sha256": hash_of(8)});
    assert_eq!(execution(client, &id).await["output"], sent);
    let broken_off = [0, whole + 1, broken + 2];
    until("the API knows", || async { taken(client).await == broken_off }).await;
    until("nothing is left", || async { sandboxes(home) == 0 }).await;
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
    let server = Server::start(&home, &[&api.rule(), PARKED]);
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
    breaks_off(&client, &home).await;

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
    let token = server.worker_token().await;
    let mut worker = Worker::join(&apart, &server.url, &token, &[PARKED]);
    passes(&client, 24).await;
    lets_go(&client).await;
    breaks_off(&client, &apart).await;

    // The worker itself dies: nobody is there to say that this was not all.
    let [_, whole, broken] = taken(&client).await;
    let id = uploading(&client).await;
    worker.process.kill().unwrap();
    worker.process.wait().unwrap();
    let broken_off = [0, whole, broken + 1];
    until("the API knows", || async { taken(&client).await == broken_off }).await;
    let worker = Worker::join(&apart, &server.url, &token, &[PARKED]);
    ends(&client, &id, "succeeded").await;
    assert_eq!(outcomes(&client, &id).await, ["lost", "completed"]);
    assert_eq!(taken(&client).await, [0, whole + 1, broken + 1]);
    worker.stop();
    server.stop();
}
