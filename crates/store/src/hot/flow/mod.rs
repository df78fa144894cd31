//! Each step of the hot path, once, over any rows: load, ask `bulkhead-sched`, keep. A step that refuses does so
//! before it has changed anything.

pub(crate) mod dispatch;
pub(crate) mod fire;
pub(crate) mod gates;
pub(crate) mod settle;
pub(crate) mod stop;
pub(crate) mod submit;
pub(crate) mod tick;
pub(crate) mod timeline;

use bulkhead_sched::rank::{self, Class};
use bulkhead_sched::share::{Share, ShareLimits};
use bulkhead_types::{ErrorInfo, ExecutionState, Fault, TenantId, Timestamp};

use super::rows::{Result, Row, Rows};

/// The tenant's share; a fresh one before its first execution.
fn share_of(rows: &mut dyn Rows, tenant: &TenantId) -> Result<Share> {
    let found = rows.share(tenant)?;
    Ok(found.unwrap_or_else(|| Share::new(tenant.clone(), ShareLimits::default())))
}

/// Sets what a tenant may have.
pub(crate) fn set_share(rows: &mut dyn Rows, tenant: &TenantId, limits: ShareLimits) -> Result<()> {
    let mut share = share_of(rows, tenant)?;
    share.limits = limits;
    rows.put_share(&share)
}

/// Lets nothing of a tenant begin, or lets it go on.
pub(crate) fn pause_tenant(rows: &mut dyn Rows, tenant: &TenantId, paused: bool) -> Result<()> {
    let mut share = share_of(rows, tenant)?;
    share.paused = paused;
    rows.put_share(&share)
}

/// Moves an execution from one state to another in its tenant's counters. Every change of state goes through here.
fn shift(share: &mut Share, row: &mut Row, to: ExecutionState) {
    count(share, row.state, |n| n.saturating_sub(1));
    count(share, to, |n| n.saturating_add(1));
    row.state = to;
}

fn count(share: &mut Share, state: ExecutionState, change: impl Fn(u64) -> u64) {
    match state {
        ExecutionState::Queued => share.queued = change(share.queued),
        ExecutionState::Waiting => share.waiting = change(share.waiting),
        ExecutionState::Running => {
            share.running = u32::try_from(change(u64::from(share.running))).unwrap_or(u32::MAX);
        }
        _ => {}
    }
}

/// Queues an execution, again or after a wait, where it belongs. It is still to be kept.
fn queue(rows: &mut dyn Rows, share: &mut Share, row: &mut Row, now: Timestamp) -> Result<()> {
    shift(share, row, ExecutionState::Queued);
    row.ready_at = now;
    row.rank = rank::rank(class_of(row), now);
    gates::enter(rows, share, row)
}

fn class_of(row: &Row) -> Class {
    Class::of(row.function.kind, row.trigger)
}

/// Ends an execution that does not run.
fn end_at_rest(
    rows: &mut dyn Rows,
    share: &mut Share,
    row: &mut Row,
    end: End,
    now: Timestamp,
) -> Result<()> {
    let stood = gates::Stood::of(row);
    shift(share, row, end.state);
    row.ended_at = Some(now);
    row.error = Some(end.error);
    row.fault = Some(end.fault);
    tell_of(rows, row)?;
    forget_checkpoint(rows, row)?;
    rows.update(row)?;
    match stood {
        Some(stood) => gates::leave(rows, share, row, stood),
        None => Ok(()),
    }
}

/// An execution ended: the product is told, if it was to be. In the step that ends it, so that no crash comes between.
fn tell_of(rows: &mut dyn Rows, row: &Row) -> Result<()> {
    if row.told { rows.keep_ending(&row.id) } else { Ok(()) }
}

/// How an execution that does not run ends.
struct End {
    state: ExecutionState,
    error: ErrorInfo,
    fault: Fault,
}

/// A checkpoint of its own goes with its execution; one that is shared from one to the next stays.
fn forget_checkpoint(rows: &mut dyn Rows, row: &Row) -> Result<()> {
    if row.scope == row.id.as_str() { rows.remove_checkpoint(&row.scope) } else { Ok(()) }
}
