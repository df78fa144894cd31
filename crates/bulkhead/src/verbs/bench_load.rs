//! A load on the engine alone, without sandboxes: what `bench engine` and `bench fairness` have in common. Attempts
//! are sleeps, so that what is measured is accepting, choosing and settling.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bulkhead_engine::{Engine, EngineOptions, Idempotency, Settled, Submit};
use bulkhead_store::hot::sqlite::SqliteStore;
use bulkhead_store::{Db, DbOptions, Durability};
use bulkhead_types::{
    FunctionKey, FunctionKind, FunctionName, IntegrationId, Outcome, Room, SystemClock,
    SystemEntropy, TenantId, Timestamp, Trigger, VersionId, WorkerId,
};
use serde_json::json;
use tokio::task::JoinSet;

/// How long an idempotency key of the load is remembered.
const IDEMPOTENCY_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// What a server keeps for tenants that run nothing, as by default.
pub(crate) const HEADROOM_PERCENT: u32 = 12;

/// How long a worker of the load waits for work before it looks whether all is done.
const LEASE_WAIT: Duration = Duration::from_millis(100);

/// An engine over a new SQLite database in `directory`.
pub(crate) fn on_sqlite(directory: &Path, durability: Durability) -> anyhow::Result<Engine> {
    let options = DbOptions { durability, ..DbOptions::default() };
    let db = Db::open_with(&directory.join(format!("{durability:?}.db")), options)
        .with_context(|| format!("can't open a database in {}", directory.display()))?;
    Ok(over(Arc::new(SqliteStore::new(db))))
}

/// An engine over the PostgreSQL database at `url`.
pub(crate) async fn on_postgres(url: &str) -> anyhow::Result<Engine> {
    let db = Db::connect(url, DbOptions::default()).await.context("can't use the database")?;
    Ok(over(Arc::new(SqliteStore::new(db))))
}

/// An engine over any store.
pub(crate) fn over(store: Arc<dyn bulkhead_store::hot::Store>) -> Engine {
    let options = EngineOptions { lease_wait: LEASE_WAIT, ..EngineOptions::default() };
    Engine::new(store, Arc::new(SystemClock), Arc::new(SystemEntropy), options)
}

/// A worker's name.
pub(crate) fn worker(number: usize) -> anyhow::Result<WorkerId> {
    Ok(WorkerId::parse(&format!("wrk_bench_{number}"))?)
}

/// A tenant's name.
pub(crate) fn tenant(name: &str) -> anyhow::Result<TenantId> {
    Ok(TenantId::parse(name)?)
}

/// An action of a tenant, with an input of ordinary size.
pub(crate) fn action(tenant: &TenantId, n: usize) -> anyhow::Result<Submit> {
    let function = FunctionKey {
        tenant: tenant.clone(),
        integration: IntegrationId::parse("github")?,
        kind: FunctionKind::Action,
        name: FunctionName::parse("create-issue")?,
    };
    let input = json!({"title": "A title", "body": "x".repeat(200), "n": n});
    Ok(Submit::new(function, VersionId::parse(&"a".repeat(64))?, Trigger::Api, input))
}

/// As [`action`], with an idempotency key of its own.
pub(crate) fn keyed_action(tenant: &TenantId, n: usize) -> anyhow::Result<Submit> {
    let idempotency = Some(Idempotency { key: format!("call-{n}"), ttl: IDEMPOTENCY_TTL });
    Ok(Submit { idempotency, ..action(tenant, n)? })
}

/// Submits `count` executions as fast as `callers` callers can that each wait for their answer.
pub(crate) async fn submit_all(
    engine: &Engine,
    count: usize,
    callers: usize,
    make: impl Fn(usize) -> anyhow::Result<Submit> + Clone + Send + 'static,
) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    for part in 0..callers {
        let (engine, make) = (engine.clone(), make.clone());
        tasks.spawn(async move {
            for n in (part..count).step_by(callers) {
                engine.submit(make(n)?).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// How an attempt is run: sees its lease, and takes as long as it takes.
pub(crate) type Attempt = Arc<dyn Fn(&bulkhead_types::Lease) -> Duration + Send + Sync + 'static>;

/// Runs leases until `left` executions have been settled. `slots` attempts run at the same time.
pub(crate) async fn work(
    engine: Engine,
    name: WorkerId,
    slots: usize,
    left: Arc<AtomicUsize>,
    attempt: Attempt,
) -> anyhow::Result<()> {
    let mut running = JoinSet::new();
    let total = Room::from(slots).total;
    let headroom = bulkhead_engine::headroom(total.cpu, HEADROOM_PERCENT);
    while left.load(Ordering::SeqCst) > 0 {
        while let Some(done) = running.try_join_next() {
            done??;
        }
        if running.len() >= slots
            && let Some(done) = running.join_next().await
        {
            done??;
            continue;
        }
        let free = Room::from(slots - running.len()).free;
        for lease in engine.lease(&name, Room { free, total, headroom }).await? {
            let (engine, left, takes) = (engine.clone(), Arc::clone(&left), attempt(&lease));
            running.spawn(async move {
                if !takes.is_zero() {
                    tokio::time::sleep(takes).await;
                }
                let settled = Settled::new(Outcome::Completed(json!({"ok": true})));
                engine.settle(&lease.lease, settled).await?;
                left.fetch_sub(1, Ordering::SeqCst);
                anyhow::Ok(())
            });
        }
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

/// How long after it was accepted an attempt was leased.
pub(crate) fn start_delay(accepted_at: Timestamp, leased_at: Timestamp) -> Duration {
    leased_at.since(accepted_at)
}
