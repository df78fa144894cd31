//! Where sandboxes come from: parked, forked, cold; and when compartments are built and go.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bulkhead_protocol::{GuestError, SandboxGone, StartKind};
use bulkhead_types::{Fault, Isolation, Limits, Outcome, Version};
use bulkhead_wall::WallError;
use bulkhead_wall::fake::{FakeOptions, FakeWall, ZygoteFailure};
use bulkhead_worker::{PoolConfig, Runner};
use futures_util::future::join_all;
use serde_json::{Value, json};
use support::{
    TestEgress, TestHost, eventually, lease, limits, prepared, run, runner, runner_with,
    small_pool, version,
};

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

async fn burst(runner: &Runner, count: u32, limits: &Limits) -> Vec<bulkhead_worker::Settled> {
    let attempt = |number| run(runner, lease(number, limits.clone(), json!(number)));
    join_all((0..count).map(attempt)).await
}

fn code(outcome: &Outcome) -> (&str, Fault) {
    match outcome {
        Outcome::Failed(cause) => (&cause.error.code, cause.fault),
        other => panic!("not failed: {other:?}"),
    }
}

#[tokio::test]
async fn after_warming_the_next_attempt_finds_a_parked_sandbox() {
    let wall = echo();
    let runner = runner(wall.clone(), &TestHost::echo());
    let limits = limits(10_000);
    runner.warm(&prepared(&version("a")), &limits).await.unwrap();
    assert_eq!(wall.counts().sandboxes, 2);
    let settled = run(&runner, lease(1, limits.clone(), json!(1))).await;
    assert_eq!(settled.start, Some(StartKind::Parked));
    // What was taken is replaced, without anybody asking.
    eventually("refilled", || wall.counts().sandboxes == 3).await;
    let measured = runner.direct(lease(2, limits, json!(2)), &prepared(&version("a"))).await;
    assert_eq!(measured.settled.outcome, Outcome::Completed(json!(2)));
    assert!(measured.sandbox_us <= measured.settled.usage.start_us);
    assert!(measured.settled.usage.start_us <= measured.total_us);
    assert_eq!(wall.counts().built, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_is_served_with_one_fresh_sandbox_each_within_the_bounds() {
    let options = FakeOptions { fork_delay: Duration::from_millis(2), ..FakeOptions::default() };
    let wall = echo_with(options);
    let runner = runner(wall.clone(), &TestHost::echo());
    let settled = burst(&runner, 100, &limits(20_000)).await;
    for (number, settled) in settled.iter().enumerate() {
        assert_eq!(settled.outcome, Outcome::Completed(json!(number)));
    }
    let counts = wall.counts();
    assert_eq!(counts.started, 100, "each execution in a sandbox of its own");
    assert!((1..=2).contains(&counts.built), "{counts:?}");
    let snapshot = runner.snapshot();
    assert_eq!((snapshot.executions, snapshot.sandboxes_used), (100, 100));
    // Those who came before there was a compartment; those who come now find some.
    let cold = snapshot.cold;
    assert!(cold > 0 && snapshot.parked + snapshot.forked + cold == 100, "{snapshot:?}");
    for settled in burst(&runner, 20, &limits(20_000)).await {
        assert!(matches!(settled.start, Some(StartKind::Parked | StartKind::Forked)));
    }
    let snapshot = runner.snapshot();
    assert_eq!((snapshot.cold, snapshot.executions), (cold, 120));
    assert!(wall.counts().built <= 2);
    runner.shutdown().await;
    assert_eq!(wall.counts().live, 0);
}

#[tokio::test]
async fn many_who_come_at_once_share_one_build() {
    let options = FakeOptions { build_delay: Duration::from_millis(100), ..FakeOptions::default() };
    let wall = echo_with(options);
    let runner = runner(wall.clone(), &TestHost::echo());
    burst(&runner, 6, &limits(20_000)).await;
    assert_eq!(wall.counts().built, 1);
    assert_eq!(runner.snapshot().cold, 6);
}

#[tokio::test]
async fn a_bundle_that_does_not_load_is_the_authors_fault_and_not_tried_in_a_hot_loop() {
    let zygote = |_: &_| {
        let error = GuestError { stage: "bundle".into(), message: "x is not defined".into() };
        Err(ZygoteFailure { error, output: "at line 3\n".into() })
    };
    let wall = echo_with(FakeOptions { zygote: Arc::new(zygote), ..FakeOptions::default() });
    let runner = runner(wall.clone(), &TestHost::echo());
    for settled in burst(&runner, 5, &limits(10_000)).await {
        assert_eq!(code(&settled.outcome), ("bundle_failed", Fault::Tenant));
        let Outcome::Failed(cause) = settled.outcome else { unreachable!() };
        assert!(cause.error.message.contains("x is not defined"), "{}", cause.error.message);
        assert!(cause.error.message.contains("at line 3"), "{}", cause.error.message);
    }
    run(&runner, lease(9, limits(10_000), Value::Null)).await;
    assert_eq!(wall.counts().built, 1);
    eventually("what was built is gone", || wall.counts().live == 0).await;
}

#[tokio::test]
async fn what_the_platform_cannot_build_is_its_own_fault() {
    let build_error = Some(WallError::new("cgroup", "read-only"));
    let cases = [
        FakeOptions { build_error, ..FakeOptions::default() },
        FakeOptions { version: 999, ..FakeOptions::default() },
        FakeOptions {
            zygote: Arc::new(|_| {
                let error = GuestError { stage: "landlock".into(), message: "no".into() };
                Err(ZygoteFailure { error, output: String::new() })
            }),
            ..FakeOptions::default()
        },
    ];
    for options in cases {
        let wall = echo_with(options);
        let settled =
            run(&runner(wall.clone(), &TestHost::echo()), lease(1, limits(9_000), json!(1))).await;
        assert_eq!(code(&settled.outcome), ("sandbox_unavailable", Fault::Platform));
        eventually("nothing is left", || wall.counts().live == 0).await;
    }
}

#[tokio::test]
async fn a_platform_that_recovers_is_used_again() {
    let works = Arc::new(AtomicBool::new(false));
    let zygote = {
        let works = Arc::clone(&works);
        move |_: &_| {
            let error = GuestError { stage: "exec".into(), message: "busy".into() };
            let failure = ZygoteFailure { error, output: String::new() };
            if works.load(Ordering::SeqCst) { Ok(()) } else { Err(failure) }
        }
    };
    let wall = echo_with(FakeOptions { zygote: Arc::new(zygote), ..FakeOptions::default() });
    let runner = runner(wall, &TestHost::echo());
    let first = run(&runner, lease(1, limits(9_000), json!(1))).await;
    assert_eq!(code(&first.outcome), ("sandbox_unavailable", Fault::Platform));
    works.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(250)).await;
    let second = run(&runner, lease(2, limits(9_000), json!(2))).await;
    assert_eq!(second.outcome, Outcome::Completed(json!(2)));
}

fn isolated() -> Arc<Version> {
    let mut version = Version::clone(&version("i"));
    version.spec.isolation = Isolation::Compartment;
    Arc::new(version)
}

#[tokio::test]
async fn compartment_isolation_builds_one_for_each_execution() {
    let wanted = echo();
    let host = TestHost::echo();
    *host.version.lock().unwrap() = isolated();
    let forced = echo_with(FakeOptions { fork_isolation: false, ..FakeOptions::default() });
    for (wall, host) in [(wanted, host), (forced, TestHost::echo())] {
        let runner = runner(wall.clone(), &host);
        for settled in burst(&runner, 3, &limits(10_000)).await {
            assert_eq!(settled.start, Some(StartKind::Cold));
            assert!(matches!(settled.outcome, Outcome::Completed(_)));
        }
        let counts = wall.counts();
        assert_eq!((counts.built, counts.started, counts.sandboxes), (3, 3, 3));
        eventually("all are gone", || wall.counts().live == 0).await;
    }
}

#[tokio::test]
async fn a_new_version_takes_the_parked_sandboxes_of_the_old_one_away() {
    let wall = echo();
    let runner = runner(wall.clone(), &TestHost::echo());
    let limits = limits(10_000);
    runner.warm(&prepared(&version("a")), &limits).await.unwrap();
    runner.warm(&prepared(&version("b")), &limits).await.unwrap();
    eventually("parked ones are killed", || wall.counts().killed == 2).await;
    // Executions of the old version still run, by fork.
    let old = runner.direct(lease(1, limits, json!(1)), &prepared(&version("a"))).await;
    assert_eq!(old.settled.outcome, Outcome::Completed(json!(1)));
    assert_eq!(old.settled.start, Some(StartKind::Forked));
}

#[tokio::test]
async fn other_limits_never_get_a_sandbox_parked_under_these() {
    let wall = echo();
    let runner = runner(wall.clone(), &TestHost::echo());
    runner.warm(&prepared(&version("a")), &limits(10_000)).await.unwrap();
    let tighter = Limits { memory_mib: 64, ..limits(10_000) };
    let settled = run(&runner, lease(1, tighter, json!(1))).await;
    assert_eq!(settled.start, Some(StartKind::Cold));
    assert_eq!(wall.counts().built, 2);
}

#[tokio::test]
async fn an_idle_compartment_goes_and_comes_back_on_demand() {
    let wall = echo();
    let pool = PoolConfig { idle: Duration::from_millis(50), ..small_pool() };
    let runner = runner_with(wall.clone(), &TestHost::echo(), pool, TestEgress::default());
    run(&runner, lease(1, limits(10_000), json!(1))).await;
    eventually("evicted", || wall.counts().live == 0).await;
    let settled = run(&runner, lease(2, limits(10_000), json!(2))).await;
    assert_eq!(settled.start, Some(StartKind::Cold));
    assert_eq!(wall.counts().built, 2);
}

#[tokio::test]
async fn with_no_place_left_the_longest_unused_compartment_makes_room() {
    let wall = echo();
    let pool = PoolConfig { compartments: 2, ..small_pool() };
    let runner = runner_with(wall.clone(), &TestHost::echo(), pool, TestEgress::default());
    for id in ["a", "b", "c", "b", "a"] {
        let measured =
            runner.direct(lease(1, limits(9_000), json!(id)), &prepared(&version(id))).await;
        assert_eq!(measured.settled.outcome, Outcome::Completed(json!(id)));
        assert!(wall.counts().live <= 2);
    }
    // a, b, c for a's place, b still there, a for c's place.
    assert_eq!(wall.counts().built, 4);
}

#[tokio::test]
async fn who_waits_for_a_place_gets_it_when_an_attempt_ends() {
    let wall = FakeWall::handler(|start, mut sandbox| async move {
        sandbox.call("wait", Value::Null).await.ok();
        Ok(start.input)
    });
    let go = Arc::new(tokio::sync::Notify::new());
    let host = {
        let go = Arc::clone(&go);
        TestHost::answering(move |_, _| {
            let go = Arc::clone(&go);
            async move {
                go.notified().await;
                Ok(Value::Null)
            }
        })
    };
    let pool = PoolConfig { compartments: 1, ..small_pool() };
    let runner = runner_with(wall.clone(), &host, pool, TestEgress::default());
    let (a, b) = (prepared(&version("a")), prepared(&version("b")));
    let both = async {
        tokio::join!(
            runner.direct(lease(1, limits(20_000), json!(1)), &a),
            runner.direct(lease(2, limits(20_000), json!(2)), &b),
        )
    };
    let release = async {
        eventually("one runs", || wall.counts().started == 1).await;
        assert_eq!(wall.counts().built, 1);
        go.notify_one();
        eventually("the other runs", || wall.counts().started == 2).await;
        go.notify_one();
    };
    let ((first, second), ()) = tokio::join!(both, release);
    assert_eq!(first.settled.outcome, Outcome::Completed(json!(1)));
    assert_eq!(second.settled.outcome, Outcome::Completed(json!(2)));
}

#[tokio::test]
async fn when_everything_stays_in_use_an_attempt_is_given_back() {
    let wall = FakeWall::new(|mut sandbox| async move {
        sandbox.start().await;
        std::future::pending().await
    });
    let pool = PoolConfig {
        slots: 1,
        compartments_per_version: 1,
        wait: Duration::from_millis(200),
        ..small_pool()
    };
    let runner = runner_with(wall.clone(), &TestHost::echo(), pool, TestEgress::default());
    let long = run(&runner, lease(1, limits(1_000), json!(1)));
    let late = async {
        eventually("the slot is taken", || wall.counts().started == 1).await;
        run(&runner, lease(2, limits(1_000), json!(2))).await
    };
    let (_, late) = tokio::join!(long, late);
    assert_eq!(code(&late.outcome), ("sandbox_unavailable", Fault::Platform));
}
