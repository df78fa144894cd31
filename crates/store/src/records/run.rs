//! Runs of a sync over a stream.

use bulkhead_types::ExecutionId;

use super::StreamKey;
use crate::db::{Conn, StoreError, params};

/// What a sync remembers of a stream while it goes over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub(super) stream: i64,
    pub(super) runner: String,
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

fn stream(tx: &Conn, key: &StreamKey) -> Result<i64, StoreError> {
    let columns = params![
        key.tenant.as_str(),
        key.integration.as_str(),
        key.connection.as_str(),
        key.model.as_str(),
    ];
    if let Some(id) = super::read::stream(tx, key)? {
        return Ok(id);
    }
    let sql = "INSERT INTO streams (tenant, integration, connection, model) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (tenant, integration, connection, model) DO NOTHING";
    tx.execute(sql, columns)?;
    let missing = || StoreError::Corrupt { table: "streams", what: "it was not kept".to_owned() };
    super::read::stream(tx, key)?.ok_or_else(missing)
}

/// Moves the stream's clock and returns it: what is saved from now on is told apart from what was saved before.
fn tick(tx: &Conn, stream: i64) -> Result<i64, StoreError> {
    let sql = "UPDATE streams SET clock = clock + 1 WHERE id = ?1 RETURNING clock";
    tx.only(sql, params![stream], |row| row.get(0))
}

/// The name of a run over a stream. Executions of a sync for one connection follow each other, share a checkpoint (the
/// `scope`) and so share the run of their function's name. Those that its webhooks bring about stand beside, each with
/// a checkpoint and a run of its own: one that shared the sync's would end its tracking of deletes in the middle.
#[must_use]
pub fn runner<'a>(function: &'a str, execution: &'a ExecutionId, scope: &str) -> &'a str {
    if scope == execution.as_str() { execution.as_str() } else { function }
}

/// The run named `runner` over a stream on behalf of `execution`: the one there is if it is this execution's or
/// `resuming` (a checkpoint stands, so this execution goes on where an earlier one was), else a new one.
///
/// # Errors
/// When the database refuses.
pub fn open_run(
    tx: &Conn,
    key: &StreamKey,
    runner: &str,
    execution: &ExecutionId,
    resuming: bool,
) -> Result<Run, StoreError> {
    let stream = stream(tx, key)?;
    let sql = "SELECT execution, began, tracking, keep_after FROM record_runs WHERE stream = ?1 AND function = ?2";
    let found = tx.one(sql, params![stream, runner], |row| {
        Ok((row.get::<String>(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    let (runner, execution) = (runner.to_owned(), execution.clone());
    match found {
        Some((owner, began, tracking, keep_after)) if owner == execution.as_str() => {
            Ok(Run { stream, runner, execution, began, tracking, keep_after })
        }
        Some((_, began, tracking, _)) if resuming => {
            let run = Run { stream, runner, execution, began, tracking, keep_after: None };
            put(tx, &run)?;
            Ok(run)
        }
        _ => {
            let began = tick(tx, stream)?;
            let run = Run { stream, runner, execution, began, tracking: None, keep_after: None };
            put(tx, &run)?;
            Ok(run)
        }
    }
}

fn put(tx: &Conn, run: &Run) -> Result<(), StoreError> {
    let sql = "INSERT INTO record_runs (stream, function, execution, began, tracking, keep_after)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (stream, function) DO UPDATE SET execution = excluded.execution, began = excluded.began,
                 tracking = excluded.tracking, keep_after = excluded.keep_after";
    let execution = run.execution.as_str();
    let columns =
        params![run.stream, &run.runner, execution, run.began, run.tracking, run.keep_after];
    tx.execute(sql, columns)?;
    Ok(())
}

/// From here on, what is not saved again counts as gone. A start that is still open stays: an attempt that
/// repeats the call after an interruption must not forget what the earlier attempts saw.
///
/// # Errors
/// When the database refuses.
pub fn track_start(tx: &Conn, run: &mut Run) -> Result<(), StoreError> {
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
pub fn track_end(tx: &Conn, run: &mut Run) -> Result<(), StoreError> {
    run.tracking = None;
    put(tx, run)
}

/// Records that others change from now on are left alone by this run, or no longer are.
///
/// # Errors
/// When the database refuses.
pub fn set_keep_after(tx: &Conn, run: &mut Run, keep: bool) -> Result<(), StoreError> {
    let sql = "SELECT cursor FROM streams WHERE id = ?1";
    let newest: i64 = tx.only(sql, params![run.stream], |row| row.get(0))?;
    // The first call counts: a later attempt of the execution repeats it, and must not move the line.
    run.keep_after = keep.then_some(run.keep_after.unwrap_or(newest));
    put(tx, run)
}
