//! One attempt on the fake wall: what it is given, what it may do, how it ends.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bulkhead_protocol::{
    CONTROL, Kind, LogLine, ResultError, SANDBOX_WINDOW_BYTES, SandboxGone, SandboxResult,
    SignalKind, SlotUsage, StartKind,
};
use bulkhead_types::{Fault, LimitKind, Limits, Outcome, Retry};
use bulkhead_wall::fake::{FakeOptions, FakeSandbox, FakeWall};
use bulkhead_worker::Stop;
use serde_json::{Value, json};
use support::{TestHost, lease, limits, run, run_until, runner};
use tokio::sync::watch;

fn left() -> SandboxGone {
    SandboxGone::Exited { status: 0 }
}

fn code(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Failed(cause) => &cause.error.code,
        Outcome::Limit(_, error) | Outcome::Crashed(error) => &error.code,
        other => panic!("no error in {other:?}"),
    }
}

/// A wall whose sandboxes are started, run `script`, and exit.
fn scripted<F, Fut>(script: F) -> Arc<FakeWall>
where
    F: Fn(FakeSandbox) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    scripted_with(FakeOptions::default(), script)
}

fn scripted_with<F, Fut>(options: FakeOptions, script: F) -> Arc<FakeWall>
where
    F: Fn(FakeSandbox) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let script = Arc::new(script);
    FakeWall::with(options, move |mut sandbox| {
        let script = Arc::clone(&script);
        async move {
            sandbox.start().await;
            sandbox.started().await;
            script(sandbox).await;
            left()
        }
    })
}

#[tokio::test]
async fn a_function_gets_its_execution_and_its_result_comes_back() {
    let wall = FakeWall::handler(|start, mut sandbox| async move {
        sandbox.uses(SlotUsage { cpu_us: 7, memory_bytes_peak: 9, ..SlotUsage::default() });
        sandbox.log("info", "hello").await;
        let answer = sandbox.call("metadata.get", json!({"a": 1})).await.unwrap();
        let (input, context) = (start.input, start.context);
        let (seed, kind) = (start.seed.len(), start.kind);
        let soft = start.deadline - start.soft_deadline;
        Ok(
            json!({"in": input, "context": context, "answer": answer, "seed": seed, "kind": kind, "soft": soft}),
        )
    });
    let host = TestHost::echo();
    let runner = runner(wall.clone(), &host);
    let settled = run(&runner, lease(1, limits(10_000), json!([1, 2]))).await;
    let expected = json!({
        "in": [1, 2],
        "context": {"connectionId": "c1"},
        "answer": {"method": "metadata.get", "params": {"a": 1}},
        "seed": 64,
        "kind": "action",
        "soft": 1_000,
    });
    assert_eq!(settled.outcome, Outcome::Completed(expected));
    assert_eq!(settled.start, Some(StartKind::Cold));
    assert_eq!((settled.usage.cpu_us, settled.usage.memory_bytes_peak), (7, 9));
    assert!(settled.usage.start_us > 0 && settled.started_at.is_some());
    assert_eq!(host.texts(), ["hello"]);
    let snapshot = runner.snapshot();
    assert_eq!((snapshot.executions, snapshot.sandboxes_used, snapshot.cold), (1, 1, 1));
    assert_eq!((snapshot.start_us.n, snapshot.failures, snapshot.running), (1, 0, 0));
    runner.shutdown().await;
    assert_eq!(wall.counts().live, 0);
}

#[tokio::test]
async fn at_the_cap_it_is_killed() {
    let wall = scripted(|_sandbox| std::future::pending());
    let runner = runner(wall.clone(), &TestHost::echo());
    let settled = run(&runner, lease(1, limits(200), Value::Null)).await;
    assert_eq!(code(&settled.outcome), "time_limit");
    assert!(settled.usage.wall_ms >= 200, "{:?}", settled.usage);
    assert_eq!(wall.counts().killed, 1);
}

#[tokio::test]
async fn after_the_soft_deadline_a_saved_checkpoint_says_stop() {
    let wall = scripted(|mut sandbox| async move {
        let early = sandbox.call("checkpoint.save", json!({})).await.unwrap();
        assert_eq!(early["stop"], json!(false));
        assert_eq!(sandbox.signal().await, Some(SignalKind::Deadline));
        let late = sandbox.call("checkpoint.save", json!({})).await.unwrap();
        assert_eq!(late["stop"], json!(true));
        sandbox.result(&SandboxResult::Interrupted).await;
    });
    let runner = runner(wall, &TestHost::echo());
    let limits = Limits { soft_percent: 2, ..limits(20_000) };
    let settled = run(&runner, lease(1, limits, Value::Null)).await;
    assert_eq!(settled.outcome, Outcome::Interrupted);
}

