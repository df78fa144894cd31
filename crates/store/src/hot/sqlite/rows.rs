//! The row operations, as SQL in the writer's transaction.

use std::borrow::Cow;

use bulkhead_sched::gate::Gate;
use bulkhead_sched::share::{Share, VirtualClock};
use bulkhead_types::{
    Attempt, ExecutionId, Fence, LeaseRef, TenantId, TimelineEvent, Timestamp, WorkerId,
};

use super::super::model::{Schedule, ScheduleKey, TIMELINE_EVENTS_MAX};
use super::super::rows::{Aged, AttemptRow, GATES_MAX, Payload, Result, Row, Rows, Running};
use super::columns::{self, SCHEDULE};
use super::statements as sql;
use crate::db::{Conn, Params, Row as SqlRow, StoreError, Value, named_params, params, to_json};

/// Row operations within one transaction.
pub(crate) struct SqliteRows<'a> {
    tx: &'a Conn,
}

impl<'a> SqliteRows<'a> {
    pub(crate) const fn new(tx: &'a Conn) -> Self {
        Self { tx }
    }

    /// `sql`, and on PostgreSQL a lock on the executions that it finds: writes under their leases come before what
    /// follows, or after it ([`crate::fence`]).
    fn lockable(&self, sql: &'static str) -> Cow<'static, str> {
        match self.tx.locking(" FOR NO KEY UPDATE") {
            "" => Cow::Borrowed(sql),
            lock => Cow::Owned(format!("{sql}{lock}")),
        }
    }

    fn execute(&self, sql: &str, params: Params<'_>) -> Result<usize> {
        self.tx.execute(sql, params)
    }
}

fn error_json(error: Option<&bulkhead_types::ErrorInfo>) -> Result<Option<String>> {
    error.map(|error| to_json("executions", error)).transpose()
}

pub(super) fn payload(conn: &Conn, id: &ExecutionId, what: Payload) -> Result<Option<String>> {
    let sql = "SELECT body FROM payloads WHERE execution = ? AND what = ?";
    conn.one(sql, params![id.as_str(), what.as_str()], |row| row.get(0))
}

pub(super) fn remove_schedule(tx: &Conn, key: &ScheduleKey) -> Result<bool> {
    let sql = "DELETE FROM schedules WHERE tenant = ? AND integration = ? AND kind = ? AND name = ? AND connection = ?";
    Ok(tx.execute(sql, Params::Placed(&schedule_key(key)))? > 0)
}

pub(super) fn forget_endings(tx: &Conn, ids: &[ExecutionId]) -> Result<()> {
    for id in ids {
        tx.execute(sql::FORGET_ENDING, params![id.as_str()])?;
    }
    Ok(())
}

fn schedule_key(key: &ScheduleKey) -> [Value<'_>; 5] {
    let ScheduleKey { function, connection } = key;
    let connection = connection.as_ref().map_or("", |connection| connection.as_str());
    let (tenant, integration) = (function.tenant.as_str(), function.integration.as_str());
    [tenant, integration, function.kind.as_str(), function.name.as_str(), connection]
        .map(Value::from)
}

pub(super) fn find_schedule(conn: &Conn, key: &ScheduleKey) -> Result<Option<Schedule>> {
    let sql = format!(
        "SELECT {SCHEDULE} FROM schedules
         WHERE tenant = ? AND integration = ? AND kind = ? AND name = ? AND connection = ?"
    );
    conn.one(&sql, Params::Placed(&schedule_key(key)), columns::schedule)
}

impl Rows for SqliteRows<'_> {
    fn execution(&mut self, id: &ExecutionId) -> Result<Option<Row>> {
        let sql = self.lockable(sql::BY_ID);
        self.tx.one(&sql, params![id.as_str()], columns::execution)
    }

