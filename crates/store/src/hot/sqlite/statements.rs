//! Statements whose cost must not grow with what is kept. The test below holds each to its index.

use super::columns::{schedule_columns, select_executions, select_schedules, select_shares};

pub(super) const BY_ID: &str = select_executions!(whole, "WHERE id = ?");

pub(super) const HEAD: &str = select_executions!(
    whole,
    "WHERE tenant = ? AND state = 'queued' AND place = 0 ORDER BY rank, seq LIMIT 1"
);

pub(super) const FRONT: &str = select_executions!(
    whole,
    "WHERE tenant = ? AND lane = ? AND state = 'queued' AND lane IS NOT NULL AND place < 2"
);

pub(super) const BEHIND: &str = select_executions!(
    whole,
    "WHERE tenant = ? AND lane = ? AND state = 'queued' AND place = 2 ORDER BY rank, seq LIMIT 1"
);

pub(super) const HELD: &str = select_executions!(
    whole,
    "WHERE tenant = ? AND gate = ? AND state = 'queued' AND place = 1 ORDER BY rank, seq LIMIT 1"
);

pub(super) const GATES: &str = "SELECT key, running_max, running, paused, is_set FROM gates
     WHERE tenant = ? AND key IN (?, ?, ?) ORDER BY key";

pub(super) const WAITING_UNTIL: &str = select_executions!(
    whole,
    "WHERE state = 'waiting' AND ready_at <= ? ORDER BY ready_at LIMIT ?"
);

pub(super) const TOO_LATE: &str = select_executions!(
    whole,
    "WHERE state = 'queued' AND attempts = 0 AND start_by IS NOT NULL AND start_by <= ?
     ORDER BY start_by LIMIT ?"
);

pub(super) const RUNNING_OF: &str =
    select_executions!(whole, "WHERE state = 'running' AND worker = ? LIMIT ?");

pub(super) const RUNNING_BRIEFLY: &str = "SELECT id, fence, leased_at, cancel_asked FROM executions
     WHERE state = 'running' AND worker = ?";

pub(super) const LIVE_EXCLUSIVE: &str = "SELECT id FROM executions
     WHERE exclusive = ? AND state IN ('queued', 'running', 'waiting')";

pub(super) const OLDEST_AFTER: &str = "SELECT seq, id, created_at, state FROM executions
     WHERE seq > ? ORDER BY seq LIMIT ?";

/// An execution ends once; `retry` makes another.
pub(super) const KEEP_ENDING: &str =
    "INSERT INTO endings (execution) VALUES (?) ON CONFLICT (execution) DO NOTHING";

/// In no order: each is told of as soon as somebody looks.
pub(super) const ENDINGS: &str = "SELECT execution FROM endings LIMIT ?";

pub(super) const FORGET_ENDING: &str = "DELETE FROM endings WHERE execution = ?";

/// An execution and all that it left but records, which belong to its connection.
pub(super) const REMOVE: [&str; 6] = [
    "DELETE FROM endings WHERE execution = ?",
    "DELETE FROM payloads WHERE execution = ?",
    "DELETE FROM attempts WHERE execution = ?",
    "DELETE FROM timeline WHERE execution = ?",
    "DELETE FROM logs WHERE execution = ?",
    "DELETE FROM executions WHERE id = ?",
];

/// Each part is the first entry of an index.
pub(super) const NEXT_MOMENT: &str = "SELECT min(at) FROM (
       SELECT (SELECT ready_at FROM executions WHERE state = 'waiting'
               ORDER BY ready_at LIMIT 1) AS at
       UNION ALL
       SELECT (SELECT start_by FROM executions
               WHERE state = 'queued' AND attempts = 0 AND start_by IS NOT NULL
               ORDER BY start_by LIMIT 1)
       UNION ALL
       SELECT (SELECT expires_at FROM workers ORDER BY expires_at LIMIT 1)) AS moments";

pub(super) const SHARE: &str = select_shares!("WHERE tenant = ?");

pub(super) const ELIGIBLE_SHARES: &str = select_shares!(
    "WHERE queued > held AND running < running_max AND paused = 0 ORDER BY vtime_us, tenant LIMIT ?"
);

pub(super) const IDLE_SHARES: &str = select_shares!(
    "WHERE queued > held AND running = 0 AND running_max > 0 AND paused = 0
     ORDER BY vtime_us, tenant LIMIT ?"
);

pub(super) const FORGET_KEYS: &str = "DELETE FROM idempotency WHERE (scope, key) IN
     (SELECT scope, key FROM idempotency WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)";

pub(super) const DUE: &str =
    select_schedules!("WHERE paused = 0 AND next_at <= ? ORDER BY next_at LIMIT ?");

pub(super) const NEXT_DUE: &str =
    "SELECT next_at FROM schedules WHERE paused = 0 AND next_at > ? ORDER BY next_at LIMIT 1";

/// Whether an execution was repeated; the same as [`NOT_REPEATED`] asks of each.
#[cfg(test)]
const REPEATS: &str = "SELECT 1 FROM executions AS repeat WHERE repeat.retry_of = ?";

