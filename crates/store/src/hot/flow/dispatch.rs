//! Giving leases, and keeping them alive.

use std::collections::{HashMap, HashSet};

use bulkhead_sched::gate::{self, Gate};
use bulkhead_sched::lease;
use bulkhead_sched::room::{self, Fit};
use bulkhead_sched::share::{self, Share, VirtualClock};
use bulkhead_types::{
    Attempt, ErrorInfo, ExecutionId, ExecutionState, Fault, Fence, LeaseRef, Room, TenantId,
    Timestamp, Usage, WorkerId,
};

use super::super::model::{Dispatch, LEASES_AT_ONCE_MAX, RecallReason, Tick};
use super::super::rows::{Payload, Result, Row, Rows, Running};
use super::{End, class_of, end_at_rest, gates, settle, shift};

/// What was leased, with each one's input, and what ended on the way.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) leased: Vec<(Row, String)>,
    pub(crate) ended: Vec<ExecutionId>,
    pub(crate) more: bool,
}

/// Executions that were met at a closed gate, or too late, in one transaction. Whoever waits for the writer waits for
/// so many more row operations at most.
const IN_VAIN_MAX: usize = 64;

/// Gives leases, one pick at a time. Cost: one look at the eligible shares, and a few row operations per lease,
/// whatever is queued.
pub(crate) fn dispatch(rows: &mut dyn Rows, dispatch: &Dispatch) -> Result<Chosen> {
    let clock = rows.virtual_clock()?;
    let (chosen, room) = (Chosen::default(), dispatch.room);
    let mut turn = Turn { dispatch, clock, room, chosen, in_vain: 0, passed_over: HashSet::new() };
    while turn.goes_on() {
        let (shares, horizon) = turn.load(rows)?;
        if shares.is_empty() || !turn.round(rows, shares, horizon.as_ref())? {
            break;
        }
    }
    if turn.clock != clock {
        rows.put_virtual_clock(turn.clock)?;
    }
    if !turn.chosen.leased.is_empty() {
        rows.put_worker(&dispatch.worker, dispatch.now.after(dispatch.lease))?;
    }
    turn.chosen.more = !turn.goes_on();
    Ok(turn.chosen)
}

/// The order of picks: see [`share::pick`].
type Place = (i64, TenantId);

fn place_of(share: &Share) -> Place {
    (share.vtime_us, share.tenant.clone())
}

/// One dispatch, as far as it has come.
struct Turn<'a> {
    dispatch: &'a Dispatch,
    clock: VirtualClock,
    room: Room,
    chosen: Chosen,
    in_vain: usize,
    /// Tenants whose next execution does not fit.
    passed_over: HashSet<TenantId>,
}

