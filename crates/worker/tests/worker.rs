//! The lease loop: how many run, what is renewed, what is settled, how it ends.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bulkhead_protocol::{SandboxGone, SandboxResult, SignalKind};
use bulkhead_types::{FunctionKind, Lease, LeaseRef, Outcome, Room};
use bulkhead_wall::fake::FakeWall;
use bulkhead_worker::{
    Recall, RecallReason, Settled, SourceError, WorkSource, Worker, WorkerConfig,
};
use serde_json::{Value, json};
use support::{TestHost, eventually, lease, limits, runner};
use tokio::sync::{Notify, mpsc, oneshot};

struct TestSource {
    leases: Mutex<VecDeque<Lease>>,
    more: Notify,
    settled: Mutex<Vec<(LeaseRef, Settled)>>,
    renewals: AtomicUsize,
    refuse_renewals: bool,
    /// A source that is cut off without a word: nobody answers, nobody refuses.
    lose_renewals: bool,
    settle_failures: AtomicUsize,
    /// A renewal finds a lease gone whose outcome is being handed in.
    recall_while_settling: bool,
    recalls: tokio::sync::Mutex<mpsc::Receiver<Recall>>,
    recall: mpsc::Sender<Recall>,
}

impl TestSource {
    fn with(leases: Vec<Lease>) -> Self {
        let (recall, recalls) = mpsc::channel(8);
        Self {
            leases: Mutex::new(leases.into()),
            more: Notify::new(),
            settled: Mutex::default(),
            renewals: AtomicUsize::new(0),
            refuse_renewals: false,
            lose_renewals: false,
            settle_failures: AtomicUsize::new(0),
            recall_while_settling: false,
            recalls: tokio::sync::Mutex::new(recalls),
            recall,
        }
    }

    fn settled(&self) -> usize {
        self.settled.lock().unwrap().len()
    }

    fn outcomes(&self) -> Vec<&'static str> {
        self.settled.lock().unwrap().iter().map(|(_, settled)| settled.outcome.as_str()).collect()
    }
}

#[async_trait::async_trait]
impl WorkSource for TestSource {
    async fn lease(&self, room: Room) -> Result<Vec<Lease>, SourceError> {
        loop {
            {
                let mut leases = self.leases.lock().unwrap();
                let count = leases.len().min(usize::try_from(room.free.cpu).unwrap());
                if count > 0 {
                    return Ok(leases.drain(..count).collect());
                }
            }
            self.more.notified().await;
        }
    }

    async fn renew(&self, _: &[LeaseRef]) -> Result<Vec<Recall>, SourceError> {
        self.renewals.fetch_add(1, Ordering::SeqCst);
        if self.lose_renewals {
            std::future::pending::<()>().await;
        }
        if self.refuse_renewals { Err(SourceError("down".to_owned())) } else { Ok(Vec::new()) }
    }

    async fn recalls(&self) -> Recall {
        match self.recalls.lock().await.recv().await {
            Some(recall) => recall,
            None => std::future::pending().await,
        }
    }

    async fn settle(&self, lease: &LeaseRef, settled: Settled) -> Result<(), SourceError> {
        let fails = |left: usize| left.checked_sub(1);
        if self.settle_failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
            return Err(SourceError("busy".to_owned()));
        }
        if self.recall_while_settling {
            let recall = Recall { lease: lease.clone(), reason: RecallReason::Lost };
            self.recall.send(recall).await.unwrap();
            // Long enough for the worker to hear of it.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.settled.lock().unwrap().push((lease.clone(), settled));
        Ok(())
    }
}

/// Runs a worker over `source` until `script` is done.
async fn work<Fut: Future<Output = ()>>(
    config: WorkerConfig,
    source: &Arc<TestSource>,
    wall: &Arc<FakeWall>,
    script: Fut,
) {
    work_for(config, source, wall, &TestHost::echo(), script).await;
}

/// The same with a host of one's own.
async fn work_for<Fut: Future<Output = ()>>(
    config: WorkerConfig,
    source: &Arc<TestSource>,
    wall: &Arc<FakeWall>,
    host: &Arc<TestHost>,
    script: Fut,
) {
    let runner = runner(wall.clone(), host);
    let worker = Worker::new(config, Arc::clone(source) as Arc<dyn WorkSource>, runner);
    let (stop, stopped) = oneshot::channel::<()>();
    let script = async move {
        script.await;
        stop.send(()).unwrap();
    };
    let run = worker.run(async {
        stopped.await.unwrap();
    });
    let both = async { tokio::join!(run, script) };
    tokio::time::timeout(Duration::from_secs(30), both).await.expect("the worker must end");
    assert_eq!(wall.counts().live, 0, "nothing is left");
}

