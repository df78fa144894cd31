#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use bulkhead_store::hot::mem::MemStore;
use bulkhead_types::{
    ExecutionId, ExecutionState, FixedClock, FunctionKey, FunctionKind, FunctionName,
    IntegrationId, Lease, Limits, MissedRuns, Outcome, RetryPolicy, ScheduleOptions, SystemEntropy,
    TenantId, Timestamp, Trigger, VersionId, WorkerId,
};
use serde_json::{Value, json};

use super::*;

/// Longer than any test may take, so that what waits for it hangs visibly.
const LONG: Duration = Duration::from_secs(60);

struct Fixture {
    engine: Engine,
    clock: Arc<FixedClock>,
    worker: WorkerId,
}

fn fixture() -> Fixture {
    fixture_with(EngineOptions::default())
}

fn fixture_with(options: EngineOptions) -> Fixture {
    let clock = Arc::new(FixedClock::at(Timestamp::from_millis(1_000_000)));
    let engine =
        Engine::new(Arc::new(MemStore::new()), clock.clone(), Arc::new(SystemEntropy), options);
    Fixture { engine, clock, worker: WorkerId::parse("wrk_1").unwrap() }
}

fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn submit(kind: FunctionKind) -> Submit {
    let function = FunctionKey {
        tenant: tenant(),
        integration: IntegrationId::parse("github").unwrap(),
        kind,
        name: FunctionName::parse("issues").unwrap(),
    };
    Submit::new(function, VersionId::parse("v1").unwrap(), Trigger::Api, Value::Null)
}

impl Fixture {
    async fn submit(&self) -> ExecutionId {
        self.engine.submit(submit(FunctionKind::Action)).await.unwrap().execution
    }

    async fn lease_one(&self) -> Lease {
        self.engine.lease(&self.worker, 1).await.unwrap().remove(0)
    }

    async fn settle(&self, lease: &Lease, outcome: Outcome) -> Settlement {
        self.engine.settle(&lease.lease, Settled::new(outcome)).await.unwrap()
    }
}

/// Runs `first` until it waits, then `second` to its end, then `first` to its end.
async fn while_waiting<A, B>(first: impl Future<Output = A>, second: impl Future<Output = B>) -> A {
    tokio::pin!(first);
    tokio::select! {
        biased;
        _ = &mut first => panic!("it must wait"),
        () = tokio::task::yield_now() => {}
    }
    second.await;
    tokio::time::timeout(LONG, first).await.expect("it must be woken")
}

#[tokio::test]
async fn a_caller_is_woken_when_its_execution_ends() {
    let f = fixture();
    let id = f.submit().await;
    let lease = f.lease_one().await;
    let ended =
        while_waiting(f.engine.wait(&id, LONG), f.settle(&lease, Outcome::Completed(json!(42))))
            .await;
    assert_eq!(ended.unwrap().unwrap().output, Some(json!(42)));
    assert_eq!(f.engine.inner.tickets.len(), 0, "nobody waits any more");
}

#[tokio::test]
async fn a_caller_is_woken_when_its_execution_is_cancelled() {
    let f = fixture();
    let id = f.submit().await;
    let tenant = tenant();
    let ended = while_waiting(f.engine.wait(&id, LONG), f.engine.cancel(&tenant, &id)).await;
    assert_eq!(ended.unwrap().unwrap().state, ExecutionState::Cancelled);
}

#[tokio::test]
async fn patience_ends_and_what_has_ended_is_there_at_once() {
    let f = fixture();
    let id = f.submit().await;
    assert!(f.engine.wait(&id, Duration::from_millis(1)).await.unwrap().is_none());
    let lease = f.lease_one().await;
    f.settle(&lease, Outcome::Completed(Value::Null)).await;
    assert!(f.engine.wait(&id, Duration::ZERO).await.unwrap().is_some());
    let nobody = ExecutionId::parse("exe_nobody").unwrap();
    assert!(f.engine.wait(&nobody, LONG).await.unwrap().is_none());
}

