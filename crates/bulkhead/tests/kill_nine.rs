//! `kill -9` of the server in the middle of its work: nothing accepted is lost, and nothing is left behind.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use serde_json::json;
use support::{Home, Server, execution, sandboxes, submit, until};

const EXECUTIONS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_execution_ends_and_nothing_of_the_dead_server_is_left() {
    let home = Home::new();
    let mut server = Server::start(&home, &["worker.units=200"]);
    let (client, key) = server.tenant_and_key("t", "examples").await;
    let mut accepted = Vec::new();
    for _ in 0..EXECUTIONS {
        accepted.push(submit(&client, "bench", "sleep", json!({"ms": 2_000})).await);
    }
    until("many of them run", || async { sandboxes(&home) > 20 }).await;
    assert!(!home.cgroups().is_empty());
    server.kill_nine();

    // The launcher sees the server's end and clears everything away, without anybody's help.
    until("nothing is left", || async { home.cgroups().is_empty() }).await;
    assert_eq!(sandboxes(&home), 0);

    let server = Server::start(&home, &["worker.units=200"]);
    let client = server.with_key(&key);
    for id in &accepted {
        until("each accepted execution ends well", || async {
            execution(&client, id).await["state"] == "succeeded"
        })
        .await;
    }
    server.stop();
    until("nothing is left", || async { home.cgroups().is_empty() }).await;
}
