//! The hot path in memory: for the simulator and for tests. Nothing survives it.

mod rows;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bulkhead_sched::gate::Gate;
use bulkhead_sched::share::{Share, ShareLimits};
use bulkhead_types::{
    Attempt, Execution, ExecutionId, ExecutionState, FunctionKey, LeaseRef, TenantId,
    TimelineEvent, Timestamp, WorkerId,
};
use serde_json::Value;

use super::flow::{self, fire::Due};
use super::model::{
    CancelResult, Dispatch, Dispatched, ExecutionFilter, Fire, Fired, Forgotten, GateChange,
    GateOf, Page, RecallReason, Schedule, ScheduleKey, Settled, Settlement, Submit, SubmitError,
    Submitted, Tick,
};
use super::rows::{Payload, Row, Rows};
use super::{Store, leases};
use crate::checkpoints::{Checkpoint, CheckpointError};
use crate::db::{StoreError, from_json};
use crate::fence::StaleLease;
use rows::MemRows;

/// What is kept of executions, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Executions.
    pub executions: usize,
    /// Their attempts.
    pub attempts: usize,
    /// Long inputs and outputs.
    pub payloads: usize,
    /// Executions with events of their own.
    pub timelines: usize,
    /// Entries of the indexes that live executions are found by.
    pub indexed: usize,
    /// Gates that nobody set.
    pub gates: usize,
    /// Workers that hold leases, or held some.
    pub workers: usize,
    /// Idempotency keys.
    pub keys: usize,
    /// Checkpoints of executions' own; those that a sync's executions share stay.
    pub checkpoints: usize,
}

/// The hot path in memory.
#[derive(Debug, Default)]
pub struct MemStore {
    rows: Mutex<MemRows>,
}

