//! What a flood of one tenant does to others, in virtual time: how long they wait is counted, not measured.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_engine::{
    Engine, EngineOptions, Live, Resolve, ScheduleKey, ScheduleSpec, Settled, Submit,
};
use bulkhead_store::hot::mem::MemStore;
use bulkhead_types::{
    ConcurrencyKey, ConnectionId, ExecutionId, FixedClock, FunctionKey, FunctionKind, FunctionName,
    IntegrationId, Lease, Limits, Outcome, RetryPolicy, Room, ScheduleOptions, SystemEntropy,
    TenantId, Timestamp, Trigger, VersionId, WorkerId,
};
use serde_json::json;

const START: Timestamp = Timestamp::from_millis(1_000_000_000);

/// CPU units of the worker, and those that it keeps for tenants that run nothing: as by default on two cores.
const UNITS: usize = 32;
const HEADROOM: u32 = 3;

/// Virtual time goes on by this much.
const STEP: Duration = Duration::from_millis(250);

/// Steps of a test: ten minutes.
const STEPS: u32 = 2_400;

/// A worker renews its leases so often.
const RENEW: Duration = Duration::from_secs(5);

/// An engine, one worker, and a clock that moves when told.
struct World {
    engine: Engine,
    clock: Arc<FixedClock>,
    worker: WorkerId,
    headroom: u32,
    /// What runs, until when.
    running: Vec<(Lease, Timestamp)>,
    renewed_at: Timestamp,
}

impl World {
    fn new(headroom: u32) -> Self {
        let clock = Arc::new(FixedClock::at(START));
        let options = EngineOptions { lease_wait: Duration::ZERO, ..EngineOptions::default() };
        let store = Arc::new(MemStore::new());
        let engine = Engine::new(store, clock.clone(), Arc::new(SystemEntropy), options);
        let worker = WorkerId::parse("wrk_1").unwrap();
        Self { engine, clock, worker, headroom, running: Vec::new(), renewed_at: START }
    }

    fn now(&self) -> Timestamp {
        use bulkhead_types::Clock as _;
        self.clock.now()
    }

    /// One step of virtual time: what is over ends, and what may begin begins. Returns that; `takes` says how long
    /// each will run.
    async fn step(&mut self, takes: impl Fn(&Lease) -> Duration) -> Vec<Lease> {
        self.clock.advance(STEP);
        let now = self.now();
        let (over, running) = self.running.drain(..).partition(|(_, until)| *until <= now);
        self.running = running;
        let over: Vec<(Lease, Timestamp)> = over;
        for (lease, _) in over {
            let settled = Settled::new(Outcome::Completed(json!(null)));
            self.engine.settle(&lease.lease, settled).await.unwrap();
        }
        if now.since(self.renewed_at) >= RENEW {
            let held: Vec<_> = self.running.iter().map(|(lease, _)| lease.lease.clone()).collect();
            self.engine.renew(&self.worker, &held).await.unwrap();
            self.renewed_at = now;
        }
        let mut begun = Vec::new();
        loop {
            let free = Room::from(UNITS - self.running.len()).free;
            let room = Room { free, total: Room::from(UNITS).total, headroom: self.headroom };
            let leases = self.engine.lease(&self.worker, room).await.unwrap();
            if leases.is_empty() {
                return begun;
            }
            for lease in leases {
                self.running.push((lease.clone(), now.after(takes(&lease))));
                begun.push(lease);
            }
        }
    }
}

fn function(tenant: &str, kind: FunctionKind, name: &str) -> FunctionKey {
    FunctionKey {
        tenant: TenantId::parse(tenant).unwrap(),
        integration: IntegrationId::parse("crm").unwrap(),
        kind,
        name: FunctionName::parse(name).unwrap(),
    }
}

fn action(tenant: &str) -> Submit {
    let version = VersionId::parse("v1").unwrap();
    Submit::new(function(tenant, FunctionKind::Action, "act"), version, Trigger::Api, json!(null))
}

/// Tenants that call now and then, and how often.
const QUIET: usize = 5;
const CALLS_EVERY: Duration = Duration::from_secs(4);

/// What an attempt of theirs takes.
const SHORT: Duration = Duration::from_secs(1);

