//! The row operations over maps. Each map beside `executions` is what an index is to SQLite.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bulkhead_sched::gate::Gate;
use bulkhead_sched::share::{Share, VirtualClock};
use bulkhead_types::{
    Attempt, ExecutionId, ExecutionState, TenantId, TimelineEvent, Timestamp, WorkerId,
};
use serde_json::Value;

use super::super::model::{ExecutionFilter, Page, Schedule, ScheduleKey, TIMELINE_EVENTS_MAX};
use super::super::rows::{Aged, AttemptRow, Payload, Place, Result, Row, Rows, Running};
use super::Census;
use crate::checkpoints::Checkpoint;

/// Executions in order.
type Line = BTreeSet<(Timestamp, i64, ExecutionId)>;

/// Everything.
#[derive(Debug, Default)]
pub(super) struct MemRows {
    executions: BTreeMap<ExecutionId, Row>,
    seq: i64,
    ready: BTreeMap<TenantId, Line>,
    held: HashMap<(TenantId, String), Line>,
    behind: HashMap<(TenantId, String), Line>,
    fronts: HashMap<(TenantId, String), ExecutionId>,
    gates: BTreeMap<(TenantId, String), Gate>,
    waiting: BTreeSet<(Timestamp, ExecutionId)>,
    start_by: BTreeSet<(Timestamp, ExecutionId)>,
    running: HashMap<WorkerId, BTreeSet<ExecutionId>>,
    exclusive: HashMap<String, ExecutionId>,
    payloads: HashMap<(ExecutionId, Payload), String>,
    shares: BTreeMap<TenantId, Share>,
    clock: VirtualClock,
    workers: HashMap<WorkerId, Timestamp>,
    idempotency: HashMap<(String, String), (ExecutionId, Timestamp)>,
    attempts: BTreeMap<(ExecutionId, u32), AttemptRow>,
    pub(super) events: HashMap<ExecutionId, Vec<TimelineEvent>>,
    pub(super) checkpoints: HashMap<String, Checkpoint>,
    pub(super) endings: BTreeSet<ExecutionId>,
    schedules: BTreeMap<ScheduleKey, Schedule>,
    due: BTreeSet<(Timestamp, ScheduleKey)>,
}

impl MemRows {
    /// Enters a row into the indexes that it belongs to.
    fn index(&mut self, row: &Row) {
        let id = row.id.clone();
        match row.state {
            ExecutionState::Queued => {
                self.line_of(row).insert((row.rank, row.seq, id.clone()));
                if let Some(lane) = row.lane.clone().filter(|_| row.place != Place::Behind) {
                    let before =
                        self.fronts.insert((row.function.tenant.clone(), lane), id.clone());
                    debug_assert!(before.is_none(), "a lane has one front");
                }
                if let Some(start_by) = row.start_by.filter(|_| row.attempts == 0) {
                    self.start_by.insert((start_by, id.clone()));
                }
            }
            ExecutionState::Waiting => {
                self.waiting.insert((row.ready_at, id.clone()));
            }
            ExecutionState::Running => {
                if let Some(worker) = &row.worker {
                    self.running.entry(worker.clone()).or_default().insert(id.clone());
                }
            }
            _ => return,
        }
        if let Some(exclusive) = &row.exclusive {
            self.exclusive.insert(exclusive.clone(), id);
        }
    }

    /// Takes a row out of the indexes.
    fn unindex(&mut self, row: &Row) {
        if row.state == ExecutionState::Queued {
            self.line_of(row).remove(&(row.rank, row.seq, row.id.clone()));
            if let Some(lane) = row.lane.clone().filter(|_| row.place != Place::Behind) {
                self.fronts.remove(&(row.function.tenant.clone(), lane));
            }
        }
        if let Some(start_by) = row.start_by {
            self.start_by.remove(&(start_by, row.id.clone()));
        }
        self.waiting.remove(&(row.ready_at, row.id.clone()));
        if let Some(running) = row.worker.as_ref().and_then(|worker| self.running.get_mut(worker)) {
            running.remove(&row.id);
        }
        if let Some(exclusive) = &row.exclusive
            && self.exclusive.get(exclusive) == Some(&row.id)
        {
            self.exclusive.remove(exclusive);
        }
    }

