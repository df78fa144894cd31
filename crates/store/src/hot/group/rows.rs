//! The row operations, over the desk.

use std::collections::HashSet;

use bulkhead_sched::gate::Gate;
use bulkhead_sched::share::{Share, VirtualClock};
use bulkhead_types::{Attempt, ExecutionId, TenantId, TimelineEvent, Timestamp, WorkerId};

use super::super::model::{Schedule, ScheduleKey};
use super::super::news::News;
use super::super::rows::{Aged, AttemptRow, Payload, Result, Row, Rows, Running};
use super::super::sqlite::SqliteRows;
use super::{Desk, Turn, load};
use crate::db::Conn;

/// Row operations within one transaction of PostgreSQL.
pub(crate) struct GroupRows<'a> {
    desk: &'a mut Desk,
    conn: &'a Conn,
}

impl<'a> GroupRows<'a> {
    pub(crate) const fn new(desk: &'a mut Desk, conn: &'a Conn) -> Self {
        Self { desk, conn }
    }

    /// The database itself, for what the desk has no part in.
    const fn direct(&self) -> SqliteRows<'a> {
        SqliteRows::new(self.conn)
    }

    /// The database with all that the group has done so far.
    fn settled(&mut self) -> Result<SqliteRows<'a>> {
        self.desk.flush(self.conn)?;
        Ok(self.direct())
    }

    /// Rows just read from a database that has all that the group has done.
    fn laid(&mut self, rows: Vec<Row>) -> Vec<Row> {
        rows.into_iter().map(|row| self.desk.lay(row).clone()).collect()
    }

    /// The first ready execution that is on the desk; whether it is the tenant's first.
    fn first_known(&mut self, tenant: &TenantId) -> (Option<Row>, bool) {
        let Some(ready) = self.desk.ready.get_mut(tenant) else { return (None, false) };
        while let Some(turn) = ready.turns.first() {
            let row = self.desk.executions.get(&turn.id).map(|kept| &kept.row);
            if row.and_then(Turn::of).as_ref() == Some(turn) {
                let known = ready.known_to.is_none_or(|last| (turn.rank, turn.seq) <= last);
                return (row.cloned(), known);
            }
            // It is not ready any more, or at another time.
            ready.turns.pop_first();
        }
        (None, ready.known_to.is_none())
    }

    /// As many of the eligible shares as can be told without asking; whether that is as many as asked for.
    fn eligible_known(&self, limit: usize) -> (Vec<Share>, bool) {
        let Some(eligible) = &self.desk.eligible else { return (Vec::new(), false) };
        let unchanged =
            eligible.shares.iter().filter(|share| !eligible.stale.contains(&share.tenant));
        let mut all: Vec<Share> = unchanged.cloned().collect();
        let enough = eligible.complete || all.len() >= limit;
        let changed = eligible.stale.iter().filter_map(|tenant| self.desk.shares.get(tenant));
        all.extend(changed.filter_map(|(share, _)| share.clone()).filter(Share::eligible));
        all.sort_by(|a, b| (a.vtime_us, &a.tenant).cmp(&(b.vtime_us, &b.tenant)));
        all.truncate(limit);
        (all, enough)
    }
}

