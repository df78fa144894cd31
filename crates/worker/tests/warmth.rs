//! What stays warm when there is not room for all, and what is made warm before anybody asks.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bulkhead_protocol::{SandboxGone, StartKind};
use bulkhead_types::{Isolation, Outcome, Version};
use bulkhead_wall::fake::{FakeOptions, FakeWall};
use bulkhead_worker::{Measured, PoolConfig, Prewarmed, Runner};
use serde_json::{Value, json};
use support::{
    TestEgress, TestHost, eventually, lease, limits, prepared, runner_with, small_pool, version,
    version_of,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

fn echo() -> Arc<FakeWall> {
    FakeWall::handler(|start, _| async move { Ok(start.input) })
}

fn echo_with(options: FakeOptions) -> Arc<FakeWall> {
    FakeWall::with(options, |mut sandbox| async move {
        let Some(start) = sandbox.start().await else { return SandboxGone::Killed };
        sandbox.started().await;
        sandbox.complete(start.input).await;
        SandboxGone::Exited { status: 0 }
    })
}

fn runner(wall: &Arc<FakeWall>, pool: PoolConfig) -> Runner {
    runner_with(wall.clone(), &TestHost::echo(), pool, TestEgress::default())
}

async fn call(runner: &Runner, version: &Arc<Version>) -> StartKind {
    let attempt = lease(1, limits(20_000), json!(1));
    let Measured { settled, .. } = runner.direct(attempt, &prepared(version)).await;
    assert_eq!(settled.outcome, Outcome::Completed(json!(1)));
    settled.start.unwrap()
}

#[tokio::test]
async fn equal_builds_of_two_tenants_never_share_a_compartment() {
    let wall = echo();
    let runner = runner(&wall, small_pool());
    let (one, other) = (version_of("one", "f", "same"), version_of("other", "f", "same"));
    assert_eq!(call(&runner, &one).await, StartKind::Cold);
    assert_eq!(call(&runner, &other).await, StartKind::Cold);
    assert_eq!(wall.counts().built, 2);
}

#[tokio::test]
async fn a_tenant_that_calls_many_functions_evicts_its_own() {
    let wall = echo();
    let runner = runner(&wall, PoolConfig { compartments: 6, ..small_pool() });
    let quiet = ["one", "two"].map(|tenant| version_of(tenant, "f", tenant));
    for version in &quiet {
        assert_eq!(call(&runner, version).await, StartKind::Cold);
    }
    for n in 0..30 {
        let id = format!("flood{n}");
        assert_eq!(call(&runner, &version_of("flood", &id, &id)).await, StartKind::Cold);
    }
    for version in &quiet {
        assert_ne!(call(&runner, version).await, StartKind::Cold, "{}", version.tenant);
    }
    assert_eq!(wall.counts().built, 32);
    let warmth = runner.snapshot().warmth;
    assert_eq!((warmth.evicted_place, warmth.evicted_memory), (28 - 2, 0));
}

#[tokio::test]
async fn a_place_that_gets_free_goes_to_who_has_fewest() {
    let started: Arc<Mutex<Vec<Value>>> = Arc::default();
    let wall = {
        let started = Arc::clone(&started);
        FakeWall::handler(move |start, mut sandbox| {
            started.lock().unwrap().push(start.input.clone());
            async move {
                sandbox.call("wait", Value::Null).await.ok();
                Ok(start.input)
            }
        })
    };
    let go = Arc::new(Semaphore::new(0));
    let host = {
        let go = Arc::clone(&go);
        TestHost::answering(move |_, _| {
            let go = Arc::clone(&go);
            async move {
                go.acquire().await.unwrap().forget();
                Ok(Value::Null)
            }
        })
    };
    let pool = PoolConfig { compartments: 2, ..small_pool() };
    let runner = runner_with(wall.clone(), &host, pool, TestEgress::default());
    let mut attempts = JoinSet::new();
    let mut begin = |tenant: &'static str, id: String| {
        let (runner, version) = (runner.clone(), version_of(tenant, &id, &id));
        attempts.spawn(async move {
            let attempt = lease(1, limits(30_000), json!(tenant));
            runner.direct(attempt, &prepared(&version)).await.settled.outcome
        });
    };
    (0..8).for_each(|n| begin("flood", format!("flood{n}")));
    eventually("two run", || wall.counts().started == 2).await;
    begin("quiet", "q".to_owned());
    eventually("the others wait", || runner.snapshot().compartments_wanted == 7).await;
    go.add_permits(1);
    eventually("one more runs", || wall.counts().started == 3).await;
    assert_eq!(started.lock().unwrap()[..], ["flood", "flood", "quiet"].map(|it| json!(it)));
    go.add_permits(100);
    for outcome in attempts.join_all().await {
        assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    }
}