impl MemStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts what is kept, for a test that looks for what was left behind.
    #[must_use]
    pub fn census(&self) -> Census {
        self.with(|rows| rows.census())
    }

    fn with<T>(&self, step: impl FnOnce(&mut MemRows) -> T) -> T {
        step(&mut self.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn input(rows: &mut MemRows, row: &mut Row) -> Result<Value, StoreError> {
    let text = match row.input.take() {
        Some(text) => Some(text),
        None => rows.payload(&row.id, Payload::Input)?,
    };
    text.map_or(Ok(Value::Null), |text| from_json("executions", &text))
}

fn look(rows: &mut MemRows, id: &ExecutionId) -> Result<Option<Execution>, StoreError> {
    let Some(mut row) = rows.execution(id)? else { return Ok(None) };
    let input = input(rows, &mut row)?;
    let output = match row.output.take() {
        Some(text) => Some(text),
        None => rows.payload(id, Payload::Output)?,
    };
    let output = output.map(|text| from_json("executions", &text)).transpose()?;
    Ok(Some(row.into_execution(input, output)))
}

fn save(
    rows: &mut MemRows,
    lease: &LeaseRef,
    expected: u64,
    body: Option<String>,
) -> Result<u64, CheckpointError> {
    let held = rows.execution(&lease.execution)?;
    let held = held.filter(|row| row.fence == lease.fence && row.state == ExecutionState::Running);
    let Some(row) = held else { return Err(StaleLease(lease.clone()).into()) };
    let before = rows.checkpoints.get(&row.scope);
    let found = before.map_or(0, |checkpoint| checkpoint.version);
    if found != expected {
        return Err(CheckpointError::Conflict { found });
    }
    if body.is_none() && before.is_none_or(|checkpoint| checkpoint.body.is_none()) {
        return Ok(found);
    }
    rows.checkpoints.insert(row.scope, Checkpoint { body, version: found + 1 });
    Ok(found + 1)
}

#[async_trait]
impl Store for MemStore {
    async fn submit(
        &self,
        id: ExecutionId,
        submit: Submit,
        now: Timestamp,
    ) -> Result<Submitted, SubmitError> {
        let prepared = flow::submit::prepare(id, submit, now)?;
        self.with(|rows| flow::submit::submit(rows, prepared))
    }

    async fn dispatch(&self, dispatch: Dispatch) -> Result<Dispatched, StoreError> {
        let chosen = self.with(|rows| flow::dispatch::dispatch(rows, &dispatch))?;
        Ok(leases(chosen, dispatch.lease))
    }

    async fn renew(
        &self,
        worker: WorkerId,
        leases: Vec<LeaseRef>,
        now: Timestamp,
        lease: Duration,
    ) -> Result<(Vec<(LeaseRef, RecallReason)>, Tick), StoreError> {
        self.with(|rows| flow::dispatch::renew(rows, &worker, &leases, now, now.after(lease)))
    }

    async fn settle(
        &self,
        lease: LeaseRef,
        settled: Settled,
        now: Timestamp,
        random: u64,
    ) -> Result<Settlement, StoreError> {
        let ended = flow::settle::prepare(settled)?;
        self.with(|rows| flow::settle::settle(rows, &lease, ended, now, random))
    }

    async fn cancel(
        &self,
        tenant: TenantId,
        id: ExecutionId,
        now: Timestamp,
    ) -> Result<CancelResult, StoreError> {
        self.with(|rows| flow::stop::cancel(rows, &tenant, &id, now))
    }

    async fn tick(&self, now: Timestamp, limit: usize) -> Result<Tick, StoreError> {
        self.with(|rows| flow::tick::tick(rows, now, limit))
    }

    async fn recover(&self, dead: WorkerId, now: Timestamp) -> Result<Tick, StoreError> {
        self.with(|rows| flow::tick::recover(rows, &dead, now))
    }

    async fn forget(
        &self,
        before: Timestamp,
        cursor: i64,
        limit: usize,
    ) -> Result<Forgotten, StoreError> {
        self.with(|rows| flow::tick::forget(rows, before, cursor, limit))
    }

    async fn execution(&self, id: ExecutionId) -> Result<Option<Execution>, StoreError> {
        self.with(|rows| look(rows, &id))
    }

    async fn again(&self, tenant: TenantId, id: ExecutionId) -> Result<Option<Submit>, StoreError> {
        self.with(|rows| {
            let found = rows.execution(&id)?.filter(|row| row.function.tenant == tenant);
            let Some(mut row) = found else { return Ok(None) };
            let input = input(rows, &mut row)?;
            flow::submit::again(row, input).map(Some)
        })
    }

    async fn executions(
        &self,
        tenant: TenantId,
        filter: ExecutionFilter,
    ) -> Result<Page, StoreError> {
        Ok(self.with(|rows| rows.page(&tenant, &filter)))
    }

    async fn attempts(&self, id: ExecutionId) -> Result<Vec<Attempt>, StoreError> {
        Ok(self.with(|rows| rows.attempts_of(&id)).into_iter().map(|row| row.attempt).collect())
    }

    async fn timeline(&self, id: ExecutionId) -> Result<Vec<TimelineEvent>, StoreError> {
        self.with(|rows| {
            let Some(row) = rows.execution(&id)? else { return Ok(Vec::new()) };
            let events = rows.events.get(&id).cloned().unwrap_or_default();
            Ok(flow::timeline::compose(&row, &rows.attempts_of(&id), events))
        })
    }

    async fn append_event(&self, id: ExecutionId, event: TimelineEvent) -> Result<(), StoreError> {
        self.with(|rows| rows.append_event(&id, &event))
    }

    async fn set_share(&self, tenant: TenantId, limits: ShareLimits) -> Result<(), StoreError> {
        self.with(|rows| flow::set_share(rows, &tenant, limits))
    }

    async fn share(&self, tenant: TenantId) -> Result<Option<Share>, StoreError> {
        self.with(|rows| rows.share(&tenant))
    }

    async fn pause_tenant(&self, tenant: TenantId, paused: bool) -> Result<(), StoreError> {
        self.with(|rows| flow::pause_tenant(rows, &tenant, paused))
    }

    async fn set_gate(&self, of: GateOf, change: GateChange) -> Result<Gate, StoreError> {
        self.with(|rows| flow::gates::set(rows, &of, change))
    }

    async fn gates(&self, tenant: TenantId) -> Result<Vec<Gate>, StoreError> {
        Ok(self.with(|rows| rows.gates_of(&tenant)))
    }

    async fn repeated(
        &self,
        function: FunctionKey,
        key: String,
        now: Timestamp,
    ) -> Result<Option<ExecutionId>, StoreError> {
        self.with(|rows| flow::submit::repeated(rows, &function, &key, now))
    }

    async fn endings(&self, limit: usize) -> Result<Vec<ExecutionId>, StoreError> {
        Ok(self.with(|rows| rows.endings.iter().take(limit).cloned().collect()))
    }

    async fn forget_endings(&self, ids: Vec<ExecutionId>) -> Result<(), StoreError> {
        self.with(|rows| rows.endings.retain(|id| !ids.contains(id)));
        Ok(())
    }

    async fn checkpoint(&self, scope: String) -> Result<Option<Checkpoint>, StoreError> {
        Ok(self.with(|rows| rows.checkpoints.get(&scope).cloned()))
    }

    async fn save_checkpoint(
        &self,
        lease: LeaseRef,
        expected: u64,
        body: Option<String>,
        _now: Timestamp,
    ) -> Result<u64, CheckpointError> {
        self.with(|rows| save(rows, &lease, expected, body))
    }

    async fn put_schedule(
        &self,
        schedule: Schedule,
        first_at: Option<Timestamp>,
    ) -> Result<Schedule, StoreError> {
        self.with(|rows| flow::fire::put(rows, schedule, first_at))
    }

    async fn pause_schedule(
        &self,
        key: ScheduleKey,
        paused: bool,
    ) -> Result<Option<Schedule>, StoreError> {
        self.with(|rows| flow::fire::pause(rows, &key, paused))
    }

    async fn remove_schedule(&self, key: ScheduleKey) -> Result<bool, StoreError> {
        Ok(self.with(|rows| rows.remove_schedule(&key)))
    }

    async fn schedules(&self, tenant: TenantId) -> Result<Vec<Schedule>, StoreError> {
        Ok(self.with(|rows| rows.schedules_of(&tenant)))
    }

    async fn schedule(&self, key: ScheduleKey) -> Result<Option<Schedule>, StoreError> {
        self.with(|rows| rows.schedule(&key))
    }

    async fn due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<(Vec<Schedule>, Option<Timestamp>), StoreError> {
        Ok(self.with(|rows| rows.due(now, limit)))
    }

    async fn fire(&self, fire: Fire) -> Result<Option<Fired>, StoreError> {
        let due = Due::prepare(fire)?;
        self.with(|rows| flow::fire::fire(rows, due))
    }
}