fn endless() -> Arc<FakeWall> {
    FakeWall::new(|mut sandbox| async move {
        sandbox.start().await;
        sandbox.started().await;
        std::future::pending::<SandboxGone>().await
    })
}

#[tokio::test]
async fn all_leases_are_run_and_settled_never_more_at_once_than_allowed() {
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, peak) = (Arc::clone(&running), Arc::clone(&most));
    let wall = FakeWall::handler(move |start, _| {
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(start.input)
        }
    });
    let leases = (0..40).map(|number| lease(number, limits(10_000), json!(number))).collect();
    let source = TestSource::with(leases);
    source.settle_failures.store(3, Ordering::SeqCst);
    let source = Arc::new(source);
    let config = WorkerConfig { capacity: Room::from(4).total, ..WorkerConfig::default() };
    work(config, &source, &wall, eventually("all settled", || source.settled() == 40)).await;
    assert_eq!(most.load(Ordering::SeqCst), 4);
    for (lease, settled) in source.settled.lock().unwrap().iter() {
        let number: u32 = lease.execution.as_str()[4..].parse().unwrap();
        assert_eq!(settled.outcome, Outcome::Completed(json!(number)));
    }
}

#[tokio::test]
async fn leases_are_renewed_together_and_in_time() {
    let wall = endless();
    let mut leases: Vec<Lease> =
        (0..5).map(|number| lease(number, limits(2_000), Value::Null)).collect();
    leases.iter_mut().for_each(|it| it.expires_at = it.leased_at.after(Duration::from_millis(900)));
    let source = Arc::new(TestSource::with(leases));
    let done = eventually("all settled", || source.settled() == 5);
    work(WorkerConfig::default(), &source, &wall, done).await;
    // They outlived their first term twofold, and all five ran to their cap.
    assert_eq!(source.outcomes(), ["limit"; 5]);
    let renewals = source.renewals.load(Ordering::SeqCst);
    assert!((3..=9).contains(&renewals), "{renewals} for five leases at once");
}

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_stops_its_attempt_and_is_not_settled() {
    let wall = endless();
    let mut one = lease(1, limits(60_000), Value::Null);
    one.expires_at = one.leased_at.after(Duration::from_millis(300));
    let source = TestSource { refuse_renewals: true, ..TestSource::with(vec![one]) };
    let source = Arc::new(source);
    let killed = eventually("killed", || wall.counts().killed > 0);
    work(WorkerConfig::default(), &source, &wall, killed).await;
    assert_eq!(source.settled(), 0);
}

#[tokio::test]
async fn a_renewal_that_hangs_does_not_keep_an_attempt_alive() {
    let wall = endless();
    let mut one = lease(1, limits(60_000), Value::Null);
    one.expires_at = one.leased_at.after(Duration::from_millis(300));
    let source = TestSource { lose_renewals: true, ..TestSource::with(vec![one]) };
    let source = Arc::new(source);
    let killed = eventually("killed", || wall.counts().killed > 0);
    work(WorkerConfig::default(), &source, &wall, killed).await;
    assert_eq!(source.settled(), 0);
}

#[tokio::test]
async fn an_outcome_that_cannot_be_handed_in_is_given_up_with_its_lease() {
    let wall = FakeWall::handler(|start, _| async move { Ok(start.input) });
    let mut one = lease(1, limits(60_000), Value::Null);
    one.expires_at = one.leased_at.after(Duration::from_millis(400));
    let source = TestSource { refuse_renewals: true, ..TestSource::with(vec![one]) };
    source.settle_failures.store(usize::MAX, Ordering::SeqCst);
    let source = Arc::new(source);
    // A second attempt fits in only when the first has let go of all that there is.
    let two = lease(2, limits(60_000), json!(2));
    let config = WorkerConfig { capacity: Room::from(1).total, ..WorkerConfig::default() };
    let script = async {
        eventually("the first ran", || wall.counts().started == 1).await;
        source.leases.lock().unwrap().push_back(two);
        source.more.notify_one();
        eventually("the second runs", || wall.counts().started == 2).await;
        source.settle_failures.store(0, Ordering::SeqCst);
        eventually("it is settled", || source.settled() == 1).await;
    };
    work(config, &source, &wall, script).await;
    assert_eq!(source.settled.lock().unwrap()[0].1.outcome, Outcome::Completed(json!(2)));
}

/// What comes after the commit is that callers are told. One of them once waited ten seconds.
#[tokio::test]
async fn a_lease_found_gone_while_its_outcome_is_handed_in_does_not_break_that_off() {
    let wall = FakeWall::handler(|start, _| async move { Ok(start.input) });
    let one = lease(1, limits(60_000), json!(1));
    let source = TestSource { recall_while_settling: true, ..TestSource::with(vec![one]) };
    let source = Arc::new(source);
    let settled = eventually("it is settled", || source.settled() == 1);
    work(WorkerConfig::default(), &source, &wall, settled).await;
    assert_eq!(source.outcomes(), ["completed"]);
}

