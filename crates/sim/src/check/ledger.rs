//! Every execution that was accepted, and what may become of it.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_engine::{ScheduleKey, ShareLimits};
use bulkhead_types::{
    ConcurrencyKey, ConnectionId, Execution, ExecutionId, ExecutionState, Fence, FunctionKey,
    TenantId, Timestamp, Usage, WorkerId,
};
use serde_json::Value;

use super::fairness::Fairness;
use super::{Violation, demand};

/// What the checkers know.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(super) executions: BTreeMap<ExecutionId, Known>,
    /// Idempotency keys: what each names, and until when.
    pub(super) keys: BTreeMap<(FunctionKey, String), (ExecutionId, Timestamp)>,
    /// The live execution of each sync and connection.
    pub(super) exclusive: BTreeMap<ScheduleKey, ExecutionId>,
    /// Until when each worker's leases live.
    pub(super) workers: BTreeMap<WorkerId, Timestamp>,
    pub(super) limits: BTreeMap<TenantId, ShareLimits>,
    /// Limits and pauses on what has something in common, by tenant and name.
    pub(super) gates: BTreeMap<(TenantId, String), Limited>,
    pub(super) paused: BTreeSet<TenantId>,
    /// The page that each checkpoint names, and who saved it.
    pub(super) pages: BTreeMap<String, u64>,
    pub(crate) fairness: Fairness,
    pub(crate) counts: Counts,
}

/// How much of what there was, for who wonders whether a run did anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Executions accepted.
    pub executions: u64,
    /// Submits that repeated one, or joined one.
    pub duplicates: u64,
    /// Leases given.
    pub leases: u64,
    /// Leases that were lost.
    pub lost: u64,
    /// Outcomes refused.
    pub stale: u64,
    /// Checkpoints saved.
    pub saves: u64,
    /// Schedules fired.
    pub fired: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.executions += other.executions;
        self.duplicates += other.duplicates;
        self.leases += other.leases;
        self.lost += other.lost;
        self.stale += other.stale;
        self.saves += other.saves;
        self.fired += other.fired;
    }
}

/// An execution, as the checkers know it.
#[derive(Debug)]
pub(crate) struct Known {
    pub(super) number: u64,
    pub(super) function: FunctionKey,
    pub(super) connection: Option<ConnectionId>,
    pub(super) concurrency: Option<ConcurrencyKey>,
    pub(super) exclusive: Option<ScheduleKey>,
    pub(super) start_by: Option<Timestamp>,
    /// Its live lease.
    pub(super) held: Option<Held>,
    pub(super) state: ExecutionState,
    pub(super) fence: Fence,
    pub(super) cancel_asked: bool,
    /// Of all outcomes that were taken.
    pub(super) usage: Usage,
    /// Of the outcome that completed it.
    pub(super) output: Option<Value>,
    /// As it was when it ended.
    pub(super) ended: Option<Execution>,
    /// Whether a caller was told that it was accepted.
    pub(super) acknowledged: bool,
}

/// A live lease.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) worker: WorkerId,
    pub(super) leased_at: Timestamp,
    /// How many leases had been given before, to anybody.
    pub(super) turn: u64,
}

/// A limit or pause that somebody set.
#[derive(Debug, Clone, Default)]
pub(super) struct Limited {
    pub(super) running_max: Option<u32>,
    pub(super) paused: bool,
    /// How many leases had been given, to anybody, when it was set: those before do not count.
    pub(super) since: u64,
}

impl Ledger {
    /// A short name for the trace.
    pub(crate) fn number(&self, id: &ExecutionId) -> String {
        self.executions.get(id).map_or_else(|| id.to_string(), |known| format!("e{}", known.number))
    }

    /// A caller was told that it was accepted. Checked at the end: a server may have said so in its last moment.
    pub(crate) fn acknowledged(&mut self, id: &ExecutionId) {
        if let Some(known) = self.executions.get_mut(id) {
            known.acknowledged = true;
        } else {
            // Never seen by the store: it stays here as one that never ends.
            let number = self.counts.executions + 1;
            self.executions.insert(id.clone(), Known::phantom(number));
        }
    }

    /// A caller was told how it ended.
    pub(crate) fn told(&self, told: &Execution) -> Result<(), Violation> {
        let ended = self.executions.get(&told.id).and_then(|known| known.ended.as_ref());
        demand!(
            ended == Some(told),
            "answers",
            "a caller was told {told:?}, and the store had {ended:?}"
        );
        Ok(())
    }

    /// A caller was told that it is cancelled for good.
    pub(crate) fn told_cancelled(&self, id: &ExecutionId) -> Result<(), Violation> {
        let state = self.executions.get(id).map(|known| known.state);
        demand!(
            state == Some(ExecutionState::Cancelled),
            "answers",
            "a caller was told that {} is cancelled; it is {state:?}",
            self.number(id)
        );
        Ok(())
    }

    pub(crate) fn limited(&mut self, tenant: TenantId, limits: ShareLimits) {
        self.limits.insert(tenant, limits);
    }

    /// What each tenant was given.
    pub(crate) fn weights(&self) -> BTreeMap<TenantId, i64> {
        self.limits.iter().map(|(id, limits)| (id.clone(), i64::from(limits.weight))).collect()
    }

    pub(crate) fn known(&self) -> impl Iterator<Item = (&ExecutionId, &Known)> {
        self.executions.iter()
    }

    /// Looks at rows as they are after a commit.
    pub(crate) fn rows(&mut self, rows: &[Execution]) -> Result<(), Violation> {
        rows.iter().try_for_each(|row| self.row(row))
    }

    pub(super) fn row(&mut self, row: &Execution) -> Result<(), Violation> {
        let number = self.number(&row.id);
        let Some(known) = self.executions.get_mut(&row.id) else {
            return Err(Violation::new("accepted", format!("{number} was never submitted")));
        };
        demand!(
            row.fence >= known.fence,
            "leases",
            "{number} went back from fence {} to {}",
            known.fence.0,
            row.fence.0
        );
        demand!(
            u64::from(row.attempts) == row.fence.0,
            "leases",
            "{number} has {} attempts and fence {}",
            row.attempts,
            row.fence.0
        );
        known.fence = row.fence;
        known.check_end(row)?;
        known.state = row.state;
        if row.state.is_final() && known.ended.is_none() {
            known.ended = Some(row.clone());
            known.held = None;
            if let Some(exclusive) = &known.exclusive {
                self.exclusive.remove(exclusive);
            }
        }
        Ok(())
    }
}
