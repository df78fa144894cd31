//! What a seed draws: how many of everything there are, what they are like, and which faults are on.

use std::time::Duration;

use bulkhead_engine::ShareLimits;
use bulkhead_types::Units;

use crate::time::Dice;

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Swarm {
    pub(crate) servers: usize,
    /// Whether each server has a worker in its own process: they die together, and a server that starts knows that.
    pub(crate) own_workers: bool,
    /// On machines of their own, over a network.
    pub(crate) workers: usize,
    /// What one worker has.
    pub(crate) units: Units,
    /// The last of its CPU units, for tenants that run nothing. Who runs something has no turn then, so what is
    /// promised of turns does not hold.
    pub(crate) headroom: u32,
    /// Whether executions take different amounts of it. Then one that does not fit is passed over for a while, and
    /// what is promised of turns does not hold.
    pub(crate) sized: bool,
    pub(crate) tenants: Vec<TenantPlan>,
    /// How long the storm lasts.
    pub(crate) storm: Duration,
    /// How long a worker's question for work waits.
    pub(crate) lease_wait: Duration,
    pub(crate) faults: Faults,
}

/// What one tenant does.
#[derive(Debug, Clone)]
pub(crate) struct TenantPlan {
    pub(crate) limits: ShareLimits,
    /// Callers that work side by side.
    pub(crate) callers: usize,
    /// Submits of each caller.
    pub(crate) submits: usize,
    /// The longest pause between two of them.
    pub(crate) pause: Duration,
    pub(crate) schedules: usize,
    /// Nothing but actions that take longer than what the scheduler takes them for: then the bound on others' turns
    /// is at its tightest.
    pub(crate) actions_only: bool,
}

/// How often what goes wrong: probabilities, at each point where it could.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    /// A store call fails and has done nothing.
    pub(crate) call_refused: f64,
    /// A store call is done, and its answer is lost.
    pub(crate) answer_lost: f64,
    /// The server dies before a store call.
    pub(crate) death_before: f64,
    /// The server dies after a store call, before anybody hears of it.
    pub(crate) death_after: f64,
    /// The longest that a store call takes, milliseconds.
    pub(crate) store_ms_max: u64,
    /// A message over the network is lost.
    pub(crate) message_lost: f64,
    /// A message takes up to [`LATE_MS_MAX`].
    pub(crate) message_late: f64,
    /// An outcome is handed in a second time.
    pub(crate) outcome_twice: f64,
    /// A worker dies at a step of an attempt.
    pub(crate) worker_death: f64,
    /// A worker is told to end at a step of an attempt: it drains.
    pub(crate) worker_drain: f64,
    /// A worker stands still at a step of an attempt, for up to [`STILL_MS_MAX`].
    pub(crate) worker_still: f64,
    /// A server's clock is set, once in a while.
    pub(crate) clock_jump: f64,
    /// Another server does not hear of what was brought about; or hears of it late, or twice.
    pub(crate) word_lost: f64,
}

/// Memory of a worker for each CPU unit: enough for those that ask for nothing unusual.
pub(crate) const MEMORY_MIB_PER_UNIT: u64 = 64;

/// Longer than a lease lives.
pub(crate) const LATE_MS_MAX: u64 = 40_000;

/// As long as several leases live.
pub(crate) const STILL_MS_MAX: u64 = 60_000;

/// How far a clock is set forward at most: idempotency keys and deadlines run out in that time.
pub(crate) const FORWARD_MS_MAX: u64 = 3_600_000;

/// How far a clock is set back at most.
pub(crate) const BACK_MS_MAX: u64 = 600_000;

/// The longest that an idempotency key is remembered.
pub(crate) const KEY_TTL_MAX: Duration = Duration::from_secs(600);

/// No fault at all.
pub(crate) const CALM: Faults = Faults {
    call_refused: 0.0,
    answer_lost: 0.0,
    death_before: 0.0,
    death_after: 0.0,
    store_ms_max: 1,
    message_lost: 0.0,
    message_late: 0.0,
    outcome_twice: 0.0,
    worker_death: 0.0,
    worker_drain: 0.0,
    worker_still: 0.0,
    clock_jump: 0.0,
    word_lost: 0.0,
};

impl Swarm {
    pub(crate) fn draw(dice: &Dice) -> Self {
        // Alone as often as not: that is how most run.
        let servers = *dice.one_of(&[1, 1, 2, 3]);
        let own_workers = dice.below(3) > 0;
        let workers = if own_workers { *dice.one_of(&[0, 0, 1, 3]) } else { dice.below(5) + 1 };
        let cpu = *dice.one_of(&[1, 2, 4, 8, 30]);
        let sized = dice.below(3) == 0;
        let headroom = *dice.one_of(&[0, 0, 1, cpu / 4]);
        let crowd = dice.below(6) + 1;
        // One run in four is about fairness alone: a crowd that all do the same.
        let even = dice.below(4) == 0;
        let tenants = (0..crowd).map(|_| TenantPlan::draw(dice, even)).collect();
        Self {
            servers,
            own_workers,
            workers,
            units: Units { cpu, memory_mib: u64::from(cpu) * MEMORY_MIB_PER_UNIT },
            headroom: if even { 0 } else { headroom },
            sized: sized && !even,
            tenants,
            storm: dice.span(30_000, 300_000),
            lease_wait: dice.span(500, 30_000),
            faults: Faults::draw(dice),
        }
    }
}

impl TenantPlan {
    fn draw(dice: &Dice, actions_only: bool) -> Self {
        let mut limits = ShareLimits::default();
        if dice.below(2) == 0 {
            limits.running_max = *dice.one_of(&[1, 2, 3, 8]);
        }
        if dice.below(4) == 0 {
            limits.queued_max = *dice.one_of(&[1, 5, 20]);
        }
        if !actions_only && dice.below(3) == 0 {
            limits.weight = *dice.one_of(&[2, 5, 10]);
        }
        Self {
            limits,
            callers: dice.below(3) + 1,
            submits: *dice.one_of(&[1, 5, 15, 40]),
            pause: dice.span(10, 20_000),
            schedules: if actions_only { 0 } else { dice.below(4) },
            actions_only,
        }
    }
}

impl Faults {
    fn draw(dice: &Dice) -> Self {
        Self {
            call_refused: rate(dice, 0.2),
            answer_lost: rate(dice, 0.1),
            death_before: rate(dice, 0.02),
            death_after: rate(dice, 0.02),
            store_ms_max: *dice.one_of(&[1, 1, 20, 2_000]),
            message_lost: rate(dice, 0.2),
            message_late: rate(dice, 0.1),
            outcome_twice: rate(dice, 0.5),
            worker_death: rate(dice, 0.1),
            worker_drain: rate(dice, 0.1),
            worker_still: rate(dice, 0.3),
            clock_jump: rate(dice, 0.5),
            word_lost: rate(dice, 1.0),
        }
    }
}

/// Off as often as on; if on, spread over two orders of magnitude below `most`.
fn rate(dice: &Dice, most: f64) -> f64 {
    let on = dice.below(2) == 0;
    let part = dice.span(10, 1_000).as_secs_f64();
    if on { most * part } else { 0.0 }
}
