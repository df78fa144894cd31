//! A database of each released schema, as a server of that version left it when it was killed, is taken over without
//! loss: SQLite's file, and what `pg_dump` made of PostgreSQL's. They are made by the released program and never
//! changed; a release that adds migrations adds both (`make_files`).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_sched::lease::LEASE;
use bulkhead_store::catalog::{self, KeyRow};
use bulkhead_store::hot::Store;
use bulkhead_store::hot::model::{
    Dispatch, ExecutionFilter, GateChange, GateOf, Idempotency, Schedule, ScheduleKey, Settled,
    Settlement, Submit,
};
use bulkhead_store::hot::sqlite::SqliteStore;
use bulkhead_store::records::{self, Filter, InClear, PageOf, StreamKey};
use bulkhead_store::{Conn, Db, DbOptions, StoreError};
use bulkhead_testkit::postgres::Database;
use bulkhead_types::{
    ConcurrencyKey, ConnectionId, ExecutionId, ExecutionState, FunctionKey, FunctionKind,
    FunctionName, IntegrationId, Lease, LeaseRef, MissedRuns, Outcome, Room, ScheduleOptions,
    TenantId, Timestamp, Trigger, VersionId, WorkerId,
};
use serde_json::json;

/// When the files were made, and some.
const NOW: Timestamp = Timestamp::from_millis(1_790_000_100_000);

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas")
}

/// A database that was brought up to what this program knows.
struct Taken {
    store: SqliteStore,
    db: Db,
    // Dropped after those who use it.
    _dir: tempfile::TempDir,
    _database: Option<Database>,
}

async fn taken_over(file: &str) -> Taken {
    let (dir, file) = (tempfile::tempdir().unwrap(), schemas().join(file));
    let (db, database) = if file.extension().is_some_and(|kind| kind == "sql") {
        let database = bulkhead_testkit::postgres();
        database.restore(&file);
        let db = Db::connect(database.url(), DbOptions::default()).await.unwrap();
        (db, Some(database))
    } else {
        let path = dir.path().join("bulkhead.db");
        std::fs::copy(file, &path).unwrap();
        (Db::open(&path).unwrap(), None)
    };
    Taken { store: SqliteStore::new(db.clone()), db, _dir: dir, _database: database }
}

fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn function(kind: FunctionKind, name: &str) -> FunctionKey {
    FunctionKey {
        tenant: tenant(),
        integration: IntegrationId::parse("github").unwrap(),
        kind,
        name: FunctionName::parse(name).unwrap(),
    }
}

