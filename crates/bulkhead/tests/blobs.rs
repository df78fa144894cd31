//! Bundles and large payloads, on this machine's disk and in S3-compatible storage.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use bulkhead_api::Op;
use bulkhead_client::{Client, Request};
use serde_json::{Value, json};
use support::{Home, Server, Worker, action, execution};

/// Half a megabyte there and back.
async fn echoes(client: &Client) {
    let large = json!({"text": "x".repeat(512 << 10)});
    let answer = action(client, "slow", "echo", large.clone()).await.unwrap();
    assert!(answer.to_string().len() > 512 << 10, "{answer:.200}");
    let newest: Value = client.call(Request::new(Op::ListExecutions, &[])).await.unwrap();
    let id = newest["executions"][0]["id"].as_str().unwrap();
    let shown = execution(client, id).await;
    assert_eq!((&shown["input"], &shown["output"]), (&large, &answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_payloads_are_files_by_default_and_one_that_was_changed_is_not_used() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let client = server.tenant("t", "tests/functions").await;
    echoes(&client).await;
    let payloads = home.data().join("blobs/payloads");
    let files: Vec<_> = std::fs::read_dir(&payloads).unwrap().map(|f| f.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "input and output are the same content: {files:?}");
    for file in &files {
        std::fs::write(file, "\"forged\"").unwrap();
    }
    let newest: Value = client.call(Request::new(Op::ListExecutions, &[])).await.unwrap();
    let id = newest["executions"][0]["id"].as_str().unwrap();
    let shown = client.call::<Value>(Request::new(Op::ShowExecution, &[id])).await;
    assert_eq!(shown.unwrap_err().code(), Some("internal"));
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_its_disk_runs_what_is_in_the_bucket() {
    let (home, elsewhere) = (Home::new(), Home::new());
    let s3 = bulkhead_testkit::s3();
    let blobs = format!("blobs=s3://{}/one", bulkhead_testkit::s3::BUCKET);
    let server = Server::start_in(&home, &[&blobs], s3.environment());
    let (client, key) = server.tenant_and_key("t", "tests/functions").await;
    echoes(&client).await;
    assert!(!home.data().join("blobs").exists(), "payloads are in the bucket");
    server.stop();

    // Another disk, as another machine has: bundles come from the bucket, for its own worker and for others.
    std::fs::remove_dir_all(home.data().join("bundles")).unwrap();
    let server = Server::start_in(&home, &[&blobs], s3.environment());
    echoes(&server.with_key(&key)).await;
    server.stop();
    std::fs::remove_dir_all(home.data().join("bundles")).unwrap();
    let server = Server::start_in(&home, &[&blobs, "worker.own=no"], s3.environment());
    let worker = Worker::join(&elsewhere, &server.url, &server.worker_token().await, &[]);
    echoes(&server.with_key(&key)).await;
    worker.stop();
    server.stop();
}
