//! Who gets which wall and which compartment, through the binary: what a function asks for, what its tenant's floor makes
//! of it, and what is recorded.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;

use bulkhead_api::{Op, PutTenant, Tenant};
use bulkhead_client::{Client, Request};
use serde_json::{Value, json};
use support::{Home, Server, execution, submit, until};

const PROJECT: &str = "tests/walls";

/// What gVisor's kernel calls itself: no kernel of a machine that has what the other walls need is as old.
const GVISOR_KERNEL: &str = "4.4.0";

/// Runs an action to its end: the kernel that it saw, the wall of its attempt, how its sandbox came to be.
async fn run(client: &Client, name: &str) -> (String, String, String) {
    let id = submit(client, "walls", name, json!({})).await;
    until("its end", || async { execution(client, &id).await["state"] == "succeeded" }).await;
    let show = execution(client, &id).await;
    let attempt = &show["attempt_list"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&show["output"]["kernel"]), text(&attempt["wall"]), text(&attempt["start"]))
}

async fn metrics(server: &Server) -> String {
    let page = server.admin.send(Request::new(Op::Metrics, &[])).await.unwrap();
    String::from_utf8_lossy(&page.body).into_owned()
}

/// The cgroups of compartments in which something runs, in one hierarchy.
fn compartments(home: &Home) -> BTreeSet<PathBuf> {
    let tops = home.cgroups();
    let Some(top) = tops.first() else { return BTreeSet::new() };
    let entries = std::fs::read_dir(top).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with('c'));
    let lives = |path: &PathBuf| {
        let procs = std::fs::read_to_string(path.join("base/cgroup.procs"));
        procs.is_ok_and(|procs| !procs.is_empty())
    };
    ours.map(|entry| entry.path()).filter(|path| path.is_dir() && lives(path)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_runs_behind_the_wall_that_it_or_its_tenants_floor_asks_for() {
    let home = Home::new();
    let mut server = Server::start(&home, &["wall=process"]);
    let client = server.tenant("t", PROJECT).await;
    let (kernel, wall, _) = run(&client, "any").await;
    assert_eq!(wall, "process");
    assert!(!kernel.starts_with(GVISOR_KERNEL), "{kernel}");
    let (kernel, wall, _) = run(&client, "gvisor").await;
    assert_eq!((kernel.as_str(), wall.as_str()), (GVISOR_KERNEL, "gvisor"));

    // A floor raises what asks for less; sandboxes parked behind less are not used any more.
    let floor = PutTenant { wall_floor: Some("gvisor".to_owned()), ..PutTenant::default() };
    let put = Request::new(Op::PutTenant, &["t"]).json(&floor);
    server.admin.call::<Tenant>(put).await.unwrap();
    let (kernel, wall, start) = run(&client, "any").await;
    assert_eq!((kernel.as_str(), wall.as_str(), start.as_str()), (GVISOR_KERNEL, "gvisor", "cold"));

    server.kill_nine();
    until("nothing is left, behind either wall", || async { home.cgroups().is_empty() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn executions_in_compartments_of_their_own_never_share_one() {
    let home = Home::new();
    let server = Server::start(&home, &["isolation=compartment"]);
    let client = server.tenant("t", PROJECT).await;
    let mut ids = Vec::new();
    for name in ["any", "any", "gvisor", "gvisor"] {
        ids.push(submit(&client, "walls", name, json!({"ms": 600_000})).await);
    }
    for id in &ids {
        until("it runs", || async { execution(&client, id).await["state"] == "running" }).await;
    }
    until("each has its sandbox", || async {
        metrics(&server).await.contains("bulkhead_sandboxes_used_total 4\n")
    })
    .await;
    assert_eq!(compartments(&home).len(), 4);
    for id in &ids {
        client.send(Request::new(Op::CancelExecution, &[id])).await.unwrap();
        until("its end", || async { execution(&client, id).await["state"] == "cancelled" }).await;
        let attempt = &execution(&client, id).await["attempt_list"][0];
        assert_eq!(attempt["start"], "cold", "{attempt}");
    }
    until("none is kept", || async { compartments(&home).is_empty() }).await;
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deployed_is_warm_before_it_is_called() {
    let home = Home::new();
    let server = Server::start(&home, &["worker.prewarm=yes"]);
    let client = server.tenant("t", PROJECT).await;
    // Two of the three: what wants a compartment for each execution can't be kept warm.
    until("what was deployed is warm", || async {
        metrics(&server).await.contains("bulkhead_prewarms_total 2\n")
    })
    .await;
    let (_, wall, start) = run(&client, "any").await;
    assert_eq!((wall.as_str(), start.as_str()), ("process", "parked"));
    for _ in 0..2 {
        let (_, wall, start) = run(&client, "apart").await;
        assert_eq!((wall.as_str(), start.as_str()), ("process", "cold"));
    }
    let page = metrics(&server).await;
    for line in [
        r#"bulkhead_starts_total{wall="process",kind="parked"} 1"#,
        r#"bulkhead_starts_total{wall="process",kind="cold"} 2"#,
        r#"bulkhead_evictions_total{why="memory"} 0"#,
    ] {
        assert!(page.contains(line), "no {line} in {page}");
    }
    let list: Value = server.admin.call(Request::new(Op::ListWorkers, &[])).await.unwrap();
    let warmth = &list["workers"][0]["warmth"];
    assert_eq!((&warmth["parked"], &warmth["prewarmed"]), (&json!(1), &json!(2)), "{list}");
    server.stop();
}
