//! The hot path: executions from accepted to final, their leases, and schedules.
//!
//! Layout, in reading order:
//! - [`model`]: what goes in and comes out.
//! - [`Store`]: the seam that the engine stands on.
//! - `flow/`: each step once, over the small row operations of `rows.rs`: load, ask `bulkhead-sched`, keep.
//! - [`sqlite`], [`mem`]: the row operations, over a transaction and over maps.
//!
//! Each method of [`Store`] is one transaction. SQLite gets its batching from the writer, which commits what has
//! piled up together; so a method takes one submit or one settle. An implementation over PostgreSQL collects
//! concurrent calls in the same way, into one statement over arrays (`FOR UPDATE SKIP LOCKED` in dispatch).

mod flow;
pub(crate) mod group;
pub mod mem;
pub mod model;
pub mod news;
pub(crate) mod rows;
pub mod sqlite;

use std::time::Duration;

use async_trait::async_trait;
use bulkhead_sched::gate::Gate;
use bulkhead_sched::share::{Share, ShareLimits};
use bulkhead_types::{
    Attempt, Execution, ExecutionId, FunctionKey, Lease, LeaseRef, TenantId, TimelineEvent,
    Timestamp, WorkerId,
};

use crate::checkpoints::{Checkpoint, CheckpointError};
use crate::db::{StoreError, from_json};
use model::{
    CancelResult, Dispatch, Dispatched, ExecutionFilter, Fired, Forgotten, GateChange, GateOf,
    Page, RecallReason, Schedule, ScheduleKey, Settled, Settlement, Submit, SubmitError, Submitted,
    Tick,
};
use news::News;

