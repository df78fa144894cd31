//! Schedules: made, paused, fired.

use super::super::model::{Fire, Fired, Schedule, ScheduleKey, SubmitError, Submitted};
use super::super::rows::{Result, Rows};
use super::submit::{self, Prepared};
use bulkhead_types::Timestamp;

/// What fires, with its submit prepared.
pub(crate) struct Due {
    pub(crate) key: ScheduleKey,
    pub(crate) due_at: Timestamp,
    pub(crate) next_at: Timestamp,
    pub(crate) now: Timestamp,
    pub(crate) what: std::result::Result<Prepared, String>,
}

impl Due {
    /// Writes the submit's values out. One that is refused already is a reason to make none.
    pub(crate) fn prepare(fire: Fire) -> Result<Self> {
        let Fire { key, due_at, next_at, now, what } = fire;
        let what = match what.map(|(id, submit)| submit::prepare(id, *submit, now)) {
            Ok(Err(SubmitError::Store(error))) => return Err(error),
            Ok(Err(refused)) => Err(refused.to_string()),
            Ok(Ok(prepared)) => Ok(prepared),
            Err(why) => Err(why),
        };
        Ok(Self { key, due_at, next_at, now, what })
    }
}

/// Moves the schedule on and submits. `None` when it is not due at that time any more.
pub(crate) fn fire(rows: &mut dyn Rows, due: Due) -> Result<Option<Fired>> {
    let Some(mut schedule) = rows.schedule(&due.key)? else { return Ok(None) };
    if schedule.paused || schedule.next_at != due.due_at {
        return Ok(None);
    }
    let fired = match due.what.map(|prepared| submit::submit(rows, prepared)) {
        Ok(Ok(submitted)) => Fired::Submitted(submitted),
        Ok(Err(SubmitError::Store(error))) => return Err(error),
        Ok(Err(refused)) => Fired::Skipped(refused.to_string()),
        Err(why) => Fired::Skipped(why),
    };
    schedule.next_at = due.next_at;
    schedule.last_at = Some(due.now);
    match &fired {
        Fired::Submitted(Submitted { execution, .. }) => {
            schedule.last_execution = Some(execution.clone());
            schedule.last_error = None;
        }
        Fired::Skipped(why) => schedule.last_error = Some(why.clone()),
    }
    rows.put_schedule(&schedule)?;
    Ok(Some(fired))
}

/// Makes a schedule or changes when it is due. Reads and writes in one step, so that a firing in between is not
/// taken back.
pub(crate) fn put(
    rows: &mut dyn Rows,
    new: Schedule,
    first_at: Option<Timestamp>,
) -> Result<Schedule> {
    let schedule = match rows.schedule(&new.key)? {
        Some(existing)
            if existing.frequency == new.frequency && existing.options == new.options =>
        {
            return Ok(existing);
        }
        Some(existing) => Schedule {
            paused: existing.paused,
            last_at: existing.last_at,
            last_execution: existing.last_execution,
            ..new
        },
        None => Schedule { next_at: first_at.unwrap_or(new.next_at), ..new },
    };
    rows.put_schedule(&schedule)?;
    Ok(schedule)
}

/// Lets a schedule rest, or wakes it.
pub(crate) fn pause(
    rows: &mut dyn Rows,
    key: &ScheduleKey,
    paused: bool,
) -> Result<Option<Schedule>> {
    let Some(mut schedule) = rows.schedule(key)? else { return Ok(None) };
    schedule.paused = paused;
    rows.put_schedule(&schedule)?;
    Ok(Some(schedule))
}
