//! `bulkhead bench cancel`: from the call that cancels an execution until it has ended, sandbox and all. Once with a
//! function that listens to its signal, and once with one that never lets go of the processor and has to be killed.

use std::time::Duration;

use anyhow::bail;
use bulkhead_api::{Accepted, ExecutionShow, Op};
use bulkhead_client::{Client, Request};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cli::Bench;
use crate::compile::measured;
use crate::context::Context;
use crate::measure::{Series, Target};
use crate::output;
use crate::verbs::embedded::{Embedded, prepare};

/// Executions of each kind.
const SAMPLES: usize = 50;

const INTEGRATION: &str = "bench";

/// `examples/bench/actions`: one that sleeps until its signal, and one that hears nothing.
const LISTENS: &str = "sleep";
const DEAF: &str = "stall";

/// Between two looks at an execution.
const LOOK: Duration = Duration::from_millis(2);

/// From the lease until its handler is well under way: one that has not begun is simply not begun.
const BEGINS: Duration = Duration::from_millis(200);

/// The longest wait for a state.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is promised, milliseconds.
const ENDED_MS_MAX: f64 = 1_000.0;

pub(crate) fn run(typed: &Bench, context: &Context) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let functions = [LISTENS, DEAF].map(|name| format!("{INTEGRATION}/action/{name}"));
    let functions = measured(context, &typed.examples, &functions)?;
    let ready = prepare(context, "bench", &[])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let embedded = ready.start().await?;
        embedded.connect(INTEGRATION, "http://127.0.0.1:9", "bench").await?;
        embedded.deploy(functions).await?;
        let measured = measure(&embedded, typed.n.unwrap_or(SAMPLES)).await;
        embedded.stop().await?;
        measured
    })
}

async fn measure(embedded: &Embedded, n: usize) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let (mut results, mut targets) = (Vec::new(), Vec::new());
    for (name, what) in [(LISTENS, "listens"), (DEAF, "never lets go of the processor")] {
        output::say(&format!("{n} executions of a function that {what}, each cancelled"));
        let mut samples = Vec::with_capacity(n);
        // The first builds the compartment.
        for sample in 0..=n {
            let took = cancelled(&embedded.client, name).await?;
            samples.extend((sample > 0).then_some(took));
        }
        let series = Series::of_durations(format!("cancel/{what}"), &samples);
        let longest = format!("longest, cancel to ended, a function that {what}");
        targets.push(Target::at_most("cancel", longest, series.max, ENDED_MS_MAX, "ms"));
        results.push(series);
    }
    Ok((results, targets))
}

/// Runs one, cancels it, and waits for its end.
async fn cancelled(client: &Client, name: &str) -> anyhow::Result<Duration> {
    let request = Request::new(Op::RunAction, &[INTEGRATION, name])
        .header("Prefer", "respond-async")
        .json(&json!({"ms": 60_000}));
    let Accepted { execution_id, .. } = client.call(request).await?;
    until(client, &execution_id, "running").await?;
    tokio::time::sleep(BEGINS).await;
    let began = Instant::now();
    client.call::<Value>(Request::new(Op::CancelExecution, &[&execution_id])).await?;
    until(client, &execution_id, "cancelled").await?;
    Ok(began.elapsed())
}

async fn until(client: &Client, id: &str, state: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let show: ExecutionShow = client.call(Request::new(Op::ShowExecution, &[id])).await?;
        let is = show.execution.state.as_str();
        if is == state {
            return Ok(());
        }
        if !["queued", "running"].contains(&is) || Instant::now() > deadline {
            bail!("an execution is {is}, not {state}: {:?}", show.execution.error);
        }
        tokio::time::sleep(LOOK).await;
    }
}
