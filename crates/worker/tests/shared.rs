//! Compartments that the versions of one tenant share: who is let in, who is not, and what ends with what.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_protocol::{CONTROL, Frame, GUEST, Kind, SandboxGone};
use bulkhead_types::{Fault, Isolation, Outcome, Retry, Version};
use bulkhead_wall::fake::{FakeOptions, FakeWall};
use bulkhead_worker::{PoolConfig, Prepared, Runner};
use futures_util::future::join_all;
use serde_json::json;
use support::{
    TestEgress, TestHost, eventually, lease, limits, prepared, runner_with, small_pool, version_of,
};

const ZYGOTES: u32 = 3;

fn wall() -> Arc<FakeWall> {
    let options = FakeOptions { zygotes_max: ZYGOTES, ..FakeOptions::default() };
    FakeWall::with(options, |mut sandbox| async move {
        let Some(start) = sandbox.start().await else { return SandboxGone::Killed };
        sandbox.started().await;
        if start.input == json!("break") {
            // Not a kind that a guest sends: as good as a machine that fails.
            sandbox
                .sender()
                .send_frame(Frame::new(GUEST, CONTROL, Kind::ToGuest, Vec::new()))
                .await;
        }
        if start.input != json!(7) {
            std::future::pending::<()>().await;
        }
        sandbox.complete(start.input).await;
        SandboxGone::Exited { status: 0 }
    })
}

/// A bundle of more than one frame.
fn bundle() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("bundle.js"), vec![b' '; 200_000]).unwrap();
    directory
}

fn of(bundle: &Path, version: &Arc<Version>) -> Prepared {
    Prepared { bundle: bundle.to_owned(), ..prepared(version) }
}

fn runner(wall: Arc<FakeWall>, pool: PoolConfig) -> Runner {
    runner_with(wall, &TestHost::echo(), pool, TestEgress::default())
}

async fn runs(runner: &Runner, prepared: &Prepared) {
    let measured = runner.direct(lease(1, limits(10_000), json!(7)), prepared).await;
    assert_eq!(measured.settled.outcome, Outcome::Completed(json!(7)));
}

/// As the engine does: where a refill was on its way when the compartment broke, the next attempt is refused for a moment.
async fn runs_when_repeated(runner: &Runner, prepared: &Prepared) {
    loop {
        let measured = runner.direct(lease(1, limits(10_000), json!(7)), prepared).await;
        match measured.settled.outcome {
            Outcome::Failed(cause) if cause.error.code == "sandbox_unavailable" => {
                let Retry::After(wait) = cause.retry else { panic!("{cause:?}") };
                tokio::time::sleep(wait).await;
            }
            outcome => return assert_eq!(outcome, Outcome::Completed(json!(7))),
        }
    }
}

