//! The same random steps on both stores give the same answers, and keep what must always hold. A seed that fails
//! is printed; run it alone by putting it first in `SEEDS`.

use std::time::Duration;

use bulkhead_sched::lease::LEASE;
use bulkhead_sched::share::ShareLimits;
use bulkhead_store::hot::model::{
    Dispatch, ExecutionFilter, GateChange, GateOf, Idempotency, Settled, Submit,
};
use bulkhead_types::{
    ConcurrencyKey, ConnectionId, ExecutionId, ExecutionState, FunctionKind, LeaseRef, Outcome,
    Timestamp,
};

use crate::world::{World, done, failed, function, submit, tenant, too_long, worker};

const SEEDS: std::ops::Range<u64> = 1..9;
const STEPS: usize = 250;
const TENANTS: [&str; 3] = ["a", "b", "c"];

/// SplitMix64: enough for choosing steps.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    pub(crate) fn word(&mut self, all: &[&'static str]) -> &'static str {
        self.of::<&'static str>(all)
    }

    pub(crate) fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.roll(all.len() as u64)).unwrap()]
    }
}

/// What the steps remember, to choose among; the same for both stores.
#[derive(Default)]
struct Memory {
    leases: Vec<LeaseRef>,
    ids: Vec<ExecutionId>,
}

/// A submit, drawn.
fn something(dice: &mut Dice, now: Timestamp) -> Submit {
    let kind = *dice.of(&[FunctionKind::Action, FunctionKind::Sync, FunctionKind::Webhook]);
    let mut asked = submit(dice.word(&TENANTS), kind, dice.word(&["f", "g"]));
    asked.connection = Some(ConnectionId::parse(dice.word(&["c1", "c2"])).unwrap());
    asked.retry.max = u32::try_from(dice.roll(3)).unwrap();
    if dice.roll(3) == 0 {
        let key = dice.word(&["k1", "k2"]).to_owned();
        asked.idempotency = Some(Idempotency { key, ttl: Duration::from_secs(dice.roll(100)) });
    }
    if dice.roll(4) == 0 {
        let name = dice.word(&["k1", "k2"]).to_owned();
        asked.concurrency = Some(ConcurrencyKey { name, max: 1 });
    }
    if dice.roll(4) == 0 {
        asked.start_by = Some(now.after(Duration::from_secs(dice.roll(30))));
    }
    asked
}

/// Takes one step; returns what the store answered, as text.
async fn step(world: &World, dice: &mut Dice, memory: &mut Memory) -> String {
    let now = world.now();
    match dice.roll(13) {
        0..=3 => {
            let asked = something(dice, now);
            let submitted = world.try_submit(asked).await;
            if let Ok(submitted) = &submitted {
                memory.ids.push(submitted.execution.clone());
            }
            format!("{submitted:?}")
        }
        4..=5 => {
            let who = worker(dice.word(&["w1", "w2"]));
            let max = usize::try_from(dice.roll(4)).unwrap();
            let dispatched = world
                .store
                .dispatch(Dispatch { worker: who, room: max.into(), now, lease: LEASE })
                .await
                .unwrap();
            memory.leases.extend(dispatched.leases.iter().map(|lease| lease.lease.clone()));
            format!("{dispatched:?}")
        }
        6..=7 if !memory.leases.is_empty() => {
            let lease = dice.of(&memory.leases).clone();
            let outcome =
                dice.of(&[done(), done(), failed(), too_long(), Outcome::Interrupted]).clone();
            let mut settled = Settled::new(outcome);
            settled.usage.wall_ms = dice.roll(5_000);
            format!("{:?}", world.store.settle(lease, settled, now, 3).await.unwrap())
        }
        8 if !memory.leases.is_empty() => {
            let lease = dice.of(&memory.leases).clone();
            let body = (dice.roll(4) > 0).then(|| "{}".to_owned());
            format!("{:?}", world.store.save_checkpoint(lease, dice.roll(3), body, now).await)
        }
        9 => {
            let named: Vec<LeaseRef> = memory.leases.iter().rev().take(4).cloned().collect();
            let mut renewed = world.store.renew(worker("w1"), named, now, LEASE).await.unwrap();
            renewed.1.lost.sort_by_key(|(_, lease)| lease.execution.clone());
            renewed.1.ended.sort();
            format!("{renewed:?}")
        }
        10 if !memory.ids.is_empty() => {
            let id = dice.of(&memory.ids).clone();
            format!("{:?}", world.store.cancel(tenant(dice.word(&TENANTS)), id, now).await.unwrap())
        }
        11 => {
            let of = GateOf::Function(function(dice.word(&TENANTS), FunctionKind::Action, "f"));
            let running_max = Some(*dice.of(&[None, Some(0), Some(1), Some(2)]));
            let change = GateChange { running_max, paused: Some(dice.roll(4) == 0) };
            format!("{:?}", world.store.set_gate(of, change).await.unwrap())
        }
        _ => {
            world.pass(Duration::from_millis(dice.roll(9_000)));
            let mut tick = world.store.tick(world.now(), 1_000).await.unwrap();
            tick.lost.sort_by_key(|(_, lease)| lease.execution.clone());
            tick.ended.sort();
            format!("{tick:?}")
        }
    }
}

/// What must hold after every step: counters agree with states, limits are kept.
async fn check(world: &World) -> String {
    let mut seen = String::new();
    for name in TENANTS {
        let executions = world
            .store
            .executions(tenant(name), ExecutionFilter::default())
            .await
            .unwrap()
            .executions;
        let count = |state| executions.iter().filter(|execution| execution.state == state).count();
        let states =
            [ExecutionState::Queued, ExecutionState::Waiting, ExecutionState::Running].map(count);
        let counted = format!("{}/{}/{}", states[0], states[1], states[2]);
        let kept = world.counts(name).await;
        assert!(
            kept == counted || executions.is_empty(),
            "{name}: the counters say {kept}, the states {counted}"
        );
        let share = world.store.share(tenant(name)).await.unwrap();
        seen += &format!("{share:?} {:?}", world.store.gates(tenant(name)).await.unwrap());
        assert!(states[2] <= 3, "{name} runs {} at the same time", states[2]);
        seen += &format!("{executions:?}");
    }
    seen
}

#[tokio::test]
async fn the_same_steps_give_the_same_answers() {
    for seed in SEEDS {
        let worlds = [World::in_memory(), World::on_sqlite()];
        let mut sides = Vec::new();
        for world in &worlds {
            for name in TENANTS {
                let limits = ShareLimits { running_max: 3, queued_max: 8, weight: 1 };
                world.store.set_share(tenant(name), limits).await.unwrap();
            }
            sides.push((world, Dice(seed), Memory::default()));
        }
        for number in 0..STEPS {
            let mut answers = Vec::new();
            for (world, dice, memory) in &mut sides {
                let answer = step(world, dice, memory).await;
                answers.push((answer, check(world).await));
            }
            assert_eq!(answers[0], answers[1], "seed {seed}, step {number}");
        }
    }
}