    fn insert(&mut self, row: &Row) -> Result<()> {
        let function = &row.function;
        self.execute(
            "INSERT INTO executions (id, tenant, integration, kind, name, version, connection, \"trigger\", retry_of,
               input, limits, retry, scope, exclusive, start_by, concurrency_key, concurrency_max, told, cpu_units,
               memory_units, created_at, state, ready_at, rank, place, gate, lane)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                row.id.as_str(),
                function.tenant.as_str(),
                function.integration.as_str(),
                function.kind.as_str(),
                function.name.as_str(),
                row.version.as_str(),
                row.connection.as_ref().map(|id| id.as_str()),
                row.trigger.as_str(),
                row.retry_of.as_ref().map(|id| id.as_str()),
                &row.input,
                &row.limits,
                &row.retry,
                &row.scope,
                &row.exclusive,
                row.start_by.map(Timestamp::as_millis),
                row.concurrency.as_ref().map(|key| &key.name),
                row.concurrency.as_ref().map(|key| key.max),
                row.told,
                row.units.cpu,
                row.units.memory_mib,
                row.created_at.as_millis(),
                row.state.as_str(),
                row.ready_at.as_millis(),
                row.rank.as_millis(),
                row.place.as_number(),
                &row.gate,
                &row.lane,
            ],
        )?;
        Ok(())
    }

    fn update(&mut self, row: &Row) -> Result<()> {
        let error = error_json(row.error.as_ref())?;
        let passed = (!row.passed.is_empty()).then(|| row.passed.join("\n"));
        self.execute(
            "UPDATE executions SET state = :state, ready_at = :ready_at, rank = :rank, place = :place,
               gate = :gate, lane = :lane, passed = :passed, attempts = :attempts, fence = :fence, worker = :worker, leased_at = :leased_at, charged_us = :charged_us,
               checkpoint_at_start = :checkpoint, failures = :failures, stalls = :stalls, losses = :losses,
               cancel_asked = :cancel_asked, started_at = :started_at, ended_at = :ended_at, output = :output,
               error = :error, fault = :fault, wall_ms = :wall_ms, cpu_us = :cpu_us, memory_peak = :memory_peak,
               start_us = :start_us
             WHERE seq = :seq",
            named_params! {
                ":seq": row.seq,
                ":state": row.state.as_str(),
                ":ready_at": row.ready_at.as_millis(),
                ":rank": row.rank.as_millis(),
                ":place": row.place.as_number(),
                ":gate": &row.gate,
                ":lane": &row.lane,
                ":passed": &passed,
                ":attempts": row.attempts,
                ":fence": row.fence.0,
                ":worker": row.worker.as_ref().map(WorkerId::as_str),
                ":leased_at": row.leased_at.map(Timestamp::as_millis),
                ":charged_us": row.charged_us,
                ":checkpoint": row.checkpoint_at_start,
                ":failures": row.counts.failures,
                ":stalls": row.counts.stalls,
                ":losses": row.counts.losses,
                ":cancel_asked": row.cancel_asked,
                ":started_at": row.started_at.map(Timestamp::as_millis),
                ":ended_at": row.ended_at.map(Timestamp::as_millis),
                ":output": &row.output,
                ":error": &error,
                ":fault": row.fault.map(|fault| fault.as_str()),
                ":wall_ms": row.usage.wall_ms,
                ":cpu_us": row.usage.cpu_us,
                ":memory_peak": row.usage.memory_bytes_peak,
                ":start_us": row.usage.start_us,
            },
        )?;
        Ok(())
    }

    fn payload(&mut self, id: &ExecutionId, what: Payload) -> Result<Option<String>> {
        payload(self.tx, id, what)
    }

    fn put_payload(&mut self, id: &ExecutionId, what: Payload, body: &str) -> Result<()> {
        let sql = "INSERT INTO payloads (execution, what, body) VALUES (?, ?, ?)
                   ON CONFLICT (execution, what) DO UPDATE SET body = excluded.body";
        self.execute(sql, params![id.as_str(), what.as_str(), body])?;
        Ok(())
    }

    fn head(&mut self, tenant: &TenantId) -> Result<Option<Row>> {
        self.tx.one(sql::HEAD, params![tenant.as_str()], columns::execution)
    }

    fn front(&mut self, tenant: &TenantId, lane: &str) -> Result<Option<Row>> {
        self.tx.one(sql::FRONT, params![tenant.as_str(), lane], columns::execution)
    }

    fn behind(&mut self, tenant: &TenantId, lane: &str) -> Result<Option<Row>> {
        self.tx.one(sql::BEHIND, params![tenant.as_str(), lane], columns::execution)
    }

    fn held(&mut self, tenant: &TenantId, gate: &str) -> Result<Option<Row>> {
        self.tx.one(sql::HELD, params![tenant.as_str(), gate], columns::execution)
    }

    fn gates(&mut self, tenant: &TenantId, keys: &[String]) -> Result<Vec<Gate>> {
        let key = |place: usize| keys.get(place).map_or("", String::as_str);
        debug_assert!(keys.len() <= GATES_MAX);
        let params = params![tenant.as_str(), key(0), key(1), key(2)];
        self.tx.all(sql::GATES, params, columns::gate)
    }

    fn put_gate(&mut self, tenant: &TenantId, gate: &Gate) -> Result<()> {
        self.execute(
            "INSERT INTO gates (tenant, key, running_max, running, paused, is_set) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (tenant, key) DO UPDATE SET running_max = excluded.running_max,
               running = excluded.running, paused = excluded.paused, is_set = excluded.is_set",
            params![tenant.as_str(), &gate.key, gate.running_max, gate.running, gate.paused, gate.set],
        )?;
        Ok(())
    }

    fn remove_gate(&mut self, tenant: &TenantId, key: &str) -> Result<()> {
        let sql = "DELETE FROM gates WHERE tenant = ? AND key = ?";
        self.execute(sql, params![tenant.as_str(), key])?;
        Ok(())
    }

    fn live_exclusive(&mut self, key: &str) -> Result<Option<ExecutionId>> {
        self.tx.one(sql::LIVE_EXCLUSIVE, params![key], |row| id_of(row, 0))
    }

    fn waiting_until(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Row>> {
        let params = params![now.as_millis(), limit];
        self.tx.all(sql::WAITING_UNTIL, params, columns::execution)
    }

    fn too_late(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Row>> {
        let params = params![now.as_millis(), limit];
        self.tx.all(sql::TOO_LATE, params, columns::execution)
    }

    fn running_of(&mut self, worker: &WorkerId, limit: usize) -> Result<Vec<Row>> {
        let params = params![worker.as_str(), limit];
        self.tx.all(&self.lockable(sql::RUNNING_OF), params, columns::execution)
    }

    fn running_briefly(&mut self, worker: &WorkerId) -> Result<Vec<Running>> {
        self.tx.all(sql::RUNNING_BRIEFLY, params![worker.as_str()], |row| {
            let lease = LeaseRef { execution: id_of(row, 0)?, fence: Fence(row.get(1)?) };
            let leased_at = Timestamp::from_millis(row.get(2)?);
            Ok(Running { lease, leased_at, cancel_asked: row.get(3)? })
        })
    }

    fn next_moment(&mut self) -> Result<Option<Timestamp>> {
        let found = self.tx.one(sql::NEXT_MOMENT, params![], |row| row.get::<Option<i64>>(0))?;
        Ok(found.flatten().map(Timestamp::from_millis))
    }

    fn share(&mut self, tenant: &TenantId) -> Result<Option<Share>> {
        self.tx.one(sql::SHARE, params![tenant.as_str()], columns::share)
    }

    fn put_share(&mut self, share: &Share) -> Result<()> {
        let limits = share.limits;
        self.execute(
            "INSERT INTO shares (tenant, weight, running_max, queued_max, vtime_us, queued, held, waiting, running,
               gates, paused)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (tenant) DO UPDATE SET weight = excluded.weight, running_max = excluded.running_max,
               queued_max = excluded.queued_max, vtime_us = excluded.vtime_us, queued = excluded.queued,
               held = excluded.held, waiting = excluded.waiting, running = excluded.running,
               gates = excluded.gates, paused = excluded.paused",
            params![
                share.tenant.as_str(),
                limits.weight,
                limits.running_max,
                limits.queued_max,
                share.vtime_us,
                share.queued,
                share.held,
                share.waiting,
                share.running,
                share.gates,
                share.paused,
            ],
        )?;
        Ok(())
    }

    fn eligible_shares(&mut self, limit: usize) -> Result<Vec<Share>> {
        self.tx.all(sql::ELIGIBLE_SHARES, params![limit], columns::share)
    }

    fn idle_shares(&mut self, limit: usize) -> Result<Vec<Share>> {
        self.tx.all(sql::IDLE_SHARES, params![limit], columns::share)
    }

    fn virtual_clock(&mut self) -> Result<VirtualClock> {
        let found = self.tx.one("SELECT vtime_us FROM virtual_clock", params![], |row| {
            Ok(VirtualClock(row.get(0)?))
        })?;
        Ok(found.unwrap_or_default())
    }

    fn put_virtual_clock(&mut self, clock: VirtualClock) -> Result<()> {
        self.execute("UPDATE virtual_clock SET vtime_us = ?", params![clock.0])?;
        Ok(())
    }

    fn put_worker(&mut self, worker: &WorkerId, expires_at: Timestamp) -> Result<()> {
        self.execute(
            "INSERT INTO workers (id, expires_at) VALUES (?, ?)
             ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at
             WHERE workers.expires_at < excluded.expires_at",
            params![worker.as_str(), expires_at.as_millis()],
        )?;
        Ok(())
    }

    fn remove_worker(&mut self, worker: &WorkerId) -> Result<()> {
        self.execute("DELETE FROM workers WHERE id = ?", params![worker.as_str()])?;
        Ok(())
    }

    fn workers(&mut self) -> Result<Vec<(WorkerId, Timestamp)>> {
        self.tx.all("SELECT id, expires_at FROM workers ORDER BY expires_at", params![], |row| {
            let id: String = row.get(0)?;
            let id = WorkerId::parse(&id).map_err(|error| corrupt("workers", &error))?;
            Ok((id, Timestamp::from_millis(row.get(1)?)))
        })
    }

    fn idempotent(&mut self, scope: &str, key: &str) -> Result<Option<(ExecutionId, Timestamp)>> {
        let sql = "SELECT execution, expires_at FROM idempotency WHERE scope = ? AND key = ?";
        self.tx.one(sql, params![scope, key], |row| {
            Ok((id_of(row, 0)?, Timestamp::from_millis(row.get(1)?)))
        })
    }

    fn put_idempotent(
        &mut self,
        scope: &str,
        key: &str,
        id: &ExecutionId,
        expires_at: Timestamp,
    ) -> Result<()> {
        let sql = "INSERT INTO idempotency (scope, key, execution, expires_at) VALUES (?, ?, ?, ?)
                   ON CONFLICT (scope, key) DO UPDATE SET execution = excluded.execution, expires_at = excluded.expires_at";
        self.execute(sql, params![scope, key, id.as_str(), expires_at.as_millis()])?;
        Ok(())
    }

    fn purge_idempotent(&mut self, now: Timestamp, limit: usize) -> Result<()> {
        self.execute(sql::FORGET_KEYS, params![now.as_millis(), limit])?;
        Ok(())
    }

    fn oldest_after(&mut self, cursor: i64, limit: usize) -> Result<Vec<Aged>> {
        self.tx.all(sql::OLDEST_AFTER, params![cursor, limit], columns::aged)
    }

    fn remove(&mut self, id: &ExecutionId) -> Result<()> {
        for sql in sql::REMOVE {
            self.execute(sql, params![id.as_str()])?;
        }
        Ok(())
    }

    fn checkpoint_version(&mut self, scope: &str) -> Result<u64> {
        let found = self.tx.one(
            "SELECT version FROM checkpoints WHERE scope = ?",
            params![scope],
            |row| row.get(0),
        )?;
        Ok(found.unwrap_or(0))
    }

    fn remove_checkpoint(&mut self, scope: &str) -> Result<()> {
        self.execute("DELETE FROM checkpoints WHERE scope = ?", params![scope])?;
        Ok(())
    }

    fn begin_attempt(&mut self, attempt: &Attempt) -> Result<()> {
        self.execute(
            "INSERT INTO attempts (execution, number, fence, worker, leased_at) VALUES (?, ?, ?, ?, ?)",
            params![
                attempt.execution.as_str(),
                attempt.number,
                attempt.fence.0,
                attempt.worker.as_str(),
                attempt.leased_at.as_millis(),
            ],
        )?;
        Ok(())
    }

    fn end_attempt(&mut self, row: &AttemptRow) -> Result<()> {
        let attempt = &row.attempt;
        let error = error_json(attempt.error.as_ref())?;
        self.execute(
            "UPDATE attempts SET started_at = ?, ended_at = ?, outcome = ?, error = ?, start = ?, wall = ?,
               checkpoint = ?, wall_ms = ?, cpu_us = ?, memory_peak = ?, start_us = ?
             WHERE execution = ? AND number = ?",
            params![
                attempt.started_at.map(Timestamp::as_millis),
                attempt.ended_at.map(Timestamp::as_millis),
                &attempt.outcome,
                &error,
                &attempt.start,
                &attempt.wall,
                row.checkpoint,
                attempt.usage.wall_ms,
                attempt.usage.cpu_us,
                attempt.usage.memory_bytes_peak,
                attempt.usage.start_us,
                attempt.execution.as_str(),
                attempt.number,
            ],
        )?;
        Ok(())
    }

    fn append_event(&mut self, id: &ExecutionId, event: &TimelineEvent) -> Result<()> {
        let detail = to_json("timeline", &event.detail)?;
        self.execute(
            "INSERT INTO timeline (execution, seq, at, what, attempt, detail)
             SELECT :id, next.seq, :at, :what, :attempt, :detail
             FROM (SELECT coalesce(max(seq), 0) + 1 AS seq FROM timeline WHERE execution = :id) AS next
             WHERE next.seq <= :most AND EXISTS (SELECT 1 FROM executions WHERE id = :id)",
            named_params! {
                ":id": id.as_str(),
                ":at": event.at.as_millis(),
                ":what": &event.what,
                ":attempt": event.attempt,
                ":detail": &detail,
                ":most": TIMELINE_EVENTS_MAX,
            },
        )?;
        Ok(())
    }

    fn keep_ending(&mut self, id: &ExecutionId) -> Result<()> {
        self.execute(sql::KEEP_ENDING, params![id.as_str()])?;
        Ok(())
    }

    fn schedule(&mut self, key: &ScheduleKey) -> Result<Option<Schedule>> {
        find_schedule(self.tx, key)
    }

    fn put_schedule(&mut self, schedule: &Schedule) -> Result<()> {
        let [tenant, integration, kind, name, connection] = schedule_key(&schedule.key);
        let sql = format!(
            "INSERT INTO schedules ({SCHEDULE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (tenant, integration, kind, name, connection) DO UPDATE SET frequency = excluded.frequency,
               anchor = excluded.anchor, jitter_ms = excluded.jitter_ms, missed = excluded.missed, paused = excluded.paused, next_at = excluded.next_at,
               last_at = excluded.last_at, last_execution = excluded.last_execution, last_error = excluded.last_error"
        );
        self.execute(
            &sql,
            params![
                tenant,
                integration,
                kind,
                name,
                connection,
                &schedule.frequency,
                schedule.anchor.as_millis(),
                schedule.options.jitter_ms,
                schedule.options.missed.as_str(),
                schedule.paused,
                schedule.next_at.as_millis(),
                schedule.last_at.map(Timestamp::as_millis),
                schedule.last_execution.as_ref().map(|id| id.as_str()),
                &schedule.last_error,
            ],
        )?;
        Ok(())
    }
}

pub(super) fn id_of(row: &SqlRow<'_>, place: usize) -> Result<ExecutionId> {
    let text: String = row.get(place)?;
    ExecutionId::parse(&text).map_err(|error| corrupt("executions", &error))
}

fn corrupt(table: &'static str, what: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt { table, what: what.to_string() }
}