#[tokio::test]
async fn a_cancel_is_told_and_then_enforced() {
    let stubborn = scripted(|_sandbox| std::future::pending());
    let obedient = scripted(|mut sandbox| async move {
        assert_eq!(sandbox.signal().await, Some(SignalKind::Cancel));
        sandbox.fail("script_error", "aborted").await;
    });
    for (wall, kills) in [(stubborn, 1), (obedient, 0)] {
        let runner = runner(wall.clone(), &TestHost::echo());
        let (say, stop) = watch::channel(None);
        let attempt = run_until(&runner, lease(1, limits(20_000), Value::Null), stop);
        let cancel = async {
            support::eventually("started", || wall.counts().started == 1).await;
            say.send(Some(Stop::Cancelled)).unwrap();
        };
        let (settled, ()) = tokio::join!(attempt, cancel);
        assert_eq!(settled.outcome, Outcome::Cancelled);
        assert!(settled.usage.wall_ms < 5_000);
        assert_eq!(wall.counts().killed, kills);
    }
}

#[tokio::test]
async fn the_first_result_counts_and_later_ones_are_noted() {
    let wall = scripted(|sandbox| async move {
        sandbox.complete(json!("first")).await;
        sandbox.complete(json!("second")).await;
        sandbox.fail("script_error", "third").await;
    });
    let host = TestHost::echo();
    let runner = runner(wall, &host);
    let settled = run(&runner, lease(1, limits(10_000), Value::Null)).await;
    assert_eq!(settled.outcome, Outcome::Completed(json!("first")));
    support::eventually("noted", || host.events_named("late_result") == [json!({"count": 2})])
        .await;
}

#[tokio::test]
async fn a_sandbox_that_answers_and_stays_is_made_to_leave() {
    let wall = scripted(|sandbox| async move {
        sandbox.complete(json!(1)).await;
        std::future::pending().await
    });
    let runner = runner(wall.clone(), &TestHost::echo());
    let settled = run(&runner, lease(1, limits(60_000), Value::Null)).await;
    assert_eq!(settled.outcome, Outcome::Completed(json!(1)));
    assert!(settled.usage.wall_ms < 400, "nobody waits for it to leave");
    support::eventually("killed", || wall.counts().killed == 1).await;
}

#[tokio::test]
async fn an_output_may_have_as_many_bytes_as_allowed_and_no_more() {
    let wall = FakeWall::handler(|start, _| async move { Ok(start.input) });
    let runner = runner(wall, &TestHost::echo());
    let limits = Limits { output_bytes: 10, ..limits(10_000) };
    let fits = run(&runner, lease(1, limits.clone(), json!("12345678"))).await;
    assert_eq!(fits.outcome, Outcome::Completed(json!("12345678")));
    let over = run(&runner, lease(2, limits, json!("123456789"))).await;
    let Outcome::Limit(LimitKind::OutputTooLarge, error) = over.outcome else { panic!("{over:?}") };
    assert!(error.message.contains("11 bytes"), "{}", error.message);
}

#[tokio::test]
async fn a_result_beyond_what_any_message_may_have_is_too_large_as_well() {
    let wall = scripted(|sandbox| async move {
        let large = json!({"is": "completed", "output": "x".repeat(9 << 20)});
        sandbox.send(CONTROL, Kind::Result, &serde_json::to_vec(&large).unwrap()).await;
    });
    let settled =
        run(&runner(wall, &TestHost::echo()), lease(1, limits(20_000), Value::Null)).await;
    assert_eq!(code(&settled.outcome), "output_too_large");
}

#[tokio::test]
async fn a_sandbox_that_breaks_the_rules_ends_and_its_neighbour_does_not() {
    let wall = scripted(|mut sandbox| async move {
        match sandbox.number() % 2 {
            1 => {
                for _ in 0..257 {
                    sandbox.call_begin("never.answered", Value::Null).await;
                }
                std::future::pending().await
            }
            _ => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                let answer = sandbox.call("still.there", Value::Null).await;
                sandbox.complete(answer.unwrap()["method"].clone()).await;
            }
        }
    });
    let host = TestHost::answering(|method, _| async move {
        if method == "never.answered" {
            std::future::pending().await
        }
        Ok(json!({"method": method}))
    });
    let runner = runner(wall.clone(), &host);
    let [bad, good] = [1, 2].map(|number| lease(number, limits(20_000), Value::Null));
    let (bad, good) = tokio::join!(run(&runner, bad), run(&runner, good));
    let mut outcomes = [bad.outcome, good.outcome];
    outcomes.sort_by_key(|outcome| outcome.as_str() == "crashed");
    assert_eq!(outcomes[0], Outcome::Completed(json!("still.there")));
    assert_eq!(code(&outcomes[1]), "protocol_violation");
    assert_eq!(wall.counts().built, 1);
}

#[tokio::test]
async fn what_is_no_message_is_a_violation() {
    let cases: [(u32, Kind, &[u8]); 7] = [
        (CONTROL, Kind::Result, b"{}"),
        (CONTROL, Kind::Call, b"[]"),
        (CONTROL, Kind::Log, b"{\"at\": 1}"),
        (CONTROL, Kind::Data, b"x"),
        (7, Kind::Open, b"{\"host\": 1}"),
        (7, Kind::Call, b"{}"),
        (7, Kind::Result, b"{\"is\": \"completed\"}"),
    ];
    for (channel, kind, message) in cases {
        let wall = scripted(move |sandbox| async move {
            sandbox.send(channel, kind, message).await;
            std::future::pending().await
        });
        let settled =
            run(&runner(wall, &TestHost::echo()), lease(1, limits(20_000), Value::Null)).await;
        assert_eq!(code(&settled.outcome), "protocol_violation", "{channel} {kind:?}");
    }
}

