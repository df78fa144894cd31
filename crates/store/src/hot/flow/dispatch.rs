//! Giving leases, and keeping them alive.

use std::collections::{HashMap, HashSet};

use bulkhead_sched::lease;
use bulkhead_sched::share::{self, Share, VirtualClock};
use bulkhead_types::{
    Attempt, ErrorInfo, ExecutionId, ExecutionState, Fault, Fence, LeaseRef, Timestamp, Usage,
    WorkerId,
};

use super::super::model::{Dispatch, RecallReason, Tick};
use super::super::rows::{Payload, Result, Row, Rows, Running};
use super::{End, class_of, end_at_rest, settle, shift};

/// What was leased, with each one's input, and what ended on the way.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) leased: Vec<(Row, String)>,
    pub(crate) ended: Vec<ExecutionId>,
    pub(crate) more: bool,
}

/// Gives up to `dispatch.max` leases, one pick at a time. Cost: one look at the eligible shares, and a few row
/// operations per lease, whatever is queued.
pub(crate) fn dispatch(rows: &mut impl Rows, dispatch: &Dispatch) -> Result<Chosen> {
    let mut shares = rows.eligible_shares(dispatch.max)?;
    let mut clock = rows.virtual_clock()?;
    let before = clock;
    let mut touched = HashSet::new();
    let mut chosen = Chosen::default();
    while chosen.leased.len() < dispatch.max {
        let Some(place) = share::pick(&shares) else { break };
        let share = &mut shares[place];
        touched.insert(place);
        let Some(mut row) = rows.head(&share.tenant)? else {
            // Never seen; were it so, the tenant must not stop everybody else.
            tracing::error!(tenant = %share.tenant, "a share counts queued executions that are not there");
            share.queued = 0;
            continue;
        };
        if is_too_late(&row, dispatch.now) {
            expire(rows, share, &mut row, dispatch.now)?;
            chosen.ended.push(row.id);
        } else {
            chosen.leased.push(give(rows, share, &mut clock, row, dispatch)?);
        }
    }
    for place in touched {
        rows.put_share(&shares[place])?;
    }
    if clock != before {
        rows.put_virtual_clock(clock)?;
    }
    if !chosen.leased.is_empty() {
        rows.put_worker(&dispatch.worker, dispatch.now.after(dispatch.lease))?;
    }
    chosen.more = chosen.leased.len() == dispatch.max;
    Ok(chosen)
}

fn give(
    rows: &mut impl Rows,
    share: &mut Share,
    clock: &mut VirtualClock,
    mut row: Row,
    dispatch: &Dispatch,
) -> Result<(Row, String)> {
    row.charged_us = share.charge(class_of(&row), clock);
    shift(share, &mut row, ExecutionState::Running);
    row.attempts += 1;
    row.fence = Fence(row.fence.0 + 1);
    row.worker = Some(dispatch.worker.clone());
    row.leased_at = Some(dispatch.now);
    row.started_at = row.started_at.or(row.leased_at);
    row.checkpoint_at_start = rows.checkpoint_version(&row.scope)?;
    rows.update(&row)?;
    rows.begin_attempt(&begun(&row, dispatch))?;
    let input = match row.input.take() {
        Some(input) => input,
        None => rows.payload(&row.id, Payload::Input)?.unwrap_or_else(|| "null".to_owned()),
    };
    Ok((row, input))
}

fn begun(row: &Row, dispatch: &Dispatch) -> Attempt {
    Attempt {
        execution: row.id.clone(),
        number: row.attempts,
        fence: row.fence,
        worker: dispatch.worker.clone(),
        leased_at: dispatch.now,
        started_at: None,
        ended_at: None,
        outcome: None,
        error: None,
        usage: Usage::default(),
        start: None,
    }
}

/// Whether it should have begun by now.
pub(super) fn is_too_late(row: &Row, now: Timestamp) -> bool {
    row.attempts == 0 && row.start_by.is_some_and(|start_by| start_by <= now)
}

/// Ends an execution that did not begin in time.
pub(super) fn expire(
    rows: &mut impl Rows,
    share: &mut Share,
    row: &mut Row,
    now: Timestamp,
) -> Result<()> {
    let error = ErrorInfo::new("expired", "The execution did not start by its deadline.");
    end_at_rest(
        rows,
        share,
        row,
        End { state: ExecutionState::Expired, error, fault: Fault::Platform },
        now,
    )
}

/// Renews the leases a worker names, in one write; ends those that it should have named.
pub(crate) fn renew(
    rows: &mut impl Rows,
    worker: &WorkerId,
    named: &[LeaseRef],
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(Vec<(LeaseRef, RecallReason)>, Tick)> {
    rows.put_worker(worker, expires_at)?;
    let held = rows.running_briefly(worker)?;
    let by_lease: HashMap<&LeaseRef, &Running> =
        held.iter().map(|running| (&running.lease, running)).collect();
    let mut recalls = Vec::new();
    for lease in named {
        match by_lease.get(lease) {
            None => recalls.push((lease.clone(), RecallReason::Lost)),
            Some(running) if running.cancel_asked => {
                recalls.push((lease.clone(), RecallReason::Cancelled))
            }
            Some(_) => {}
        }
    }
    let named: HashSet<&LeaseRef> = named.iter().collect();
    let mut tick = Tick::default();
    for running in &held {
        if !named.contains(&running.lease) && lease::unnamed_is_lost(running.leased_at, now) {
            settle::lose(rows, worker, &running.lease, now, &mut tick)?;
        }
    }
    Ok((recalls, tick))
}