impl Rows for GroupRows<'_> {
    fn execution(&mut self, id: &ExecutionId) -> Result<Option<Row>> {
        if let Some(kept) = self.desk.executions.get(id) {
            return Ok(Some(kept.row.clone()));
        }
        let found = self.direct().execution(id)?;
        Ok(found.map(|row| self.desk.lay(row).clone()))
    }

    fn insert(&mut self, row: &Row) -> Result<()> {
        self.conn.note_change();
        self.desk.keep(row, true);
        Ok(())
    }

    fn update(&mut self, row: &Row) -> Result<()> {
        self.conn.note_change();
        self.desk.keep(row, false);
        Ok(())
    }

    fn payload(&mut self, id: &ExecutionId, what: Payload) -> Result<Option<String>> {
        self.direct().payload(id, what)
    }

    fn put_payload(&mut self, id: &ExecutionId, what: Payload, body: &str) -> Result<()> {
        self.direct().put_payload(id, what, body)
    }

    fn head(&mut self, tenant: &TenantId) -> Result<Option<Row>> {
        if let (head, true) = self.first_known(tenant) {
            return Ok(head);
        }
        self.desk.flush(self.conn)?;
        load::heads_of(self.desk, self.conn, tenant)?;
        Ok(self.first_known(tenant).0)
    }

    fn front(&mut self, tenant: &TenantId, lane: &str) -> Result<Option<Row>> {
        let found = self.settled()?.front(tenant, lane)?;
        Ok(found.map(|row| self.desk.lay(row).clone()))
    }

    fn behind(&mut self, tenant: &TenantId, lane: &str) -> Result<Option<Row>> {
        let found = self.settled()?.behind(tenant, lane)?;
        Ok(found.map(|row| self.desk.lay(row).clone()))
    }

    fn held(&mut self, tenant: &TenantId, gate: &str) -> Result<Option<Row>> {
        let found = self.settled()?.held(tenant, gate)?;
        Ok(found.map(|row| self.desk.lay(row).clone()))
    }

    fn gates(&mut self, tenant: &TenantId, keys: &[String]) -> Result<Vec<Gate>> {
        self.direct().gates(tenant, keys)
    }

    fn put_gate(&mut self, tenant: &TenantId, gate: &Gate) -> Result<()> {
        self.direct().put_gate(tenant, gate)
    }

    fn remove_gate(&mut self, tenant: &TenantId, key: &str) -> Result<()> {
        self.direct().remove_gate(tenant, key)
    }

    fn live_exclusive(&mut self, key: &str) -> Result<Option<ExecutionId>> {
        if let Some(live) = self.desk.exclusive.get(key) {
            return Ok(live.clone());
        }
        let live = self.direct().live_exclusive(key)?;
        self.desk.exclusive.insert(key.to_owned(), live.clone());
        Ok(live)
    }

    fn waiting_until(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Row>> {
        let rows = self.settled()?.waiting_until(now, limit)?;
        Ok(self.laid(rows))
    }

    fn too_late(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Row>> {
        let rows = self.settled()?.too_late(now, limit)?;
        Ok(self.laid(rows))
    }

    fn running_of(&mut self, worker: &WorkerId, limit: usize) -> Result<Vec<Row>> {
        let rows = self.settled()?.running_of(worker, limit)?;
        Ok(self.laid(rows))
    }

    fn running_briefly(&mut self, worker: &WorkerId) -> Result<Vec<Running>> {
        self.settled()?.running_briefly(worker)
    }

    fn next_moment(&mut self) -> Result<Option<Timestamp>> {
        self.settled()?.next_moment()
    }

    fn share(&mut self, tenant: &TenantId) -> Result<Option<Share>> {
        if let Some((share, _)) = self.desk.shares.get(tenant) {
            return Ok(share.clone());
        }
        let share = self.direct().share(tenant)?;
        self.desk.shares.insert(tenant.clone(), (share.clone(), false));
        Ok(share)
    }

    fn put_share(&mut self, share: &Share) -> Result<()> {
        self.conn.note_change();
        if let Some(eligible) = &mut self.desk.eligible {
            eligible.stale.insert(share.tenant.clone());
        }
        self.desk.shares.insert(share.tenant.clone(), (Some(share.clone()), true));
        Ok(())
    }

    fn eligible_shares(&mut self, limit: usize) -> Result<Vec<Share>> {
        if let (shares, true) = self.eligible_known(limit) {
            return Ok(shares);
        }
        let shares = self.settled()?.eligible_shares(limit)?;
        let complete = shares.len() < limit;
        let stale = HashSet::new();
        self.desk.eligible = Some(super::Eligible { shares: shares.clone(), complete, stale });
        Ok(shares)
    }

    fn idle_shares(&mut self, limit: usize) -> Result<Vec<Share>> {
        if self.desk.eligible.as_ref().is_some_and(|eligible| eligible.complete) {
            let (mut shares, _) = self.eligible_known(usize::MAX);
            shares.retain(|share| share.running == 0);
            shares.truncate(limit);
            return Ok(shares);
        }
        self.settled()?.idle_shares(limit)
    }

    fn virtual_clock(&mut self) -> Result<VirtualClock> {
        if let Some((clock, _)) = self.desk.clock {
            return Ok(clock);
        }
        let clock = self.direct().virtual_clock()?;
        self.desk.clock = Some((clock, false));
        Ok(clock)
    }

    fn put_virtual_clock(&mut self, clock: VirtualClock) -> Result<()> {
        self.conn.note_change();
        self.desk.clock = Some((clock, true));
        Ok(())
    }

    fn put_worker(&mut self, worker: &WorkerId, expires_at: Timestamp) -> Result<()> {
        self.conn.note_change();
        let kept = self.desk.workers.entry(worker.clone()).or_insert(expires_at);
        *kept = (*kept).max(expires_at);
        Ok(())
    }

    fn remove_worker(&mut self, worker: &WorkerId) -> Result<()> {
        self.settled()?.remove_worker(worker)
    }

    fn workers(&mut self) -> Result<Vec<(WorkerId, Timestamp)>> {
        self.settled()?.workers()
    }

    fn idempotent(&mut self, scope: &str, key: &str) -> Result<Option<(ExecutionId, Timestamp)>> {
        let name = (scope.to_owned(), key.to_owned());
        if let Some((kept, _)) = self.desk.keys.get(&name) {
            return Ok(kept.clone());
        }
        let kept = self.direct().idempotent(scope, key)?;
        self.desk.keys.insert(name, (kept.clone(), false));
        Ok(kept)
    }

    fn put_idempotent(
        &mut self,
        scope: &str,
        key: &str,
        id: &ExecutionId,
        expires_at: Timestamp,
    ) -> Result<()> {
        self.conn.note_change();
        let kept = (Some((id.clone(), expires_at)), true);
        self.desk.keys.insert((scope.to_owned(), key.to_owned()), kept);
        Ok(())
    }

    fn purge_idempotent(&mut self, now: Timestamp, limit: usize) -> Result<()> {
        let mut direct = self.settled()?;
        self.desk.keys.clear();
        direct.purge_idempotent(now, limit)
    }

    fn oldest_after(&mut self, cursor: i64, limit: usize) -> Result<Vec<Aged>> {
        self.settled()?.oldest_after(cursor, limit)
    }

    fn remove(&mut self, id: &ExecutionId) -> Result<()> {
        let mut direct = self.settled()?;
        self.desk.executions.remove(id);
        direct.remove(id)
    }

    fn checkpoint_version(&mut self, scope: &str) -> Result<u64> {
        if let Some(version) = self.desk.versions.get(scope) {
            return Ok(*version);
        }
        // Not kept: while its execution runs, others than the hot path may save it.
        self.direct().checkpoint_version(scope)
    }

    fn remove_checkpoint(&mut self, scope: &str) -> Result<()> {
        if self.desk.versions.insert(scope.to_owned(), 0) == Some(0) {
            return Ok(());
        }
        self.direct().remove_checkpoint(scope)
    }

    fn begin_attempt(&mut self, attempt: &Attempt) -> Result<()> {
        self.conn.note_change();
        self.desk.begun.push(attempt.clone());
        Ok(())
    }

    fn end_attempt(&mut self, attempt: &AttemptRow) -> Result<()> {
        self.conn.note_change();
        self.desk.ended.push(attempt.clone());
        Ok(())
    }

    fn append_event(&mut self, id: &ExecutionId, event: &TimelineEvent) -> Result<()> {
        self.settled()?.append_event(id, event)
    }

    fn keep_ending(&mut self, id: &ExecutionId) -> Result<()> {
        self.conn.note_change();
        self.desk.endings.push(id.clone());
        Ok(())
    }

    fn tell(&mut self, news: News) {
        self.conn.tell(&news);
    }

    fn schedule(&mut self, key: &ScheduleKey) -> Result<Option<Schedule>> {
        self.direct().schedule(key)
    }

    fn put_schedule(&mut self, schedule: &Schedule) -> Result<()> {
        self.direct().put_schedule(schedule)
    }
}
