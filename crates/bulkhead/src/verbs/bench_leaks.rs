//! `bulkhead bench leaks`: does anything stay when executions are over? Runs many, one in a hundred of which crashes,
//! hangs, eats memory, forks without end, leaves in the middle or is cancelled, through a server in a process of its own,
//! and then compares what there is on the machine with what there was: processes, cgroups, mounts, namespaces, open
//! descriptors of server and launcher, files; and whether memory of host and compartments grew all along.
//!
//! Both looks are taken when no compartment is left: a short `worker.idle` lets them all go. Exit code 1 when something
//! is left; each such thing is printed.

mod traces;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{anyhow, bail};
use bulkhead_api::{Accepted, DeployFunction, ExecutionShow, Op};
use bulkhead_client::{Client, Request};
use serde_json::json;
use tokio::time::Instant;

use crate::cli::Bench;
use crate::compile::measured;
use crate::context::Context;
use crate::measure::{Series, Target};
use crate::output;
use crate::verbs::apart::{self, Apart};

use self::traces::{Memory, Traces};

/// Executions, unless another number was asked for: what the promise is about.
const EXECUTIONS: usize = 10_000;

/// Every so many of them does not end well.
const BAD_EVERY: usize = 100;

/// Executions under way at the same time.
const CALLERS: usize = 16;

/// How each that does not end well comes to its end, and what the server is to say of it.
const ENDS: [(&str, &[&str]); 6] = [
    ("crash", &["sandbox_crashed"]),
    ("hang", &["time_limit"]),
    ("memory", &["out_of_memory"]),
    // Each of the processes has memory too: where no cgroup counts, the look that comes first decides.
    ("fork", &["process_limit", "out_of_memory"]),
    ("exit", &["script_error", "no_result"]),
    ("cancel", &["cancelled"]),
];

/// What is run: `examples/bench/actions/churn.ts`, and `stall.ts`, which has little time, for what hangs.
const CHURN: [&str; 2] = ["bench", "churn"];
const STALL: [&str; 2] = ["bench", "stall"];

/// An idle compartment goes after this long.
const IDLE: &str = "2s";

/// How long until all is as it was, at most.
const SETTLE_MAX: Duration = Duration::from_secs(90);

/// How long all of them may take.
const WATCH_MAX: Duration = Duration::from_secs(4 * 60 * 60);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Growth over the second half of the run that counts as flat, MiB: caches and heaps breathe by some.
const DRIFT_MIB_MAX: f64 = 16.0;

/// Fewer executions than this say nothing about memory.
const FLAT_FROM: usize = 1_000;

/// Parts of the second half, of which the least of each counts: what runs at a moment is no growth.
const PARTS: usize = 8;

pub(crate) fn run(typed: &Bench, context: &Context) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let functions = [CHURN, STALL].map(|function| function.join("/action/"));
    let functions = measured(context, &typed.examples, &functions)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(typed, context, functions))
}

async fn measure(
    typed: &Bench,
    context: &Context,
    functions: Vec<DeployFunction>,
) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let wall = typed.wall.as_deref().unwrap_or("process");
    let settings = [("wall", wall), ("worker.idle", IDLE), ("worker.prewarm", "no")];
    let server = Apart::start(context, &settings).await?;
    server.deploy(functions).await?;
    let n = typed.n.unwrap_or(EXECUTIONS);

    output::say(&format!("{wall}: warming up, each way to end once"));
    churn(&server, ENDS.len(), &Arc::default()).await?;
    let before = settled(&server, None).await?;

    let bad = n.div_ceil(bad_every(n));
    output::say(&format!("{n} executions, {bad} of which do not end well"));
    let began = Instant::now();
    let done = Arc::new(AtomicUsize::new(0));
    let ((), samples) = tokio::try_join!(churn(&server, n, &done), watch(&server, n, &done))?;
    let took = began.elapsed().as_secs();
    output::say(&format!("{n} executions in {took} s; waiting until nothing is left"));
    let after = settled(&server, Some(&before)).await?;
    server.stop().await?;
    report(n, &before, &after, &samples)
}

/// Of how many one ends badly: fewer where each way would not have its turn.
fn bad_every(count: usize) -> usize {
    BAD_EVERY.min((count / ENDS.len()).max(1))
}

