//! Nobody waits for more than the stated bound.
//!
//! **Bound.** While a tenant has work that may start, every other tenant is picked at most once before it, but for
//! what is owed: another tenant is picked again for slot time that it was charged on suspicion and got back
//! (*refunds*), and a tenant that used more than its share before (*debt*) waits while others catch up. So, with
//! `e` the least that a start is charged, another tenant of weight `w` is picked at most `1 + (refunds + w · debt) / e`
//! times. How much anybody has queued does not come into it.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_sched::share::Share;
use bulkhead_types::TenantId;

use super::{Violation, demand};

/// The least that a start is charged, microseconds of slot time.
const CHARGE_US_MIN: i64 = 200_000;

/// Who waits, since when, for what.
#[derive(Debug, Default)]
pub(crate) struct Fairness {
    /// Virtual times as last seen.
    seen: BTreeMap<TenantId, i64>,
    /// Slot time that each tenant got back in all, microseconds.
    refunds: BTreeMap<TenantId, i64>,
    /// The virtual time of whoever was picked last; only moves forward.
    clock: i64,
    waits: BTreeMap<TenantId, Wait>,
}

/// A tenant has work that may start, and others are picked.
#[derive(Debug, Clone)]
struct Wait {
    clock: i64,
    /// The latest virtual time that it had meanwhile: outcomes of earlier attempts may move it.
    vtime: i64,
    /// How often each other was picked meanwhile, and its refunds before.
    picks: BTreeMap<TenantId, (i64, i64)>,
}

impl Fairness {
    /// Looks at shares after something that may have given slot time back.
    pub(crate) fn refunded(&mut self, shares: &[Share]) {
        for share in shares {
            let before = self.seen.insert(share.tenant.clone(), share.vtime_us);
            let back = before.map_or(0, |before| before - share.vtime_us).max(0);
            // Rounded down when it was charged: one more than that may come back.
            let back = (back + 1) * i64::from(share.limits.weight) * i64::from(back > 0);
            *self.refunds.entry(share.tenant.clone()).or_default() += back;
        }
    }

    /// Leases were given, in this order.
    pub(crate) fn picked(
        &mut self,
        leases: &[TenantId],
        before: &[Share],
        after: &[Share],
        weights: &BTreeMap<TenantId, i64>,
    ) -> Result<(), Violation> {
        self.refunded(before);
        let clock_before = self.clock;
        self.order(leases, before, after)?;
        let given: BTreeSet<&TenantId> = leases.iter().collect();
        for (was, is) in before.iter().zip(after) {
            let waits = was.eligible() && is.eligible() && !given.contains(&was.tenant);
            if !waits {
                self.waits.remove(&was.tenant);
                continue;
            }
            let refunds = &self.refunds;
            let wait = self.waits.entry(was.tenant.clone()).or_insert_with(|| Wait {
                clock: clock_before,
                vtime: was.vtime_us,
                picks: BTreeMap::new(),
            });
            wait.vtime = wait.vtime.max(was.vtime_us);
            for picked in leases {
                let refunded = refunds.get(picked).copied().unwrap_or(0);
                wait.picks.entry(picked.clone()).or_insert((0, refunded)).0 += 1;
            }
            check(wait, is, refunds, weights)?;
        }
        for share in after {
            self.seen.insert(share.tenant.clone(), share.vtime_us);
        }
        Ok(())
    }

    /// Who was picked first had the smallest virtual time of all that could have been.
    fn order(
        &mut self,
        leases: &[TenantId],
        before: &[Share],
        after: &[Share],
    ) -> Result<(), Violation> {
        let mut seen = BTreeSet::new();
        for picked in leases.iter().filter(|picked| seen.insert((*picked).clone())) {
            let Some(share) = before.iter().find(|share| share.tenant == *picked) else { continue };
            self.clock = self.clock.max(share.vtime_us);
            let passed_over = before.iter().zip(after).find(|(was, is)| {
                was.eligible()
                    && is.eligible()
                    && was.vtime_us < share.vtime_us
                    && !leases.contains(&was.tenant)
            });
            demand!(
                passed_over.is_none(),
                "fairness",
                "{picked} at {} was picked before {passed_over:?}",
                share.vtime_us
            );
        }
        Ok(())
    }
}

fn check(
    wait: &Wait,
    waiting: &Share,
    refunds: &BTreeMap<TenantId, i64>,
    weights: &BTreeMap<TenantId, i64>,
) -> Result<(), Violation> {
    let debt = (wait.vtime - wait.clock).max(0);
    for (other, (picks, refunded_before)) in &wait.picks {
        let weight = weights.get(other).copied().unwrap_or(1);
        let refunds = refunds.get(other).copied().unwrap_or(0) - refunded_before;
        let most = 1 + (refunds + weight * debt) / CHARGE_US_MIN;
        demand!(
            *picks <= most,
            "fairness",
            "{} waits, and {other} was picked {picks} times meanwhile; {most} is the bound \
             (refunds {refunds} µs, debt {debt} µs, weight {weight})",
            waiting.tenant
        );
    }
    Ok(())
}
