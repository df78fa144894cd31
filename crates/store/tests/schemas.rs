//! A database file of each released schema, as a server of that version left it when it was killed, is taken over
//! without loss. The files are made by the released program and never changed; a release that adds migrations adds
//! one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::time::Duration;

use bulkhead_sched::lease::LEASE;
use bulkhead_store::Db;
use bulkhead_store::hot::Store;
use bulkhead_store::hot::model::{
    Dispatch, ExecutionFilter, GateChange, GateOf, Idempotency, Settled, Settlement, Submit,
};
use bulkhead_store::hot::sqlite::SqliteStore;
use bulkhead_types::{
    ExecutionId, ExecutionState, FunctionKey, FunctionKind, FunctionName, IntegrationId, LeaseRef,
    MissedRuns, Outcome, TenantId, Timestamp, Trigger, VersionId, WorkerId,
};
use serde_json::json;

/// When the files were made, and some.
const NOW: Timestamp = Timestamp::from_millis(1_790_000_100_000);

fn taken_over(file: &str) -> (tempfile::TempDir, SqliteStore) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bulkhead.db");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas").join(file), &path)
        .unwrap();
    let store = SqliteStore::new(Db::open(&path).unwrap());
    (dir, store)
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
    let (_dir, store) = taken_over("0004.db");
    let before = all(&store).await;
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
