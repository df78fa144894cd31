//! What several servers over one PostgreSQL database have to agree on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use bulkhead_sched::lease::LEASE;
use bulkhead_store::hot::Store as _;
use bulkhead_store::hot::model::{Dispatch, Settled, Submit};
use bulkhead_store::hot::news::News;
use bulkhead_store::hot::sqlite::SqliteStore;
use bulkhead_store::{Db, DbOptions, checkpoints, fence};
use bulkhead_testkit::postgres::Database;
use bulkhead_types::{
    ExecutionId, FunctionKey, FunctionKind, FunctionName, IntegrationId, Lease, Outcome, Room,
    TenantId, Timestamp, Trigger, VersionId, WorkerId,
};
use serde_json::json;

const START: Timestamp = Timestamp::from_millis(1_000_000);

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

struct Server {
    db: Db,
    store: SqliteStore,
}

async fn server(database: &Database) -> Server {
    let db = Db::connect(database.url(), DbOptions::default()).await.unwrap();
    Server { store: SqliteStore::new(db.clone()), db }
}

async fn submit(server: &Server, id: &str) -> ExecutionId {
    let function = FunctionKey {
        tenant: TenantId::parse("acme").unwrap(),
        integration: IntegrationId::parse("github").unwrap(),
        kind: FunctionKind::Action,
        name: FunctionName::parse("create-issue").unwrap(),
    };
    let submit =
        Submit::new(function, VersionId::parse("v1").unwrap(), Trigger::Api, json!({"n": 1}));
    let id = ExecutionId::parse(id).unwrap();
    server.store.submit(id, submit, START).await.unwrap().execution
}

async fn lease(server: &Server, worker: &str) -> Lease {
    let worker = WorkerId::parse(worker).unwrap();
    let dispatch = Dispatch { worker, room: Room::from(1), now: START, lease: LEASE };
    server.store.dispatch(dispatch).await.unwrap().leases.remove(0)
}

/// A save that is under way when its lease runs out comes first, and is taken into account; one that comes later
/// is refused. Never does the lease change hands in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_under_a_lease_comes_before_its_loss_or_not_at_all() {
    let database = bulkhead_testkit::postgres();
    let (a, b) = (server(&database).await, server(&database).await);
    let id = submit(&a, "exe_1").await;
    let held = lease(&a, "wrk_a").await.lease;

    let (begun, begins) = tokio::sync::oneshot::channel();
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(1);
    let (db, under) = (a.db.clone(), held.clone());
    let save = tokio::spawn(async move {
        db.write(move |tx| {
            fence::check_fence(tx, &under)?;
            begun.send(()).unwrap();
            wait.recv().unwrap();
            checkpoints::save(tx, &under, 0, "{}", START)
        })
        .await
    });
    begins.await.unwrap();
    let later = START.after(LEASE);
    let mut tick = std::pin::pin!(b.store.tick(later, 100));
    let early = tokio::time::timeout(Duration::from_millis(500), &mut tick).await;
    assert!(early.is_err(), "the lease was lost while a write under it was under way");
    go.send(()).unwrap();
    assert_eq!(save.await.unwrap().unwrap(), 1);
    let lost = tokio::time::timeout(PATIENCE, tick).await.unwrap().unwrap().lost;
    assert_eq!(lost, [(WorkerId::parse("wrk_a").unwrap(), held.clone())]);
    // Whoever took the lease away saw what had been saved.
    let timeline = b.store.timeline(id).await.unwrap();
    assert!(timeline.iter().any(|event| event.what == "checkpoint"), "{timeline:?}");

    let stale = a.db.write(move |tx| checkpoints::save(tx, &held, 1, "{}", START)).await;
    assert!(matches!(stale, Err(checkpoints::CheckpointError::Stale(_))), "{stale:?}");
}

async fn hears(server: &Server, wanted: &News) {
    let listen = async { while !server.store.news().await.contains(wanted) {} };
    tokio::time::timeout(PATIENCE, listen).await.unwrap_or_else(|_| panic!("not told: {wanted:?}"));
}

#[tokio::test]
async fn servers_tell_each_other_what_they_brought_about() {
    let database = bulkhead_testkit::postgres();
    let (a, b) = (server(&database).await, server(&database).await);
    hears(&b, &News::Missed).await;
    let id = submit(&a, "exe_1").await;
    hears(&b, &News::Runnable).await;
    let lease = lease(&b, "wrk_b").await.lease;
    a.store.cancel(TenantId::parse("acme").unwrap(), id.clone(), START).await.unwrap();
    hears(&b, &News::Cancelled(WorkerId::parse("wrk_b").unwrap(), lease.clone())).await;
    hears(&a, &News::Missed).await;
    let settled = Settled::new(Outcome::Cancelled);
    b.store.settle(lease, settled, START, 0).await.unwrap();
    hears(&a, &News::Ended(id)).await;
}