/// What the engine stands on. Time, randomness and new ids are arguments.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Accepts an execution under the new name `id`, or finds the one that it repeats.
    async fn submit(
        &self,
        id: ExecutionId,
        submit: Submit,
        now: Timestamp,
    ) -> Result<Submitted, SubmitError>;

    /// Gives a worker leases, fairly chosen, for as much as it has room.
    async fn dispatch(&self, dispatch: Dispatch) -> Result<Dispatched, StoreError>;

    /// Renews a worker's leases for `lease` from `now`, in one write. Returns those it must stop, and what became
    /// of those that it should have named.
    async fn renew(
        &self,
        worker: WorkerId,
        leases: Vec<LeaseRef>,
        now: Timestamp,
        lease: Duration,
    ) -> Result<(Vec<(LeaseRef, RecallReason)>, Tick), StoreError>;

    /// Takes the outcome of an attempt and decides what follows. Refused when the lease is not the newest.
    async fn settle(
        &self,
        lease: LeaseRef,
        settled: Settled,
        now: Timestamp,
        random: u64,
    ) -> Result<Settlement, StoreError>;

    /// Cancels: what does not run is final at once, what runs is to be recalled.
    async fn cancel(
        &self,
        tenant: TenantId,
        id: ExecutionId,
        now: Timestamp,
    ) -> Result<CancelResult, StoreError>;

    /// What time alone brings about: dead leases, waits that are over, start-by deadlines, old idempotency keys.
    /// At most `limit` executions in one go.
    async fn tick(&self, now: Timestamp, limit: usize) -> Result<Tick, StoreError>;

    /// Ends the leases of a worker that is known to be dead: a server's own, from before it was started again.
    async fn recover(&self, dead: WorkerId, now: Timestamp) -> Result<Tick, StoreError>;

    /// Forgets executions that were created before `before` and are final, with all that they left but records:
    /// looks at `limit` of those accepted after `cursor`. Returns how many were forgotten, and where to go on.
    async fn forget(
        &self,
        before: Timestamp,
        cursor: i64,
        limit: usize,
    ) -> Result<Forgotten, StoreError>;

    /// An execution with its input and output.
    async fn execution(&self, id: ExecutionId) -> Result<Option<Execution>, StoreError>;

    /// A submit that repeats this execution, with a fresh name and no idempotency key.
    async fn again(&self, tenant: TenantId, id: ExecutionId) -> Result<Option<Submit>, StoreError>;

    /// A tenant's executions, newest first, without inputs and outputs.
    async fn executions(
        &self,
        tenant: TenantId,
        filter: ExecutionFilter,
    ) -> Result<Page, StoreError>;

    /// The attempts of an execution, oldest first.
    async fn attempts(&self, id: ExecutionId) -> Result<Vec<Attempt>, StoreError>;

    /// What happened to an execution, oldest first.
    async fn timeline(&self, id: ExecutionId) -> Result<Vec<TimelineEvent>, StoreError>;

    /// Adds to the timeline; dropped without a word past [`model::TIMELINE_EVENTS_MAX`] events.
    async fn append_event(&self, id: ExecutionId, event: TimelineEvent) -> Result<(), StoreError>;

    /// Sets what a tenant may have at the same time.
    async fn set_share(&self, tenant: TenantId, limits: ShareLimits) -> Result<(), StoreError>;

    /// A tenant's counters.
    async fn share(&self, tenant: TenantId) -> Result<Option<Share>, StoreError>;

    /// Lets nothing of a tenant begin, or lets it go on. What runs is left alone.
    async fn pause_tenant(&self, tenant: TenantId, paused: bool) -> Result<(), StoreError>;

    /// Sets a limit on what has something in common, or pauses it. What runs is left alone, and is not counted if it
    /// began before there was such a gate. Returns the gate as it is then.
    async fn set_gate(&self, of: GateOf, change: GateChange) -> Result<Gate, StoreError>;

    /// A tenant's gates: those that somebody set, and those of keys that attempts have.
    async fn gates(&self, tenant: TenantId) -> Result<Vec<Gate>, StoreError>;

    /// The execution that was accepted under an idempotency key, while that is remembered.
    async fn repeated(
        &self,
        function: FunctionKey,
        key: String,
        now: Timestamp,
    ) -> Result<Option<ExecutionId>, StoreError>;

    /// Executions that ended and that the tenant's product is to be told of, at most `limit`, in no order. Each is
    /// there from the transaction that ended it until it is forgotten.
    async fn endings(&self, limit: usize) -> Result<Vec<ExecutionId>, StoreError>;

    /// What there is to tell of these is kept.
    async fn forget_endings(&self, ids: Vec<ExecutionId>) -> Result<(), StoreError>;

    /// The checkpoint kept under `scope`.
    async fn checkpoint(&self, scope: String) -> Result<Option<Checkpoint>, StoreError>;

    /// Saves (or, with `None`, clears) the checkpoint of the execution that holds `lease`, if it is still at
    /// version `expected`. Returns the new version.
    async fn save_checkpoint(
        &self,
        lease: LeaseRef,
        expected: u64,
        body: Option<String>,
        now: Timestamp,
    ) -> Result<u64, CheckpointError>;

    /// Makes a schedule, first due at `first_at` if that is given; or changes one to another frequency, which leaves
    /// it paused if it was. One that has this frequency stays as it is. Returns it as it is then.
    async fn put_schedule(
        &self,
        schedule: Schedule,
        first_at: Option<Timestamp>,
    ) -> Result<Schedule, StoreError>;

    /// Lets a schedule rest, or wakes it. `None` when there is none.
    async fn pause_schedule(
        &self,
        key: ScheduleKey,
        paused: bool,
    ) -> Result<Option<Schedule>, StoreError>;

    /// Removes a schedule; `false` when there was none.
    async fn remove_schedule(&self, key: ScheduleKey) -> Result<bool, StoreError>;

    /// A tenant's schedules.
    async fn schedules(&self, tenant: TenantId) -> Result<Vec<Schedule>, StoreError>;

    /// One schedule.
    async fn schedule(&self, key: ScheduleKey) -> Result<Option<Schedule>, StoreError>;

    /// Schedules due at `now`, the longest due first, and when the next one is.
    async fn due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<(Vec<Schedule>, Option<Timestamp>), StoreError>;

    /// Waits for what other servers brought about; for ever where there can be none.
    async fn news(&self) -> Vec<News> {
        std::future::pending().await
    }

    /// Fires a schedule that was due at `due_at`: moves it on and submits, in one transaction. `None` when somebody
    /// else was faster.
    async fn fire(&self, fire: model::Fire) -> Result<Option<Fired>, StoreError>;
}

/// Makes leases of what was chosen. One that can't be read is left to die: it is tried again, and given up for good
/// after as many losses as there may be.
fn leases(chosen: flow::dispatch::Chosen, lease: Duration) -> Dispatched {
    let flow::dispatch::Chosen { leased, ended, more } = chosen;
    let leases = leased.into_iter().filter_map(|(row, input)| {
        let id = row.id.clone();
        let made = lease_of(row, &input, lease);
        made.inspect_err(
            |error| tracing::error!(%error, execution = %id, "a queued execution is unreadable"),
        )
        .ok()
    });
    Dispatched { leases: leases.collect(), ended, more }
}

fn lease_of(row: rows::Row, input: &str, lease: Duration) -> Result<Lease, StoreError> {
    let leased_at = row.leased_at.unwrap_or_default();
    Ok(Lease {
        lease: row.lease(),
        attempt: row.attempts,
        function: row.function,
        version: row.version,
        connection: row.connection,
        trigger: row.trigger,
        input: from_json("executions", input)?,
        limits: from_json("executions", &row.limits)?,
        leased_at,
        expires_at: leased_at.after(lease),
    })
}