/// A call that is given up leaves a dispatch behind, which may bring leases when the next call waits already. They
/// lay there until they ran out.
#[tokio::test]
async fn a_waiting_worker_gets_what_an_abandoned_call_brings() {
    let f = fixture();
    f.submit().await;
    let lease = f.lease_one().await;
    let (engine, worker) = (f.engine.clone(), f.worker.clone());
    let mut waiting = tokio::task::JoinSet::new();
    waiting.spawn(async move { engine.lease(&worker, 1).await.unwrap() });
    // Its own dispatch finds nothing; enough turns to get that far.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    f.engine.inner.inboxes.put(f.worker.clone(), vec![lease]);
    let leases = tokio::time::timeout(LONG / 10, waiting.join_next()).await.unwrap();
    assert_eq!(leases.unwrap().unwrap().len(), 1);
}

#[tokio::test]
async fn a_worker_is_woken_by_a_submit() {
    let f = fixture();
    let leases = while_waiting(f.engine.lease(&f.worker, 5), f.submit()).await.unwrap();
    assert_eq!(leases.len(), 1);
}

#[tokio::test]
async fn every_waiting_worker_is_woken_while_there_is_more() {
    let f = fixture();
    let others = [WorkerId::parse("wrk_2").unwrap(), WorkerId::parse("wrk_3").unwrap()];
    let both = async {
        let (a, b) = tokio::join!(f.engine.lease(&others[0], 1), f.engine.lease(&others[1], 1));
        a.unwrap().len() + b.unwrap().len()
    };
    let submits = async {
        f.submit().await;
        f.submit().await;
    };
    assert_eq!(while_waiting(both, submits).await, 2);
}

