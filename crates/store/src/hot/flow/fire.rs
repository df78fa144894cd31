//! A due schedule fires.

use super::super::model::{Fire, Fired, ScheduleKey, SubmitError, Submitted};
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
pub(crate) fn fire(rows: &mut impl Rows, due: Due) -> Result<Option<Fired>> {
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