/// One tenant submits functions of 120 s without end. How long each of the others' executions waits, over ten
/// minutes; and how many have not begun at the end.
async fn beside_endless_long_functions(headroom: u32) -> (Vec<Duration>, usize) {
    let mut world = World::new(headroom);
    let takes = |lease: &Lease| match lease.function.tenant.as_str() {
        "noisy" => Duration::from_secs(120),
        _ => SHORT,
    };
    for _ in 0..200 {
        world.engine.submit(action("noisy")).await.unwrap();
    }
    let mut called: HashMap<ExecutionId, Timestamp> = HashMap::new();
    let mut delays = Vec::new();
    for step in 0..STEPS {
        // All at the same moment: there is less headroom than there are of them.
        let calls = (STEP * step).as_millis().is_multiple_of(CALLS_EVERY.as_millis());
        for quiet in (0..QUIET).filter(|_| calls) {
            let submitted = world.engine.submit(action(&format!("quiet{quiet}"))).await.unwrap();
            called.insert(submitted.execution, world.now());
        }
        for begun in world.step(takes).await {
            match called.remove(&begun.lease.execution) {
                Some(at) => delays.push(world.now().since(at)),
                None => drop(world.engine.submit(action("noisy")).await.unwrap()),
            }
        }
        let noisy = world.running.iter().filter(|(lease, _)| takes(lease) > SHORT).count();
        let rest = UNITS - usize::try_from(headroom).unwrap() - QUIET;
        assert!(
            step == 0 || headroom == 0 || noisy >= rest,
            "the flood must fill the rest: {noisy}"
        );
    }
    delays.sort();
    (delays, called.len())
}

/// The bound of `bulkhead_sched::share`: of `n` tenants that run nothing, each waits for at most `n / h` rounds of
/// attempts like theirs, with a headroom of `h`; never for the end of what fills the rest.
#[tokio::test]
async fn who_fills_every_slot_with_long_functions_keeps_others_within_the_bound() {
    let (delays, left) = beside_endless_long_functions(HEADROOM).await;
    assert!(delays.len() > 700 && left <= QUIET, "{} began, {left} did not", delays.len());
    let rounds = u32::try_from(QUIET).unwrap().div_ceil(HEADROOM);
    let p99 = delays[delays.len() * 99 / 100];
    let longest = delays.last().unwrap();
    assert!(p99 <= SHORT * rounds && *longest <= SHORT * rounds + STEP, "{p99:?} {longest:?}");
}

/// The control: without the headroom they wait for the end of what fills the slots.
#[tokio::test]
async fn without_headroom_they_would_wait_for_the_long_ones() {
    let (delays, _) = beside_endless_long_functions(0).await;
    assert!(*delays.last().unwrap() > Duration::from_secs(20), "{:?}", delays.last());
}

/// Everything is live; syncs called `limited…` share one place.
struct AllLive;

#[async_trait::async_trait]
impl Resolve for AllLive {
    async fn live(&self, of: &FunctionKey, _: Option<&ConnectionId>) -> Result<Live, String> {
        let key = ConcurrencyKey { name: "account".to_owned(), max: 1 };
        Ok(Live {
            version: VersionId::parse("v1").unwrap(),
            limits: Limits::default(),
            retry: RetryPolicy::default(),
            concurrency: of.name.as_str().starts_with("limited").then_some(key),
            input: json!(null),
        })
    }
}

/// Schedules of one tenant: those of a key at its limit pile up, and the others keep their times.
#[tokio::test]
async fn a_key_at_its_limit_delays_no_other_schedule() {
    let mut world = World::new(0);
    for number in 0..60 {
        for name in ["limited", "free"] {
            let function = function("acme", FunctionKind::Sync, &format!("{name}{number}"));
            let spec = ScheduleSpec {
                key: ScheduleKey { function, connection: None },
                frequency: "every 1m".to_owned(),
                // Spread over the minute, so that the free ones never want more than there is.
                options: ScheduleOptions { jitter_ms: 60_000, ..ScheduleOptions::default() },
                paused: false,
                first_at_once: false,
            };
            world.engine.put_schedule(spec).await.unwrap();
        }
    }
    // One of the limited ones runs all along.
    let takes = |lease: &Lease| match lease.function.name.as_str().starts_with("limited") {
        true => Duration::from_secs(10_000),
        false => STEP,
    };
    let (mut limited, mut free) = (0, 0);
    for _ in 0..STEPS / 2 {
        world.engine.fire_due(&AllLive).await.unwrap();
        let fired_at = world.now();
        for begun in world.step(takes).await {
            if begun.function.name.as_str().starts_with("limited") {
                limited += 1;
                continue;
            }
            free += 1;
            let tenant = begun.function.tenant.clone();
            let execution = world.engine.execution(&tenant, &begun.lease.execution).await;
            let accepted_at = execution.unwrap().unwrap().created_at;
            assert_eq!(accepted_at, fired_at, "it began in the step in which it was due");
        }
    }
    assert_eq!(limited, 1, "the key lets one at a time");
    // Five minutes of sixty schedules a minute, but for those whose first or last time lies outside.
    assert!((60 * 4..=60 * 5).contains(&free), "{free}");
}
