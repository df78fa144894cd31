//! Runs of a sync over a stream.

use bulkhead_types::ExecutionId;
use rusqlite::{Connection, OptionalExtension, params};

use super::StreamKey;
use crate::db::StoreError;

/// What a sync remembers of a stream while it goes over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub(super) stream: i64,
    pub(super) function: String,
    pub(super) execution: ExecutionId,
    pub(super) began: i64,
    pub(super) tracking: Option<i64>,
    pub(super) keep_after: Option<i64>,
}

impl Run {
    /// The stream's clock when the run began: what was seen earlier was not seen by it.
    #[must_use]
    pub const fn began(&self) -> i64 {
        self.began
    }

    /// The stream's clock when the run began to track deletes, if it does.
    #[must_use]
    pub const fn tracking(&self) -> Option<i64> {
        self.tracking
    }
}

fn stream(tx: &Connection, key: &StreamKey) -> Result<i64, StoreError> {
    let columns = [
        key.tenant.as_str(),
        key.integration.as_str(),
        key.connection.as_str(),
        key.model.as_str(),
    ];
    if let Some(id) = super::read::stream(tx, key)? {
        return Ok(id);
    }
    let sql =
        "INSERT INTO streams (tenant, integration, connection, model) VALUES (?1, ?2, ?3, ?4)";
    tx.prepare_cached(sql)?.execute(columns)?;
    Ok(tx.last_insert_rowid())
}

/// Moves the stream's clock and returns it: what is saved from now on is told apart from what was saved before.
fn tick(tx: &Connection, stream: i64) -> Result<i64, StoreError> {
    let sql = "UPDATE streams SET clock = clock + 1 WHERE id = ?1 RETURNING clock";
    Ok(tx.prepare_cached(sql)?.query_row([stream], |row| row.get(0))?)
}

/// The run of `function` over a stream on behalf of `execution`: the one there is if it is this execution's or
/// `resuming` (a checkpoint stands, so this execution goes on where an earlier one was), else a new one.
///
/// # Errors
/// When the database refuses.
pub fn open_run(
    tx: &Connection,
    key: &StreamKey,
    function: &str,
    execution: &ExecutionId,
    resuming: bool,
) -> Result<Run, StoreError> {
    let stream = stream(tx, key)?;
    let sql = "SELECT execution, began, tracking, keep_after FROM record_runs WHERE stream = ?1 AND function = ?2";
    let found = tx
        .prepare_cached(sql)?
        .query_row(params![stream, function], |row| {
            Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let (function, execution) = (function.to_owned(), execution.clone());
    match found {
        Some((owner, began, tracking, keep_after)) if owner == execution.as_str() => {
            Ok(Run { stream, function, execution, began, tracking, keep_after })
        }
        Some((_, began, tracking, _)) if resuming => {
            let run = Run { stream, function, execution, began, tracking, keep_after: None };
            put(tx, &run)?;
            Ok(run)
        }
        _ => {
            let began = tick(tx, stream)?;
            let run = Run { stream, function, execution, began, tracking: None, keep_after: None };
            put(tx, &run)?;
            Ok(run)
        }
    }
}

fn put(tx: &Connection, run: &Run) -> Result<(), StoreError> {
    let sql = "INSERT INTO record_runs (stream, function, execution, began, tracking, keep_after)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT DO UPDATE SET execution = excluded.execution, began = excluded.began,
                 tracking = excluded.tracking, keep_after = excluded.keep_after";
    let execution = run.execution.as_str();
    let columns =
        params![run.stream, run.function, execution, run.began, run.tracking, run.keep_after];
    tx.prepare_cached(sql)?.execute(columns)?;
    Ok(())
}

/// From here on, what is not saved again counts as gone. A start that is still open stays: an attempt that
/// repeats the call after an interruption must not forget what the earlier attempts saw.
///
/// # Errors
/// When the database refuses.
pub fn track_start(tx: &Connection, run: &mut Run) -> Result<(), StoreError> {
    if run.tracking.is_none() {
        run.tracking = Some(tick(tx, run.stream)?);
        put(tx, run)?;
    }
    Ok(())
}

/// Ends the tracking.
///
/// # Errors
/// When the database refuses.
pub fn track_end(tx: &Connection, run: &mut Run) -> Result<(), StoreError> {
    run.tracking = None;
    put(tx, run)
}

/// Records that others change from now on are left alone by this run, or no longer are.
///
/// # Errors
/// When the database refuses.
pub fn set_keep_after(tx: &Connection, run: &mut Run, keep: bool) -> Result<(), StoreError> {
    let sql = "SELECT cursor FROM streams WHERE id = ?1";
    let newest: i64 = tx.prepare_cached(sql)?.query_row([run.stream], |row| row.get(0))?;
    // The first call counts: a later attempt of the execution repeats it, and must not move the line.
    run.keep_after = keep.then_some(run.keep_after.unwrap_or(newest));
    put(tx, run)
}