impl Turn<'_> {
    /// Whether one more may be given or looked at.
    fn goes_on(&self) -> bool {
        self.room.free.cpu > 0
            && self.chosen.leased.len() < LEASES_AT_ONCE_MAX
            && self.in_vain < IN_VAIN_MAX
    }

    /// As many shares as there can be picks, and behind which place there may be others: picks beyond it would pass
    /// over tenants that nobody looked at. Where each look is a pick, none goes so far.
    fn load(&self, rows: &mut dyn Rows) -> Result<(Vec<Share>, Option<Place>)> {
        let room = usize::try_from(self.room.free.cpu).unwrap_or(usize::MAX);
        let picks = room.min(LEASES_AT_ONCE_MAX - self.chosen.leased.len());
        let limit = picks + self.passed_over.len();
        let mut shares = match self.room.is_for_the_idle() {
            true => rows.idle_shares(limit)?,
            false => rows.eligible_shares(limit)?,
        };
        let all = shares.len() < limit;
        let horizon = shares.iter().map(place_of).max().filter(|_| !all);
        shares.retain(|share| !self.passed_over.contains(&share.tenant));
        Ok((shares, horizon))
    }

    /// Picks among `shares` up to `horizon`, until none of them may start anything. Returns whether it may be worth
    /// to load others.
    fn round(
        &mut self,
        rows: &mut dyn Rows,
        mut shares: Vec<Share>,
        horizon: Option<&Place>,
    ) -> Result<bool> {
        let (loaded, mut touched) = (shares.len(), HashSet::new());
        let (in_vain, mut beyond) = (self.in_vain, false);
        let (mut keeps_room, for_the_idle) = (false, self.room.is_for_the_idle());
        while self.goes_on()
            && !keeps_room
            && self.room.is_for_the_idle() == for_the_idle
            && let Some(place) = share::pick(&shares)
        {
            let share = &mut shares[place];
            beyond = horizon.is_some_and(|horizon| place_of(share) > *horizon);
            if beyond {
                break;
            }
            let Some(mut row) = rows.head(&share.tenant)? else {
                // Never seen; were it so, the tenant must not stop everybody else.
                tracing::error!(tenant = %share.tenant, "a share counts ready executions that are not there");
                share.held = share.queued;
                touched.insert(share.tenant.clone());
                continue;
            };
            let fit = self.fit(&row);
            if is_too_late(&row, self.dispatch.now) {
                expire(rows, share, &mut row, self.dispatch.now)?;
                self.chosen.ended.push(row.id);
                self.in_vain += 1;
            } else if fit == Fit::Now {
                self.meet_gates(rows, share, row)?;
            } else {
                keeps_room = fit == Fit::KeepRoom;
                self.passed_over.insert(share.tenant.clone());
            }
            let runs_something = for_the_idle && share.running > 0;
            touched.insert(share.tenant.clone());
            if runs_something || self.passed_over.contains(&share.tenant) {
                rows.put_share(&shares.swap_remove(place))?;
            }
        }
        let changed = shares.iter().filter(|share| touched.contains(&share.tenant));
        changed.into_iter().try_for_each(|share| rows.put_share(share))?;
        let others = beyond
            || self.in_vain > in_vain
            || shares.len() < loaded
            || self.room.is_for_the_idle() != for_the_idle;
        Ok(others && !keeps_room)
    }

    fn fit(&self, row: &Row) -> Fit {
        let waited = self.dispatch.now.since(row.ready_at);
        room::fit(self.room.taken_by(row.units), self.room, waited)
    }

    /// Gives it, unless a gate is closed.
    fn meet_gates(&mut self, rows: &mut dyn Rows, share: &mut Share, mut row: Row) -> Result<()> {
        let gates = gates::gates_of(rows, share, &row)?;
        if let Some(closed) = gate::closed(&gates) {
            self.in_vain += 1;
            return gates::hold(rows, share, &mut row, &gates, closed);
        }
        self.room.free = self.room.free.minus(self.room.taken_by(row.units));
        let leased = give(rows, share, &mut self.clock, (row, gates), self.dispatch)?;
        self.chosen.leased.push(leased);
        Ok(())
    }
}

fn give(
    rows: &mut dyn Rows,
    share: &mut Share,
    clock: &mut VirtualClock,
    (mut row, mut gates): (Row, Vec<Gate>),
    dispatch: &Dispatch,
) -> Result<(Row, String)> {
    row.charged_us = share.charge(class_of(&row), clock);
    let stood = gates::Stood::of(&mut row);
    shift(share, &mut row, ExecutionState::Running);
    row.attempts += 1;
    row.fence = Fence(row.fence.0 + 1);
    row.worker = Some(dispatch.worker.clone());
    row.leased_at = Some(dispatch.now);
    row.started_at = row.started_at.or(row.leased_at);
    // Before its first attempt nobody has saved one of its own.
    row.checkpoint_at_start = match row.attempts == 1 && row.scope == row.id.as_str() {
        true => 0,
        false => rows.checkpoint_version(&row.scope)?,
    };
    for gate in &mut gates {
        gate.running += 1;
        row.passed.push(gate.key.clone());
    }
    rows.update(&row)?;
    rows.begin_attempt(&begun(&row, dispatch))?;
    gates::begun(rows, share, &row, stood, &gates)?;
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
        wall: None,
    }
}

/// Whether it should have begun by now.
pub(super) fn is_too_late(row: &Row, now: Timestamp) -> bool {
    row.attempts == 0 && row.start_by.is_some_and(|start_by| start_by <= now)
}

/// Ends an execution that did not begin in time.
pub(super) fn expire(
    rows: &mut dyn Rows,
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
    rows: &mut dyn Rows,
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