    pub(super) fn census(&self) -> Census {
        let ready: usize = self.ready.values().map(BTreeSet::len).sum();
        let lanes = self.held.values().chain(self.behind.values()).map(BTreeSet::len);
        let held = lanes.sum::<usize>() + self.fronts.len();
        let running: usize = self.running.values().map(BTreeSet::len).sum();
        let by_time = self.waiting.len() + self.start_by.len();
        Census {
            executions: self.executions.len(),
            attempts: self.attempts.len(),
            payloads: self.payloads.len(),
            timelines: self.events.len(),
            indexed: ready + held + running + by_time + self.exclusive.len(),
            gates: self.gates.values().filter(|gate| !gate.set).count(),
            workers: self.workers.len(),
            keys: self.idempotency.len(),
            // A scope that executions share is a path; that of one is its name.
            checkpoints: self.checkpoints.keys().filter(|scope| !scope.contains('/')).count(),
        }
    }

    /// The line that a queued execution stands in.
    fn line_of(&mut self, row: &Row) -> &mut Line {
        let tenant = row.function.tenant.clone();
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        match row.place {
            Place::Ready => self.ready.entry(tenant).or_default(),
            Place::Held => self.held.entry((tenant, name(&row.gate))).or_default(),
            Place::Behind => self.behind.entry((tenant, name(&row.lane))).or_default(),
        }
    }

    fn first_of(&self, line: Option<&Line>) -> Option<Row> {
        let (_, _, id) = line?.first()?;
        self.executions.get(id).cloned()
    }

    fn is_repeated(&self, id: &ExecutionId) -> bool {
        self.executions.values().any(|row| row.retry_of.as_ref() == Some(id))
    }

    pub(super) fn gates_of(&self, tenant: &TenantId) -> Vec<Gate> {
        let mine = self.gates.iter().filter(|((of, _), _)| of == tenant);
        mine.map(|(_, gate)| gate.clone()).collect()
    }

    pub(super) fn schedules_of(&self, tenant: &TenantId) -> Vec<Schedule> {
        let mine = |schedule: &&Schedule| schedule.key.function.tenant == *tenant;
        self.schedules.values().filter(mine).cloned().collect()
    }

    pub(super) fn remove_schedule(&mut self, key: &ScheduleKey) -> bool {
        let removed = self.schedules.remove(key);
        if let Some(schedule) = &removed {
            self.due.remove(&(schedule.next_at, key.clone()));
        }
        removed.is_some()
    }

    pub(super) fn due(&self, now: Timestamp, limit: usize) -> (Vec<Schedule>, Option<Timestamp>) {
        let due = self.due.iter().take_while(|(at, _)| *at <= now).take(limit);
        let due = due.filter_map(|(_, key)| self.schedules.get(key).cloned()).collect();
        let next = self.due.iter().find(|(at, _)| *at > now).map(|(at, _)| *at);
        (due, next)
    }

    fn rows_of<'a>(&self, ids: impl Iterator<Item = &'a ExecutionId>) -> Vec<Row> {
        ids.filter_map(|id| self.executions.get(id).cloned()).collect()
    }

    pub(super) fn attempts_of(&self, id: &ExecutionId) -> Vec<AttemptRow> {
        let all = (id.clone(), 0)..=(id.clone(), u32::MAX);
        self.attempts.range(all).map(|(_, attempt)| attempt.clone()).collect()
    }

    pub(super) fn page(&self, tenant: &TenantId, filter: &ExecutionFilter) -> Page {
        let limit = filter.page_length();
        let matching = self.executions.values().rev().filter(|row| {
            let function = &row.function;
            function.tenant == *tenant
                && filter.integration.as_ref().is_none_or(|wanted| *wanted == function.integration)
                && filter.kind.is_none_or(|wanted| wanted == function.kind)
                && filter.name.as_ref().is_none_or(|wanted| *wanted == function.name)
                && filter.state.is_none_or(|wanted| wanted == row.state)
                && (!filter.dead
                    || (row.state == ExecutionState::Failed && !self.is_repeated(&row.id)))
                && filter.error_code.as_ref().is_none_or(|wanted| {
                    row.error.as_ref().is_some_and(|error| error.code == *wanted)
                })
                && filter.until.is_none_or(|until| row.created_at < until)
                && filter
                    .connection
                    .as_ref()
                    .is_none_or(|wanted| Some(wanted) == row.connection.as_ref())
                && filter.since.is_none_or(|since| row.created_at >= since)
                && filter.cursor.as_ref().is_none_or(|cursor| row.id < *cursor)
        });
        let mut rows: Vec<&Row> = matching.take(limit + 1).collect();
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(|row| row.id.clone());
        let executions =
            rows.into_iter().map(|row| row.clone().into_execution(Value::Null, None)).collect();
        Page { executions, next_cursor }
    }
}

impl Rows for MemRows {
    fn execution(&mut self, id: &ExecutionId) -> Result<Option<Row>> {
        Ok(self.executions.get(id).cloned())
    }

