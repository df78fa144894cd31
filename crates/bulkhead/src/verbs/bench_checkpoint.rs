//! `bulkhead bench checkpoint`: T15. How long a durable save takes, as the function sees it from inside of its
//! sandbox; and how long after an attempt was cut at its cap the next one begins.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bulkhead_api::{Accepted, ExecutionShow, Op};
use bulkhead_client::{Client, Request};
use serde_json::{Value, json};

use crate::cli::Bench;
use crate::compile::measured;
use crate::context::Context;
use crate::measure::{Series, Target};
use crate::output;
use crate::verbs::embedded::{Embedded, prepare};

/// Saves that are timed.
const SAVES: usize = 1_000;

/// Syncs that are cut at their cap and go on.
const CUTS: usize = 10;

/// What is measured: `examples/bench/syncs/checkpoints.ts`.
const FUNCTION: [&str; 2] = ["bench", "checkpoints"];

const CONNECTION: &str = "bench";

/// The longest that one of the syncs may take.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(typed: &Bench, context: &Context) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let functions = [FUNCTION.join("/sync/")];
    let functions = measured(context, &typed.examples, &functions)?;
    let ready = prepare(context, "bench", &[])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let embedded = ready.start().await?;
        embedded.connect(FUNCTION[0], "http://127.0.0.1:9", CONNECTION).await?;
        embedded.deploy(functions).await?;
        let measured = measure(&embedded, typed).await;
        embedded.stop().await?;
        measured
    })
}

async fn measure(embedded: &Embedded, typed: &Bench) -> anyhow::Result<(Vec<Series>, Vec<Target>)> {
    let client = &embedded.client;
    let saves = typed.n.unwrap_or(SAVES);
    output::say(&format!("{saves} saves from inside of a sandbox"));
    let done = run_sync(client, &json!({"saves": saves})).await?;
    let samples = told(client, &done).await?;
    if samples.len() < saves {
        bail!("the function told of {} saves, not {saves}", samples.len());
    }
    output::say(&format!("{CUTS} syncs that are cut at their cap"));
    let mut gaps = Vec::new();
    for _ in 0..CUTS {
        let done = run_sync(client, &json!({"cut": true})).await?;
        gaps.push(gap(&done)?);
    }
    let saves = Series::of("checkpoint/save, durable", "ms", samples);
    let gaps = Series::of("checkpoint/cap hit to the next attempt's first line", "ms", gaps);
    let targets = vec![
        Target::at_most("T15", "p50, save from inside of the sandbox", saves.p50, 3.0, "ms"),
        Target::at_most(
            "T15",
            "longest, cap hit to the next attempt's first line",
            gaps.max,
            500.0,
            "ms",
        ),
    ];
    Ok((vec![saves, gaps], targets))
}

/// Says what the sync is to do, runs it, and waits for its end.
async fn run_sync(client: &Client, what: &Value) -> anyhow::Result<ExecutionShow> {
    let path = [FUNCTION[0], CONNECTION];
    client.send(Request::new(Op::SetMetadata, &path).json(what)).await?;
    let body = json!({"connection_id": CONNECTION, "reset": true});
    let accepted: Accepted =
        client.call(Request::new(Op::TriggerSync, &FUNCTION).json(&body)).await?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let show = Request::new(Op::ShowExecution, &[&accepted.execution_id]);
        let show: ExecutionShow = client.call(show).await?;
        match show.execution.state.as_str() {
            "succeeded" => return Ok(show),
            "queued" | "running" | "waiting" if tokio::time::Instant::now() < deadline => {}
            state => bail!("the sync is {state}: {:?}", show.execution.error),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What the function wrote into its log: each save in milliseconds.
async fn told(client: &Client, done: &ExecutionShow) -> anyhow::Result<Vec<f64>> {
    let request = Request::new(Op::ExecutionLogs, &[&done.execution.id]).query("limit", "1000");
    let page: bulkhead_api::LogPage = client.call(request).await?;
    let line = page.logs.iter().find_map(|line| line.message.strip_prefix("saves "));
    Ok(serde_json::from_str(line.context("the function told nothing")?)?)
}

/// From the end of the attempt that was cut to the first line of the next one.
fn gap(done: &ExecutionShow) -> anyhow::Result<f64> {
    let [cut, next, ..] = &done.attempt_list[..] else { bail!("the sync was not cut") };
    anyhow::ensure!(cut.outcome.as_deref() == Some("limit"), "the first attempt ended by itself");
    let read = |time: &Option<String>| {
        time.as_deref().and_then(ms_of_day).context("an attempt tells no time")
    };
    let gap = read(&next.started_at)? - read(&cut.ended_at)?;
    // Midnight may lie between the two.
    Ok(f64::from(gap.rem_euclid(24 * 3_600_000)))
}

/// Of `2026-01-31T12:00:00.123Z`, as the server writes all times.
fn ms_of_day(time: &str) -> Option<i32> {
    let (_, clock) = time.strip_suffix('Z')?.split_once('T')?;
    let (whole, ms) = clock.split_once('.')?;
    let seconds =
        whole.split(':').try_fold(0, |sum, part| Some(sum * 60 + part.parse::<i32>().ok()?));
    Some(seconds? * 1_000 + ms.parse::<i32>().ok()?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_read_as_the_server_writes_them() {
        assert_eq!(super::ms_of_day("2026-01-31T01:02:03.004Z"), Some(3_723_004));
        assert_eq!(super::ms_of_day("2026-01-31"), None);
    }
}
