//! Whose turn it is: start-time fair queueing (Goyal, Vin, Cheng 1996) between tenants.
//!
//! Each tenant has a virtual time, which advances by the slot time its attempts use, divided by its weight. The
//! tenant with the smallest virtual time is next. How long an attempt will take is not known when it starts, so an
//! estimate is charged then and put right at its end. A tenant that was idle, or held back by its own limit, does
//! not save up: it starts from the queue's virtual clock, which is the virtual time of whoever was picked last.
//!
//! **Bound.** A tenant with one runnable execution waits for at most one pick of every other tenant that has
//! runnable work, however much those have queued: each pick moves its tenant behind the newcomer, which enters at
//! the clock. The test below holds this against an adversary with 100,000 queued. What can't begin does not take
//! part: who is at a limit or paused is not picked ([`crate::gate`]), and what does not fit into a worker is passed
//! over for at most [`crate::room::PASSED_OVER_MAX`].
//!
//! **In time.** A pick needs a free slot. With `n` other tenants that have runnable work, and slots that free every
//! `d` (the mean time of an attempt over the number of slots), a newcomer waits for some `(n + 1) · d`. One tenant, or
//! few, whose attempts take ten minutes must not make that the rest of their ten minutes: the last slots of each
//! worker, its headroom ([`crate::room`]), are given to tenants that run nothing only. A tenant that runs nothing
//! begins at once while a slot of the headroom is free; each of those is taken by a tenant's single attempt, so with
//! `h` of them it waits for at most `n / h` rounds of such attempts, never for the end of what fills the rest.

use std::time::Duration;

use bulkhead_types::TenantId;

use crate::rank::Class;

/// What a tenant may have at the same time, and its weight against others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareLimits {
    /// Share of the slots relative to other tenants; at least 1.
    pub weight: u32,
    /// Attempts that may run at the same time.
    pub running_max: u32,
    /// Executions that may be queued or waiting; more are refused with `queue_full`.
    pub queued_max: u64,
}

impl Default for ShareLimits {
    fn default() -> Self {
        Self { weight: 1, running_max: 1_000, queued_max: 200_000 }
    }
}

/// One tenant's counters and virtual time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Whose.
    pub tenant: TenantId,
    /// What it may have.
    pub limits: ShareLimits,
    /// Its virtual time, in microseconds of slot time over weight.
    pub vtime_us: i64,
    /// Executions that want to run now.
    pub queued: u64,
    /// Those of them that are not looked at: held at a gate, or behind one that is ([`crate::gate`]).
    pub held: u64,
    /// Executions that go on later.
    pub waiting: u64,
    /// Attempts that run.
    pub running: u32,
    /// Gates there are: with none, nobody looks for any.
    pub gates: u32,
    /// Nothing of it may begin.
    pub paused: bool,
}

/// The tenant has too much queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull {
    /// When to ask again.
    pub retry_after: Duration,
}

/// How long a refused caller is told to stay away. A queue at its cap drains by thousands in that time.
const QUEUE_FULL_RETRY_AFTER: Duration = Duration::from_secs(5);

impl Share {
    /// The share of a tenant not seen before.
    #[must_use]
    pub const fn new(tenant: TenantId, limits: ShareLimits) -> Self {
        Self {
            tenant,
            limits,
            vtime_us: 0,
            queued: 0,
            held: 0,
            waiting: 0,
            running: 0,
            gates: 0,
            paused: false,
        }
    }

    /// Whether one more execution may be accepted: two counters, whatever is queued.
    ///
    /// # Errors
    /// [`QueueFull`] at the tenant's cap.
    pub const fn admit(&self) -> Result<(), QueueFull> {
        if self.queued + self.waiting < self.limits.queued_max {
            Ok(())
        } else {
            Err(QueueFull { retry_after: QUEUE_FULL_RETRY_AFTER })
        }
    }

    /// Whether it has work that may start.
    #[must_use]
    pub const fn eligible(&self) -> bool {
        !self.paused && self.queued > self.held && self.running < self.limits.running_max
    }

    /// Charges the start of an attempt; returns what was charged, to be given back to [`Self::correct`].
    pub fn charge(&mut self, class: Class, clock: &mut VirtualClock) -> i64 {
        let start = self.vtime_us.max(clock.0);
        clock.0 = start;
        let estimate = estimate_us(class);
        self.vtime_us = start.saturating_add(self.weighed(estimate));
        estimate
    }

    /// Puts the charge right, now that it is known what the attempt used.
    pub fn correct(&mut self, charged_us: i64, used: Duration) {
        let used = i64::try_from(used.as_micros()).unwrap_or(i64::MAX);
        self.vtime_us = self.vtime_us.saturating_add(self.weighed(used.saturating_sub(charged_us)));
    }

    fn weighed(&self, us: i64) -> i64 {
        us / i64::from(self.limits.weight.max(1))
    }
}

/// The virtual time of the tenant picked last. Only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VirtualClock(pub i64);

/// What an attempt is taken to use until it is known. A sync is long: a tenant that starts many at once must not
/// look idle until the first one ends.
const fn estimate_us(class: Class) -> i64 {
    match class {
        Class::Action | Class::Webhook | Class::Event => 200_000,
        Class::Sync => 10_000_000,
    }
}