    fn insert(&mut self, row: &Row) -> Result<()> {
        self.seq += 1;
        let row = Row { seq: self.seq, ..row.clone() };
        self.index(&row);
        self.executions.insert(row.id.clone(), row);
        Ok(())
    }

    fn update(&mut self, row: &Row) -> Result<()> {
        let Some(before) = self.executions.get(&row.id).cloned() else { return Ok(()) };
        self.unindex(&before);
        self.index(row);
        // The input does not change: a step may have taken it out of its copy.
        let row = Row { input: before.input, ..row.clone() };
        self.executions.insert(row.id.clone(), row);
        Ok(())
    }

    fn payload(&mut self, id: &ExecutionId, what: Payload) -> Result<Option<String>> {
        Ok(self.payloads.get(&(id.clone(), what)).cloned())
    }

    fn put_payload(&mut self, id: &ExecutionId, what: Payload, body: &str) -> Result<()> {
        self.payloads.insert((id.clone(), what), body.to_owned());
        Ok(())
    }

    fn head(&mut self, tenant: &TenantId) -> Result<Option<Row>> {
        Ok(self.first_of(self.ready.get(tenant)))
    }

    fn front(&mut self, tenant: &TenantId, lane: &str) -> Result<Option<Row>> {
        let front = self.fronts.get(&(tenant.clone(), lane.to_owned()));
        Ok(front.and_then(|id| self.executions.get(id).cloned()))
    }

    fn behind(&mut self, tenant: &TenantId, lane: &str) -> Result<Option<Row>> {
        Ok(self.first_of(self.behind.get(&(tenant.clone(), lane.to_owned()))))
    }

    fn held(&mut self, tenant: &TenantId, gate: &str) -> Result<Option<Row>> {
        Ok(self.first_of(self.held.get(&(tenant.clone(), gate.to_owned()))))
    }

    fn gates(&mut self, tenant: &TenantId, keys: &[String]) -> Result<Vec<Gate>> {
        let found = |key: &String| self.gates.get(&(tenant.clone(), key.clone())).cloned();
        let mut gates: Vec<Gate> = keys.iter().filter_map(found).collect();
        gates.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(gates)
    }

    fn put_gate(&mut self, tenant: &TenantId, gate: &Gate) -> Result<()> {
        self.gates.insert((tenant.clone(), gate.key.clone()), gate.clone());
        Ok(())
    }

    fn remove_gate(&mut self, tenant: &TenantId, key: &str) -> Result<()> {
        self.gates.remove(&(tenant.clone(), key.to_owned()));
        Ok(())
    }

    fn live_exclusive(&mut self, key: &str) -> Result<Option<ExecutionId>> {
        Ok(self.exclusive.get(key).cloned())
    }

