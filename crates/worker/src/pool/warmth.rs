//! Who has to give up warmth when there is not enough of it for all: the deciding, as plain functions.
//!
//! Warmth is what idle compartments keep: places, of which there are so many, and memory, of which there is a budget.
//! To give up the longest unused alone would let one tenant that calls a thousand functions push everybody else
//! out: its compartments are always the newest. So each tenant that has or wants some has a *share*, the budget by
//! the number of those tenants, and the longest unused goes of those
//!
//! 1. who are well over their share; where nobody is,
//! 2. who have about their share or more: with many tenants that have one compartment each, that is everybody, and the
//!    rule is the longest unused of all;
//! 3. and of all others only for an attempt of a tenant that stays within its share itself.
//!
//! Shares are not reserved: what nobody else wants, one tenant may have.

use std::collections::HashMap;

use bulkhead_types::TenantId;

/// Well over its share is who has more than five quarters of it, about its share who has three quarters: no two
/// compartments are of the same size, and to be a tenth larger than another is no flood.
const WELL_OVER_QUARTERS: u128 = 5;
const ABOUT_QUARTERS: u128 = 3;

/// A compartment, as far as the decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held<'a> {
    /// Whose.
    pub(super) tenant: &'a TenantId,
    /// What it takes: one place, or bytes.
    pub(super) amount: u64,
    /// When an attempt in it last ended.
    pub(super) used_us: u64,
    /// Whether it can go: nothing runs in it.
    pub(super) idle: bool,
}

/// What is wanted besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    /// By whom.
    pub(super) tenant: &'a TenantId,
    /// How much.
    pub(super) amount: u64,
    /// Whether an attempt waits for it; else it is to be warm for one that may come.
    pub(super) urgent: bool,
}

/// What became of making room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Room {
    /// Which of the held to give up, by their numbers, in this order.
    pub(super) goes: Vec<usize>,
    /// Whether all that is left, and what was asked for, is within the budget then.
    pub(super) enough: bool,
}

/// Which of `held` to give up so that they and what is asked for are within `budget`; fewer where no more may go.
pub(super) fn make_room(held: &[Held<'_>], asked: Option<Asked<'_>>, budget: u64) -> Room {
    let mut shares = Shares::of(held, asked, budget);
    let mut idle: Vec<usize> = (0..held.len()).filter(|place| held[*place].idle).collect();
    idle.sort_by_key(|place| held[*place].used_us);
    let mut goes = Vec::new();
    while shares.total > budget {
        let Some(found) = shares.longest_unused(&idle, held, asked) else { break };
        let place = idle.remove(found);
        shares.take_away(&held[place]);
        goes.push(place);
    }
    Room { enough: shares.total <= budget, goes }
}

/// Who has how much.
struct Shares<'a> {
    by_tenant: HashMap<&'a TenantId, u64>,
    total: u64,
    budget: u64,
    /// Tenants at the beginning: shares do not grow while the decision is made.
    tenants: u64,
}

impl<'a> Shares<'a> {
    fn of(held: &[Held<'a>], asked: Option<Asked<'a>>, budget: u64) -> Self {
        let mut by_tenant: HashMap<&TenantId, u64> = HashMap::new();
        let wanted = asked.iter().map(|it| (it.tenant, it.amount));
        for (tenant, amount) in held.iter().map(|it| (it.tenant, it.amount)).chain(wanted) {
            let sum = by_tenant.entry(tenant).or_default();
            *sum = sum.saturating_add(amount);
        }
        let total = by_tenant.values().fold(0, |sum: u64, amount| sum.saturating_add(*amount));
        let tenants = by_tenant.len() as u64;
        Self { by_tenant, total, budget, tenants }
    }

    /// Where in `idle`, which is ordered by last use, the one is that goes next.
    fn longest_unused(
        &self,
        idle: &[usize],
        held: &[Held<'_>],
        asked: Option<Asked<'_>>,
    ) -> Option<usize> {
        let of = |quarters: u128, or_equal: bool| {
            idle.iter().position(|it| self.has(held[*it].tenant, quarters, or_equal))
        };
        let may_take_of_all =
            asked.is_none_or(|asked| asked.urgent && !self.has(asked.tenant, 4, false));
        of(WELL_OVER_QUARTERS, false)
            .or_else(|| of(ABOUT_QUARTERS, true))
            .or_else(|| (may_take_of_all && !idle.is_empty()).then_some(0))
    }

    /// Whether a tenant has more than so many quarters of its share.
    fn has(&self, tenant: &TenantId, quarters: u128, or_equal: bool) -> bool {
        let amount = self.by_tenant.get(tenant).copied().unwrap_or(0);
        let has = u128::from(amount) * u128::from(self.tenants) * 4;
        let bound = u128::from(self.budget) * quarters;
        has > bound || or_equal && has == bound
    }

    fn take_away(&mut self, held: &Held<'_>) {
        if let Some(amount) = self.by_tenant.get_mut(held.tenant) {
            *amount = amount.saturating_sub(held.amount);
        }
        self.total = self.total.saturating_sub(held.amount);
    }
}

#[cfg(test)]
#[path = "warmth_tests.rs"]
mod tests;
