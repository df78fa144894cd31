//! `bulkhead bench start`: how long a fresh sandbox takes. T1 from a parked fork and forked on demand, T4 with
//! nothing there, each beside a bare `node` that loads the same bundle, in the same run and interleaved with it.
//!
//! A start is counted from the lease to the handler's first line, as the worker sees it for every attempt.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bulkhead_api::{DeployFunction, Op};
use bulkhead_client::{Client, Request};
use bulkhead_protocol::StartKind;
use serde_json::json;
use tokio::task::JoinSet;

use crate::cli::Bench;
use crate::compile::measured;
use crate::context::Context;
use crate::measure::{Series, Target};
use crate::output;
use crate::verbs::baselines::{Baseline, bare_node};
use crate::verbs::embedded::{Embedded, prepare};

/// Enough for a p99.
const SAMPLES: usize = 500;

/// Runs before the first sample.
const WARM_UP: usize = 50;

/// Between two samples, so that what was used is parked anew: the machine counts as idle.
const PAUSE: Duration = Duration::from_millis(20);

/// Callers at once in a burst: more than are ever parked, fewer than attempts may run.
const BURST: usize = 24;

/// Bursts.
const BURSTS: usize = 20;

/// Cold starts. Each deploys the function anew.
const COLD: usize = 30;

/// What is measured: `examples/bench/actions/noop.ts`, with zod and axios in its bundle.
const FUNCTION: [&str; 2] = ["bench", "noop"];

pub(crate) fn run(typed: &Bench, context: &Context) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let functions = [FUNCTION.join("/action/")];
    let functions = measured(context, &typed.examples, &functions)?;
    let node = context.config.runtime_dir.join("rootfs/runtime/node");
    let ready = prepare(context, "bench", &[])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let embedded = ready.start().await?;
        embedded.deploy(functions.clone()).await?;
        let measured = measure(&embedded, typed, &functions, &node).await;
        embedded.stop().await?;
        measured
    })
}

async fn measure(
    embedded: &Embedded,
    typed: &Bench,
    functions: &[DeployFunction],
    node: &Path,
) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let bundle = functions.first().context("nothing was compiled")?.bundle.clone();
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("bundle.js");
    std::fs::write(&file, &bundle)?;
    let n = typed.n.unwrap_or(SAMPLES);

    let (bare, parked) = parked(embedded, &bare_node(node, &file), n).await?;
    let forked = forked(embedded).await?;
    let cold = cold(embedded, functions).await?;

    let bare = Series::of_durations("baseline/bare node, same bundle", &bare);
    let parked = Series::of("process/parked", "ms", parked);
    let forked = Series::of("process/forked in a burst", "ms", forked);
    let cold = Series::of("process/cold", "ms", cold);
    let times = bare.p50 / parked.p50.max(0.001);
    let targets = vec![
        Target::at_most("T1", "p50, from a parked fork", parked.p50, 2.0, "ms"),
        Target::at_most("T1", "p99, from a parked fork", parked.p99, 10.0, "ms"),
        Target::at_least("T1", "times faster than bare node (p50)", times, 25.0, "x"),
        Target::at_most("T1", "p50, forked on demand in a burst", forked.p50, 6.0, "ms"),
        Target::at_most("T4", "p50, nothing there", cold.p50, 150.0, "ms"),
    ];
    Ok((vec![bare, parked, forked, cold], targets))
}

/// One at a time, a bare `node` after each.
async fn parked(
    embedded: &Embedded,
    node: &Baseline,
    n: usize,
) -> anyhow::Result<(Vec<Duration>, Vec<f64>)> {
    output::say("warming up");
    for _ in 0..WARM_UP {
        call(&embedded.client).await?;
    }
    output::say(&format!("{n} starts from a parked fork, and a bare node after each"));
    let (mut bare, mut parked) = (Vec::with_capacity(n), Vec::with_capacity(n));
    for _ in 0..n {
        tokio::time::sleep(PAUSE).await;
        call(&embedded.client).await?;
        parked.extend(newest(embedded, StartKind::Parked, 1));
        bare.push(node.start().await?);
    }
    Ok((bare, parked))
}

/// More at once than are parked.
async fn forked(embedded: &Embedded) -> anyhow::Result<Vec<f64>> {
    output::say(&format!("{BURSTS} bursts of {BURST} at once"));
    let mut samples = Vec::new();
    for _ in 0..BURSTS {
        tokio::time::sleep(PAUSE * 10).await;
        let mut burst = JoinSet::new();
        for _ in 0..BURST {
            let client = embedded.client.clone();
            burst.spawn(async move { call(&client).await });
        }
        while let Some(called) = burst.join_next().await {
            called??;
        }
        samples.extend(newest(embedded, StartKind::Forked, BURST));
    }
    Ok(samples)
}

/// The first execution of a new version: its compartment is built, its bundle loaded.
async fn cold(embedded: &Embedded, functions: &[DeployFunction]) -> anyhow::Result<Vec<f64>> {
    output::say(&format!("{COLD} starts with nothing there"));
    let mut samples = Vec::new();
    for round in 0..COLD {
        let mut functions = functions.to_vec();
        for function in &mut functions {
            // Another bundle is another version.
            function.bundle = format!("{}\n// {round}\n", function.bundle);
        }
        embedded.deploy(functions).await?;
        call(&embedded.client).await?;
        samples.extend(newest(embedded, StartKind::Cold, 1));
    }
    Ok(samples)
}

/// Those of the newest `count` starts that came to be this way, in milliseconds.
#[allow(clippy::cast_precision_loss, reason = "microseconds of a start are far below 2^52")]
fn newest(embedded: &Embedded, kind: StartKind, count: usize) -> Vec<f64> {
    let recent = embedded.runner.recent_starts();
    let newest = recent.iter().rev().take(count);
    newest.filter(|start| start.kind == kind).map(|start| start.start_us as f64 / 1e3).collect()
}

async fn call(client: &Client) -> anyhow::Result<()> {
    client.send(Request::new(Op::RunAction, &FUNCTION).json(&json!({"n": 1}))).await?;
    Ok(())
}
