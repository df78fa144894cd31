//! The row operations, as SQL in the writer's transaction.

use bulkhead_sched::share::{Share, VirtualClock};
use bulkhead_types::{
    Attempt, ExecutionId, Fence, LeaseRef, TenantId, TimelineEvent, Timestamp, WorkerId,
};
use rusqlite::{Connection, Params, Row as SqlRow, Transaction, named_params, params};

use super::super::model::{Schedule, ScheduleKey, TIMELINE_EVENTS_MAX};
use super::super::rows::{Aged, AttemptRow, Payload, Result, Row, Rows, Running};
use super::columns::{self, SCHEDULE};
use super::statements as sql;
use crate::db::{StoreError, to_json};

/// Row operations within one transaction.
pub(super) struct SqliteRows<'a> {
    tx: &'a Transaction<'a>,
}

impl<'a> SqliteRows<'a> {
    pub(super) const fn new(tx: &'a Transaction<'a>) -> Self {
        Self { tx }
    }

    fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        Ok(self.tx.prepare_cached(sql)?.execute(params)?)
    }
}

/// The row that a statement finds.
pub(super) fn one<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    read: fn(&SqlRow<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?.map(read).transpose()
}

/// The rows that a statement finds.
pub(super) fn all<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    read: fn(&SqlRow<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// SQLite counts in i64.
fn at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn error_json(error: Option<&bulkhead_types::ErrorInfo>) -> Result<Option<String>> {
    error.map(|error| to_json("executions", error)).transpose()
}

pub(super) fn payload(
    conn: &Connection,
    id: &ExecutionId,
    what: Payload,
) -> Result<Option<String>> {
    let sql = "SELECT body FROM payloads WHERE execution = ? AND what = ?";
    one(conn, sql, (id.as_str(), what.as_str()), |row| Ok(row.get(0)?))
}

pub(super) fn remove_schedule(tx: &Transaction<'_>, key: &ScheduleKey) -> Result<bool> {
    let sql = "DELETE FROM schedules WHERE tenant = ? AND integration = ? AND kind = ? AND name = ? AND connection = ?";
    Ok(tx.prepare_cached(sql)?.execute(schedule_key(key))? > 0)
}

fn schedule_key(key: &ScheduleKey) -> (&str, &str, &str, &str, &str) {
    let ScheduleKey { function, connection } = key;
    let connection = connection.as_ref().map_or("", |connection| connection.as_str());
    let (tenant, integration) = (function.tenant.as_str(), function.integration.as_str());
    (tenant, integration, function.kind.as_str(), function.name.as_str(), connection)
}

pub(super) fn find_schedule(conn: &Connection, key: &ScheduleKey) -> Result<Option<Schedule>> {
    let sql = format!(
        "SELECT {SCHEDULE} FROM schedules
         WHERE tenant = ? AND integration = ? AND kind = ? AND name = ? AND connection = ?"
    );
    one(conn, &sql, schedule_key(key), columns::schedule)
}

impl Rows for SqliteRows<'_> {
    fn execution(&mut self, id: &ExecutionId) -> Result<Option<Row>> {
        one(self.tx, sql::BY_ID, [id.as_str()], columns::execution)
    }

    fn insert(&mut self, row: &Row) -> Result<()> {
        let function = &row.function;
        self.execute(
            "INSERT INTO executions (id, tenant, integration, kind, name, version, connection, \"trigger\", retry_of,
               input, limits, retry, scope, exclusive, start_by, created_at, state, ready_at, rank)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
                row.input,
                row.limits,
                row.retry,
                row.scope,
                row.exclusive,
                row.start_by.map(Timestamp::as_millis),
                row.created_at.as_millis(),
                row.state.as_str(),
                row.ready_at.as_millis(),
                row.rank.as_millis(),
            ],
        )?;
        Ok(())
    }

    fn update(&mut self, row: &Row) -> Result<()> {
        self.execute(
            "UPDATE executions SET state = :state, ready_at = :ready_at, rank = :rank, attempts = :attempts,
               fence = :fence, worker = :worker, leased_at = :leased_at, charged_us = :charged_us,
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
                ":output": row.output,
                ":error": error_json(row.error.as_ref())?,
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
        let sql = "INSERT OR REPLACE INTO payloads (execution, what, body) VALUES (?, ?, ?)";
        self.execute(sql, (id.as_str(), what.as_str(), body))?;
        Ok(())
    }

    fn head(&mut self, tenant: &TenantId) -> Result<Option<Row>> {
        one(self.tx, sql::HEAD, [tenant.as_str()], columns::execution)
    }

    fn live_exclusive(&mut self, key: &str) -> Result<Option<ExecutionId>> {
        one(self.tx, sql::LIVE_EXCLUSIVE, [key], |row| id_of(row, 0))
    }

    fn waiting_until(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Row>> {
        let params = (now.as_millis(), at_most(limit));
        all(self.tx, sql::WAITING_UNTIL, params, columns::execution)
    }

    fn too_late(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Row>> {
        let params = (now.as_millis(), at_most(limit));
        all(self.tx, sql::TOO_LATE, params, columns::execution)
    }

    fn running_of(&mut self, worker: &WorkerId, limit: usize) -> Result<Vec<Row>> {
        let params = (worker.as_str(), at_most(limit));
        all(self.tx, sql::RUNNING_OF, params, columns::execution)
    }

    fn running_briefly(&mut self, worker: &WorkerId) -> Result<Vec<Running>> {
        all(self.tx, sql::RUNNING_BRIEFLY, [worker.as_str()], |row| {
            let lease = LeaseRef { execution: id_of(row, 0)?, fence: Fence(row.get(1)?) };
            let leased_at = Timestamp::from_millis(row.get(2)?);
            Ok(Running { lease, leased_at, cancel_asked: row.get(3)? })
        })
    }

    fn next_moment(&mut self) -> Result<Option<Timestamp>> {
        let found = one(self.tx, sql::NEXT_MOMENT, [], |row| Ok(row.get::<_, Option<i64>>(0)?))?;
        Ok(found.flatten().map(Timestamp::from_millis))
    }

    fn share(&mut self, tenant: &TenantId) -> Result<Option<Share>> {
        one(self.tx, sql::SHARE, [tenant.as_str()], columns::share)
    }

    fn put_share(&mut self, share: &Share) -> Result<()> {
        let limits = share.limits;
        self.execute(
            "INSERT INTO shares (tenant, weight, running_max, queued_max, vtime_us, queued, waiting, running)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (tenant) DO UPDATE SET weight = excluded.weight, running_max = excluded.running_max,
               queued_max = excluded.queued_max, vtime_us = excluded.vtime_us, queued = excluded.queued,
               waiting = excluded.waiting, running = excluded.running",
            params![
                share.tenant.as_str(),
                limits.weight,
                limits.running_max,
                limits.queued_max,
                share.vtime_us,
                share.queued,
                share.waiting,
                share.running
            ],
        )?;
        Ok(())
    }

    fn eligible_shares(&mut self, limit: usize) -> Result<Vec<Share>> {
        all(self.tx, sql::ELIGIBLE_SHARES, [at_most(limit)], columns::share)
    }

    fn virtual_clock(&mut self) -> Result<VirtualClock> {
        let found = one(self.tx, "SELECT vtime_us FROM virtual_clock", [], |row| {
            Ok(VirtualClock(row.get(0)?))
        })?;
        Ok(found.unwrap_or_default())
    }

    fn put_virtual_clock(&mut self, clock: VirtualClock) -> Result<()> {
        self.execute("UPDATE virtual_clock SET vtime_us = ?", [clock.0])?;
        Ok(())
    }

    fn put_worker(&mut self, worker: &WorkerId, expires_at: Timestamp) -> Result<()> {
        self.execute(
            "INSERT INTO workers (id, expires_at) VALUES (?, ?)
             ON CONFLICT (id) DO UPDATE SET expires_at = max(expires_at, excluded.expires_at)",
            (worker.as_str(), expires_at.as_millis()),
        )?;
        Ok(())
    }

    fn remove_worker(&mut self, worker: &WorkerId) -> Result<()> {
        self.execute("DELETE FROM workers WHERE id = ?", [worker.as_str()])?;
        Ok(())
    }

    fn workers(&mut self) -> Result<Vec<(WorkerId, Timestamp)>> {
        all(self.tx, "SELECT id, expires_at FROM workers ORDER BY expires_at", [], |row| {
            let id: String = row.get(0)?;
            let id = WorkerId::parse(&id).map_err(|error| corrupt("workers", &error))?;
            Ok((id, Timestamp::from_millis(row.get(1)?)))
        })
    }

    fn idempotent(&mut self, scope: &str, key: &str) -> Result<Option<(ExecutionId, Timestamp)>> {
        let sql = "SELECT execution, expires_at FROM idempotency WHERE scope = ? AND key = ?";
        one(self.tx, sql, (scope, key), |row| {
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
        let sql = "INSERT OR REPLACE INTO idempotency (scope, key, execution, expires_at) VALUES (?, ?, ?, ?)";
        self.execute(sql, (scope, key, id.as_str(), expires_at.as_millis()))?;
        Ok(())
    }

    fn purge_idempotent(&mut self, now: Timestamp, limit: usize) -> Result<()> {
        self.execute(sql::FORGET_KEYS, (now.as_millis(), at_most(limit)))?;
        Ok(())
    }

    fn oldest_after(&mut self, cursor: i64, limit: usize) -> Result<Vec<Aged>> {
        all(self.tx, sql::OLDEST_AFTER, (cursor, at_most(limit)), columns::aged)
    }

    fn remove(&mut self, id: &ExecutionId) -> Result<()> {
        for sql in sql::REMOVE {
            self.execute(sql, [id.as_str()])?;
        }
        Ok(())
    }

    fn checkpoint_version(&mut self, scope: &str) -> Result<u64> {
        let found =
            one(self.tx, "SELECT version FROM checkpoints WHERE scope = ?", [scope], |row| {
                Ok(row.get(0)?)
            })?;
        Ok(found.unwrap_or(0))
    }

    fn remove_checkpoint(&mut self, scope: &str) -> Result<()> {
        self.execute("DELETE FROM checkpoints WHERE scope = ?", [scope])?;
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
        self.execute(
            "UPDATE attempts SET started_at = ?, ended_at = ?, outcome = ?, error = ?, start = ?,
               checkpoint = ?, wall_ms = ?, cpu_us = ?, memory_peak = ?, start_us = ?
             WHERE execution = ? AND number = ?",
            params![
                attempt.started_at.map(Timestamp::as_millis),
                attempt.ended_at.map(Timestamp::as_millis),
                attempt.outcome,
                error_json(attempt.error.as_ref())?,
                attempt.start,
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
                ":what": event.what,
                ":attempt": event.attempt,
                ":detail": detail,
                ":most": TIMELINE_EVENTS_MAX,
            },
        )?;
        Ok(())
    }

    fn schedule(&mut self, key: &ScheduleKey) -> Result<Option<Schedule>> {
        find_schedule(self.tx, key)
    }

    fn put_schedule(&mut self, schedule: &Schedule) -> Result<()> {
        let (tenant, integration, kind, name, connection) = schedule_key(&schedule.key);
        let sql = format!(
            "INSERT OR REPLACE INTO schedules ({SCHEDULE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        );
        self.execute(
            &sql,
            params![
                tenant,
                integration,
                kind,
                name,
                connection,
                schedule.frequency,
                schedule.anchor.as_millis(),
                schedule.paused,
                schedule.next_at.as_millis(),
                schedule.last_at.map(Timestamp::as_millis),
                schedule.last_execution.as_ref().map(|id| id.as_str()),
                schedule.last_error,
            ],
        )?;
        Ok(())
    }
}

fn id_of(row: &SqlRow<'_>, place: usize) -> Result<ExecutionId> {
    let text: String = row.get(place)?;
    ExecutionId::parse(&text).map_err(|error| corrupt("executions", &error))
}

fn corrupt(table: &'static str, what: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt { table, what: what.to_string() }
}
