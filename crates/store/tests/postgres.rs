//! What several servers over one PostgreSQL database have to agree on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
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

/// Takes as many executions as it says through their life.
async fn live_through(server: &Server, round: usize, count: usize) {
    for number in 0..count {
        submit(server, &format!("exe_{round}_{number}")).await;
    }
    let worker = WorkerId::parse("wrk_a").unwrap();
    loop {
        let room = Room::from(50);
        let dispatch = Dispatch { worker: worker.clone(), room, now: START, lease: LEASE };
        let leases = server.store.dispatch(dispatch).await.unwrap().leases;
        if leases.is_empty() {
            return;
        }
        let settles = leases.into_iter().map(|lease| {
            let settled = Settled::new(Outcome::Completed(json!("ok")));
            server.store.settle(lease.lease, settled, START, 0)
        });
        futures_util::future::try_join_all(settles).await.unwrap();
    }
}

/// What has ended is out of the way of what is under way, and leaves no holes that grow.
#[tokio::test]
async fn the_hot_table_has_what_is_live_and_nothing_else() {
    let database = bulkhead_testkit::postgres();
    let a = server(&database).await;
    let sql = |sql: &str| bulkhead_testkit::postgres::sql(database.url(), sql).unwrap();
    let count = |sql_of: &str| sql(sql_of).parse::<u64>().unwrap();
    let mut bytes = Vec::new();
    for round in 0..6 {
        live_through(&a, round, 200).await;
        bytes.push(count("SELECT pg_relation_size('executions_live')"));
        // As autovacuum does, when it gets round to it.
        sql("VACUUM executions_live");
    }
    let waiting = submit(&a, "exe_waiting").await;
    assert_eq!(sql("SELECT id FROM executions_live"), waiting.as_str());
    assert_eq!(count("SELECT count(*) FROM executions_settled"), 6 * 200);
    assert!(bytes.iter().all(|now| *now <= 2 * bytes[0]), "it grows: {bytes:?}");
    // Where it lies makes no difference to who looks.
    let ended = ExecutionId::parse("exe_0_0").unwrap();
    assert!(a.store.execution(ended).await.unwrap().unwrap().state.is_final());
}

/// While nobody can connect, a notification goes to nobody. Whoever listens again looks for itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_notification_is_made_up_for_by_looking() {
    let database = bulkhead_testkit::postgres();
    let (a, b) = (server(&database).await, server(&database).await);
    for server in [&a, &b] {
        hears(server, &News::Missed).await;
    }
    let sql = |sql: &str| bulkhead_testkit::postgres::sql(&elsewhere(&database), sql).unwrap();
    let name = database.url().rsplit('/').next().unwrap().to_owned();
    let listening =
        format!("FROM pg_stat_activity WHERE datname = '{name}' AND query LIKE '%LISTEN%'");
    sql(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    sql(&format!("SELECT pg_terminate_backend(pid) {listening}"));
    let gone = async {
        while sql(&format!("SELECT count(*) {listening}")) != "0" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    submit(&a, "exe_1").await;
    sql(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
    hears(&b, &News::Missed).await;
    assert_eq!(lease(&b, "wrk_b").await.attempt, 1);
}

/// Another database of the same server.
fn elsewhere(database: &Database) -> String {
    let (server, _) = database.url().rsplit_once('/').unwrap();
    format!("{server}/postgres")
}

/// A backend that was killed makes the database recover, which takes a while on a busy machine: a server that was started
/// meanwhile ended for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_recovers_is_told_from_one_that_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://u:p@{}/d", listener.local_addr().unwrap());
    let says = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut startup = vec![0; u32::from_be_bytes(length) as usize - 4];
        stream.read_exact(&mut startup).unwrap();
        let told = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is in recovery mode\0\0";
        stream.write_all(b"E").unwrap();
        stream.write_all(&(told.len() as u32 + 4).to_be_bytes()).unwrap();
        stream.write_all(told).unwrap();
    });
    let recovering = Db::connect(&url, DbOptions::default()).await.unwrap_err();
    assert!(recovering.is_restarting(), "{recovering:?}");
    says.join().unwrap();
    let gone = Db::connect(&url, DbOptions::default()).await.unwrap_err();
    assert!(!gone.is_restarting(), "{gone:?}");
}
