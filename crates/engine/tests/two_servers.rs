//! Two servers over one PostgreSQL database: what is submitted to one runs at the other, and who waits is told.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bulkhead_engine::{
    CancelOutcome, Engine, EngineOptions, Live, RecallReason, Resolve, Settled, Submit,
};
use bulkhead_store::hot::sqlite::SqliteStore;
use bulkhead_store::{Db, DbOptions};
use bulkhead_types::{
    ConnectionId, ExecutionState, FunctionKey, FunctionKind, FunctionName, IntegrationId, Outcome,
    Room, SystemClock, SystemEntropy, TenantId, Trigger, VersionId, WorkerId,
};
use serde_json::json;

/// Far below the half minute that a worker waits by itself before it looks again.
const SOON: Duration = Duration::from_secs(15);

struct Nothing;

#[async_trait]
impl Resolve for Nothing {
    async fn live(&self, _: &FunctionKey, _: Option<&ConnectionId>) -> Result<Live, String> {
        Err("nothing is deployed".to_owned())
    }
}

async fn server(url: &str) -> Engine {
    let db = Db::connect(url, DbOptions::default()).await.unwrap();
    let store = Arc::new(SqliteStore::new(db));
    let options =
        EngineOptions { lease_wait: Duration::from_secs(120), ..EngineOptions::default() };
    let engine = Engine::new(store, Arc::new(SystemClock), Arc::new(SystemEntropy), options);
    let background = engine.clone();
    tokio::spawn(async move {
        background.run_background(Arc::new(Nothing), std::future::pending()).await;
    });
    engine
}

fn submit() -> Submit {
    let function = FunctionKey {
        tenant: TenantId::parse("acme").unwrap(),
        integration: IntegrationId::parse("github").unwrap(),
        kind: FunctionKind::Action,
        name: FunctionName::parse("create-issue").unwrap(),
    };
    Submit::new(function, VersionId::parse("v1").unwrap(), Trigger::Api, json!({"n": 1}))
}

async fn soon<T>(what: &str, answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, answer).await.unwrap_or_else(|_| panic!("took too long: {what}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_accepts_the_other_runs_and_both_are_told() {
    let database = bulkhead_testkit::postgres();
    let (a, b) = (server(database.url()).await, server(database.url()).await);
    let worker = WorkerId::parse("wrk_b").unwrap();
    // The worker waits before there is anything: it is woken by what the other server accepts.
    let (engine, who) = (b.clone(), worker.clone());
    let waiting = tokio::spawn(async move { engine.lease(&who, Room::from(1)).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let id = a.submit(submit()).await.unwrap().execution;
    let lease = soon("a lease at the other server", waiting).await.unwrap().remove(0).lease;
    assert_eq!(lease.execution, id);

    let (engine, wanted) = (a.clone(), id.clone());
    let ended = tokio::spawn(async move { engine.wait(&wanted, Duration::from_secs(120)).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    b.settle(&lease, Settled::new(Outcome::Completed(json!("ok")))).await.unwrap();
    let ended = soon("the end, at the first server", ended).await.unwrap().unwrap().unwrap();
    assert_eq!((ended.state, ended.output), (ExecutionState::Succeeded, Some(json!("ok"))));

    let id = a.submit(submit()).await.unwrap().execution;
    let lease = soon("a second lease", b.lease(&worker, Room::from(1))).await.unwrap().remove(0);
    let cancel = a.cancel(&TenantId::parse("acme").unwrap(), &id).await.unwrap();
    assert_eq!(cancel, CancelOutcome::Asked);
    let recall = soon("a recall at the other server", b.recalls(&worker)).await;
    assert_eq!((recall.lease, recall.reason), (lease.lease, RecallReason::Cancelled));
}
