//! What the cases are told in: a store, a clock that moves when told, ids in order, and short words for long calls.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bulkhead_sched::lease::LEASE;
use bulkhead_store::hot::Store;
use bulkhead_store::hot::mem::MemStore;
use bulkhead_store::hot::model::{
    Dispatch, Settled, Settlement, Submit, SubmitError, Submitted, Tick,
};
use bulkhead_store::hot::sqlite::SqliteStore;
use bulkhead_store::{Db, DbOptions};
use bulkhead_testkit::postgres::Database;
use bulkhead_types::{
    Cause, ErrorInfo, Execution, ExecutionId, ExecutionState, Fault, FunctionKey, FunctionKind,
    FunctionName, IntegrationId, Lease, LeaseRef, LimitKind, Outcome, Retry, Room, TenantId,
    Timestamp, Trigger, VersionId, WorkerId,
};
use serde_json::{Value, json};

pub(crate) struct World {
    pub(crate) store: Box<dyn Store>,
    now: AtomicI64,
    ids: AtomicU64,
    _dir: Option<tempfile::TempDir>,
    // Dropped after the store, which uses it.
    _database: Option<Database>,
}

impl World {
    pub(crate) fn in_memory() -> Self {
        Self::over(Box::new(MemStore::new()), None)
    }

    pub(crate) fn on_sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("bulkhead.db")).unwrap();
        Self::over(Box::new(SqliteStore::new(db)), Some(dir))
    }

    pub(crate) async fn on_postgres() -> Self {
        let database = bulkhead_testkit::postgres();
        let db = Db::connect(database.url(), DbOptions::default()).await.unwrap();
        let store = Box::new(SqliteStore::new(db));
        Self { _database: Some(database), ..Self::over(store, None) }
    }

    fn over(store: Box<dyn Store>, dir: Option<tempfile::TempDir>) -> Self {
        let (now, ids) = (AtomicI64::new(1_000_000), AtomicU64::new(0));
        Self { store, now, ids, _dir: dir, _database: None }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.now.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub(crate) fn next_id(&self) -> ExecutionId {
        ExecutionId::parse(&format!("exe_{:06}", self.ids.fetch_add(1, Ordering::SeqCst))).unwrap()
    }

    pub(crate) async fn try_submit(&self, submit: Submit) -> Result<Submitted, SubmitError> {
        self.store.submit(self.next_id(), submit, self.now()).await
    }

    pub(crate) async fn submit(&self, submit: Submit) -> ExecutionId {
        self.try_submit(submit).await.unwrap().execution
    }

    pub(crate) async fn lease_as(&self, who: &WorkerId, room: impl Into<Room>) -> Vec<Lease> {
        let room = room.into();
        let dispatch = Dispatch { worker: who.clone(), room, now: self.now(), lease: LEASE };
        self.store.dispatch(dispatch).await.unwrap().leases
    }

    pub(crate) async fn lease(&self, room: impl Into<Room>) -> Vec<Lease> {
        self.lease_as(&worker("w"), room).await
    }

    pub(crate) async fn lease_one(&self) -> Lease {
        self.lease(1_usize).await.pop().expect("something must be runnable")
    }

    pub(crate) async fn settle(&self, lease: &LeaseRef, outcome: Outcome) -> Settlement {
        self.store.settle(lease.clone(), Settled::new(outcome), self.now(), 7).await.unwrap()
    }

    pub(crate) async fn renew(&self, who: &str, leases: Vec<LeaseRef>) {
        self.store.renew(worker(who), leases, self.now(), LEASE).await.unwrap();
    }

    pub(crate) async fn tick(&self) -> Tick {
        self.store.tick(self.now(), 100).await.unwrap()
    }

    pub(crate) async fn look(&self, id: &ExecutionId) -> Execution {
        self.store.execution(id.clone()).await.unwrap().unwrap()
    }

    pub(crate) async fn state(&self, id: &ExecutionId) -> ExecutionState {
        self.look(id).await.state
    }

    /// `queued/waiting/running` of a tenant.
    pub(crate) async fn counts(&self, name: &str) -> String {
        let share = self.store.share(tenant(name)).await.unwrap();
        share
            .map_or_else(|| "-".to_owned(), |s| format!("{}/{}/{}", s.queued, s.waiting, s.running))
    }
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

pub(crate) fn worker(name: &str) -> WorkerId {
    WorkerId::parse(name).unwrap()
}

pub(crate) fn function(of: &str, kind: FunctionKind, name: &str) -> FunctionKey {
    FunctionKey {
        tenant: tenant(of),
        integration: IntegrationId::parse("github").unwrap(),
        kind,
        name: FunctionName::parse(name).unwrap(),
    }
}

pub(crate) fn submit(of: &str, kind: FunctionKind, name: &str) -> Submit {
    let version = VersionId::parse("v1").unwrap();
    Submit::new(function(of, kind, name), version, Trigger::Api, json!({"to": name}))
}

pub(crate) fn action(of: &str) -> Submit {
    submit(of, FunctionKind::Action, "create-issue")
}

pub(crate) fn sync(of: &str) -> Submit {
    submit(of, FunctionKind::Sync, "issues")
}

pub(crate) fn done() -> Outcome {
    Outcome::Completed(json!("ok"))
}

pub(crate) fn failed() -> Outcome {
    Outcome::Failed(Cause {
        error: ErrorInfo::new("boom", "It broke."),
        fault: Fault::Upstream,
        retry: Retry::Policy,
    })
}

pub(crate) fn too_long() -> Outcome {
    Outcome::Limit(LimitKind::TimeLimit, ErrorInfo::new("time_limit", "Too long."))
}

pub(crate) fn accepted(state: ExecutionState) -> Settlement {
    Settlement::Accepted { state, ready_at: None }
}

pub(crate) fn null() -> Value {
    Value::Null
}
