//! A server is killed in the middle of its work. What it had answered is there afterwards, and every execution
//! that it had accepted comes to its end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(
    clippy::disallowed_methods,
    reason = "the test starts itself as the server that is killed"
)]
#![allow(clippy::print_stdout, reason = "how the child tells what was answered")]

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bulkhead_engine::{Engine, EngineOptions, ExecutionFilter, Settled, Settlement, Submit};
use bulkhead_store::Db;
use bulkhead_store::hot::sqlite::SqliteStore;
use bulkhead_types::{
    Execution, ExecutionId, ExecutionState, FunctionKey, FunctionKind, FunctionName, IntegrationId,
    Outcome, SystemClock, SystemEntropy, TenantId, Trigger, VersionId, WorkerId,
};
use serde_json::json;

/// In the child's environment: where the database is.
const DIRECTORY: &str = "BULKHEAD_TEST_KILL_DIRECTORY";

/// Answers the parent waits for before it kills.
const ANSWERS: usize = 400;

fn engine(dir: &Path) -> Engine {
    let store = SqliteStore::new(Db::open(&dir.join("bulkhead.db")).unwrap());
    let options =
        EngineOptions { lease_wait: Duration::from_millis(50), ..EngineOptions::default() };
    Engine::new(Arc::new(store), Arc::new(SystemClock), Arc::new(SystemEntropy), options)
}

fn tenant(number: usize) -> TenantId {
    TenantId::parse(&format!("tenant{number}")).unwrap()
}

fn submit(number: usize) -> Submit {
    let function = FunctionKey {
        tenant: tenant(number),
        integration: IntegrationId::parse("github").unwrap(),
        kind: FunctionKind::Action,
        name: FunctionName::parse("create-issue").unwrap(),
    };
    let input = json!({"text": "x".repeat(number * 3_000)});
    Submit::new(function, VersionId::parse("v1").unwrap(), Trigger::Api, input)
}

/// Submits, leases and settles for ever, and prints what was answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test below, which kills it"]
async fn server() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let engine = engine(Path::new(&dir));
    let submitters = (0..4).map(|number| {
        let engine = engine.clone();
        tokio::spawn(async move {
            loop {
                println!("accepted {}", engine.submit(submit(number)).await.unwrap().execution);
            }
        })
    });
    let submitters: Vec<_> = submitters.collect();
    let worker = WorkerId::parse("wrk_killed").unwrap();
    loop {
        // Every other lease is kept: what it runs is under way when the end comes.
        for lease in engine.lease(&worker, 4).await.unwrap().iter().step_by(2) {
            let settled = Settled::new(Outcome::Completed(json!("ok")));
            engine.settle(&lease.lease, settled).await.unwrap();
            println!("ended {}", lease.lease.execution);
        }
        assert!(submitters.iter().all(|submitter| !submitter.is_finished()));
    }
}

/// What the child said was accepted, and what was ended.
fn run_and_kill(dir: &Path) -> (HashSet<ExecutionId>, HashSet<ExecutionId>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "server", "--ignored", "--nocapture"])
        .env(DIRECTORY, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut accepted, mut ended) = (HashSet::new(), HashSet::new());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut note = |line: &str| match line.split_once(' ') {
        Some(("accepted", id)) => accepted.insert(ExecutionId::parse(id).unwrap()),
        Some(("ended", id)) => ended.insert(ExecutionId::parse(id).unwrap()),
        _ => false,
    };
    let mut answers = 0;
    while answers < ANSWERS {
        let line = lines.next().expect("the child must not end by itself").unwrap();
        answers += usize::from(note(&line));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had said by then, but for a last line that was cut.
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    for line in rest.iter().rev().skip(1) {
        note(line);
    }
    (accepted, ended)
}

async fn all(engine: &Engine) -> Vec<Execution> {
    let mut found = Vec::new();
    for number in 0..4 {
        let mut filter = ExecutionFilter::default();
        loop {
            let page = engine.executions(&tenant(number), filter.clone()).await.unwrap();
            found.extend(page.executions);
            filter.cursor = page.next_cursor;
            if filter.cursor.is_none() {
                break;
            }
        }
    }
    found
}

#[tokio::test]
async fn after_a_kill_nothing_that_was_answered_is_lost_and_everything_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (accepted, ended) = run_and_kill(dir.path());
    assert!(!accepted.is_empty() && !ended.is_empty());

    let engine = engine(dir.path());
    let found = all(&engine).await;
    let ids: HashSet<_> = found.iter().map(|execution| execution.id.clone()).collect();
    assert!(accepted.is_subset(&ids), "accepted and lost: {:?}", accepted.difference(&ids));
    for execution in found.iter().filter(|execution| ended.contains(&execution.id)) {
        assert_eq!(execution.state, ExecutionState::Succeeded, "{} had ended", execution.id);
    }

    let running =
        found.iter().filter(|execution| execution.state == ExecutionState::Running).count();
    assert!(running > 0, "the kill must have come in the middle of something");
    let killed = WorkerId::parse("wrk_killed").unwrap();
    assert_eq!(engine.recover(&killed).await.unwrap(), running);
    let worker = WorkerId::parse("wrk_new").unwrap();
    loop {
        let leases = engine.lease(&worker, 50).await.unwrap();
        if leases.is_empty() {
            break;
        }
        for lease in leases {
            let settled = Settled::new(Outcome::Completed(json!("again")));
            let settlement = engine.settle(&lease.lease, settled).await.unwrap();
            assert!(matches!(settlement, Settlement::Accepted { .. }));
        }
    }
    for execution in all(&engine).await {
        assert_eq!(execution.state, ExecutionState::Succeeded, "{}", execution.id);
    }
    for number in 0..4 {
        let share = engine.share(&tenant(number)).await.unwrap().unwrap();
        assert_eq!((share.queued, share.waiting, share.running), (0, 0, 0));
    }
}