#[tokio::test]
async fn versions_of_one_tenant_share_and_those_of_others_never_do() {
    let (wall, bundle) = (wall(), bundle());
    let runner = runner(wall.clone(), small_pool());
    for (name, built) in [("f", 1), ("g", 1), ("h", 1)] {
        runs(&runner, &of(bundle.path(), &version_of("acme", name, name))).await;
        assert_eq!(wall.counts().built, built, "{name}");
    }
    // Equal builds of another tenant.
    runs(&runner, &of(bundle.path(), &version_of("other", "f", "f"))).await;
    assert_eq!((wall.counts().built, wall.counts().zygotes), (2, 4));
    // One more than there is room for.
    runs(&runner, &of(bundle.path(), &version_of("acme", "i", "i"))).await;
    assert_eq!((wall.counts().built, wall.counts().zygotes), (3, 5));
    // And other limits: the slots of what is there have those of the others.
    let small = bulkhead_types::Limits { memory_mib: 64, ..limits(10_000) };
    let i = of(bundle.path(), &version_of("acme", "i", "i"));
    let measured = runner.direct(lease(1, small, json!(7)), &i).await;
    assert_eq!(measured.settled.outcome, Outcome::Completed(json!(7)));
    assert_eq!(wall.counts().built, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_while_one_is_built_waits_for_it() {
    let options = FakeOptions {
        zygotes_max: ZYGOTES,
        build_delay: Duration::from_millis(50),
        ..FakeOptions::default()
    };
    let wall = FakeWall::with(options, |mut sandbox| async move {
        let Some(start) = sandbox.start().await else { return SandboxGone::Killed };
        sandbox.started().await;
        sandbox.complete(start.input).await;
        SandboxGone::Exited { status: 0 }
    });
    let (bundle, runner) = (bundle(), runner(wall.clone(), small_pool()));
    let versions: Vec<_> = (0..6)
        .map(|number| {
            of(bundle.path(), &version_of("acme", &format!("f{number}"), &format!("{number}")))
        })
        .collect();
    join_all(versions.iter().map(|version| runs(&runner, version))).await;
    assert_eq!((wall.counts().built, wall.counts().zygotes), (2, 6));
}

#[tokio::test]
async fn what_is_unused_goes_zygote_by_zygote_and_with_the_last_one_the_compartment() {
    let (wall, bundle) = (wall(), bundle());
    let pool = PoolConfig { idle: Duration::from_secs(1), ..small_pool() };
    let runner = runner(wall.clone(), pool);
    runs(&runner, &of(bundle.path(), &version_of("acme", "f", "f"))).await;
    let g = of(bundle.path(), &version_of("acme", "g", "g"));
    // It runs on while the other one is unused for long enough, and ends with the test's word.
    let mut running = Box::pin(runner.direct(lease(1, limits(60_000), json!("wait")), &g));
    let ended = eventually("the unused one ended", || wall.counts().zygotes_ended == 1);
    tokio::select! {
        _ = &mut running => panic!("it waits for ever"),
        () = ended => {}
    }
    assert_eq!((wall.counts().built, wall.counts().live), (1, 1));
    drop(running);
    eventually("all is gone", || wall.counts().live == 0).await;
}

#[tokio::test]
async fn a_place_is_made_by_a_whole_compartment_that_is_idle() {
    let (wall, bundle) = (wall(), bundle());
    let pool = PoolConfig { compartments: 1, ..small_pool() };
    let runner = runner(wall.clone(), pool);
    let waits = lease(1, limits(2_000), json!("wait"));
    let f = of(bundle.path(), &version_of("acme", "f", "f"));
    let g = of(bundle.path(), &version_of("acme", "g", "g"));
    runs(&runner, &f).await;
    let other = of(bundle.path(), &version_of("other", "f", "f"));
    // `f` is idle, but in its compartment `g` runs until its time is up: only then there is a place.
    let (busy, ()) = tokio::join!(runner.direct(waits, &g), async {
        eventually("it runs", || wall.counts().started == 2).await;
        runs(&runner, &other).await;
    });
    assert!(!matches!(busy.settled.outcome, Outcome::Completed(_)), "{:?}", busy.settled.outcome);
    assert_eq!((wall.counts().built, wall.counts().live), (2, 1));
}

#[tokio::test]
async fn a_compartment_that_breaks_fails_what_runs_in_it_as_the_platforms_and_the_next_has_another()
{
    let (wall, bundle) = (wall(), bundle());
    let runner = runner(wall.clone(), small_pool());
    let [f, g, h] = ["f", "g", "h"].map(|it| of(bundle.path(), &version_of("acme", it, it)));
    let waits = |number| lease(number, limits(60_000), json!("wait"));
    let (first, second, ()) =
        tokio::join!(runner.direct(waits(1), &f), runner.direct(waits(2), &g), async {
            eventually("both run", || wall.counts().started == 2).await;
            assert_eq!(wall.counts().built, 1);
            runner.direct(lease(3, limits(60_000), json!("break")), &h).await;
        });
    for it in [first, second] {
        let Outcome::Failed(cause) = it.settled.outcome else { panic!("{:?}", it.settled.outcome) };
        assert_eq!(cause.error.code, "compartment_broken");
        assert!(matches!((cause.fault, cause.retry), (Fault::Platform, Retry::After(_))));
    }
    for prepared in [&f, &g, &h] {
        runs_when_repeated(&runner, prepared).await;
    }
    eventually("the broken one is destroyed", || wall.counts().live == 1).await;
    assert_eq!(wall.counts().built, 2);
}

#[tokio::test]
async fn a_compartment_for_each_execution_is_never_shared() {
    let (wall, bundle) = (wall(), bundle());
    let pool = PoolConfig { isolation: Isolation::Compartment, ..small_pool() };
    let runner = runner(wall.clone(), pool);
    for name in ["f", "g"] {
        runs(&runner, &of(bundle.path(), &version_of("acme", name, name))).await;
    }
    assert_eq!((wall.counts().built, wall.counts().zygotes), (2, 2));
}
