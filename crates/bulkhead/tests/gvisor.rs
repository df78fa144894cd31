//! Executions behind gVisor, through the binary and its HTTP API: chosen by a function, by a tenant's floor, by nobody.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use bulkhead_api::{Op, PutTenant, Tenant};
use bulkhead_client::{Client, Request};
use serde_json::{Value, json};
use support::{Home, Server, execution, submit, until};

/// Runs it to its end: what it returned, and the wall that its attempt is said to have run behind.
async fn run(client: &Client, name: &str) -> (Value, Value) {
    let id = submit(client, "walls", name, json!({})).await;
    until("it ends", || async {
        let state = execution(client, &id).await["state"].as_str().unwrap().to_owned();
        assert!(!["failed", "cancelled", "expired"].contains(&state.as_str()), "{state}");
        state == "succeeded"
    })
    .await;
    let shown = execution(client, &id).await;
    (shown["output"].clone(), shown["attempt_list"][0]["wall"].clone())
}

fn is_gvisor(kernel: &Value) -> bool {
    // What gVisor calls itself; behind the process wall the file is not there.
    kernel.as_str().is_some_and(|text| text.starts_with("Linux version 4.4.0"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_or_a_tenants_floor_gets_gvisor_and_nothing_of_it_is_left() {
    let home = Home::new();
    let mut server = Server::start(&home, &[]);
    let client = server.tenant("t", "tests/functions").await;

    assert_eq!(run(&client, "kernel").await, (json!("ENOENT"), json!("process")));
    let (kernel, wall) = run(&client, "own-kernel").await;
    assert!(is_gvisor(&kernel), "{kernel}");
    assert_eq!(wall, "gvisor");

    let floor = PutTenant { wall_floor: Some("gvisor".to_owned()), ..PutTenant::default() };
    let put = Request::new(Op::PutTenant, &["t"]).json(&floor);
    assert_eq!(
        server.admin.call::<Tenant>(put).await.unwrap().wall_floor.as_deref(),
        Some("gvisor")
    );
    let (kernel, wall) = run(&client, "kernel").await;
    assert!(is_gvisor(&kernel), "{kernel}");
    assert_eq!(wall, "gvisor");
    // Said again without a floor, the floor stays.
    let put = Request::new(Op::PutTenant, &["t"]).json(&PutTenant::default());
    assert_eq!(
        server.admin.call::<Tenant>(put).await.unwrap().wall_floor.as_deref(),
        Some("gvisor")
    );

    assert!(runsc_of(&home) > 0, "compartments are warm");
    server.kill_nine();
    until("nothing is left", || async { home.cgroups().is_empty() }).await;
    assert_eq!(runsc_of(&home), 0);
}

/// Processes of `runsc` in the cgroups of the server over this directory.
fn runsc_of(home: &Home) -> usize {
    fn below(path: &std::path::Path) -> usize {
        let procs = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
        let is_runsc = |pid: &&str| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            name.starts_with("runsc") || name.starts_with("/runsc")
        };
        let here = procs.lines().filter(is_runsc).count();
        let Ok(entries) = std::fs::read_dir(path) else { return here };
        let dirs = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
        here + dirs.map(|path| below(&path)).sum::<usize>()
    }
    home.cgroups().first().map_or(0, |top| below(top))
}