/// Runs so many, some of them in each of the ways that are no good end.
async fn churn(server: &Apart, count: usize, done: &Arc<AtomicUsize>) -> anyhow::Result<()> {
    let bad_every = bad_every(count);
    let items: Vec<Option<usize>> =
        (0..count).map(|n| n.is_multiple_of(bad_every).then_some(n / bad_every)).collect();
    let (client, done) = (server.client()?, Arc::clone(done));
    apart::by_turns(items, CALLERS, move |bad| {
        let (client, done) = (client.clone(), Arc::clone(&done));
        async move {
            match bad.map(|n| ENDS[n % ENDS.len()]) {
                None => good(&client).await?,
                Some(("cancel", _)) => cancelled(&client).await?,
                Some((how, codes)) => ended_as(&client, how, codes).await?,
            }
            done.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    })
    .await
}

async fn good(client: &Client) -> anyhow::Result<()> {
    let (id, ended) = apart::call(client, CHURN, &json!({"how": "well"})).await?;
    ended.map(drop).map_err(|code| anyhow!("{id} ended with {code}"))
}

async fn ended_as(client: &Client, how: &str, codes: &[&str]) -> anyhow::Result<()> {
    let function = if how == "hang" { STALL } else { CHURN };
    let (id, ended) = apart::call(client, function, &json!({"how": how})).await?;
    match ended {
        Err(code) if codes.contains(&code.as_str()) => Ok(()),
        other => bail!("{id} was to {how} and ended with {other:?}"),
    }
}

async fn cancelled(client: &Client) -> anyhow::Result<()> {
    let request = Request::new(Op::RunAction, &CHURN).header("Prefer", "respond-async");
    let accepted: Accepted = client.call(request.json(&json!({"how": "wait"}))).await?;
    let id = accepted.execution_id;
    until(client, &id, &["running"]).await?;
    client.send(Request::new(Op::CancelExecution, &[&id])).await?;
    until(client, &id, &["cancelled"]).await
}

async fn until(client: &Client, id: &str, states: &[&str]) -> anyhow::Result<()> {
    let deadline = Instant::now() + SETTLE_MAX;
    while Instant::now() < deadline {
        let show: ExecutionShow = client.call(Request::new(Op::ShowExecution, &[id])).await?;
        if states.contains(&show.execution.state.as_str()) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!("{id} is not {states:?} after {} s", SETTLE_MAX.as_secs())
}

/// Looks until there is no compartment, and what there is stays the same or is no more than `before`; or until that has
/// taken too long, which is then what there is.
async fn settled(server: &Apart, before: Option<&Traces>) -> anyhow::Result<Traces> {
    let deadline = Instant::now() + SETTLE_MAX;
    let mut last = Traces::of(server)?;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = Traces::of(server)?;
        let quiet = now.compartments() == 0
            && match before {
                Some(before) => now.beyond(before).is_empty(),
                None => now == last,
            };
        if quiet || Instant::now() > deadline {
            return Ok(now);
        }
        last = now;
    }
}

/// Memory now and then, until `count` are done.
async fn watch(
    server: &Apart,
    count: usize,
    done: &Arc<AtomicUsize>,
) -> anyhow::Result<Vec<(usize, Memory)>> {
    let mut samples = Vec::new();
    let launcher = server.launcher()?;
    let deadline = Instant::now() + WATCH_MAX;
    loop {
        let so_far = done.load(Ordering::Relaxed);
        if so_far >= count || Instant::now() > deadline {
            return Ok(samples);
        }
        samples.push((so_far, Memory::of(server, launcher)));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn report(
    n: usize,
    before: &Traces,
    after: &Traces,
    samples: &[(usize, Memory)],
) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let left = after.beyond(before);
    for (what, count) in &left {
        output::say(&format!("LEFT: {count} × {what}"));
    }
    let mut targets = Vec::new();
    for kind in traces::KINDS {
        let of_kind = left.iter().filter(|(what, _)| what.starts_with(kind));
        let count: usize = of_kind.map(|(_, count)| count).sum();
        targets.push(Target::at_most("leak", format!("{kind} left"), count as f64, 0.0, ""));
    }
    let mut series = Vec::new();
    for (name, of) in traces::MEMORIES {
        let points: Vec<(f64, f64)> =
            samples.iter().filter_map(|(n, at)| Some((*n as f64, of(at)?))).collect();
        series.push(Series::of(name, "MiB", points.iter().map(|(_, mib)| *mib).collect()));
        if n >= FLAT_FROM {
            let what = format!("{name}: growth over the second half");
            targets.push(Target::at_most("flat", what, drift(&points), DRIFT_MIB_MAX, "MiB"));
        }
    }
    Ok((series, targets))
}

/// How much the second half of the points grows by from its first part to its last, by least squares over the least of
/// each part: one value that is off says nothing about the rest.
fn drift(points: &[(f64, f64)]) -> f64 {
    let half = &points[points.len() / 2..];
    let least = |part: &[(f64, f64)]| part.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1));
    let parts = half.chunks(half.len().div_ceil(PARTS).max(1)).filter_map(least);
    let parts: Vec<f64> = parts.map(|(_, mib)| mib).collect();
    let count = parts.len() as f64;
    let (mean_x, mean_y) = ((count - 1.0) / 2.0, parts.iter().sum::<f64>() / count);
    let places = (0..parts.len()).map(|place| place as f64 - mean_x);
    let spread: f64 = places.clone().map(|place| place.powi(2)).sum();
    if spread == 0.0 {
        return 0.0;
    }
    let slope = places.zip(&parts).map(|(place, mib)| place * (mib - mean_y)).sum::<f64>() / spread;
    slope * (count - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_what_the_second_half_grows_by() {
        let points =
            |of: fn(u32) -> f64| (0..160).map(|n| (f64::from(n), of(n))).collect::<Vec<_>>();
        let near = |points: &[(f64, f64)], wanted: f64| (drift(points) - wanted).abs() < 1e-6;
        assert!(near(&points(|_| 7.0), 0.0) && near(&[], 0.0) && near(&[(1.0, 1.0)], 0.0));
        assert!(near(&points(|n| f64::from(n) / 10.0), 7.0));
        // Growth that has come to its end is none, and neither is what comes and goes.
        assert!(near(&points(|n| f64::from(n.min(60))), 0.0));
        assert!(near(&points(|n| f64::from(n % 10)), 0.0));
    }
}
