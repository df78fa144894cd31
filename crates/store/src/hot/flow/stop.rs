//! Cancelling an execution.

use bulkhead_types::{
    ErrorInfo, ExecutionId, ExecutionState, Fault, TenantId, TimelineEvent, Timestamp,
};
use serde_json::Value;

use super::super::model::CancelResult;
use super::super::rows::{Result, Rows};
use super::{End, end_at_rest, share_of};

/// Cancels: what does not run is final at once, what runs is marked, so that whatever its attempt ends with but a
/// result makes it cancelled.
pub(crate) fn cancel(
    rows: &mut dyn Rows,
    tenant: &TenantId,
    id: &ExecutionId,
    now: Timestamp,
) -> Result<CancelResult> {
    let Some(mut row) = rows.execution(id)?.filter(|row| row.function.tenant == *tenant) else {
        return Ok(CancelResult::NotFound);
    };
    if row.state.is_final() {
        return Ok(CancelResult::Final(row.state));
    }
    let lease = row.lease();
    if row.state == ExecutionState::Running
        && let Some(worker) = row.worker.clone()
    {
        if !row.cancel_asked {
            row.cancel_asked = true;
            rows.update(&row)?;
            let what = "cancel_asked".to_owned();
            rows.append_event(
                id,
                &TimelineEvent { at: now, what, attempt: row.attempts, detail: Value::Null },
            )?;
        }
        return Ok(CancelResult::Asked { worker, lease });
    }
    let mut share = share_of(rows, tenant)?;
    let error =
        ErrorInfo::new("cancelled", "The execution was cancelled before it ran to its end.");
    let end = End { state: ExecutionState::Cancelled, error, fault: Fault::Caller };
    end_at_rest(rows, &mut share, &mut row, end, now)?;
    rows.put_share(&share)?;
    Ok(CancelResult::Cancelled)
}
