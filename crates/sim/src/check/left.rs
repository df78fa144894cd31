//! At the end: everything has ended, and nothing is left.

use bulkhead_sched::share::Share;
use bulkhead_store::hot::mem::Census;
use bulkhead_types::{Attempt, ExecutionId, ExecutionState, Timestamp};

use super::{Ledger, Violation, demand};
use crate::server::RETENTION;

impl Ledger {
    /// Executions that have not ended, at most a few of them.
    pub(crate) fn unended(&self) -> Vec<String> {
        let live = self.executions.values().filter(|known| known.ended.is_none());
        let told = live.map(|known| {
            let told =
                if known.acknowledged { ", and its caller was told it was accepted" } else { "" };
            format!("e{} ({}{told})", known.number, known.state.as_str())
        });
        told.take(5).collect()
    }

    /// An execution that is not there any more: it must have been final, and old.
    pub(crate) fn may_be_forgotten(
        &self,
        id: &ExecutionId,
        now: Timestamp,
    ) -> Result<(), Violation> {
        let ended = self.executions.get(id).and_then(|known| known.ended.as_ref());
        demand!(
            ended.is_some_and(|ended| ended.created_at.after(RETENTION) <= now),
            "accepted",
            "{} is not there any more; it ended as {ended:?}",
            self.number(id)
        );
        Ok(())
    }

    /// The attempts of an execution that has ended: one per lease, each ended.
    pub(crate) fn attempts(&self, id: &ExecutionId, attempts: &[Attempt]) -> Result<(), Violation> {
        let number = self.number(id);
        let Some(known) = self.executions.get(id) else { return Ok(()) };
        let in_order = attempts.iter().enumerate().all(|(at, attempt)| {
            u64::from(attempt.number) == at as u64 + 1
                && attempt.fence.0 == at as u64 + 1
                && attempt.ended_at.is_some()
                && attempt.outcome.is_some()
        });
        demand!(
            in_order && attempts.len() as u64 == known.fence.0,
            "ends",
            "{number} had {} leases, and these attempts: {attempts:?}",
            known.fence.0
        );
        let completed = attempts
            .iter()
            .filter(|attempt| attempt.outcome.as_deref() == Some("completed"))
            .count();
        let succeeded = usize::from(known.state == ExecutionState::Succeeded);
        demand!(
            completed == succeeded,
            "ends",
            "{number} is {}, and {completed} of its attempts completed",
            known.state.as_str()
        );
        let used: u64 = attempts.iter().map(|attempt| attempt.usage.cpu_us).sum();
        demand!(
            used == known.usage.cpu_us,
            "usage",
            "{number} used {} µs of CPU; its attempts say {used} µs",
            known.usage.cpu_us
        );
        Ok(())
    }

    /// The counters of a tenant, when nothing of it is live.
    pub(crate) fn share_is_empty(&self, share: &Share) -> Result<(), Violation> {
        demand!(
            (share.queued, share.waiting, share.running) == (0, 0, 0),
            "left",
            "all has ended, and {} is still counted as {share:?}",
            share.tenant
        );
        Ok(())
    }
}

/// What is left once everything is old and forgotten: no trace of any execution.
pub(crate) fn nothing(census: &Census) -> Result<(), Violation> {
    demand!(*census == Census::default(), "left", "all is forgotten, and this is left: {census:?}");
    Ok(())
}