/// Which of `shares` runs next, or `None` when none may. Given the `n` eligible tenants with the smallest virtual
/// times, the first `n` picks are those that all tenants would give: every pick only makes its tenant later.
#[must_use]
pub fn pick(shares: &[Share]) -> Option<usize> {
    let eligible = shares.iter().enumerate().filter(|(_, share)| share.eligible());
    eligible.min_by_key(|(_, share)| (share.vtime_us, &share.tenant)).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use proptest::prelude::*;

    use super::*;

    fn share(name: &str, weight: u32, queued: u64) -> Share {
        let limits = ShareLimits { weight, ..ShareLimits::default() };
        Share { queued, ..Share::new(TenantId::parse(name).unwrap(), limits) }
    }

    /// Runs `picks` attempts one after the other, each using `used_ms`, and writes down whose they were.
    fn run(shares: &mut [Share], clock: &mut VirtualClock, picks: usize, used_ms: u64) -> String {
        let mut order = Vec::new();
        for _ in 0..picks {
            let Some(place) = pick(shares) else { break };
            let share = &mut shares[place];
            let charged = share.charge(Class::Action, clock);
            share.queued -= 1;
            share.correct(charged, Duration::from_millis(used_ms));
            order.push(share.tenant.as_str().to_owned());
        }
        order.join(" ")
    }

    #[test]
    fn equal_tenants_take_turns_whatever_they_have_queued() {
        let mut shares = [share("a", 1, 100_000), share("b", 1, 4), share("c", 1, 2)];
        let order = run(&mut shares, &mut VirtualClock::default(), 10, 50);
        insta::assert_snapshot!(order, @"a b c a b c a b a b");
    }

    #[test]
    fn weight_is_a_share_of_the_slots() {
        let mut shares = [share("a", 3, 100), share("b", 1, 100)];
        let order = run(&mut shares, &mut VirtualClock::default(), 12, 60);
        assert_eq!(order.matches('a').count(), 9, "{order}");
    }

    #[test]
    fn who_was_idle_has_saved_nothing_up() {
        let mut shares = [share("a", 1, 100_000), share("b", 1, 0)];
        let mut clock = VirtualClock::default();
        run(&mut shares, &mut clock, 1_000, 50);
        shares[1].queued = 50;
        let order = run(&mut shares, &mut clock, 10, 50);
        insta::assert_snapshot!(order, @"b a b a b a b a b a");
    }

    #[test]
    fn a_tenant_at_its_limit_is_passed_over() {
        let mut shares = [share("a", 1, 5), share("b", 1, 5)];
        shares[0].running = shares[0].limits.running_max;
        assert_eq!(pick(&shares), Some(1));
        shares[1].held = shares[1].queued;
        assert_eq!(pick(&shares), None, "who is held is not picked");
        shares[1].held -= 1;
        assert_eq!(pick(&shares), Some(1));
        shares[1].paused = true;
        assert_eq!(pick(&shares), None);
    }

    #[test]
    fn long_runs_cost_more_turns_than_short_ones() {
        let mut shares = [share("long", 1, 1_000), share("short", 1, 1_000)];
        let mut clock = VirtualClock::default();
        let mut used = [0_u64; 2];
        for _ in 0..1_000 {
            let place = pick(&shares).unwrap();
            let ms = [900, 100][place];
            let charged = shares[place].charge(Class::Action, &mut clock);
            shares[place].correct(charged, Duration::from_millis(ms));
            used[place] += ms;
        }
        assert!(used[0].abs_diff(used[1]) <= 1_000, "{used:?}");
    }

    #[test]
    fn the_cap_counts_what_is_queued_and_what_waits() {
        let mut share = share("a", 1, 3);
        share.limits.queued_max = 5;
        share.waiting = 1;
        assert_eq!(share.admit(), Ok(()));
        share.waiting = 2;
        assert_eq!(share.admit(), Err(QueueFull { retry_after: QUEUE_FULL_RETRY_AFTER }));
    }

    proptest! {
        /// The stated bound: whoever comes with one execution waits for at most one pick of every other tenant.
        #[test]
        fn a_newcomer_waits_for_at_most_one_pick_of_each_other(
            others in 1_usize..40,
            before in 0_usize..300,
            used_ms in proptest::collection::vec(1_u64..5_000, 1..20),
        ) {
            let mut shares: Vec<Share> = (0..others).map(|i| share(&format!("noisy{i}"), 1, 100_000)).collect();
            shares.push(share("quiet", 1, 0));
            let mut clock = VirtualClock::default();
            for turn in 0..before {
                run(&mut shares, &mut clock, 1, used_ms[turn % used_ms.len()]);
            }
            shares[others].queued = 1;
            let order = run(&mut shares, &mut clock, others + 1, used_ms[0]);
            prop_assert!(order.contains("quiet"), "{}", order);
        }

        #[test]
        fn the_clock_never_goes_back(used_ms in proptest::collection::vec(0_u64..100_000, 1..200)) {
            let mut shares = [share("a", 1, 1_000), share("b", 2, 1_000), share("c", 5, 1_000)];
            let mut clock = VirtualClock::default();
            for used in used_ms {
                let before = clock;
                run(&mut shares, &mut clock, 1, used);
                prop_assert!(clock.0 >= before.0);
            }
        }
    }
}