#[tokio::test]
async fn a_flood_of_logs_is_cut_and_the_run_goes_on() {
    let wall = scripted(|sandbox| async move {
        // Several windows' worth: it ends only if credit is granted all along.
        let message = "x".repeat(1_000);
        let line = LogLine { at: 0, level: "info".to_owned(), message };
        let lines = serde_json::to_vec(&vec![line; 100]).unwrap();
        for _ in 0..40 {
            sandbox.send(CONTROL, Kind::Log, &lines).await;
            sandbox.output(&b"to standard output\n".repeat(1_000)).await;
        }
        sandbox.complete(json!("done")).await;
    });
    let host = TestHost::echo();
    let limits = Limits { log_bytes: 1 << 20, ..limits(20_000) };
    let settled = run(&runner(wall, &host), lease(1, limits, Value::Null)).await;
    assert_eq!(settled.outcome, Outcome::Completed(json!("done")));
    let texts = host.texts();
    let kept: usize = texts.iter().map(String::len).sum();
    assert!((800_000..(1 << 20) + 300).contains(&kept), "{kept}");
    assert!(texts.last().unwrap().starts_with("log_limit"), "{:?}", texts.last());
    assert_eq!(texts.iter().filter(|text| text.starts_with("log_limit")).count(), 1);
}

#[tokio::test]
async fn messages_larger_than_a_window_go_both_ways() {
    let size = 3 * SANDBOX_WINDOW_BYTES as usize;
    let wall = scripted(move |mut sandbox| async move {
        let answer = sandbox.call("echo", json!("y".repeat(size))).await.unwrap();
        let length = answer["params"].as_str().unwrap().len();
        sandbox.complete(json!(length)).await;
    });
    let settled =
        run(&runner(wall, &TestHost::echo()), lease(1, limits(20_000), Value::Null)).await;
    assert_eq!(settled.outcome, Outcome::Completed(json!(size)));
}

#[tokio::test]
async fn a_heap_that_is_full_is_told_from_a_crash() {
    for (words, expected) in
        [("JavaScript heap out of memory\n", "out_of_memory"), ("boom\n", "sandbox_crashed")]
    {
        let wall = FakeWall::new(move |mut sandbox| async move {
            sandbox.start().await;
            sandbox.started().await;
            sandbox.output(words.as_bytes()).await;
            SandboxGone::Signalled { signal: 6 }
        });
        let host = TestHost::echo();
        let settled = run(&runner(wall, &host), lease(1, limits(10_000), Value::Null)).await;
        assert_eq!(code(&settled.outcome), expected);
        assert_eq!(host.texts(), [words.trim_end()]);
    }
}

#[tokio::test]
async fn errors_of_calls_reach_the_function_and_its_own_reach_the_caller() {
    let host = TestHost::answering(|_, _| async {
        let (code, message) = ("checkpoint_conflict".to_owned(), "stale".to_owned());
        Err(bulkhead_protocol::CallError { code, message, payload: Some(json!({"newest": 3})) })
    });
    let wall = FakeWall::handler(|_, mut sandbox| async move {
        let refused = sandbox.call("checkpoint.save", Value::Null).await.unwrap_err();
        let payload = Some(json!({"saw": refused.payload}));
        let (code, message) = ("action_error".to_owned(), refused.code);
        Err(ResultError { code, message, payload, ..ResultError::default() })
    });
    let settled = run(&runner(wall, &host), lease(1, limits(10_000), Value::Null)).await;
    let Outcome::Failed(cause) = settled.outcome else { panic!("{settled:?}") };
    assert_eq!(cause.error.message, "checkpoint_conflict");
    assert_eq!(cause.error.payload, Some(json!({"saw": {"newest": 3}})));
}

#[tokio::test]
async fn a_kill_that_is_not_confirmed_costs_the_compartment() {
    let options = FakeOptions { obeys_kill: false, ..FakeOptions::default() };
    let wall = scripted_with(options, |sandbox| async move {
        if sandbox.number() > 2 {
            return sandbox.complete(json!("fresh")).await;
        }
        std::future::pending().await
    });
    let runner = runner(wall.clone(), &TestHost::echo());
    // Two in one compartment: one hits its cap and cannot be killed, its neighbour goes down with it.
    let short = run(&runner, lease(1, limits(200), Value::Null));
    let long = run(&runner, lease(2, limits(60_000), Value::Null));
    let (short, long) = tokio::join!(short, long);
    assert_eq!(code(&short.outcome), "time_limit");
    assert_eq!(code(&long.outcome), "compartment_broken");
    let Outcome::Failed(cause) = &long.outcome else { panic!("it failed: {:?}", long.outcome) };
    assert!(cause.fault == Fault::Platform && matches!(cause.retry, Retry::After(_)), "{cause:?}");
    support::eventually("the compartment is destroyed", || wall.counts().live == 0).await;
}
