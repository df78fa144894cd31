//! How many may run at the same time. One row per limit.

use bulkhead_engine::{GateChange, GateOf};
use bulkhead_store::hot::model::{Dispatch, Dispatched};
use bulkhead_types::{ExecutionId, FunctionKey, TenantId};

use super::{Known, Ledger, Violation, demand};

/// A limit on what runs at the same time: its name, and what of a tenant's executions it counts together.
type Limit = (&'static str, fn(&Known) -> Option<String>);

const LIMITS: &[Limit] = &[
    ("tenant", |_| Some(TENANT.to_owned())),
    ("function", |known| Some(function(&known.function))),
    ("connection", |known| {
        let FunctionKey { integration, .. } = &known.function;
        known.connection.as_ref().map(|connection| format!("c/{integration}/{connection}"))
    }),
    ("key", |known| known.concurrency.as_ref().map(|key| format!("k/{}", key.name))),
];

/// The group of all of a tenant.
const TENANT: &str = "all";

fn function(key: &FunctionKey) -> String {
    format!("f/{}/{}/{}", key.integration, key.kind.as_str(), key.name)
}

/// How many of a group may run, of those that began since then.
struct Most {
    running: u64,
    since: u64,
}

impl Ledger {
    /// A limit or a pause was set.
    pub(crate) fn gated(&mut self, of: &GateOf, change: GateChange) {
        let turns = self.counts.leases;
        let limited = self.gates.entry((of.tenant().clone(), of.key())).or_default();
        let was_set = limited.running_max.is_some() || limited.paused;
        limited.running_max = change.running_max.unwrap_or(limited.running_max);
        limited.paused = change.paused.unwrap_or(limited.paused);
        if !was_set {
            limited.since = turns;
        }
    }

    /// A tenant was paused, or goes on.
    pub(crate) fn tenant_paused(&mut self, tenant: &TenantId, paused: bool) {
        if paused {
            self.paused.insert(tenant.clone());
        } else {
            self.paused.remove(tenant);
        }
    }

    fn most(&self, new: &Known, group: &str) -> Option<Most> {
        let tenant = &new.function.tenant;
        if group == TENANT {
            let limits = self.limits.get(tenant).copied().unwrap_or_default();
            let running = if self.paused.contains(tenant) { 0 } else { limits.running_max };
            return Some(Most { running: running.into(), since: 0 });
        }
        let set = self.gates.get(&(tenant.clone(), group.to_owned()));
        let own = new.concurrency.as_ref().filter(|key| group == format!("k/{}", key.name));
        match set {
            Some(set) if set.paused => Some(Most { running: 0, since: 0 }),
            Some(set) if set.running_max.is_some() => {
                let running = set.running_max.unwrap_or_default().into();
                // Who has a key is counted whether or not a limit was set.
                Some(Most { running, since: if own.is_some() { 0 } else { set.since } })
            }
            // Who begins last says how many may.
            _ => own.map(|key| Most { running: key.max.into(), since: 0 }),
        }
    }

    /// Looks at the limits that count what was just leased. Limits may have been lowered below what runs; what is
    /// new must still fit.
    pub(super) fn check_limits<'a>(
        &self,
        leased: impl Iterator<Item = &'a ExecutionId>,
    ) -> Result<(), Violation> {
        for id in leased {
            let Some(new) = self.executions.get(id) else { continue };
            let turn = new.held.as_ref().map_or(0, |held| held.turn);
            for (name, group_of) in LIMITS {
                let Some(group) = group_of(new) else { continue };
                let Some(most) = self.most(new, &group) else { continue };
                // Up to this one: what was leased after it, in the same breath, is looked at by itself.
                let counts = |known: &&Known| {
                    let held = known.held.as_ref();
                    held.is_some_and(|held| held.turn >= most.since && held.turn <= turn)
                        && known.function.tenant == new.function.tenant
                        && group_of(known).as_ref() == Some(&group)
                };
                let running = self.executions.values().filter(counts).count() as u64;
                demand!(
                    running <= most.running,
                    "limits",
                    "{} runs as number {running} of {} {group}; the {name} limit is {}",
                    self.number(id),
                    new.function.tenant,
                    most.running
                );
            }
        }
        Ok(())
    }

    /// A worker gets no more than it has room for, and the last of it goes to tenants that run nothing.
    pub(super) fn fits(&self, dispatch: &Dispatch, done: &Dispatched) -> Result<(), Violation> {
        let mut room = dispatch.room;
        for lease in &done.leases {
            let id = &lease.lease.execution;
            let taken = room.taken_by(lease.limits.units());
            demand!(
                room.free.covers(taken),
                "room",
                "{} takes {taken:?} of a worker with {room:?}",
                self.number(id)
            );
            let tenant = &lease.function.tenant;
            demand!(
                !room.is_for_the_idle() || !self.ran_something(tenant, id),
                "room",
                "{} of {tenant}, which runs something, got of what is kept for others: {room:?}",
                self.number(id)
            );
            room.free = room.free.minus(taken);
        }
        Ok(())
    }

    /// Whether its tenant ran something when this one was leased.
    fn ran_something(&self, tenant: &TenantId, id: &ExecutionId) -> bool {
        let turn_of = |known: &Known| known.held.as_ref().map(|held| held.turn);
        let own = self.executions.get(id).and_then(turn_of);
        let others = self.executions.values().filter(|known| known.function.tenant == *tenant);
        others.filter_map(turn_of).any(|turn| Some(turn) < own)
    }
}