#[tokio::test]
async fn a_worker_hears_that_there_is_nothing() {
    let options =
        EngineOptions { lease_wait: Duration::from_millis(5), ..EngineOptions::default() };
    let f = fixture_with(options);
    assert!(f.engine.lease(&f.worker, 1).await.unwrap().is_empty());
    assert!(f.engine.lease(&f.worker, 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn leases_of_a_call_that_was_given_up_go_to_the_next_one() {
    let f = fixture();
    let id = f.submit().await;
    {
        let given_up = f.engine.lease(&f.worker, 1);
        tokio::pin!(given_up);
        tokio::select! {
            biased;
            _ = &mut given_up => panic!("it must not be done at its first turn"),
            () = std::future::ready(()) => {}
        }
    }
    assert_eq!(f.lease_one().await.lease.execution, id);
}

#[tokio::test]
async fn a_cancel_reaches_the_worker_that_runs_the_execution() {
    let f = fixture();
    let id = f.submit().await;
    let lease = f.lease_one().await;
    let tenant = tenant();
    let recall = while_waiting(f.engine.recalls(&f.worker), f.engine.cancel(&tenant, &id)).await;
    assert_eq!(recall, Recall { lease: lease.lease.clone(), reason: RecallReason::Cancelled });
    f.settle(&lease, Outcome::Cancelled).await;
    assert_eq!(
        f.engine.execution(&tenant, &id).await.unwrap().unwrap().state,
        ExecutionState::Cancelled
    );
    let again = f.engine.cancel(&tenant, &id).await.unwrap();
    assert_eq!(again, CancelOutcome::AlreadyFinal(ExecutionState::Cancelled));
}

#[tokio::test]
async fn another_tenant_sees_and_stops_nothing() {
    let f = fixture();
    let id = f.submit().await;
    let other = TenantId::parse("globex").unwrap();
    assert!(f.engine.execution(&other, &id).await.unwrap().is_none());
    assert!(f.engine.timeline(&other, &id).await.unwrap().is_empty());
    assert!(f.engine.attempts(&other, &id).await.unwrap().is_empty());
    assert!(matches!(f.engine.cancel(&other, &id).await, Err(EngineError::ExecutionNotFound(_))));
    assert!(matches!(f.engine.retry(&other, &id).await, Err(EngineError::ExecutionNotFound(_))));
}

#[tokio::test]
async fn what_ended_badly_can_be_repeated_and_nothing_else() {
    let f = fixture();
    let id = f.submit().await;
    let refused = f.engine.retry(&tenant(), &id).await;
    assert!(matches!(
        refused,
        Err(EngineError::NotRetryable { state: ExecutionState::Queued, .. })
    ));
    f.engine.cancel(&tenant(), &id).await.unwrap();
    let again = f.engine.retry(&tenant(), &id).await.unwrap();
    assert_ne!(again, id);
    let lease = f.lease_one().await;
    assert_eq!(lease.lease.execution, again);
    f.settle(&lease, Outcome::Completed(Value::Null)).await;
    assert!(matches!(
        f.engine.retry(&tenant(), &again).await,
        Err(EngineError::NotRetryable { .. })
    ));
}

#[tokio::test]
async fn a_worker_that_comes_back_too_late_is_told_what_it_lost() {
    let f = fixture();
    let id = f.submit().await;
    let lease = f.lease_one().await;
    f.clock.advance(EngineOptions::default().lease);
    f.engine.tick().await.unwrap();
    let lost = Recall { lease: lease.lease.clone(), reason: RecallReason::Lost };
    assert_eq!(f.engine.recalls(&f.worker).await, lost);
    assert_eq!(
        f.engine.renew(&f.worker, std::slice::from_ref(&lease.lease)).await.unwrap(),
        [lost]
    );
    assert_eq!(f.settle(&lease, Outcome::Completed(Value::Null)).await, Settlement::Stale);
    assert_eq!(f.lease_one().await.attempt, 2);
    assert_eq!(f.engine.execution(&tenant(), &id).await.unwrap().unwrap().attempts, 2);
}

#[tokio::test]
async fn a_restart_takes_its_executions_back_at_once() {
    let f = fixture();
    f.submit().await;
    f.lease_one().await;
    let new = WorkerId::parse("wrk_new").unwrap();
    assert_eq!(f.engine.recover(&new).await.unwrap(), 0, "nobody else's are taken");
    assert_eq!(f.engine.recover(&f.worker).await.unwrap(), 1);
    assert_eq!(f.engine.lease(&new, 1).await.unwrap().remove(0).attempt, 2);
}

#[tokio::test]
async fn old_history_is_forgotten_and_what_still_goes_on_is_not() {
    let f = fixture();
    let (old, running) = (f.submit().await, f.submit().await);
    let leases = f.engine.lease(&f.worker, 2).await.unwrap();
    let lease = leases.iter().find(|lease| lease.lease.execution == old).unwrap();
    f.settle(lease, Outcome::Completed(Value::Null)).await;
    f.clock.advance(EngineOptions::default().retention);
    let young = f.submit().await;
    f.engine.forget_old().await.unwrap();
    assert!(f.engine.execution(&tenant(), &old).await.unwrap().is_some(), "not a moment too early");
    f.clock.advance(Duration::from_millis(1));
    f.engine.forget_old().await.unwrap();
    assert!(f.engine.execution(&tenant(), &old).await.unwrap().is_none());
    for kept in [running, young] {
        assert!(f.engine.execution(&tenant(), &kept).await.unwrap().is_some());
    }
}

struct Deployed(Result<Live, String>);

#[async_trait::async_trait]
impl Resolve for Deployed {
    async fn live(
        &self,
        _function: &FunctionKey,
        _connection: Option<&bulkhead_types::ConnectionId>,
    ) -> Result<Live, String> {
        self.0.clone()
    }
}

fn live() -> Live {
    let version = VersionId::parse("v2").unwrap();
    let (limits, retry) = (Limits::default(), RetryPolicy::default());
    Live { version, limits, retry, concurrency: None, input: Value::Null }
}

fn spec(frequency: &str) -> ScheduleSpec {
    let key = ScheduleKey { function: submit(FunctionKind::Sync).function, connection: None };
    let (frequency, options) = (frequency.to_owned(), ScheduleOptions::default());
    ScheduleSpec { key, frequency, options, paused: false, first_at_once: false }
}

#[tokio::test]
async fn a_due_schedule_runs_what_is_live_then() {
    let f = fixture();
    let schedule = f.engine.put_schedule(spec("every 1m")).await.unwrap();
    let deployed = Deployed(Ok(live()));
    assert_eq!(f.engine.fire_due(&deployed).await.unwrap(), Some(schedule.next_at));
    f.clock.advance(Duration::from_secs(600));
    f.engine.fire_due(&deployed).await.unwrap();
    let lease = f.lease_one().await;
    assert_eq!((lease.version.as_str(), lease.trigger), ("v2", Trigger::Schedule));
    let kept = f.engine.schedule(&schedule.key).await.unwrap().unwrap();
    assert_eq!(kept.last_execution, Some(lease.lease.execution.clone()));
    assert_eq!(
        kept.next_at,
        schedule.next_at.after(Duration::from_secs(600)),
        "missed ones do not pile up"
    );
    let triggered = f.engine.trigger(&schedule.key, &deployed).await.unwrap();
    assert_eq!((triggered.execution, triggered.duplicate), (lease.lease.execution, true));
}

#[tokio::test]
async fn what_is_due_soon_is_known_before_it_is_due() {
    let f = fixture();
    let schedule = f.engine.put_schedule(spec("every 1m")).await.unwrap();
    let ahead = Duration::from_secs(5);
    assert_eq!(f.engine.due_within(ahead, 9).await.unwrap(), (vec![], Some(schedule.next_at)));
    f.clock.advance(Duration::from_secs(56));
    let (soon, _) = f.engine.due_within(ahead, 9).await.unwrap();
    assert_eq!(soon, std::slice::from_ref(&schedule.key));
    let kept = f.engine.schedule(&schedule.key).await.unwrap().unwrap();
    assert_eq!(
        (kept.next_at, kept.last_execution),
        (schedule.next_at, None),
        "it was only looked at"
    );
}

#[tokio::test]
async fn putting_a_schedule_again_changes_it_only_when_its_frequency_is_new() {
    let f = fixture();
    let first = f.engine.put_schedule(spec("every 1m")).await.unwrap();
    f.engine.pause(&first.key).await.unwrap();
    f.clock.advance(Duration::from_secs(30));
    let same = f.engine.put_schedule(spec("every 1m")).await.unwrap();
    assert_eq!((same.next_at, same.paused), (first.next_at, true));
    let other = f.engine.put_schedule(spec("every 2m")).await.unwrap();
    assert_eq!((other.next_at, other.paused), (first.next_at.after(Duration::from_secs(90)), true));
    assert!(!f.engine.resume(&first.key).await.unwrap().paused);
    assert!(matches!(
        f.engine.put_schedule(spec("sometimes")).await,
        Err(EngineError::Frequency(_))
    ));
    assert!(matches!(
        f.engine.put_schedule(spec("cron: 0 0 30 2 *")).await,
        Err(EngineError::NeverDue(_))
    ));
}

#[tokio::test]
async fn missed_runs_are_left_out_where_the_schedule_says_so() {
    let f = fixture();
    let options = ScheduleOptions { missed: MissedRuns::Skip, jitter_ms: 30_000 };
    let schedule =
        f.engine.put_schedule(ScheduleSpec { options, ..spec("every 1h") }).await.unwrap();
    assert!(schedule.next_at.since(f.clock.now()) <= Duration::from_secs(3_630));
    f.clock.advance(Duration::from_secs(3_600 * 10));
    let next = f.engine.fire_due(&Deployed(Ok(live()))).await.unwrap().unwrap();
    let kept = f.engine.schedule(&schedule.key).await.unwrap().unwrap();
    assert!(kept.last_error.unwrap().contains("missed") && kept.last_execution.is_none());
    f.clock.advance(next.since(f.clock.now()));
    f.engine.fire_due(&Deployed(Ok(live()))).await.unwrap();
    assert_eq!(f.lease_one().await.trigger, Trigger::Schedule, "what is on time runs");
}

#[tokio::test]
async fn dead_letters_are_repeated_once_by_a_filter_however_often_it_is_asked() {
    let f = fixture();
    let mut ids = Vec::new();
    for n in 0..5 {
        f.clock.advance(Duration::from_millis(1));
        ids.push(f.submit().await);
        let lease = f.lease_one().await;
        let code = if n == 0 { "other" } else { "boom" };
        let cause = bulkhead_types::Cause {
            error: bulkhead_types::ErrorInfo::new(code, "It broke."),
            fault: bulkhead_types::Fault::Tenant,
            retry: bulkhead_types::Retry::Never,
        };
        f.settle(&lease, Outcome::Failed(cause)).await;
    }
    let of = |error_code: &str| ExecutionFilter {
        error_code: Some(error_code.to_owned()),
        ..ExecutionFilter::default()
    };
    let first = f.engine.replay(&tenant(), of("boom"), 3).await.unwrap();
    assert_eq!((first.executions.len(), first.more), (3, true));
    let second = f.engine.replay(&tenant(), of("boom"), 100).await.unwrap();
    let repeated: Vec<_> = second.executions.iter().map(|(dead, _)| dead.clone()).collect();
    assert_eq!((repeated, second.more), (vec![ids[1].clone()], false));
    assert_eq!(f.engine.replay(&tenant(), of("boom"), 100).await.unwrap(), Replayed::default());
    let dead = ExecutionFilter { dead: true, ..ExecutionFilter::default() };
    let left = f.engine.executions(&tenant(), dead.clone()).await.unwrap().executions;
    assert_eq!(left.iter().map(|dead| &dead.id).collect::<Vec<_>>(), [&ids[0]]);
    f.engine.retry(&tenant(), &ids[0]).await.unwrap();
    assert!(f.engine.executions(&tenant(), dead).await.unwrap().executions.is_empty());
}

#[tokio::test]
async fn a_full_queue_stops_a_replay_and_says_when_to_go_on() {
    let f = fixture();
    for _ in 0..3 {
        f.submit().await;
        let lease = f.lease_one().await;
        f.settle(&lease, Outcome::Crashed(bulkhead_types::ErrorInfo::new("crashed", "Gone.")))
            .await;
    }
    let limits = ShareLimits { queued_max: 2, ..ShareLimits::default() };
    f.engine.set_share(&tenant(), limits).await.unwrap();
    let replayed = f.engine.replay(&tenant(), ExecutionFilter::default(), 100).await.unwrap();
    assert_eq!((replayed.executions.len(), replayed.more), (2, true));
    assert!(replayed.queue_full.is_some());
}

#[tokio::test]
async fn a_paused_tenant_accepts_and_begins_nothing() {
    let f = fixture();
    f.engine.pause_tenant(&tenant(), true).await.unwrap();
    f.submit().await;
    let asked = tokio::time::timeout(Duration::from_millis(50), f.engine.lease(&f.worker, 1)).await;
    assert!(asked.is_err(), "nothing begins");
    let resumed = async {
        f.engine.pause_tenant(&tenant(), false).await.unwrap();
    };
    let leases = while_waiting(f.engine.lease(&f.worker, 1), resumed).await.unwrap();
    assert_eq!(leases.len(), 1, "who waits is woken");
}

#[tokio::test]
async fn a_schedule_of_what_is_not_live_says_so_and_goes_on() {
    let f = fixture();
    let schedule = f.engine.put_schedule(spec("every 1m")).await.unwrap();
    let gone = Deployed(Err("issues is not deployed".to_owned()));
    f.clock.advance(Duration::from_secs(60));
    f.engine.fire_due(&gone).await.unwrap();
    let kept = f.engine.schedule(&schedule.key).await.unwrap().unwrap();
    assert_eq!(kept.last_error.as_deref(), Some("issues is not deployed"));
    assert!(kept.next_at > schedule.next_at);
    assert!(matches!(f.engine.trigger(&schedule.key, &gone).await, Err(EngineError::NotLive(_))));
}

#[tokio::test]
async fn the_background_fires_schedules_and_ends_with_the_shutdown() {
    let f = fixture();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let engine = f.engine.clone();
    let background = tokio::spawn(async move {
        let shutdown = async { drop(stopped.await) };
        engine.run_background(Arc::new(Deployed(Ok(live()))), shutdown).await;
    });
    let mut at_once = spec("every 1d");
    at_once.first_at_once = true;
    f.engine.put_schedule(at_once).await.unwrap();
    assert_eq!(f.lease_one().await.trigger, Trigger::Schedule);
    stop.send(()).unwrap();
    tokio::time::timeout(LONG, background).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_background_queues_what_waited_long_enough() {
    let clock = Arc::new(bulkhead_types::SystemClock);
    let engine = Engine::new(
        Arc::new(MemStore::new()),
        clock,
        Arc::new(SystemEntropy),
        EngineOptions::default(),
    );
    let worker = WorkerId::parse("wrk_1").unwrap();
    let background = tokio::spawn({
        let engine = engine.clone();
        async move {
            engine.run_background(Arc::new(Deployed(Ok(live()))), std::future::pending()).await
        }
    });
    let mut asked = submit(FunctionKind::Action);
    asked.retry = RetryPolicy { max: 1, backoff_ms: 20, backoff_ms_max: 20, jitter: false };
    engine.submit(asked).await.unwrap();
    let first = engine.lease(&worker, 1).await.unwrap().remove(0);
    let crash = Outcome::Crashed(bulkhead_types::ErrorInfo::new("sandbox_crashed", "SIGSEGV"));
    engine.settle(&first.lease, Settled::new(crash)).await.unwrap();
    let second =
        tokio::time::timeout(LONG, engine.lease(&worker, 1)).await.unwrap().unwrap().remove(0);
    assert_eq!(second.attempt, 2);
    background.abort();
}

/// Two servers over one store, neither of which hears of the other: who waits finds what there is at its next look.
#[tokio::test(start_paused = true)]
async fn what_nobody_heard_of_is_found_by_looking_again() {
    let store = Arc::new(MemStore::new());
    let [a, b] = [0, 1].map(|_| {
        let clock = Arc::new(FixedClock::at(Timestamp::from_millis(1_000_000)));
        let entropy = Arc::new(SystemEntropy);
        let store: Arc<MemStore> = Arc::clone(&store);
        Engine::new(store, clock, entropy, EngineOptions::default())
    });
    let worker = WorkerId::parse("wrk_b").unwrap();
    let accepted = async { a.submit(submit(FunctionKind::Action)).await.unwrap().execution };
    // It is accepted a moment after the worker has looked.
    let began = tokio::time::Instant::now();
    let (leases, id) = tokio::join!(biased; b.lease(&worker, 1), accepted);
    let lease = leases.unwrap().remove(0).lease;
    assert_eq!(lease.execution, id);
    assert!(began.elapsed() <= LONG, "it waited for word: {:?}", began.elapsed());

    let began = tokio::time::Instant::now();
    let settles = async { b.settle(&lease, Settled::new(Outcome::Completed(json!(1)))).await };
    let (ended, settled) = tokio::join!(biased; a.wait(&id, LONG * 10), settles);
    settled.unwrap();
    assert_eq!(ended.unwrap().unwrap().state, ExecutionState::Succeeded);
    assert!(began.elapsed() < LONG, "it waited for word: {:?}", began.elapsed());
}
