//! Executions that sleep: what each keeps (T8), and how many fit into 8 GiB (T9). Weighed from outside, all processes of
//! the server's compartments together, the server and its launcher too: the kernel's proportional set size, which counts
//! what several share once. So it is the same for every wall, whatever its kernel is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bulkhead_api::{Accepted, DeployFunction, Op};
use bulkhead_client::{Client, Request};
use bulkhead_types::WallKind;
use serde_json::json;
use tokio::time::Instant;

use super::{SLEEP, behind};
use crate::measure::{Series, Target};
use crate::output;
use crate::verbs::apart::Apart;

/// What T9 is about.
const BUDGET_MIB: f64 = 8.0 * 1024.0;
const SLEEPERS_MAX: usize = 1_000;

/// Added at a time. One version's compartments hold 256; each step is a version of its own.
const STEP: usize = 100;

/// Long enough for all to be asleep at once; they are cancelled.
const SLEEP_MS: u64 = 600_000;

/// Between two looks, and until all is quiet.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const SETTLE: Duration = Duration::from_secs(2);

/// Sandboxes that were given an execution, and attempts under way, as `/metrics` calls them.
const USED: &str = "bulkhead_sandboxes_used_total";
const RUNNING: &str = "bulkhead_attempts_running";

/// How long a step may take to fall asleep, and all of them to be gone.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) async fn measure(
    server: &Apart,
    function: &DeployFunction,
    wall: WallKind,
    n: usize,
) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let most = (2 * n).min(SLEEPERS_MAX);
    let (name, client) = (wall.as_str(), server.client()?);
    output::say(&format!("{name}: up to {most} executions that sleep, or 8 GiB"));
    let (mut asleep, mut each, mut weight) = (Vec::new(), Vec::new(), weigh(server)?);
    while asleep.len() < most && weight < BUDGET_MIB {
        let step = STEP.min(most - asleep.len());
        let other = renamed(&behind(function, wall, 0)?, asleep.len());
        server.deploy(vec![other.clone()]).await?;
        // The first of a version brings the compartment, which is not what an execution keeps.
        asleep.extend(lull(server, &client, &other, 1).await?);
        let with_one = weigh(server)?;
        if step > 1 {
            asleep.extend(lull(server, &client, &other, step - 1).await?);
            weight = weigh(server)?;
            each.push((weight - with_one) / (step - 1) as f64);
        }
    }
    // The last step may have gone beyond the budget.
    let held = if weight < BUDGET_MIB { asleep.len() } else { asleep.len().saturating_sub(STEP) };
    for id in &asleep {
        client.send(Request::new(Op::CancelExecution, &[id])).await?;
    }
    until(server, RUNNING, |running| running == 0.0).await?;
    let each = Series::of(format!("{name}/each sleeping execution, PSS"), "MiB", each);
    let all = format!("{name}/{} asleep with all of server and compartments, PSS", asleep.len());
    let what = format!("{name}, each execution asleep, without its compartment");
    let mut targets = vec![Target::at_most("T8", what, each.p50, 6.0, "MiB")];
    if most == SLEEPERS_MAX {
        let what = format!("{name}, executions asleep in 8 GiB (tried up to {most})");
        targets.push(Target::at_least("T9", what, held as f64, SLEEPERS_MAX as f64, ""));
    }
    Ok((vec![each, Series::single(all, "MiB", weight)], targets))
}

fn renamed(function: &DeployFunction, number: usize) -> DeployFunction {
    let mut function = function.clone();
    let name = function.spec["name"].as_str().unwrap_or(SLEEP[1]);
    function.spec["name"] = json!(format!("{name}-{number}"));
    function
}

/// Starts so many and waits until they all sleep.
async fn lull(
    server: &Apart,
    client: &Client,
    function: &DeployFunction,
    count: usize,
) -> anyhow::Result<Vec<String>> {
    let name = function.spec["name"].as_str().context("a function without a name")?;
    let before = server.metric(USED).await?;
    let mut ids = Vec::with_capacity(count);
    for _ in 0..count {
        let request = Request::new(Op::RunAction, &[SLEEP[0], name]);
        let request = request.header("Prefer", "respond-async").json(&json!({"ms": SLEEP_MS}));
        ids.push(client.call::<Accepted>(request).await?.execution_id);
    }
    until(server, USED, |used| used >= before + count as f64).await?;
    // What was handed its input falls asleep at once, and what was used is parked anew.
    tokio::time::sleep(SETTLE).await;
    Ok(ids)
}

async fn until(server: &Apart, metric: &str, holds: impl Fn(f64) -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if holds(server.metric(metric).await?) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!("{metric} is not what it should be after {} s", PATIENCE.as_secs())
}

/// Server, launcher and everything in the compartments, MiB.
fn weigh(server: &Apart) -> anyhow::Result<f64> {
    let mut pids = BTreeSet::from([server.pid, server.launcher()?]);
    server.tops.iter().for_each(|top| collect(top, &mut pids));
    let kib: u64 = pids.iter().filter_map(|pid| pss_kib(*pid)).sum();
    Ok(kib as f64 / 1024.0)
}

fn collect(cgroup: &Path, pids: &mut BTreeSet<u32>) {
    let procs = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    pids.extend(procs.lines().filter_map(|line| line.parse::<u32>().ok()));
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), pids);
        }
    }
}

/// `None` for a process that has ended meanwhile.
fn pss_kib(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