#[tokio::test]
async fn measured_memory_is_kept_within_the_budget_by_shares() {
    let memory_bytes = Some(100 << 20);
    let wall = echo_with(FakeOptions { memory_bytes, ..FakeOptions::default() });
    let runner = runner(&wall, PoolConfig { warm_memory_mib: 450, ..small_pool() });
    let quiet = version_of("quiet", "f", "q");
    call(&runner, &quiet).await;
    for n in 0..6 {
        let id = format!("flood{n}");
        call(&runner, &version_of("flood", &id, &id)).await;
    }
    eventually("four are left", || wall.counts().live == 4).await;
    assert_ne!(call(&runner, &quiet).await, StartKind::Cold);
    let warmth = runner.snapshot().warmth;
    assert_eq!((warmth.evicted_memory, warmth.evicted_place), (3, 0));
    eventually("what is kept is told", || runner.snapshot().warmth.memory_bytes == 400 << 20).await;
    assert_eq!(runner.snapshot().warmth.memory_bytes_max, 450 << 20);
}

#[tokio::test]
async fn what_attempts_leave_of_their_memory_keeps_compartments_until_they_want_it() {
    let go = Arc::new(Semaphore::new(0));
    let options = FakeOptions { memory_bytes: Some(100 << 20), ..FakeOptions::default() };
    let wall = {
        let go = Arc::clone(&go);
        FakeWall::with(options, move |mut sandbox| {
            let go = Arc::clone(&go);
            async move {
                let Some(start) = sandbox.start().await else { return SandboxGone::Killed };
                sandbox.started().await;
                if start.input == json!("wait") {
                    go.acquire().await.unwrap().forget();
                }
                sandbox.complete(start.input).await;
                SandboxGone::Exited { status: 0 }
            }
        })
    };
    let limits = limits(30_000);
    // Nothing is theirs alone but room for one; four attempts want all the rest.
    let attempt_memory_mib = limits.memory_mib * 4;
    let pool = PoolConfig { warm_memory_mib: 150, attempt_memory_mib, ..small_pool() };
    let runner = runner(&wall, pool);
    for tenant in ["a", "b", "c", "d"] {
        call(&runner, &version_of(tenant, "f", tenant)).await;
    }
    let told = || runner.snapshot().warmth;
    eventually("all four are kept", || told().memory_bytes == 400 << 20).await;
    assert_eq!(told().memory_bytes_max, (150 + attempt_memory_mib / 2) << 20);
    let mut attempts = JoinSet::new();
    for _ in 0..4 {
        let (runner, limits) = (runner.clone(), limits.clone());
        attempts.spawn(async move {
            let attempt = lease(1, limits, json!("wait"));
            runner.direct(attempt, &prepared(&version_of("e", "f", "e"))).await.settled.outcome
        });
    }
    eventually("one idle is left", || told().memory_bytes == 100 << 20).await;
    assert_eq!((told().memory_bytes_max, told().evicted_memory), (150 << 20, 3));
    go.add_permits(4);
    for outcome in attempts.join_all().await {
        assert_eq!(outcome, Outcome::Completed(json!("wait")));
    }
}

#[tokio::test]
async fn what_was_made_warm_is_there_for_the_first_attempt() {
    let wall = echo();
    let runner = runner(&wall, small_pool());
    let (version, limits) = (prepared(&version("a")), limits(20_000));
    assert_eq!(runner.prewarm(&version, &limits).await, Ok(Prewarmed::Built));
    assert_eq!(runner.prewarm(&version, &limits).await, Ok(Prewarmed::Already));
    assert_eq!(call(&runner, &version.version).await, StartKind::Parked);
    assert_eq!(runner.snapshot().warmth.prewarmed, 1);
    assert_eq!(wall.counts().built, 1);
}

#[tokio::test]
async fn nothing_is_made_warm_beyond_the_budget_or_in_vain() {
    let wall = echo();
    let runner = runner(&wall, PoolConfig { warm_memory_mib: 1, ..small_pool() });
    let limits = limits(20_000);
    assert_eq!(runner.prewarm(&prepared(&version("a")), &limits).await, Ok(Prewarmed::NoRoom));
    let mut private = Version::clone(&version("b"));
    private.spec.isolation = Isolation::Compartment;
    let private = prepared(&Arc::new(private));
    assert_eq!(runner.prewarm(&private, &limits).await, Ok(Prewarmed::Never));
    assert_eq!(wall.counts().built, 0);
    assert_eq!(runner.snapshot().warmth.prewarms_refused, 1);
}

#[tokio::test]
async fn a_version_that_is_live_again_is_parked_again() {
    let wall = echo();
    let runner = runner(&wall, small_pool());
    let limits = limits(20_000);
    let (old, new) = (prepared(&version("old")), prepared(&version("new")));
    runner.prewarm(&old, &limits).await.unwrap();
    runner.prewarm(&new, &limits).await.unwrap();
    eventually("the old one's are gone", || wall.counts().killed == 2).await;
    assert_eq!(runner.prewarm(&old, &limits).await, Ok(Prewarmed::Already));
    eventually("the new one's are gone", || wall.counts().killed == 4).await;
    call(&runner, &old.version).await;
    let parked = async {
        while call(&runner, &old.version).await != StartKind::Parked {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), parked).await.unwrap();
}
