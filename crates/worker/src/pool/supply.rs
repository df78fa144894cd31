//! How many sandboxes a version should have on their way: the deciding, as plain functions.

/// Refills of parked sandboxes at the same time, per version. Few, so that they do not starve what runs; attempts
/// that wait are served without this bound.
const REFILLS_AT_ONCE: usize = 2;

/// How long an attempt waits for a slot of the compartments that are there until one more is built, microseconds. A
/// build costs as much CPU as dozens of forks: where attempts are short, those that run now make room sooner.
const BUILD_AFTER_US: u64 = 250_000;

/// Without a miss for this long, the number of parked sandboxes goes down by one.
const DECAY_US: u64 = 10_000_000;

/// A version's pool, as far as the decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct View {
    /// Attempts that wait for a sandbox.
    pub(super) waiting: usize,
    /// How long the first of them has waited, microseconds.
    pub(super) waited_us: u64,
    /// Sandboxes parked.
    pub(super) parked: usize,
    /// Sandboxes on their way.
    pub(super) forking: usize,
    /// Sandboxes that should be parked.
    pub(super) target: usize,
    /// Slots free in compartments with a live zygote.
    pub(super) free_slots: usize,
    /// Compartments with a live zygote.
    pub(super) compartments: usize,
    /// Compartments at most.
    pub(super) compartments_max: usize,
    /// Whether one is being built.
    pub(super) building: bool,
    /// Whether somebody wants sandboxes parked before there is an attempt.
    pub(super) warming: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Plan {
    /// Forks to ask for now.
    pub(super) forks: usize,
    /// Whether to build a compartment.
    pub(super) build: bool,
    /// In how many microseconds to look again, if nothing happens before.
    pub(super) look_again_us: Option<u64>,
}

/// Serves attempts that wait first; refills only when none does; builds only for attempts that no slot is
/// left for, not at once if there is a compartment already, and to warm up.
pub(super) fn plan(view: View) -> Plan {
    let unserved = view.waiting.saturating_sub(view.forking);
    let forks = if view.waiting > 0 {
        unserved.min(view.free_slots)
    } else {
        let missing = view.target.saturating_sub(view.parked + view.forking);
        missing.min(view.free_slots).min(REFILLS_AT_ONCE.saturating_sub(view.forking))
    };
    let lacks_slots = unserved > view.free_slots;
    let patience_us =
        if view.compartments == 0 { 0 } else { BUILD_AFTER_US.saturating_sub(view.waited_us) };
    let possible = !view.building && view.compartments < view.compartments_max;
    let wanted = lacks_slots && patience_us == 0 || view.warming && view.compartments == 0;
    let waits = possible && lacks_slots && patience_us > 0;
    Plan { forks, build: possible && wanted, look_again_us: waits.then_some(patience_us) }
}

/// How many sandboxes to keep parked: doubles when an attempt finds none, decays while none is missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    now: usize,
    min: usize,
    max: usize,
    changed_us: u64,
}

impl Target {
    pub(super) fn new(min: usize, max: usize, now_us: u64) -> Self {
        Self { now: min, min, max: max.max(min), changed_us: now_us }
    }

    pub(super) fn get(&self) -> usize {
        self.now
    }

    /// An attempt found none parked although there was a zygote.
    pub(super) fn missed(&mut self, now_us: u64) {
        self.now = self.now.saturating_mul(2).max(1).min(self.max);
        self.changed_us = now_us;
    }

    /// Time passes; true when the number went down.
    pub(super) fn tick(&mut self, now_us: u64) -> bool {
        let decays = self.now > self.min && now_us.saturating_sub(self.changed_us) >= DECAY_US;
        if decays {
            self.now -= 1;
            self.changed_us = now_us;
        }
        decays
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: View = View {
        waiting: 0,
        waited_us: 0,
        parked: 2,
        forking: 0,
        target: 2,
        free_slots: 10,
        compartments: 1,
        compartments_max: 2,
        building: false,
        warming: false,
    };

    fn check(view: View, forks: usize, build: bool) {
        let planned = plan(view);
        assert_eq!((planned.forks, planned.build), (forks, build), "{view:?}");
    }

    #[test]
    fn what_waits_is_served_first_and_refills_are_few() {
        check(QUIET, 0, false);
        check(View { parked: 0, target: 8, ..QUIET }, 2, false);
        check(View { parked: 0, target: 8, forking: 1, ..QUIET }, 1, false);
        check(View { parked: 0, target: 8, forking: 2, ..QUIET }, 0, false);
        check(View { parked: 0, waiting: 7, ..QUIET }, 7, false);
        check(View { parked: 0, waiting: 7, forking: 5, ..QUIET }, 2, false);
        check(View { parked: 1, target: 2, free_slots: 0, ..QUIET }, 0, false);
    }

    #[test]
    fn a_compartment_is_built_only_for_attempts_without_a_slot() {
        let cold = View { parked: 0, free_slots: 0, compartments: 0, ..QUIET };
        check(cold, 0, false);
        check(View { waiting: 1, ..cold }, 0, true);
        check(View { warming: true, ..cold }, 0, true);
        check(View { warming: true, parked: 0, ..QUIET }, 2, false);
        check(View { waiting: 1, building: true, ..cold }, 0, false);
        let burst = View { parked: 0, waiting: 15, waited_us: BUILD_AFTER_US, ..QUIET };
        check(burst, 10, true);
        check(View { compartments: 2, ..burst }, 10, false);
        check(View { forking: 5, ..burst }, 10, false);
    }

    #[test]
    fn one_more_compartment_is_built_only_after_slots_stayed_taken() {
        let burst = View { parked: 0, waiting: 15, waited_us: 100_000, ..QUIET };
        let planned = plan(burst);
        assert_eq!(planned, Plan { forks: 10, build: false, look_again_us: Some(150_000) });
        check(View { waited_us: 250_000, ..burst }, 10, true);
        check(View { compartments: 0, free_slots: 0, waited_us: 0, ..burst }, 0, true);
        for settled in [
            View { waiting: 10, ..burst },
            View { building: true, ..burst },
            View { compartments: 2, ..burst },
        ] {
            assert_eq!(plan(settled).look_again_us, None, "{settled:?}");
        }
    }

    #[test]
    fn the_target_grows_with_misses_and_decays_without() {
        let mut target = Target::new(2, 16, 0);
        for expected in [4, 8, 16, 16] {
            target.missed(1);
            assert_eq!(target.get(), expected);
        }
        assert!(!target.tick(DECAY_US));
        assert!(target.tick(DECAY_US + 1));
        assert_eq!(target.get(), 15);
        let mut quiet = Target::new(2, 16, 0);
        assert!(!quiet.tick(u64::MAX));
        assert_eq!(quiet.get(), 2);
    }
}