    fn waiting_until(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Row>> {
        let due = self.waiting.iter().take_while(|(ready_at, _)| *ready_at <= now).take(limit);
        Ok(self.rows_of(due.map(|(_, id)| id)))
    }

    fn too_late(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Row>> {
        let late = self.start_by.iter().take_while(|(start_by, _)| *start_by <= now).take(limit);
        Ok(self.rows_of(late.map(|(_, id)| id)))
    }

    fn running_of(&mut self, worker: &WorkerId, limit: usize) -> Result<Vec<Row>> {
        let held = self.running.get(worker).into_iter().flatten().take(limit);
        Ok(self.rows_of(held))
    }

    fn running_briefly(&mut self, worker: &WorkerId) -> Result<Vec<Running>> {
        let rows = self.running_of(worker, usize::MAX)?;
        let briefly = |row: &Row| Running {
            lease: row.lease(),
            leased_at: row.leased_at.unwrap_or_default(),
            cancel_asked: row.cancel_asked,
        };
        Ok(rows.iter().map(briefly).collect())
    }

    fn next_moment(&mut self) -> Result<Option<Timestamp>> {
        let waiting = self.waiting.first().map(|(at, _)| *at);
        let start_by = self.start_by.first().map(|(at, _)| *at);
        Ok(waiting.into_iter().chain(start_by).chain(self.workers.values().copied()).min())
    }

    fn share(&mut self, tenant: &TenantId) -> Result<Option<Share>> {
        Ok(self.shares.get(tenant).cloned())
    }

    fn put_share(&mut self, share: &Share) -> Result<()> {
        self.shares.insert(share.tenant.clone(), share.clone());
        Ok(())
    }

    fn eligible_shares(&mut self, limit: usize) -> Result<Vec<Share>> {
        let mut shares: Vec<Share> =
            self.shares.values().filter(|share| share.eligible()).cloned().collect();
        shares.sort_by(|a, b| (a.vtime_us, &a.tenant).cmp(&(b.vtime_us, &b.tenant)));
        shares.truncate(limit);
        Ok(shares)
    }

    fn idle_shares(&mut self, limit: usize) -> Result<Vec<Share>> {
        let mut shares = self.eligible_shares(usize::MAX)?;
        shares.retain(|share| share.running == 0);
        shares.truncate(limit);
        Ok(shares)
    }

    fn virtual_clock(&mut self) -> Result<VirtualClock> {
        Ok(self.clock)
    }

    fn put_virtual_clock(&mut self, clock: VirtualClock) -> Result<()> {
        self.clock = clock;
        Ok(())
    }

    fn put_worker(&mut self, worker: &WorkerId, expires_at: Timestamp) -> Result<()> {
        let kept = self.workers.entry(worker.clone()).or_insert(expires_at);
        *kept = expires_at.max(*kept);
        Ok(())
    }

    fn remove_worker(&mut self, worker: &WorkerId) -> Result<()> {
        self.workers.remove(worker);
        Ok(())
    }

    fn workers(&mut self) -> Result<Vec<(WorkerId, Timestamp)>> {
        let mut workers: Vec<_> = self.workers.iter().map(|(id, at)| (id.clone(), *at)).collect();
        workers.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        Ok(workers)
    }

    fn idempotent(&mut self, scope: &str, key: &str) -> Result<Option<(ExecutionId, Timestamp)>> {
        Ok(self.idempotency.get(&(scope.to_owned(), key.to_owned())).cloned())
    }

    fn put_idempotent(
        &mut self,
        scope: &str,
        key: &str,
        id: &ExecutionId,
        expires_at: Timestamp,
    ) -> Result<()> {
        self.idempotency.insert((scope.to_owned(), key.to_owned()), (id.clone(), expires_at));
        Ok(())
    }

    fn purge_idempotent(&mut self, now: Timestamp, _limit: usize) -> Result<()> {
        self.idempotency.retain(|_, (_, expires_at)| *expires_at > now);
        Ok(())
    }

    fn oldest_after(&mut self, cursor: i64, limit: usize) -> Result<Vec<Aged>> {
        let mut oldest: Vec<&Row> =
            self.executions.values().filter(|row| row.seq > cursor).collect();
        oldest.sort_by_key(|row| row.seq);
        let aged = |row: &Row| Aged {
            seq: row.seq,
            id: row.id.clone(),
            created_at: row.created_at,
            state: row.state,
        };
        Ok(oldest.into_iter().take(limit).map(aged).collect())
    }

    fn remove(&mut self, id: &ExecutionId) -> Result<()> {
        if let Some(row) = self.executions.remove(id) {
            self.unindex(&row);
        }
        self.payloads.retain(|(execution, _), _| execution != id);
        self.attempts.retain(|(execution, _), _| execution != id);
        self.events.remove(id);
        self.endings.remove(id);
        Ok(())
    }

    fn checkpoint_version(&mut self, scope: &str) -> Result<u64> {
        Ok(self.checkpoints.get(scope).map_or(0, |checkpoint| checkpoint.version))
    }

    fn remove_checkpoint(&mut self, scope: &str) -> Result<()> {
        self.checkpoints.remove(scope);
        Ok(())
    }

    fn begin_attempt(&mut self, attempt: &Attempt) -> Result<()> {
        let row = AttemptRow { attempt: attempt.clone(), checkpoint: None };
        self.attempts.insert((attempt.execution.clone(), attempt.number), row);
        Ok(())
    }

    fn end_attempt(&mut self, row: &AttemptRow) -> Result<()> {
        self.attempts.insert((row.attempt.execution.clone(), row.attempt.number), row.clone());
        Ok(())
    }

    fn append_event(&mut self, id: &ExecutionId, event: &TimelineEvent) -> Result<()> {
        if !self.executions.contains_key(id) {
            return Ok(());
        }
        let events = self.events.entry(id.clone()).or_default();
        if u64::try_from(events.len()).unwrap_or(u64::MAX) < TIMELINE_EVENTS_MAX {
            events.push(event.clone());
        }
        Ok(())
    }

    fn keep_ending(&mut self, id: &ExecutionId) -> Result<()> {
        self.endings.insert(id.clone());
        Ok(())
    }

    fn schedule(&mut self, key: &ScheduleKey) -> Result<Option<Schedule>> {
        Ok(self.schedules.get(key).cloned())
    }

    fn put_schedule(&mut self, schedule: &Schedule) -> Result<()> {
        if let Some(before) = self.schedules.insert(schedule.key.clone(), schedule.clone()) {
            self.due.remove(&(before.next_at, before.key));
        }
        if !schedule.paused {
            self.due.insert((schedule.next_at, schedule.key.clone()));
        }
        Ok(())
    }
}