async fn all(store: &SqliteStore) -> Vec<(String, ExecutionState, ExecutionId)> {
    let page = store.executions(tenant(), ExecutionFilter::default()).await.unwrap();
    let named = |execution: bulkhead_types::Execution| {
        (execution.function.name.to_string(), execution.state, execution.id)
    };
    let mut all: Vec<_> = page.executions.into_iter().map(named).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[tokio::test]
async fn schema_4_is_taken_over_without_loss() {
    is_taken_over("0004.db").await;
}

/// The same file with migration 5 applied, and with what that made room for.
#[tokio::test]
async fn schema_5_is_taken_over_without_loss() {
    is_taken_over("0005.db").await;
    let taken = taken_over("0005.db").await;
    assert_eq!(
        tokens(&taken.db).await,
        [("rack1".to_owned(), "rack 1".to_owned(), vec![0xab; 32])]
    );
}

/// Each schema that was released has its file: all but the newest, which a release may still add to.
#[test]
fn each_schema_since_the_first_release_has_a_file() {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let names = std::fs::read_dir(migrations).unwrap().map(|file| file.unwrap().file_name());
    let numbers = names.filter_map(|name| name.to_str()?.get(..4)?.parse::<u32>().ok());
    let newest = numbers.max().unwrap();
    let files = (4..newest).map(|number| format!("{number:04}.db"));
    for file in files.chain((7..newest).map(|number| format!("{number:04}.sql"))) {
        let file = schemas().join(file);
        assert!(file.is_file(), "{} is missing: see make_files", file.display());
    }
}

async fn tokens(db: &Db) -> Vec<(String, String, Vec<u8>)> {
    let all = |db: &Conn| {
        let known = catalog::worker_tokens(db)?.into_iter().map(|token| {
            let digest = catalog::worker_token_digest(db, &token.id)?.unwrap();
            Ok((token.id, token.label, digest))
        });
        known.collect::<Result<Vec<_>, StoreError>>()
    };
    db.read(all).await.unwrap()
}

async fn is_taken_over(file: &str) {
    let taken = taken_over(file).await;
    let store = &taken.store;
    let before = all(store).await;
    let states: Vec<String> =
        before.iter().map(|(name, state, _)| format!("{name} {}", state.as_str())).collect();
    let expected = ["cancelled", "failed", "queued", "running", "succeeded", "waiting"]
        .map(|s| format!("{s} {s}"));
    assert_eq!(states, expected);
    let id = |name: &str| before.iter().find(|(of, ..)| of == name).unwrap().2.clone();

    let succeeded = store.execution(id("succeeded")).await.unwrap().unwrap();
    assert_eq!(succeeded.output.unwrap()["long"].as_str().unwrap().len(), 6_000);
    let share = store.share(tenant()).await.unwrap().unwrap();
    assert_eq!((share.queued, share.held, share.waiting, share.running), (1, 0, 1, 1));
    let schedule = store.schedules(tenant()).await.unwrap().remove(0);
    assert_eq!(
        (schedule.frequency.as_str(), schedule.options.missed),
        ("every 1h", MissedRuns::CatchUp)
    );

    // The key is still known: the same call makes nothing new.
    let version = VersionId::parse(&"a".repeat(64)).unwrap();
    let queued = function(FunctionKind::Action, "queued");
    let mut again = Submit::new(queued.clone(), version, Trigger::Api, json!(1));
    again.idempotency = Some(Idempotency { key: "once".to_owned(), ttl: Duration::from_secs(60) });
    let again = store.submit(ExecutionId::parse("exe_new").unwrap(), again, NOW).await.unwrap();
    assert_eq!((again.execution, again.duplicate), (id("queued"), true));

    // The dead server's lease is taken back, its checkpoint kept; late writes under it are refused.
    store.recover(WorkerId::parse("wrk_old").unwrap(), NOW).await.unwrap();
    store.tick(NOW, 100).await.unwrap();
    let old = LeaseRef { execution: id("running"), fence: bulkhead_types::Fence(1) };
    let late = store.settle(old, Settled::new(Outcome::Completed(json!(1))), NOW, 1).await.unwrap();
    assert_eq!(late, Settlement::Stale);

    // Everything that had not ended runs to its end, through what the old version did not know.
    let gate = GateChange { running_max: Some(Some(1)), paused: None };
    store.set_gate(GateOf::Function(queued), gate).await.unwrap();
    let mut ran = Vec::new();
    for _ in 0..3 {
        let worker = WorkerId::parse("wrk_new").unwrap();
        let dispatch = Dispatch { worker, room: 9.into(), now: NOW, lease: LEASE };
        for lease in store.dispatch(dispatch).await.unwrap().leases {
            if lease.function.kind == FunctionKind::Sync {
                let scope = bulkhead_store::checkpoints::sync_scope(
                    &lease.function,
                    lease.connection.as_ref(),
                );
                let kept = store.checkpoint(scope).await.unwrap().unwrap();
                assert_eq!(kept.body.as_deref(), Some("{\"page\":7}"));
            }
            ran.push((lease.function.name.to_string(), lease.attempt));
            store
                .settle(lease.lease, Settled::new(Outcome::Completed(json!(1))), NOW, 1)
                .await
                .unwrap();
        }
    }
    ran.sort();
    let expected = [("queued", 1), ("running", 2), ("waiting", 2)];
    assert_eq!(ran, expected.map(|(name, attempt)| (name.to_owned(), attempt)));
    let share = store.share(tenant()).await.unwrap().unwrap();
    assert_eq!((share.queued, share.held, share.waiting, share.running), (0, 0, 0, 0));
}

#[tokio::test]
async fn schema_6_is_taken_over_without_loss() {
    with_gates_is_taken_over("0006.db").await;
}

#[tokio::test]
async fn schema_7_is_taken_over_without_loss() {
    with_gates_is_taken_over("0007.db").await;
}

/// What that schema made room for: the wall of an attempt, products that are told of things.
#[tokio::test]
async fn notifications_of_schema_7_are_taken_over_without_loss() {
    let taken = taken_over("0007-notifications.db").await;
    let (db, store) = (&taken.db, &taken.store);
    let keyed = ExecutionId::parse("exe_keyed0").unwrap();
    let attempts = store.attempts(keyed.clone()).await.unwrap();
    assert_eq!(attempts[0].wall.as_deref(), Some("gvisor"));
    let known = |db: &Conn| {
        let target = catalog::target(db, &tenant())?.map(|target| target.url);
        let waiting = catalog::notification(db, &tenant(), "webhook_1")?;
        Ok::<_, StoreError>((target, waiting.map(|waiting| waiting.attempts)))
    };
    let expected = (Some("https://product.example/hook".to_owned()), Some(3));
    assert_eq!(db.read(known).await.unwrap(), expected);
    // What was accepted before there was anything to tell is not told.
    store.cancel(tenant(), keyed, NOW).await.unwrap();
    assert!(store.endings(9).await.unwrap().is_empty());
}

#[tokio::test]
async fn schema_7_of_postgres_is_taken_over_without_loss() {
    with_gates_is_taken_over("0007.sql").await;
}

/// What there is since schema 6: limits, pauses, keys, and who is held at them.
async fn with_gates_is_taken_over(file: &str) {
    let taken = taken_over(file).await;
    let (db, store) = (&taken.db, &taken.store);
    assert_eq!(tokens(db).await, [("rack1".to_owned(), "rack 1".to_owned(), vec![0xab; 32])]);
    let share = store.share(tenant()).await.unwrap().unwrap();
    assert_eq!((share.queued, share.held, share.running, share.paused), (6, 5, 2, false));
    let schedule = store.schedules(tenant()).await.unwrap().remove(0);
    let options = ScheduleOptions { jitter_ms: 20_000, missed: MissedRuns::Skip };
    assert_eq!((schedule.options, schedule.paused), (options, true));
    let mut gates = store.gates(tenant()).await.unwrap();
    gates.sort_by(|a, b| a.key.cmp(&b.key));
    let set: Vec<_> =
        gates.iter().filter(|gate| gate.set).map(|gate| (gate.running_max, gate.paused)).collect();
    assert_eq!(set, [(None, true), (Some(1), false)], "a connection, a function: {gates:?}");

    // What ran is taken back; limits and pauses are what they were.
    store.recover(WorkerId::parse("wrk_old").unwrap(), NOW).await.unwrap();
    assert_eq!(run_all(store).await, ["limited 2", "keyed 2", "large 1"]);
    for _ in 0..2 {
        assert_eq!(run_all(store).await, ["limited 1", "keyed 1"], "one at a time");
    }
    assert_eq!(run_all(store).await, Vec::<String>::new(), "the connection is paused");
    let go_on = GateChange { running_max: None, paused: Some(false) };
    let github = IntegrationId::parse("github").unwrap();
    let connection = GateOf::Connection(tenant(), github, ConnectionId::parse("c1").unwrap());
    store.set_gate(connection, go_on).await.unwrap();
    assert_eq!(run_all(store).await, ["of-connection 1"]);
    let share = store.share(tenant()).await.unwrap().unwrap();
    assert_eq!((share.queued, share.held, share.waiting, share.running), (0, 0, 0, 0));
}

/// A file with records, which what comes after counts.
#[tokio::test]
async fn records_of_schema_7_are_taken_over_without_loss() {
    let taken = taken_over("0007-records.db").await;
    let db = &taken.db;
    assert_eq!(tokens(db).await, [("rack1".to_owned(), "rack 1".to_owned(), vec![0xab; 32])]);
    let github = IntegrationId::parse("github").unwrap();
    let c1 = ConnectionId::parse("c1").unwrap();
    let (integration, connection, model) = (github.clone(), c1.clone(), "Task".to_owned());
    let key = StreamKey { tenant: tenant(), integration, connection, model };
    let read = move |db: &Conn| {
        let of = PageOf { after: 0, limit: 9, bytes_max: usize::MAX };
        let (rows, _) = records::since(db, &key, &InClear, &Filter::default(), of)?;
        Ok::<_, StoreError>((records::stream_counts(db, &tenant(), &github, &c1, 9)?, rows))
    };
    let (counts, rows) = db.read(read).await.unwrap();
    assert_eq!((counts[0].present, counts[0].deleted, counts[0].cursor), (2, 1, 4));
    let shown: Vec<_> =
        rows.iter().map(|row| format!("{} {} {}", row.id, row.action, row.body)).collect();
    let expected = [r#"a added {"id":"a"}"#, r#"b added {"id":"b"}"#, r#"c deleted {"id":"c"}"#];
    assert_eq!(shown, expected);
}

/// Begins what may begin, then completes it. Names, each with the number of its attempt.
async fn run_all(store: &SqliteStore) -> Vec<String> {
    let leases = lease(store, "wrk_new").await;
    let mut ran = Vec::new();
    for lease in leases {
        ran.push(format!("{} {}", lease.function.name, lease.attempt));
        let done = Settled::new(Outcome::Completed(json!(1)));
        store.settle(lease.lease, done, NOW, 1).await.unwrap();
    }
    ran
}

async fn lease(store: &SqliteStore, worker: &str) -> Vec<Lease> {
    let worker = WorkerId::parse(worker).unwrap();
    let dispatch = Dispatch { worker, room: Room::from(9), now: NOW, lease: LEASE };
    store.dispatch(dispatch).await.unwrap().leases
}

/// Makes the files of the newest schema, in the temporary directory; run by hand before a release.
#[tokio::test]
#[ignore = "makes files"]
async fn make_files() {
    let to = std::env::temp_dir();
    let path = to.join("bulkhead-schema.db");
    drop(std::fs::remove_file(&path));
    fill(Db::open(&path).unwrap()).await;
    let database = bulkhead_testkit::postgres();
    fill(Db::connect(database.url(), DbOptions::default()).await.unwrap()).await;
    database.dump(&to.join("bulkhead-schema.sql"));
}

/// What a server leaves that is killed.
async fn fill(db: Db) {
    let store = SqliteStore::new(db.clone());
    let limited = GateOf::Function(function(FunctionKind::Action, "limited"));
    let one = GateChange { running_max: Some(Some(1)), paused: None };
    store.set_gate(limited, one).await.unwrap();
    for at in 0..3 {
        submit(&store, &format!("exe_limited{at}"), "limited", |_| {}).await;
    }
    for at in 0..3 {
        submit(&store, &format!("exe_keyed{at}"), "keyed", |submit| {
            submit.concurrency = Some(ConcurrencyKey { name: "account".to_owned(), max: 1 });
        })
        .await;
    }
    assert_eq!(lease(&store, "wrk_old").await.len(), 2);
    let github = IntegrationId::parse("github").unwrap();
    let c1 = ConnectionId::parse("c1").unwrap();
    let paused = GateChange { running_max: None, paused: Some(true) };
    store.set_gate(GateOf::Connection(tenant(), github, c1.clone()), paused).await.unwrap();
    submit(&store, "exe_connection", "of-connection", |submit| {
        submit.connection = Some(c1.clone());
    })
    .await;
    submit(&store, "exe_large", "large", |submit| submit.limits.cpu_units = 3).await;
    let key = ScheduleKey { function: function(FunctionKind::Sync, "tasks"), connection: Some(c1) };
    let schedule = Schedule {
        key,
        frequency: "every 1h".to_owned(),
        anchor: NOW,
        options: ScheduleOptions { jitter_ms: 20_000, missed: MissedRuns::Skip },
        paused: true,
        next_at: NOW,
        last_at: None,
        last_execution: None,
        last_error: None,
    };
    store.put_schedule(schedule, None).await.unwrap();
    let (id, label) = ("rack1".to_owned(), "rack 1".to_owned());
    let token = KeyRow { id, label, created_at: NOW };
    let keep = move |tx: &Conn| catalog::insert_worker_token(tx, &token, &[0xab; 32]);
    db.write(keep).await.unwrap();
}

async fn submit(store: &SqliteStore, id: &str, name: &str, change: impl FnOnce(&mut Submit)) {
    let version = VersionId::parse(&"a".repeat(64)).unwrap();
    let function = function(FunctionKind::Action, name);
    let mut submit = Submit::new(function, version, Trigger::Api, json!({"name": name}));
    change(&mut submit);
    store.submit(ExecutionId::parse(id).unwrap(), submit, NOW).await.unwrap();
}
