//! Log lines of executions.

use bulkhead_types::{ExecutionId, Timestamp};

use crate::db::{Conn, StoreError, params};
use crate::rows::time_at;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// 1, 2, … within the execution; given when it is kept.
    pub seq: i64,
    /// When, by the sandbox's clock.
    pub at: Timestamp,
    /// In which attempt.
    pub attempt: u32,
    /// `debug`, `info`, `warn`, `error`.
    pub level: String,
    /// The text.
    pub message: String,
}

/// Keeps lines; their `seq` is given here. Returns the newest `seq`.
///
/// # Errors
/// When the database refuses.
pub fn append(tx: &Conn, execution: &ExecutionId, lines: &[LogRow]) -> Result<i64, StoreError> {
    let sql = "SELECT coalesce(max(seq), 0) FROM logs WHERE execution = ?1";
    let mut seq: i64 = tx.only(sql, params![execution.as_str()], |row| row.get(0))?;
    let sql = "INSERT INTO logs (execution, seq, at, attempt, level, message) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    for line in lines {
        seq += 1;
        let (at, level, message) = (line.at.as_millis(), &line.level, &line.message);
        tx.execute(sql, params![execution.as_str(), seq, at, line.attempt, level, message])?;
    }
    Ok(seq)
}

/// Lines with a `seq` above `after`: at most `limit`.
///
/// # Errors
/// When the database refuses.
pub fn after(
    db: &Conn,
    execution: &ExecutionId,
    after: i64,
    limit: usize,
) -> Result<Vec<LogRow>, StoreError> {
    let sql = "SELECT seq, at, attempt, level, message FROM logs WHERE execution = ?1 AND seq > ?2
               ORDER BY seq LIMIT ?3";
    let rows = db.all(sql, params![execution.as_str(), after, limit], |row| {
        let (level, message) = (row.get(3)?, row.get(4)?);
        Ok(LogRow { seq: row.get(0)?, at: time_at(row, 1)?, attempt: row.get(2)?, level, message })
    })?;
    Ok(rows)
}
