//! Leases: at most one that lives per execution, taken away only when its time is up, and nothing of an older one is
//! ever taken.

use bulkhead_engine::{RecallReason, Settled, Settlement};
use bulkhead_sched::lease;
use bulkhead_store::checkpoints::CheckpointError;
use bulkhead_store::hot::model::{CancelResult, Dispatch, Dispatched, Tick};
use bulkhead_types::{Execution, ExecutionId, LeaseRef, Timestamp, WorkerId};

use super::ledger::Held;
use super::{Ledger, Violation, demand};
use crate::actor::sync::page_of;

impl Ledger {
    /// Leases were given, and what had not begun in time was ended.
    pub(crate) fn dispatched(
        &mut self,
        dispatch: &Dispatch,
        done: &Dispatched,
        rows: &[Execution],
    ) -> Result<(), Violation> {
        for lease in &done.leases {
            let LeaseRef { execution, fence } = &lease.lease;
            let number = self.number(execution);
            let Some(known) = self.executions.get_mut(execution) else {
                return Err(Violation::new(
                    "accepted",
                    format!("{number} was leased, and is nowhere"),
                ));
            };
            demand!(known.held.is_none(), "leases", "{number} was leased while its lease lives");
            demand!(known.ended.is_none(), "leases", "{number} was leased and is final");
            demand!(
                *fence > known.fence,
                "leases",
                "{number} was leased with an old fence {fence:?}"
            );
            let worker = dispatch.worker.clone();
            known.held = Some(Held { worker, leased_at: dispatch.now, turn: self.counts.leases });
            self.counts.leases += 1;
        }
        if !done.leases.is_empty() {
            self.worker_lives(&dispatch.worker, dispatch.now.after(dispatch.lease));
        }
        self.rows(rows)?;
        self.check_expired(&done.ended, dispatch.now)?;
        self.fits(dispatch, done)?;
        self.check_limits(done.leases.iter().map(|lease| &lease.lease.execution))
    }

    /// A worker's leases were renewed until `until`.
    pub(crate) fn renewed(
        &mut self,
        worker: &WorkerId,
        named: &[LeaseRef],
        until: Timestamp,
        recalls: &[(LeaseRef, RecallReason)],
    ) -> Result<(), Violation> {
        self.worker_lives(worker, until);
        for lease in named {
            let known = self.executions.get(&lease.execution);
            let holds = known.is_some_and(|known| {
                known.fence == lease.fence
                    && known.held.as_ref().is_some_and(|held| held.worker == *worker)
            });
            let recall = recalls.iter().find(|(recalled, _)| recalled == lease);
            let lost = recall.is_some_and(|(_, reason)| *reason == RecallReason::Lost);
            demand!(
                holds != lost,
                "leases",
                "{} fence {}: its worker {} the lease, and was told {recall:?}",
                self.number(&lease.execution),
                lease.fence.0,
                if holds { "holds" } else { "does not hold" }
            );
        }
        Ok(())
    }

    fn worker_lives(&mut self, worker: &WorkerId, until: Timestamp) {
        let kept = self.workers.entry(worker.clone()).or_insert(until);
        *kept = until.max(*kept);
    }

    /// A server has said that its own worker, of before it died, is dead.
    pub(crate) fn worker_is_dead(&mut self, worker: &WorkerId) {
        self.workers.remove(worker);
    }

    /// Time went by, or a worker was declared dead.
    pub(crate) fn ticked(
        &mut self,
        tick: &Tick,
        now: Timestamp,
        rows: &[Execution],
    ) -> Result<(), Violation> {
        for (worker, lease) in &tick.lost {
            let until = self.workers.get(worker).copied().unwrap_or_default();
            demand!(
                lease::worker_is_dead(until, now),
                "leases",
                "{} was taken from a worker whose leases live for another {:?}",
                self.number(&lease.execution),
                until.since(now)
            );
            self.lose(worker, lease)?;
        }
        // What ran out by one server's clock is over, whatever the others' say.
        self.workers.retain(|_, until| *until > now);
        self.rows(rows)?;
        let lost = |id: &ExecutionId| tick.lost.iter().any(|(_, lease)| lease.execution == *id);
        let late: Vec<_> = tick.ended.iter().filter(|id| !lost(id)).cloned().collect();
        self.check_expired(&late, now)
    }

    /// A tick forgets the keys that ran out by its server's clock; a recovery does not.
    pub(crate) fn keys_ran_out(&mut self, now: Timestamp) {
        self.keys.retain(|_, (_, until)| *until > now);
    }

