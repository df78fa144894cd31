//! How many may run at the same time. One row per limit.

use bulkhead_engine::ShareLimits;
use bulkhead_types::ExecutionId;

use super::{Known, Ledger, Violation, demand};

/// A limit on what runs at the same time.
struct Limit {
    name: &'static str,
    /// What is counted together, within a tenant; `None` is not counted.
    group: fn(&Known) -> Option<String>,
    /// How many of a group may run.
    most: fn(&ShareLimits) -> u64,
}

const LIMITS: &[Limit] = &[Limit {
    name: "tenant",
    group: |_| Some(String::new()),
    most: |limits| u64::from(limits.running_max),
}];

impl Ledger {
    /// Looks at the limits that count what was just leased. Limits may have been lowered below what runs; what is
    /// new must still fit.
    pub(super) fn check_limits<'a>(
        &self,
        leased: impl Iterator<Item = &'a ExecutionId>,
    ) -> Result<(), Violation> {
        for id in leased {
            let Some(new) = self.executions.get(id) else { continue };
            let tenant = &new.function.tenant;
            let allowed = self.limits.get(tenant).copied().unwrap_or_default();
            for limit in LIMITS {
                let Some(group) = (limit.group)(new) else { continue };
                let running = self.executions.values().filter(|known| {
                    known.held.is_some()
                        && known.function.tenant == *tenant
                        && (limit.group)(known).as_ref() == Some(&group)
                });
                let (running, most) = (running.count() as u64, (limit.most)(&allowed));
                demand!(
                    running <= most,
                    "limits",
                    "{} runs as number {running} of {tenant} {group}; the {} limit is {most}",
                    self.number(id),
                    limit.name
                );
            }
        }
        Ok(())
    }
}