/// A condition: a failed execution is a dead letter while nobody has repeated it.
pub(super) const NOT_REPEATED: &str =
    "NOT EXISTS (SELECT 1 FROM executions AS repeat WHERE repeat.retry_of = executions.id)";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use crate::Db;
    use crate::db::{Params, StoreError, Value};

    async fn plan(sql: &'static str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("bulkhead.db")).unwrap();
        let explain = db.read(move |conn| {
            let nulls = vec![Value::Null; sql.matches('?').count()];
            let explain = format!("EXPLAIN QUERY PLAN {sql}");
            let steps = conn.all(&explain, Params::Placed(&nulls), |row| row.get::<String>(3))?;
            Ok::<_, StoreError>(steps.join("; "))
        });
        explain.await.unwrap()
    }

    #[tokio::test]
    async fn each_is_answered_by_an_index() {
        for (sql, index) in [
            (super::BY_ID, "sqlite_autoindex_executions_1"),
            (super::HEAD, "executions_ready"),
            (super::FRONT, "executions_front"),
            (super::BEHIND, "executions_behind"),
            (super::HELD, "executions_held"),
            (super::GATES, "PRIMARY KEY"),
            (super::DUE, "schedules_due"),
            (super::NEXT_DUE, "schedules_due"),
            (super::REPEATS, "executions_retry_of"),
            (super::WAITING_UNTIL, "executions_waiting"),
            (super::TOO_LATE, "executions_start_by"),
            (super::RUNNING_OF, "executions_running"),
            (super::RUNNING_BRIEFLY, "executions_running"),
            (super::LIVE_EXCLUSIVE, "executions_exclusive"),
            (super::OLDEST_AFTER, "INTEGER PRIMARY KEY"),
            (super::NEXT_MOMENT, "workers_by_expiry"),
            (super::SHARE, "PRIMARY KEY"),
            (super::ELIGIBLE_SHARES, "shares_eligible"),
            (super::IDLE_SHARES, "shares_idle"),
            (super::FORGET_KEYS, "idempotency_by_expiry"),
        ] {
            let plan = plan(sql).await;
            assert!(plan.contains(index), "{sql}\n{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "it sorts: {sql}\n{plan}");
        }
    }

    /// What an idle server asks for, and what accepts and begins an execution, with many times as much kept: as many
    /// steps of SQLite's machine, counted, not timed.
    #[tokio::test]
    async fn each_takes_as_many_steps_whatever_is_kept() {
        let [few, many] = [steps(100).await, steps(100_000).await];
        for ((sql, few), (_, many)) in few.iter().zip(&many) {
            assert!(many <= few, "{sql}\n{few} steps with 100, {many} with 100,000");
        }
    }

    /// Of each statement over so many schedules, none of them due, and so many queued executions, half of them
    /// held at a gate, of one tenant beside another with one.
    async fn steps(kept: u32) -> Vec<(&'static str, i32)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bulkhead.db");
        drop(Db::open(&path).unwrap());
        let database = rusqlite::Connection::open(&path).unwrap();
        let fill = format!(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {kept})
             INSERT INTO schedules (tenant, integration, kind, name, connection, frequency, anchor, paused, next_at)
             SELECT 'noisy', 'i', 'sync', 's', 'c' || n, 'every 1d', 0, 0, 1000 + n FROM numbers;
             WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {kept})
             INSERT INTO executions (id, tenant, integration, kind, name, version, \"trigger\", limits, retry, scope,
               created_at, state, ready_at, rank, place, gate, lane)
             SELECT 'exe_' || n, 'noisy', 'i', 'action', 'a', 'v', 'api', '[]', '[]', 's', 0, 'queued', 0, n, n % 2, 'f/a',
               'lane' || n FROM numbers;
             INSERT INTO executions (id, tenant, integration, kind, name, version, \"trigger\", limits, retry, scope,
               created_at, state, ready_at, rank)
             VALUES ('exe_quiet', 'quiet', 'i', 'action', 'a', 'v', 'api', '[]', '[]', 's', 0, 'queued', 0, 1);
             INSERT INTO shares (tenant, weight, running_max, queued_max, vtime_us, queued, waiting, running)
             VALUES ('noisy', 1, 1000, 200000, 0, {kept}, 0, 0), ('quiet', 1, 1000, 200000, 0, 1, 0, 0);"
        );
        database.execute_batch(&fill).unwrap();
        let idle = [(super::DUE, "500, 10"), (super::NEXT_DUE, "500"), (super::NEXT_MOMENT, "")];
        let busy = [
            (super::SHARE, "'quiet'"),
            (super::ELIGIBLE_SHARES, "10"),
            (super::HEAD, "'quiet'"),
            (super::HEAD, "'noisy'"),
            (super::HELD, "'noisy', 'f/a'"),
            (super::BY_ID, "'exe_quiet'"),
        ];
        let all = idle.into_iter().chain(busy);
        all.map(|(sql, values)| (sql, steps_of(&database, sql, values))).collect()
    }

    fn steps_of(database: &rusqlite::Connection, sql: &str, values: &str) -> i32 {
        let mut values = values.split(", ");
        let parts: Vec<&str> = sql.split('?').collect();
        let last = parts.len() - 1;
        let filled = parts.into_iter().enumerate().map(|(at, part)| match at == last {
            true => part.to_owned(),
            false => format!("{part}{}", values.next().unwrap()),
        });
        let mut statement = database.prepare(&filled.collect::<String>()).unwrap();
        let mut rows = statement.raw_query();
        while rows.next().unwrap().is_some() {}
        drop(rows);
        statement.get_status(rusqlite::StatementStatus::VmStep)
    }
}