#[tokio::test]
async fn a_shutdown_asks_syncs_to_come_to_an_end_and_lets_actions_be() {
    let wall = FakeWall::new(|mut sandbox| async move {
        let Some(start) = sandbox.start().await else { return SandboxGone::Killed };
        sandbox.started().await;
        if start.kind == "sync" {
            let told = sandbox.signal().await;
            assert_eq!(told, Some(SignalKind::Deadline));
            let saved = sandbox.call("checkpoint.save", Value::Null).await;
            assert_eq!(saved.unwrap()["stop"], true, "the next checkpoint is the last");
            sandbox.result(&SandboxResult::Interrupted).await;
        } else {
            tokio::time::sleep(Duration::from_millis(300)).await;
            sandbox.complete(start.input).await;
        }
        SandboxGone::Exited { status: 0 }
    });
    let (action, mut sync) =
        (lease(1, limits(60_000), Value::Null), lease(2, limits(60_000), Value::Null));
    sync.function.kind = FunctionKind::Sync;
    let source = Arc::new(TestSource::with(vec![action, sync]));
    let host = TestHost::answering(|_, _| async { Ok(json!({"version": 1, "stop": false})) });
    let script = eventually("both run", || wall.counts().started == 2);
    work_for(WorkerConfig::default(), &source, &wall, &host, script).await;
    assert_eq!(source.outcomes(), ["interrupted", "completed"]);
}

#[tokio::test]
async fn recalls_reach_the_attempt_at_once() {
    let wall = endless();
    let leases: Vec<Lease> =
        (1..=2).map(|number| lease(number, limits(60_000), Value::Null)).collect();
    let recalled = |at: usize, reason| Recall { lease: leases[at].lease.clone(), reason };
    let recalls = [recalled(0, RecallReason::Cancelled), recalled(1, RecallReason::Lost)];
    let source = Arc::new(TestSource::with(leases.clone()));
    let script = async {
        eventually("both run", || wall.counts().started == 2).await;
        for recall in recalls {
            source.recall.send(recall).await.unwrap();
        }
        eventually("one settled", || source.settled() == 1).await;
        eventually("both killed", || wall.counts().killed >= 2).await;
    };
    work(WorkerConfig::default(), &source, &wall, script).await;
    // The cancelled one is settled; the lost one is nobody's business any more.
    assert_eq!(source.outcomes(), ["cancelled"]);
}

#[tokio::test]
async fn a_shutdown_waits_for_what_runs_and_gives_back_what_takes_too_long() {
    let wall = FakeWall::new(|mut sandbox| async move {
        let Some(start) = sandbox.start().await else { return SandboxGone::Killed };
        sandbox.started().await;
        tokio::time::sleep(Duration::from_millis(start.input.as_u64().unwrap())).await;
        sandbox.complete(start.input).await;
        SandboxGone::Exited { status: 0 }
    });
    let leases: Vec<Lease> = [(1, 300), (2, 60_000)]
        .map(|(number, ms)| lease(number, limits(60_000), json!(ms)))
        .to_vec();
    let source = Arc::new(TestSource::with(leases));
    let config = WorkerConfig { drain: Duration::from_millis(800), ..WorkerConfig::default() };
    let script = eventually("both run", || wall.counts().started == 2);
    work(config, &source, &wall, script).await;
    assert_eq!(source.outcomes(), ["completed", "failed"]);
    let settled = source.settled.lock().unwrap();
    let Outcome::Failed(cause) = &settled[1].1.outcome else { panic!("{settled:?}") };
    assert_eq!(cause.error.code, "worker_stopped");
}

#[tokio::test]
async fn an_attempt_that_panics_lets_go_of_its_lease() {
    let wall = FakeWall::handler(|_, mut sandbox| async move {
        sandbox.call("panic", Value::Null).await.ok();
        Ok(Value::Null)
    });
    let host = TestHost::answering(|_, _| async { panic!("a bug in the platform") });
    let mut one = lease(1, limits(60_000), Value::Null);
    one.expires_at = one.leased_at.after(Duration::from_millis(150));
    let source = Arc::new(TestSource::with(vec![one]));
    let runner = support::runner(wall.clone(), &host);
    let worker =
        Worker::new(WorkerConfig::default(), Arc::clone(&source) as Arc<dyn WorkSource>, runner);
    let shutdown = async {
        eventually("its sandbox is killed", || wall.counts().killed == 1).await;
        let before = source.renewals.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(source.renewals.load(Ordering::SeqCst) <= before + 1, "it is renewed no more");
    };
    worker.run(shutdown).await;
    assert_eq!(source.settled(), 0);
}