    /// Leases that their own worker did not name.
    pub(crate) fn unnamed(
        &mut self,
        tick: &Tick,
        named: &[LeaseRef],
        now: Timestamp,
        rows: &[Execution],
    ) -> Result<(), Violation> {
        for (worker, lease) in &tick.lost {
            let held = self.executions.get(&lease.execution).and_then(|known| known.held.as_ref());
            let leased_at = held.map_or(now, |held| held.leased_at);
            demand!(
                !named.contains(lease) && lease::unnamed_is_lost(leased_at, now),
                "leases",
                "{} was taken from a worker that {}",
                self.number(&lease.execution),
                if named.contains(lease) { "named it" } else { "may not have heard of it yet" }
            );
            self.lose(worker, lease)?;
        }
        self.rows(rows)
    }

    fn lose(&mut self, worker: &WorkerId, lease: &LeaseRef) -> Result<(), Violation> {
        let number = self.number(&lease.execution);
        let known = self.executions.get_mut(&lease.execution);
        let known = known.filter(|known| {
            known.fence == lease.fence
                && known.held.as_ref().is_some_and(|held| held.worker == *worker)
        });
        let Some(known) = known else {
            let what = format!("{number} fence {} was lost and not held", lease.fence.0);
            return Err(Violation::new("leases", what));
        };
        known.held = None;
        self.counts.lost += 1;
        Ok(())
    }

    /// An outcome was handed in.
    pub(crate) fn settled(
        &mut self,
        lease: &LeaseRef,
        settled: &Settled,
        done: Settlement,
        rows: &[Execution],
    ) -> Result<(), Violation> {
        let number = self.number(&lease.execution);
        let Some(known) = self.executions.get_mut(&lease.execution) else { return Ok(()) };
        let lives = known.fence == lease.fence && known.held.is_some();
        let Settlement::Accepted { state, .. } = done else {
            demand!(
                !lives,
                "leases",
                "{number} fence {}: the outcome under a live lease was refused",
                lease.fence.0
            );
            self.counts.stale += 1;
            return self.rows(rows);
        };
        demand!(
            lives,
            "leases",
            "{number}: an outcome with fence {} was taken; the newest is {}, {}",
            lease.fence.0,
            known.fence.0,
            if known.held.is_some() { "live" } else { "over" }
        );
        known.take(settled, state)?;
        self.rows(rows)
    }

    /// A cancel was answered.
    pub(crate) fn cancelled(
        &mut self,
        id: &ExecutionId,
        done: &CancelResult,
        rows: &[Execution],
    ) -> Result<(), Violation> {
        let number = self.number(id);
        let Some(known) = self.executions.get_mut(id) else { return Ok(()) };
        match done {
            CancelResult::NotFound | CancelResult::Final(_) => {}
            CancelResult::Cancelled => known.cancel_asked = true,
            CancelResult::Asked { worker, lease } => {
                known.cancel_asked = true;
                let holds = known.held.as_ref().is_some_and(|held| held.worker == *worker);
                demand!(
                    holds && known.fence == lease.fence,
                    "leases",
                    "a worker was asked to stop {number}, which it does not run"
                );
            }
        }
        self.rows(rows)
    }

    /// A checkpoint was saved, or refused.
    pub(crate) fn saved(
        &mut self,
        lease: &LeaseRef,
        expected: u64,
        body: Option<&str>,
        done: &Result<u64, CheckpointError>,
    ) -> Result<(), Violation> {
        let number = self.number(&lease.execution);
        let Some(known) = self.executions.get(&lease.execution) else { return Ok(()) };
        let lives = known.fence == lease.fence && known.held.is_some();
        let stale = matches!(done, Err(CheckpointError::Stale(_)));
        demand!(
            lives != stale,
            "leases",
            "{number} fence {} {}, and its checkpoint was answered with {done:?}",
            lease.fence.0,
            if lives { "lives" } else { "is over" }
        );
        let Ok(version) = done else { return Ok(()) };
        demand!(
            *version == expected + 1 || body.is_none(),
            "checkpoints",
            "{number} saved version {version} over {expected}"
        );
        self.counts.saves += 1;
        let scope = match &known.exclusive {
            Some(exclusive) => format!("{exclusive:?}"),
            None => lease.execution.to_string(),
        };
        let page = page_of(body);
        let before = self.pages.insert(scope, page).unwrap_or(0);
        demand!(
            page == before + 1 || body.is_none(),
            "checkpoints",
            "{number} saved page {page} after page {before}: one is missing, or done twice"
        );
        Ok(())
    }
}
