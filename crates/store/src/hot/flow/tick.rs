//! What time alone brings about.

use bulkhead_sched::lease;
use bulkhead_types::{Timestamp, WorkerId};

use super::super::model::{Forgotten, Tick};
use super::super::rows::{Result, Rows};
use super::{dispatch, queue, settle, share_of};

/// Idempotency keys forgotten in one turn.
const KEYS_FORGOTTEN: usize = 1_000;

/// One turn: at most `limit` executions are moved.
pub(crate) fn tick(rows: &mut dyn Rows, now: Timestamp, limit: usize) -> Result<Tick> {
    let mut tick = Tick::default();
    let mut left = limit;
    for (worker, expires_at) in rows.workers()? {
        if !lease::worker_is_dead(expires_at, now) || left == 0 {
            break;
        }
        left -= lose_worker(rows, &worker, now, left, &mut tick)?;
    }
    for mut row in rows.waiting_until(now, left)? {
        let mut share = share_of(rows, &row.function.tenant)?;
        queue(rows, &mut share, &mut row, now)?;
        rows.update(&row)?;
        rows.put_share(&share)?;
        tick.runnable = true;
        left -= 1;
    }
    for found in rows.too_late(now, left)? {
        // The one before it may have been the front of its lane, and have made it the front.
        let Some(mut row) = rows.execution(&found.id)? else { continue };
        let mut share = share_of(rows, &row.function.tenant)?;
        dispatch::expire(rows, &mut share, &mut row, now)?;
        rows.put_share(&share)?;
        tick.ended.push(row.id);
        // What was behind it at a gate may be.
        tick.runnable = true;
        left -= 1;
    }
    rows.purge_idempotent(now, KEYS_FORGOTTEN)?;
    tick.more = left == 0;
    tick.next_at = rows.next_moment()?;
    Ok(tick)
}

/// Ends the leases of a worker that is known to be dead.
pub(crate) fn recover(rows: &mut dyn Rows, dead: &WorkerId, now: Timestamp) -> Result<Tick> {
    let mut tick = Tick::default();
    lose_worker(rows, dead, now, usize::MAX, &mut tick)?;
    tick.next_at = rows.next_moment()?;
    Ok(tick)
}

/// Forgets what is old and final. What is old and still goes on is passed over.
pub(crate) fn forget(
    rows: &mut dyn Rows,
    before: Timestamp,
    cursor: i64,
    limit: usize,
) -> Result<Forgotten> {
    let oldest = rows.oldest_after(cursor, limit)?;
    let full = oldest.len() == limit;
    let mut forgotten = Forgotten { count: 0, cursor: None };
    for execution in oldest {
        if execution.created_at >= before {
            return Ok(Forgotten { cursor: None, ..forgotten });
        }
        if execution.state.is_final() {
            rows.remove(&execution.id)?;
            forgotten.count += 1;
        }
        forgotten.cursor = full.then_some(execution.seq);
    }
    Ok(forgotten)
}

/// Ends up to `limit` leases of a dead worker; forgets the worker with the last of them. Returns how many.
fn lose_worker(
    rows: &mut dyn Rows,
    worker: &WorkerId,
    now: Timestamp,
    limit: usize,
    tick: &mut Tick,
) -> Result<usize> {
    let held = rows.running_of(worker, limit)?;
    for row in &held {
        settle::lose(rows, worker, &row.lease(), now, tick)?;
    }
    if held.len() < limit {
        rows.remove_worker(worker)?;
    }
    Ok(held.len())
}
