//! `bulkhead bench action`: actions over HTTP on loopback, durable, each in a fresh sandbox. T2 one at a time on an
//! idle machine; T3 as many as the machine sustains, with a fixed number of callers that each wait for their answer.

use std::time::Duration;

use bulkhead_api::Op;
use bulkhead_client::{Client, Request};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cli::Bench;
use crate::compile::measured;
use crate::context::Context;
use crate::measure::{Series, Target};
use crate::output;
use crate::verbs::embedded::{Embedded, prepare};

/// Enough for a p99.
const SAMPLES: usize = 1_000;

/// Runs before the first sample: compartment built, code paths warm on both sides.
const WARM_UP: usize = 50;

/// Callers of the sustained part. Twice the parked sandboxes of a busy version, so that there always is work.
const CALLERS: usize = 32;

/// What is measured: `examples/bench/actions/noop.ts`, with a bundle of ordinary size.
const FUNCTION: [&str; 2] = ["bench", "noop"];

pub(crate) fn run(typed: &Bench, context: &Context) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let functions = [FUNCTION.join("/action/")];
    let functions = measured(context, &typed.examples, &functions)?;
    let ready = prepare(context, "bench", &[])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let embedded = ready.start().await?;
        embedded.connect(FUNCTION[0], "http://127.0.0.1:9", "bench").await?;
        embedded.deploy(functions).await?;
        let measured = measure(&embedded, typed).await;
        embedded.stop().await?;
        measured
    })
}

async fn measure(embedded: &Embedded, typed: &Bench) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let client = &embedded.client;
    output::say("warming up");
    for _ in 0..WARM_UP {
        call(client).await?;
    }
    let n = typed.n.unwrap_or(SAMPLES);
    output::say(&format!("{n} actions, one at a time"));
    let mut samples = Vec::with_capacity(n);
    for _ in 0..n {
        samples.push(call(client).await?);
    }
    let alone = Series::of_durations("action/one at a time", &samples);
    let floor = floor(client, n).await?;

    let span = Duration::from_secs(typed.seconds);
    output::say(&format!("{CALLERS} callers for {} s", typed.seconds));
    let began = Instant::now();
    let samples = sustain(client, span).await?;
    let rate = per_second(samples.len(), began.elapsed());
    let busy = Series::of_durations(format!("action/{CALLERS} callers"), &samples);
    let sandboxes = embedded.runner.snapshot();
    output::say(&format!(
        "starts: {} parked, {} forked, {} cold; {} sandboxes for {} attempts",
        sandboxes.parked,
        sandboxes.forked,
        sandboxes.cold,
        sandboxes.sandboxes_used,
        sandboxes.executions
    ));
    let targets = vec![
        Target::at_most("T2", "p50, action over HTTP, one at a time", alone.p50, 5.0, "ms"),
        Target::at_most("T2", "p99, action over HTTP, one at a time", alone.p99, 20.0, "ms"),
        Target::at_least("T3", "actions sustained", rate, 300.0, "/s"),
    ];
    let rate = Series::single(format!("action/{CALLERS} callers, rate"), "/s", rate);
    Ok((vec![floor, alone, busy, rate], targets))
}

/// The baseline: the same client and server, a request that runs nothing.
async fn floor(client: &Client, n: usize) -> anyhow::Result<Series> {
    let mut samples = Vec::with_capacity(n);
    for _ in 0..n {
        let began = Instant::now();
        client.send(Request::new(Op::ListFunctions, &[])).await?;
        samples.push(began.elapsed());
    }
    Ok(Series::of_durations("baseline/GET functions", &samples))
}

async fn call(client: &Client) -> anyhow::Result<Duration> {
    let began = Instant::now();
    client.send(Request::new(Op::RunAction, &FUNCTION).json(&json!({"n": 1}))).await?;
    Ok(began.elapsed())
}

async fn sustain(client: &Client, span: Duration) -> anyhow::Result<Vec<Duration>> {
    let end = Instant::now() + span;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let client = client.clone();
        callers.spawn(async move {
            let mut samples = Vec::new();
            while Instant::now() < end {
                samples.push(call(&client).await?);
            }
            anyhow::Ok(samples)
        });
    }
    let mut samples = Vec::new();
    while let Some(caller) = callers.join_next().await {
        samples.extend(caller??);
    }
    Ok(samples)
}

#[allow(clippy::cast_precision_loss, reason = "a count of requests is far below 2^52")]
fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
